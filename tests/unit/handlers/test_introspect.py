"""The options of introspect, and its verdicts over time; tests/process/test_process_introspect.py has real endpoints."""

from math import inf

import pytest

from gproxy.config.types import Seconds, Secret
from gproxy.handlers.introspect import Introspect
from gproxy.http.errors import HTTPError
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.runtime import Runtime
from gproxy.testing import Clock, answer, request

URL = "https://id.example.com/introspect"
GOOD = {"endpoint": URL, "client_id": "gateway", "client_secret": Secret("s3cret"), "audience": ("api",)}
NOW = 1_000_000.0


class Far:
    """An endpoint whose answer a test sets: the members, or an error."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def ask(self, token, seconds):
        self.asked.append(token)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def active(**members):
    return {"active": True, "sub": "alice", "aud": "api", **members}


@pytest.fixture
def clock():
    return Clock(NOW)


def opened(clock, answer, **options):
    handler = Introspect(**{**GOOD, **options})
    handler.open(Runtime(clock=clock))
    handler._endpoint = far = Far(answer)
    return handler, far


def get(handler, token="token"):
    """Return the status, and the request as the next handler got it."""
    asked = request(headers={"Authorization": f"Bearer {token}"})
    try:
        return handler(asked, answer()).status, asked
    except HTTPError as error:
        return error.status, asked


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"endpoint": None}, "endpoint: is missing; expected a URL, or issuer with the URL of an issuer"),
        ({"endpoint": None, "issuer": "id"}, "issuer: it is not a URL"),
        ({"endpoint": "id.example.com"}, "endpoint: it is not a URL"),
        ({"audience": ()}, "audience: is missing"),
        ({"audience": ("*", "api")}, r"audience: \* admits any"),
        ({"client_id": ""}, "client_id: is missing"),
        ({"client_secret": None}, "client_secret: is missing"),
        ({"auth": "bearer"}, "client_id: auth = bearer does not use it"),
        ({"cache": Seconds(-1.0)}, "cache: is negative"),
        ({"stale": Seconds(-1.0)}, "stale: is negative"),
        ({"negative_cache": Seconds(-1.0)}, "negative_cache: is negative"),
        ({"leeway": Seconds(-1.0)}, "leeway: is negative"),
        ({"timeout": Seconds(0.0)}, "timeout: leaves no time"),
        ({"max_asking": 0}, "max_asking: admits none"),
        ({"max_token": 0}, "max_token: admits none"),
        ({"sources": ()}, "sources: expected at least one"),
    ],
)
def test_wrong_options(options, problem):
    with pytest.raises(ValueError, match=f"^{problem}"):
        Introspect(**{**GOOD, **options})


def test_an_endpoint_without_tls_may_not_be_asked():
    handler = Introspect(**{**GOOD, "endpoint": URL.replace("https", "http")})
    with pytest.raises(ValueError, match=r"^endpoint: http:// is accepted only on loopback"):
        handler.open(Runtime())


def test_the_members_of_the_answer_are_the_claims(clock):
    handler, _ = opened(clock, active(iss="https://id", scope="read write", client_id="shop", exp=NOW + 60))
    status, asked = get(handler)
    identity = asked.identity
    assert status == 200
    assert (identity.user, identity.issuer, identity.expires) == ("alice", "https://id", NOW + 60)
    assert (identity.kind, identity.scopes, identity.claim("client_id")) == ("introspect", {"read", "write"}, "shop")


def test_an_answer_without_exp_or_issuer(clock):
    handler, _ = opened(clock, active(), issuer="https://id")
    _, asked = get(handler)
    assert (asked.identity.expires, asked.identity.issuer) == (inf, "https://id")


@pytest.mark.parametrize(("exp", "asked_again_after"), [(None, 60), (NOW + 30, 30), (NOW + 90, 60)])
def test_an_answer_counts_for_the_cache_time_and_not_past_exp(clock, exp, asked_again_after):
    handler, far = opened(clock, active(exp=exp) if exp else active())
    get(handler)
    clock.advance(asked_again_after - 0.1)
    assert (get(handler)[0], far.asked) == (200, ["token"])
    clock.advance(0.1)
    get(handler)
    assert far.asked == ["token", "token"]


def test_leeway(clock):
    handler, _ = opened(clock, active(exp=NOW - 5, nbf=NOW + 5), leeway=Seconds(10.0))
    assert get(handler)[0] == 200
    clock.advance(5)
    assert get(handler)[0] == 401


def test_other_demands(clock):
    handler, far = opened(clock, active(client_id="shop"), clients=("shop",))
    assert get(handler)[0] == 200
    far.answer = active(client_id="other")
    assert get(handler, "second")[0] == 401
    assert get(opened(clock, active(aud="other"), audience=("*",))[0])[0] == 200


def test_a_bound_token_without_the_certificate(clock):
    bound = active(cnf={"x5t#S256": "abc"})
    assert get(opened(clock, bound)[0])[0] == 401
    assert get(opened(clock, bound, bound="ignore")[0])[0] == 200


def test_stale_answers_end_and_keep_what_the_endpoint_said_last(clock):
    handler, far = opened(clock, active(), cache=Seconds(10.0), stale=Seconds(20.0))
    get(handler)
    far.answer = Unavailable("down")
    clock.advance(10)
    assert get(handler)[0] == 200
    assert len(far.asked) == 2
    assert get(handler)[0] == 200  # not asked again at once
    assert len(far.asked) == 2
    clock.advance(19.5)
    assert get(handler)[0] == 200
    clock.advance(0.5)
    assert get(handler)[0] == 503


def test_a_stale_answer_never_outlives_exp_or_a_revocation(clock):
    options = {"cache": Seconds(0.0), "stale": Seconds(100.0), "negative_cache": Seconds(0.0)}
    handler, far = opened(clock, active(exp=NOW + 5), **options)
    get(handler)
    get(handler, "revoked")
    far.answer = Untrusted("it is not active")
    assert get(handler, "revoked")[0] == 401
    far.answer = Unavailable("down")
    assert (get(handler)[0], get(handler, "revoked")[0]) == (200, 503)
    clock.advance(5)
    assert get(handler)[0] == 503


def test_what_no_endpoint_can_know_is_not_asked(clock):
    handler, far = opened(clock, active())
    for token in ("a b", "ä", "x" * 8193, ""):
        assert get(handler, token)[0] == 401
    assert far.asked == []
