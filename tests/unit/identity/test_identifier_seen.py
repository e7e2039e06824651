"""What an identity handler counts and logs of the requests that it judges."""

import logging
from dataclasses import dataclass

import pytest

from gproxy.config.types import Rate, Seconds
from gproxy.handlers.any_of import AnyOf
from gproxy.http.errors import HTTPError
from gproxy.http.identity import Identity
from gproxy.identity import Identifier
from gproxy.identity.credential_identifier import CredentialIdentifier
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.examination import Check, Examination
from gproxy.identity.outcomes import OUTCOMES
from gproxy.identity.sources import Source
from gproxy.runtime import Runtime
from gproxy.testing import answer, request

SECRET = "S3cr3t-of-the-client"


@dataclass(kw_only=True)
class Words(CredentialIdentifier):
    """A handler for words that are credentials."""

    scheme = "Bearer"
    sources: tuple[Source, ...] = (Source.parse("header:X-Word"), Source.parse("cookie:w"))

    def verify(self, credential, request):
        if credential == "down":
            raise Unavailable("the oracle is down")
        if credential == "old":
            raise Untrusted("it has expired", expired=True)
        if not credential.startswith("good"):
            raise Untrusted("it is empty" if credential == "-" else "it is bad")
        return Identity(user="alice", claims={"role": "clerk", "scope": "a"})

    def examine(self, credential):
        is_good = credential.startswith("good")
        if credential == "-":
            return Examination([Check("form", False, reason="it is empty")])
        checks = [Check("form", True), Check("exp", is_good, "ends", "it has expired")]
        checks += [Check("aud", is_good, "expected 'x'; found 'y'", "it is bad")]
        return Examination(checks, [("iss", "https://id\n.example"), ("kid", None)])


@dataclass(kw_only=True)
class Own(Identifier):
    """A handler as users write them."""

    def identify(self, request):
        status = int(request.headers.get("x-status") or 0)
        if status:
            raise HTTPError(status, "no such session", reason="" if status == 401 else "forbidden")
        return Identity(user="alice")


def opened(handler):
    handler.open(Runtime())
    return handler


def pairs(**headers):
    return [(name.replace("_", "-"), value) for name, value in headers.items()]


def ask(handler, method="GET", **headers):
    """Return the status of a request with these headers."""
    try:
        return handler(request(method, "/", pairs(**headers)), answer()).status
    except HTTPError as error:
        return error.status


def counted(handler):
    return {name: count for name in OUTCOMES if (count := getattr(handler.outcomes, name))}


@pytest.mark.parametrize(
    ("options", "requests", "outcomes"),
    [
        ({}, [{"X_Word": "good"}] * 3, {"ok": 3}),
        ({}, [{}], {"missing": 1}),
        ({"optional": True}, [{}], {}),
        ({}, [{"X_Word": "bad"}] * 2, {"invalid": 2}),
        ({}, [{"X_Word": "old"}] * 2, {"expired": 2}),
        ({}, [{"X_Word": "down"}], {"unavailable": 1}),
        ({"role": "clerk"}, [{"X_Word": "good"}], {"ok": 1}),
        ({"role": "boss"}, [{"X_Word": "good"}], {"denied": 1}),
        ({"scope": ("a", "b")}, [{"X_Word": "good"}], {"denied": 1}),
        ({"max_failures": Rate(1, Seconds(60.0))}, [{"X_Word": "bad"}, {"X_Word": "worse"}], {"invalid": 1, "throttled": 1}),
        ({}, [{"method": "POST", "Cookie": "w=good", "Sec_Fetch_Site": "cross-site"}], {"denied": 1}),
    ],
)  # fmt: skip
def test_each_request_counts_once_under_its_outcome(options, requests, outcomes):
    handler = opened(Words(**options))
    for one in requests:
        ask(handler, **one)
    assert counted(handler) == outcomes


