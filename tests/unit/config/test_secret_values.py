"""The values that the error log masks: all secrets of the settings and of handlers, no short ones."""

from dataclasses import dataclass, field

from gproxy.config.secret_values import secret_values
from gproxy.config.sections.state import RedisURL
from gproxy.config.types import Secret


@dataclass(slots=True)
class Options:
    secret: Secret | None = None
    name: str = "not-a-secret"
    more: object = field(default=None)


def test_secrets_are_found_at_any_depth():
    settings = Options(more={"jwt": Options(Secret("signing-key")), "list": [Options(more=(Secret("second-key"),))]})
    assert secret_values(settings) == {"signing-key", "second-key"}


def test_the_password_of_a_url_counts_alone_and_decoded():
    found = secret_values(Options(RedisURL("redis://user:p%40ssword@localhost:6379/0")))
    assert found == {"redis://user:p%40ssword@localhost:6379/0", "p%40ssword", "p@ssword"}


def test_words_that_occur_anyway_are_not_masked():
    assert secret_values(Options(Secret("auto"))) == frozenset()


def test_objects_that_refer_to_each_other_end_the_search():
    one, two = Options(), Options(Secret("in-a-circle"))
    one.more, two.more = two, one
    assert secret_values(one) == {"in-a-circle"}
