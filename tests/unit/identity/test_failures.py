"""The limit of bad credentials of a client address: what counts, what is limited, and what never is."""

from contextlib import suppress
from dataclasses import dataclass

import gevent
import pytest

from gproxy.config.types import Rate
from gproxy.http.errors import HTTPError
from gproxy.http.identity import Identity
from gproxy.identity import Identifier
from gproxy.identity.credential_identifier import CredentialIdentifier, Verified
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.failures import Failures
from gproxy.identity.sources import Source
from gproxy.runtime import Runtime
from gproxy.testing import Clock, answer, request

RATE = Rate.parse("3/minute")


@dataclass
class Words(CredentialIdentifier):
    """A handler for words that are credentials; `asked` are those that it has verified."""

    sources: tuple[Source, ...] = (Source.parse("header:X-Word"), Source.parse("query:word"))
    max_failures: Rate | None = RATE

    def __post_init__(self):
        super().__post_init__()
        self.asked = []

    def verify(self, credential, request):
        self.asked.append(credential)
        if credential == "down":
            raise Unavailable("the oracle is down")
        if not credential.startswith("good"):
            raise Untrusted("it is bad")
        return Verified(Identity(user="alice"), check=self.only_from_home if credential == "good home" else None)

    def only_from_home(self, request):
        if request.client != "192.0.2.1":
            raise Untrusted("it is from elsewhere")


@dataclass
class Session(Identifier):
    """A handler as users write them, without the option `sources`."""

    max_failures: Rate | None = RATE

    def identify(self, request):
        sid = request.headers.get("X-Sid")
        if sid == "good":
            return Identity(user="alice")
        raise HTTPError(400 if sid == "odd" else 401, "no such session")


def opened(handler, clock=None):
    handler.open(Runtime(monotonic=clock or Clock()))
    return handler


def asking(credential, client="192.0.2.9", header="X-Word"):
    asked = request(headers={header: credential} if credential else {})
    asked.client = client
    return asked


def outcome(handler, credential, client="192.0.2.9", header="X-Word"):
    try:
        return handler(asking(credential, client, header), answer()).status
    except HTTPError as error:
        return error.status


def test_beyond_the_limit_nothing_is_verified_until_the_first_failure_is_a_window_old():
    clock = Clock()
    handler = opened(Words(), clock)
    for number in range(3):
        assert outcome(handler, f"bad {number}") == 401
        clock.advance(10)
    with pytest.raises(HTTPError) as caught:
        handler(asking("bad 3"), answer())
    error = caught.value
    assert (error.status, error.reason, error.headers["Retry-After"]) == (429, "auth_throttled", "30")
    assert "WWW-Authenticate" not in error.headers
    assert len(handler.asked) == 3
    clock.advance(30)
    assert [outcome(handler, f"bad {number}") for number in (4, 5)] == [401, 429]


def test_one_bad_credential_sent_again_and_again_counts_each_time():
    handler = opened(Words())
    assert [outcome(handler, "bad") for _ in range(5)] == [401, 401, 401, 429, 429]
    assert handler.asked == ["bad"]


def test_credentials_that_are_known_to_be_good_are_not_limited_and_others_are():
    handler = opened(Words())
    assert outcome(handler, "good") == 200
    for number in range(4):
        outcome(handler, f"bad {number}")
    assert [outcome(handler, credential) for credential in ("good", "good 2", "good")] == [200, 429, 200]


def test_missing_credentials_and_an_unavailable_judge_do_not_count():
    handler = opened(Words())
    for _ in range(5):
        assert outcome(handler, None) == 401
        assert outcome(handler, "down") == 503
    assert outcome(handler, "bad") == 401


def test_each_address_has_a_limit_and_a_network_of_ipv6_one_in_common():
    handler = opened(Words())
    for number in range(4):
        outcome(handler, f"bad {number}", "2001:db8::1")
    assert [outcome(handler, "bad", client) for client in ("192.0.2.1", "2001:db8::2", "2001:db8:0:1::1")] == [
        401, 429, 401,
    ]  # fmt: skip


def test_a_good_credential_that_its_condition_forbids_counts():
    handler = opened(Words())
    assert outcome(handler, "good home", "192.0.2.1") == 200
    assert [outcome(handler, "good home") for _ in range(3)] == [401, 401, 401]
    assert outcome(handler, "bad") == 429


def test_rejections_by_the_users_code_count_and_other_errors_do_not():
    handler = opened(Session())
    assert [outcome(handler, "odd", header="X-Sid") for _ in range(4)] == [400] * 4
    assert [outcome(handler, "s", header="X-Sid") for _ in range(4)] == [401, 401, 401, 429]


def test_of_a_burst_users_code_judges_no_more_than_bad_credentials_remain():
    judged = []

    class Slow(Session):
        def identify(self, request):
            judged.append(request)
            gevent.sleep(0)
            return super().identify(request)

    handler = opened(Slow())

    def burst(sid, count):
        sent = [gevent.spawn(outcome, handler, sid, header="X-Sid") for _ in range(count)]
        return sorted(one.get() for one in sent)

    assert burst("good", 20) == [200] * 20
    judged.clear()
    assert burst("s", 20) == [401] * 3 + [429] * 17
    assert len(judged) == 3


def test_without_the_option_there_is_no_limit():
    handler = opened(Words(max_failures=None))
    assert {outcome(handler, f"bad {number}") for number in range(200)} == {401}


@pytest.mark.parametrize("before", [0, 1, 2])
def test_turns_at_once_are_no_more_than_bad_credentials_remain(before):
    failures, judged = Failures(RATE), []
    for _ in range(before):
        failures.count(request())

    def send(number):
        with suppress(HTTPError), failures.turn(request(), 5) as turn:
            for _ in range(number % 4):
                gevent.sleep(0)
            turn.is_bad = True
            judged.append(number)

    gevent.joinall([gevent.spawn(send, number) for number in range(20)], raise_error=True)
    assert len(judged) == 3 - before


def test_good_credentials_give_their_turns_back():
    failures, judged = Failures(RATE), []

    def send(number):
        with failures.turn(request(), 5) as turn:
            gevent.sleep(0)
            turn.is_bad = number == 7
            judged.append(number)

    gevent.joinall([gevent.spawn(send, number) for number in range(20)], raise_error=True)
    assert len(judged) == 20


def test_a_turn_that_does_not_come_is_429():
    failures = Failures(Rate.parse("1/minute"))
    with failures.turn(request(), 5), pytest.raises(HTTPError) as caught, failures.turn(request(), 0.001):
        pass
    assert (caught.value.status, caught.value.reason) == (429, "auth_throttled")
    with failures.turn(request(), 0.001):
        pass
