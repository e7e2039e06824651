import base64
import json
from dataclasses import dataclass, field

import pytest

from gproxy.http.cookies import cookie
from gproxy.http.errors import HTTPError
from gproxy.http.identity import Identity
from gproxy.identity import Identifier
from gproxy.identity.credential_identifier import CredentialIdentifier, Verified
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.sources import Source
from gproxy.runtime import Runtime
from gproxy.testing import Clock, answer, request

NOW = 1_000_000
ROWS = {"s1": ("alice", "pro"), "s2": ("bob", "free")}


@dataclass
class Session(Identifier):
    """A handler as users write them."""

    sources: tuple[Source, ...] = (Source.parse("cookie:sid"),)

    def identify(self, request):
        sid = cookie(request.headers, "sid")
        if sid is None:
            return None
        if sid not in ROWS:
            raise HTTPError(401, "no such session")
        user, plan = ROWS[sid]
        return Identity(user=user, claims={"plan": plan, "org": {"id": 7}, "role": "dev ops"})


@dataclass
class Words(CredentialIdentifier):
    """A handler for words that are credentials."""

    scheme = "Bearer"
    sources: tuple[Source, ...] = (Source.parse("bearer"), Source.parse("query:t"), Source.parse("cookie:t"))
    asked: list = field(default_factory=list)

    def verify(self, credential, request):
        self.asked.append(credential)
        if credential == "down":
            raise Unavailable("the oracle is down")
        if credential == "early":
            raise Untrusted("it is early", lasting=False)
        if credential != "good":
            raise Untrusted("it is bad")
        return Identity(user="alice", claims={"scope": "a b"}, expires=NOW + 100)


def opened(handler, clock=None):
    handler.open(Runtime(clock=clock or Clock(NOW)))
    return handler


def rejected(handler, asked):
    behind = answer()
    with pytest.raises(HTTPError) as caught:
        handler(asked, behind)
    assert behind.requests == []
    return caught.value


def with_cookie(value, *more):
    return request(headers=[("Cookie", value), *more])


def test_an_identity_reaches_the_chain_and_the_backend():
    handler = Session(forward={"plan": "X-Plan", "org.id": "X-Org", "none": "X-None"}, payload="X-Claims")
    asked = with_cookie("a=b; sid=s1", ("X-None", "forged"))
    assert handler(asked, answer()).status == 200
    identity = asked.identity
    assert (identity.user, identity.handler, identity.kind) == ("alice", "Session", "Session")
    assert identity.roles == {"dev", "ops"}
    assert asked.user == "alice"
    assert asked.exchange.auth == "Session"
    assert asked.context["claims"] is identity.claims
    assert asked.context["identities"] == {"Session": identity}
    headers = asked.headers
    assert (headers["X-Plan"], headers["X-Org"], headers["Cookie"], "X-None" in headers) == ("pro", "7", "a=b", False)
    claims = headers["X-Claims"]
    assert json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["org"] == {"id": 7}


def test_no_credential():
    error = rejected(Session(), request())
    assert (error.status, error.reason, error.headers["WWW-Authenticate"]) == (
        401, "auth_missing", 'Session realm="gproxy"',
    )  # fmt: skip


def test_an_optional_credential():
    handler, asked = Session(optional=True, forward={"plan": "X-Plan"}), request()
    assert handler(asked, answer()).status == 200
    assert asked.identity is None
    assert asked.context["challenges"] == ['Session realm="gproxy"']
    assert rejected(handler, with_cookie("sid=s9")).status == 401


def test_a_rejection_by_the_users_code_gets_a_challenge():
    error = rejected(Session(), with_cookie("sid=s9"))
    assert (error.detail, error.reason, error.headers["WWW-Authenticate"]) == (
        "no such session", "auth_invalid", 'Session realm="gproxy"',
    )  # fmt: skip


def test_the_required_role_and_scopes():
    assert Session(role="dev")(with_cookie("sid=s1"), answer()).status == 200
    assert rejected(Session(role="admin"), with_cookie("sid=s1")).reason == "auth_scope"
    assert Words(scope=("a", "b"))(request(headers={"Authorization": "Bearer good"}), answer()).status == 200
    error = rejected(Words(scope=("a", "c")), request(headers={"Authorization": "Bearer good"}))
    assert (error.status, error.reason) == (403, "auth_scope")
    challenge = error.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert challenge.endswith('scope="a c"')