def test_two_credentials_count_as_invalid():
    handler = opened(Words(sources=(Source.parse("header:X-Word"), Source.parse("query:w"))))
    with pytest.raises(HTTPError, match="several"):
        handler(request("GET", "/?w=good", pairs(X_Word="good")), answer())
    assert counted(handler) == {"invalid": 1}


def test_rejections_of_the_rest_of_the_chain_do_not_count():
    handler = opened(Words())

    def reject(request):
        raise HTTPError(403, "no", reason="forbidden")

    with pytest.raises(HTTPError):
        handler(request("GET", "/", pairs(X_Word="good")), reject)
    assert counted(handler) == {"ok": 1}


@pytest.mark.parametrize(("status", "outcome"), [(401, "invalid"), (403, "denied")])
def test_a_handler_of_the_user_s_own_counts_by_reason(status, outcome):
    handler = opened(Own())
    ask(handler, X_Status=str(status))
    assert counted(handler) == {outcome: 1}


def test_members_of_any_of_count_for_themselves():
    members = (
        opened(Words(sources=(Source.parse("header:X-Word"),))),
        opened(Words(sources=(Source.parse("cookie:w"),))),
    )
    handler = opened(AnyOf(of=("one", "two"), members=members))
    ask(handler, X_Word="good")
    ask(handler, Cookie="w=bad")
    ask(handler)
    assert (counted(members[0]), counted(members[1]), counted(handler)) == ({"ok": 1}, {"invalid": 1}, {"missing": 1})


@pytest.fixture
def lines(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("gproxy"), "propagate", True)
    caplog.set_level("DEBUG", "gproxy")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_rejection_is_one_line_with_the_reason_and_expected_beside_found(lines):
    handler = opened(Words())
    ask(handler, X_Word="bad")
    (line,) = lines()
    assert line.split("; ") == [
        "request test: [handler:Words] the credential is rejected: it is bad",
        "aud: expected 'x'",
        "found 'y'",
        r"iss='https://id\n.example'",
    ]


def test_a_check_without_values_adds_nothing_to_the_reason(lines):
    ask(opened(Words()), X_Word="-")
    assert lines() == ["request test: [handler:Words] the credential is rejected: it is empty"]


def test_a_denied_identity_is_one_line_with_required_and_found(lines):
    ask(opened(Words(role="boss")), X_Word="good")
    ask(opened(Words(scope=("a", "b"))), X_Word="good")
    role, scope = lines()
    assert "does not have the required role; expected 'boss'; found 'clerk'" in role
    assert "does not have the required scope; expected 'a' and 'b'; found 'a'" in scope


@pytest.mark.parametrize("word", ["good", "down"])
def test_good_credentials_and_those_that_cannot_be_judged_have_no_line(lines, word):
    ask(opened(Words()), X_Word=word)
    assert not [line for line in lines() if line.startswith("request ")]


def test_missing_credentials_have_no_line(lines):
    ask(opened(Words()))
    assert lines() == []


def test_a_credential_that_no_member_of_any_of_accepts_is_examined(lines):
    class Deaf(Words):
        def recognises(self, request, taken=()):
            return False

    ask(opened(AnyOf(of=("one", "two"), members=(opened(Deaf()), opened(Deaf())))), X_Word="bad")
    (line,) = lines()
    assert line.endswith(r"no handler accepts this credential; iss='https://id\n.example'")


def test_no_line_has_the_credential(lines):
    handler = opened(Words())
    ask(handler, X_Word=SECRET)
    ask(handler, Cookie=f"w={SECRET}")
    ask(handler, X_Word=f"good-{SECRET}")
    assert len(lines()) == 2
    assert SECRET not in "".join(lines())


def test_without_debug_nothing_is_examined(monkeypatch, caplog):
    caplog.set_level("INFO", "gproxy")
    monkeypatch.setattr(Words, "examine", lambda *_: pytest.fail("examined"))
    assert ask(opened(Words()), X_Word="bad") == 401
    assert caplog.records == []
