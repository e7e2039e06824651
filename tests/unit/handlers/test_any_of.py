from dataclasses import dataclass

import pytest

from gproxy.handlers.any_of import AnyOf
from gproxy.http.errors import HTTPError
from gproxy.http.identity import Identity
from gproxy.identity import Identifier
from gproxy.identity.credential_identifier import CredentialIdentifier
from gproxy.identity.errors import Untrusted
from gproxy.identity.sources import Source
from gproxy.testing import answer, request


@dataclass
class Word(CredentialIdentifier):
    """A handler for one word in one source."""

    word: str = "good"

    def verify(self, credential, request):
        if credential != self.word:
            raise Untrusted("it is bad")
        return Identity(user=self.word)


def member(name, text, scheme, **options):
    made = Word(sources=(Source.parse(text),), word=name, **options)
    made.name = name
    made.scheme = scheme
    return made


def choice(*members, **options):
    return AnyOf(of=tuple(one.name for one in members), members=members, **options)


TOKEN = member("token", "bearer", "Bearer", forward={"sub": "X-User"})
KEY = member("key", "header:X-Key", "Key", forward={"sub": "X-User", "plan": "X-Plan"})
SILENT = member("certificate", "header:X-Certificate", "")


def rejected(handler, asked):
    with pytest.raises(HTTPError) as caught:
        handler(asked, answer())
    return caught.value


@pytest.mark.parametrize(
    ("headers", "user"),
    [({"Authorization": "Bearer token"}, "token"), ({"X-Key": "key"}, "key"), ({"X-Certificate": "certificate"}, "certificate")],
)  # fmt: skip
def test_each_alternative_works_alone(headers, user):
    asked = request(headers=headers)
    assert choice(TOKEN, KEY, SILENT)(asked, answer()).status == 200
    assert (asked.user, asked.exchange.auth) == (user, user)


def test_a_bad_credential_is_final():
    asked = request(headers={"Authorization": "Bearer bad", "X-Key": "key"})
    error = rejected(choice(TOKEN, KEY), asked)
    assert (error.status, error.reason) == (401, "auth_invalid")
    assert choice(KEY, TOKEN)(asked, answer()).status == 200


def test_the_credentials_of_all_members_are_removed():
    asked = request(headers={"Authorization": "Bearer token", "X-Key": "key"})
    choice(TOKEN, KEY)(asked, answer())
    assert "X-Key" not in asked.headers


def test_no_credential_gets_the_challenges_in_order():
    error = rejected(choice(KEY, SILENT, TOKEN), request())
    assert (error.status, error.reason) == (401, "auth_missing")
    assert error.headers.all("WWW-Authenticate") == ['Key realm="gproxy"', 'Bearer realm="gproxy"']


def test_members_without_a_challenge():
    other = member("other", "header:X-Other", "")
    error = rejected(choice(SILENT, other), request())
    assert (error.status, error.reason) == (403, "auth_missing")


def test_a_member_without_sources_is_asked_whether_it_recognises_the_request():
    @dataclass
    class Session(Identifier):
        def identify(self, request):
            return Identity(user="session") if "X-Session" in request.headers else None

    handler = choice(TOKEN, Session(), KEY)
    for headers, user in (({"X-Session": "1", "X-Key": "key"}, "session"), ({"X-Key": "key"}, "key")):
        asked = request(headers=headers)
        assert handler(asked, answer()).status == 200
        assert asked.user == user
    error = rejected(handler, request())
    assert error.headers.all("WWW-Authenticate")[1] == 'Session realm="gproxy"'


def test_optional():
    asked = request(headers={"X-User": "forged"})
    assert choice(TOKEN, KEY, optional=True)(asked, answer()).status == 200
    assert asked.context["challenges"] == ['Bearer realm="gproxy"', 'Key realm="gproxy"']
    assert rejected(choice(TOKEN, KEY, optional=True), request(headers={"X-Key": "bad"})).status == 401


def test_the_headers_of_all_members_are_identity_headers():
    assert choice(TOKEN, KEY).identity_headers == {"x-user", "x-plan"}


@pytest.mark.parametrize("of", [(), ("a",), ("a", "a")])
def test_a_choice_needs_two(of):
    with pytest.raises(ValueError, match=r"^of: expected two or more"):
        AnyOf(of=of)


def test_a_member_that_never_gets_a_credential_is_a_mistake():
    again = member("again", "header:x-key", "Key")
    with pytest.raises(ValueError, match="of: again gets no credential: key takes those in header:x-key before it"):
        choice(TOKEN, KEY, again)
    both = member("both", "header:x-key", "Key")
    both.sources = (*both.sources, Source.parse("cookie:key"))
    choice(KEY, both)


def test_a_handler_that_may_find_nothing_in_its_source_leaves_it_to_others():
    class Own(Identifier):
        def identify(self, request):
            return None

    own = Own(sources=KEY.sources)
    asked = request(headers={"X-Key": "key"})
    assert choice(own, KEY)(asked, answer()).status == 200
    assert asked.user == "key"


def test_two_credentials_of_a_member_get_its_challenge():
    asked = request(headers=[("Authorization", "Bearer a"), ("Authorization", "Bearer b")])
    error = rejected(choice(TOKEN, KEY), asked)
    assert (error.status, error.reason) == (400, "auth_invalid")
    assert error.headers.all("WWW-Authenticate") == [
        'Bearer realm="gproxy", error="invalid_request", error_description="several Authorization headers; expected one"'
    ]
