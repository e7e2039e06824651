"""Placeholders of headers that are groups on some route of their handler, or on none."""

import pytest

from gproxy.config import ConfigError
from gproxy.gateway.build import load

FILE = """[log]
access = off
[gateway]
handlers = %(everywhere)s
[route:user]
path = ~ /users/(?P<user_id>\\d+)
    ~ /(?P<tenant>[^/]+)/users
respond = 204
handlers = %(here)s
[route:other]
path = /other
respond = 204
[handler:edit]
use = headers
request = X-User: %(value)s
response = X-Fixed: {"a":1}, X-Route: {route}
"""


@pytest.fixture
def loaded(tmp_path):
    def load_with(value, everywhere="", here="", more=""):
        path = tmp_path / "gproxy.ini"
        path.write_text(FILE % {"value": value, "everywhere": everywhere, "here": here} + more)
        return load(path)

    return load_with


@pytest.mark.parametrize("where", ["everywhere", "here"])
@pytest.mark.parametrize("value", ["{user_id}", "a {tenant} {user_id} {client}"])
def test_a_group_on_a_route_of_the_handler(loaded, value, where):
    assert loaded(value, **{where: "edit"}).warnings == ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{user_ids}", "X-User: unknown placeholder {user_ids}; did you mean 'user_id'?"),
        ("{clint}", "X-User: unknown placeholder {clint}; did you mean 'client'?"),
        (
            "a{zzyzx}b",
            "X-User: unknown placeholder; known: client, host, id, method, path, port, query, route, scheme, tenant,",
        ),
    ],
)
def test_a_name_that_is_nothing(loaded, value, message):
    with pytest.raises(ConfigError) as raised:
        loaded(value, here="edit")
    (problem,) = raised.value.problems
    assert (problem.section, problem.option, problem.line) == ("handler:edit", "request", 15)
    assert problem.message.startswith(message)


def test_a_group_of_a_route_that_the_handler_does_not_serve(loaded):
    with pytest.raises(ConfigError, match="X-User: unknown placeholder"):
        loaded("{user_id}")
    assert loaded("{user_id}", everywhere="edit").warnings == ()
    with pytest.raises(ConfigError, match="X-User: unknown placeholder"):
        loaded("{area}", everywhere="edit", more="[route:x]\npath = ~ /x/(?P<area>.*)\nrespond = 204\nskip = edit\n")


def test_a_group_with_the_name_of_a_placeholder(loaded):
    settings = loaded("{id}", everywhere="edit", more="[route:x]\npath = ~ /x/(?P<id>.*)\nrespond = 204\n")
    assert [warning.message for warning in settings.warnings] == [
        "X-User: {id} is not the group of [route:x], which needs another name"
    ]


def test_a_broken_route_may_have_the_group(loaded):
    with pytest.raises(ConfigError) as raised:
        loaded("{area}", everywhere="edit", more="[route:x]\npath = ~ /x/(?P<area>.*)\nrespond = 999\n")
    assert [problem.option for problem in raised.value.problems] == ["respond"]