def test_two_identity_handlers_must_both_succeed():
    words, session = opened(Words()), Session()
    both = request(headers={"Authorization": "Bearer good", "Cookie": "sid=s2"})
    behind = answer()
    words(both, lambda asked: session(asked, behind))
    assert both.identity.user == "bob"
    assert {name: one.user for name, one in both.context["identities"].items()} == {"Words": "alice", "Session": "bob"}
    with pytest.raises(HTTPError):
        words(request(headers={"Authorization": "Bearer good"}), lambda asked: session(asked, behind))


def test_a_credential_is_judged_once():
    handler, clock = Words(), Clock(NOW)
    opened(handler, clock)
    for target, headers in [("/", {"Authorization": "Bearer good"}), ("/?t=good", {}), ("/", {"Cookie": "t=good"})] * 2:
        asked = request("GET", target, headers)
        assert handler(asked, answer()).status == 200
        assert (asked.query, "Cookie" in asked.headers) == ("", False)
    assert handler.asked == ["good"]
    clock.advance(101)
    handler(request("GET", "/?t=good"), answer())
    assert handler.asked == ["good"] * 2


def test_a_header_that_alone_has_credentials_is_looked_up_as_it_came():
    handler = opened(Words(sources=(Source.parse("header:X-Key"),)))
    for _ in range(3):
        handler(request(headers={"X-Key": "good"}), answer())
    assert list(handler._recent) == ["good"]
    assert handler.asked == ["good"]


def test_a_bad_credential_is_judged_once_in_ten_seconds():
    handler, clock = Words(), Clock(NOW)
    opened(handler, clock)
    for _ in range(3):
        error = rejected(handler, request("GET", "/?t=bad"))
        assert error.detail == "the credential is rejected: it is bad"
    assert handler.asked == ["bad"]
    clock.advance(10)
    rejected(handler, request("GET", "/?t=bad"))
    assert handler.asked == ["bad"] * 2


@pytest.mark.parametrize(("credential", "status"), [("early", 401), ("down", 503)])
def test_a_verdict_that_time_may_change_is_not_kept(credential, status):
    handler = opened(Words())
    for _ in range(2):
        assert rejected(handler, request("GET", f"/?t={credential}")).status == status
    assert handler.asked == [credential] * 2


def test_a_credential_that_cannot_be_judged_is_never_a_401(caplog):
    error = rejected(opened(Words()), request("GET", "/?t=down"))
    assert (error.status, error.reason, error.headers["Retry-After"]) == (503, "auth_unavailable", "1")
    assert caplog.messages == ["[handler:Words] no credential can be judged: the oracle is down"]


def test_a_forgotten_identity_is_judged_again():
    handler = opened(Words())
    for _ in range(3):
        handler(request("GET", "/?t=good"), answer())
    handler.forget(lambda judged: judged.identity.user == "alice")
    handler(request("GET", "/?t=good"), answer())
    assert handler.asked == ["good"] * 2


@dataclass
class Conditional(Words):
    """A handler whose verdicts end after a minute, and hold for GET only."""

    sources: tuple[Source, ...] = (Source.parse("bearer"),)

    def verify(self, credential, request):
        return Verified(super().verify(credential, request), NOW + 60, self.only_get, key="k1")

    def only_get(self, request):
        if request.method != "GET":
            raise Untrusted("it is for GET only", lasting=False)


def test_a_verdict_ends_before_the_identity_and_holds_under_its_condition():
    clock = Clock(NOW)
    handler, header = opened(Conditional(), clock), {"Authorization": "Bearer good"}
    for _ in range(3):
        asked = request(headers=header)
        assert handler(asked, answer()).status == 200
        assert asked.identity.expires == NOW + 100
        error = rejected(handler, request("POST", "/", header))
        assert (error.status, error.detail) == (401, "the credential is rejected: it is for GET only")
    assert handler.asked == ["good"]
    clock.advance(60)
    assert handler(request(headers=header), answer()).status == 200
    assert handler.asked == ["good"] * 2
    handler.forget(lambda judged: judged.key == "k1")
    assert handler(request(headers=header), answer()).status == 200
    assert handler.asked == ["good"] * 3


