"""Problems and warnings about access rules, limits by identity and public routes, with their lines."""

import pytest

from gproxy.config.problems import ConfigError
from gproxy.gateway.build import load

HEAD = """[upstream:one]
backends = http://192.0.2.1
[handler:jwt]
secret = 0123456789abcdef0123456789abcdef
forward = sub: X-User
[handler:cookie]
use = jwt
secret = 0123456789abcdef0123456789abcdef
sources = cookie:sid
[handler:who]
use = any_of
of = cookie, jwt
[route:users]
upstream = one
"""


@pytest.fixture
def problems(tmp_path):
    def found(text, head=HEAD):
        """Return the line, the option and the message of each problem; of warnings if there are none."""
        path = tmp_path / "gproxy.ini"
        path.write_text(head + text)
        try:
            shown = load(path).warnings
        except ConfigError as error:
            shown = error.problems
        unlisted = "no handlers list names"
        return [(one.line, one.option, one.message) for one in shown if unlisted not in one.message]

    return found


RULES = """handlers = {}
[handler:allow]
allow = 10.0.0.0/8, {}
    {}
"""


@pytest.mark.parametrize("handlers", ["jwt, allow", "who, allow", "allow"])
def test_rules_about_requests_need_no_identity_handler(problems, handlers):
    assert problems(RULES.format(handlers, "anyone method:GET", "route:users")) == []


@pytest.mark.parametrize("rule", ["user", "role:admin 10.0.0.0/8", 'claim:plan="a, b"', "by:jwt", "jwt.user"])
def test_a_rule_about_an_identity_has_an_identity_handler_before_it(problems, rule):
    assert problems(RULES.format("jwt, allow", "10.0.0.1", rule)) == []
    for handlers in ("allow", "allow, jwt"):
        name = "jwt" if "jwt" in rule else "an identity handler"
        message = f"no request has such an identity here; write {name} before allow in handlers"
        assert problems(RULES.format(handlers, "10.0.0.1", rule)) == [(18, "allow", message)]


def test_a_rule_about_the_identity_of_another_handler(problems):
    message = "no request has such an identity here; write cookie before allow in handlers"
    assert problems(RULES.format("jwt, allow", "user", "cookie.user by:jwt")) == [(18, "allow", message)]
    assert problems(RULES.format("who, allow", "user", "cookie.user by:jwt")) == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("route:user", "unknown route 'user'; did you mean 'users'?"),
        ("by:jw", "'jw' is no handler; did you mean 'jwt'?"),
        ("who.user", "the identities of 'who' are those of its members; write cookie|jwt"),
        ("by:allow", "'allow' is no identity handler; known: cookie, jwt"),
    ],
)
def test_names_that_a_rule_has_wrong(problems, rule, message):
    assert (18, "allow", message) in problems(RULES.format("who, allow", "user", rule))


def test_a_mistake_in_a_rule_has_its_line(problems):
    ((line, option, message),) = problems(RULES.format("who, allow", "user", "rol:admin user"))
    assert (line, option) == (18, "allow")
    assert message == (
        "expected a rule such as role:admin method:GET; found 'rol:admin user'; "
        "'rol:admin' is no word of a rule; did you mean 'role:'?"
    )


def test_a_public_route_with_an_identity_handler(problems):
    message = "jwt identifies the clients of this route; "
    assert problems("public = yes\nhandlers = jwt") == [
        (15, "public", message + "remove jwt from handlers, or public = no")
    ]
    gateway = "[gateway]\nhandlers = jwt\n"
    assert problems("public = yes\n" + gateway) == [(15, "public", message + "write skip = jwt, or public = no")]
    assert problems("public = yes\nskip = jwt\n" + gateway) == []


OPEN = "no identity handler runs here, as jwt does on [route:users]; write public = yes if the route needs none"


@pytest.mark.parametrize(
    ("words", "found"), [("", [(16, "", OPEN)]), ("public = yes", []), ("public = no", [(16, "", OPEN)])]
)
def test_public_declares_that_a_route_needs_no_identity(problems, words, found):
    assert problems(f"handlers = jwt\n[route:open]\npath = /open\nupstream = one\n{words}\n") == found


def test_many_routes_that_need_no_identity_have_one_warning(problems):
    text = "handlers = jwt\n" + "".join(f"[route:{name}]\npath = /{name}\nupstream = one\n" for name in "abcd")
    assert problems(text) == [(16, "", f"{OPEN}; so it is on [route:b], [route:c], [route:d]")]


OPTIONAL = "requests without a credential pass, and no header, rule or limit uses the identity of the others"


@pytest.mark.parametrize(
    ("handlers", "found"),
    [
        ("cookie", [(15, "optional", OPTIONAL)]),
        ("cookie, nets", [(15, "optional", OPTIONAL)]),
        ("cookie, rules", []),
        ("cookie, users", []),
        ("cookie, tiers", []),
    ],
)
def test_an_optional_handler_whose_identity_nothing_uses(problems, handlers, found):
    head = HEAD.replace("sources = cookie:sid\n", "sources = cookie:sid\noptional = yes\n")
    text = """handlers = {}
[handler:nets]
use = allow
allow = 10.0.0.0/8
[handler:rules]
use = allow
allow = user
[handler:users]
use = rate_limit
key = user
[handler:tiers]
use = concurrency
limit = 1
tier = plan
"""
    assert problems(text.format(handlers), head) == [(10, *one[1:]) for one in found]


@pytest.mark.parametrize(
    ("options", "option", "what"),
    [
        ("key = user", "key", "counts by address"),
        ("key = claim:tenant", "key", "counts by address"),
        ("tier = plan", "tier", "has the limit of no tier"),
        ("key = ip", "", ""),
    ],
)
def test_limits_before_the_identity(problems, options, option, what):
    text = f"handlers = few, jwt\n[handler:few]\nuse = rate_limit\n{options}\n"
    message = f"{what} on [route:users], where jwt identifies the user later; write jwt before few in handlers"
    assert problems(text) == ([(18, option, message)] if option else [])