@dataclass
class Forgetful(Words):
    """A handler that keeps no credential in memory, and its rejections for a minute."""

    keeps_texts = False

    def digest(self, credential):
        return credential[::-1].encode()

    def __post_init__(self):
        super().__post_init__()
        self.start_cache(10, rejected_for=60)


def test_a_handler_may_keep_no_texts_and_keep_rejections_longer():
    clock = Clock(NOW)
    handler = opened(Forgetful(), clock)
    for _ in range(3):
        assert handler(request(headers={"Authorization": "Bearer good"}), answer()).status == 200
        rejected(handler, request(headers={"Authorization": "Bearer bad"}))
        clock.advance(15)
    assert handler.asked == ["good", "bad"]
    assert handler._recent == {}


def test_two_credentials_are_a_bad_request():
    error = rejected(opened(Words()), request("GET", "/?t=good", {"Authorization": "Bearer good"}))
    assert (error.status, error.reason) == (400, "auth_invalid")
    assert 'error="invalid_request"' in error.headers["WWW-Authenticate"]


def test_a_cookie_from_another_site_is_not_judged():
    handler = opened(Words())
    site = [("Cookie", "t=good"), ("Sec-Fetch-Site", "cross-site")]
    assert rejected(handler, request("POST", "/", site)).reason == "cross_site"
    assert handler(request("POST", "/?t=good", site[1:]), answer()).status == 200
    assert opened(Words(cross_site="allow"))(request("POST", "/", site), answer()).status == 200


def test_the_users_code_does_not_see_a_cookie_from_another_site():
    site = [("Cookie", "sid=s1"), ("Sec-Fetch-Site", "cross-site")]
    assert rejected(opened(Session()), request("POST", "/", site)).reason == "cross_site"
    assert opened(Session())(request("GET", "/", site), answer()).status == 200


def test_a_response_to_a_url_with_a_credential_is_private():
    handler = opened(Words())
    assert handler(request("GET", "/?t=good"), answer()).headers["Cache-Control"] == "private"
    public = answer(headers={"Cache-Control": "public"})
    assert handler(request("GET", "/?t=good"), public).headers["Cache-Control"] == "public"
    assert "Cache-Control" not in handler(request(headers={"Cookie": "t=good"}), answer()).headers


def test_a_credential_passes_on_if_the_options_say_so():
    asked = request("GET", "/?t=good&a=b")
    opened(Words(pass_on=True))(asked, answer())
    assert asked.query == "t=good&a=b"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"forward": {"a": "X A"}}, "forward: 'X A' is not a header name"),
        ({"forward": {"a": "Host"}}, "forward: 'Host' is a reserved header"),
        ({"forward": {"a": "X-A", "b": "x-a"}}, "forward: X-A is used twice"),
        ({"forward": {"a": "X-A"}, "payload": "x-a"}, "forward: X-A is used twice"),
        ({"payload": "a b"}, "payload: 'a b' is not a header name"),
        ({"realm": 'a"b'}, "realm: has invalid characters"),
        ({"scope": ('a"',)}, "scope: has an invalid scope"),
    ],
)
def test_wrong_options(options, problem):
    with pytest.raises(ValueError, match=f"^{problem}"):
        Session(**options)


def test_a_credential_needs_a_source():
    with pytest.raises(ValueError, match=r"^sources: expected at least one"):
        Words(sources=())


def test_the_end_of_an_identity_of_a_users_handler():
    @dataclass
    class Ending(Identifier):
        scheme = "Session"

        def identify(self, request):
            return Identity(user="alice", expires=ends)

    clock = Clock(NOW)
    handler = opened(Ending(), clock)
    ends = NOW + 10
    assert handler(request(), answer()).status == 200
    clock.advance(10)
    with pytest.raises(HTTPError) as caught:
        handler(request(), answer())
    assert (caught.value.status, caught.value.reason, handler.outcomes.expired) == (401, "auth_invalid", 1)
    ends = float("nan")
    with pytest.raises(ValueError, match=r"^expires of the identity is not a number"):
        handler(request(), answer())
