"""A circuit breaker by the book, with a clock that stands still."""

import timeit
from time import monotonic

import pytest

from gproxy.config.ini.build import construct
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL, Percent, Seconds
from gproxy.http.body import Body
from gproxy.http.errors import ClientGone, HTTPError
from gproxy.http.framing import reader
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.testing import Clock, request
from gproxy.upstream.admission.circuit_breaker import CircuitBreaker, Window


class Scene:
    """A breaker before an upstream that does what `next_one` says, in so many seconds."""

    def __init__(self, **options):
        self.clock = Clock()
        settings = construct(
            UpstreamSettings, name="u", backends=(BackendURL("http", "a", 1),), breaker=True, **options
        )
        self.breaker = CircuitBreaker(settings, Runtime(monotonic=self.clock))
        self.step = self.breaker.before(self.breaker.judging(self.forward))
        self.outcome, self.seconds, self.asked = 200, 0.0, 0

    def forward(self, asked):
        self.asked += 1
        asked.tries += 1
        self.clock.advance(self.seconds)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return Response(self.outcome)

    def ask(self, outcome=200, times=1, seconds=0.0):
        """The statuses that clients get; None for one that left."""
        self.outcome, self.seconds = outcome, seconds
        return [self._ask() for _ in range(times)]

    def _ask(self):
        try:
            return self.step(request()).status
        except HTTPError as error:
            return error.reason if error.reason == "breaker_open" else error.status
        except ClientGone:
            return None

    @property
    def state(self):
        return self.breaker.snapshot()["breaker"]


def opened(**options):
    scene = Scene(**options)
    scene.ask(503, 20)
    assert scene.state == "open"
    return scene


def recovering():
    scene = opened()
    scene.clock.advance(5)
    scene.ask()
    assert scene.state == "half_open"
    return scene


@pytest.mark.parametrize(
    "outcome", [502, 503, 504, HTTPError(502, reason="connect_refused"), HTTPError(504, reason="backend_timeout")]
)
def test_opens_when_half_of_twenty_have_failed(outcome):
    scene = Scene()
    scene.ask(200, 10)
    scene.ask(outcome, 9)
    assert scene.state == "closed"
    scene.ask(outcome)
    assert scene.state == "open"
    assert scene.ask(200, 5) == ["breaker_open"] * 5
    assert scene.asked == 20


def test_too_few_requests_say_nothing():
    scene = Scene()
    scene.ask(503, 19)
    assert scene.state == "closed"


@pytest.mark.parametrize(
    "outcome",
    [
        404, 500, ClientGone(), HTTPError(408, reason="client_timeout"), HTTPError(413),
        HTTPError(503, reason="queue_full"), HTTPError(503, reason="none_available"), HTTPError(403),
    ],
)  # fmt: skip
def test_what_is_not_the_upstreams_fault_opens_nothing(outcome):
    scene = Scene()
    scene.ask(outcome, 100)
    assert scene.state == "closed"


def test_the_window_slides():
    scene = Scene()
    scene.ask(503, 15)
    scene.clock.advance(11)
    scene.ask(503, 15)
    assert scene.state == "closed"
    scene.clock.advance(5)
    scene.ask(503, 5)
    assert scene.state == "open"


def test_the_share_is_an_option():
    scene = Scene(breaker_errors=Percent(0.1), breaker_requests=10)
    scene.ask(200, 10)
    scene.ask(503)
    assert scene.state == "closed"
    scene.ask(503)
    assert scene.state == "open"


def test_the_refusal_says_when_to_come_back():
    scene = opened()
    scene.clock.advance(1.5)
    with pytest.raises(HTTPError) as error:
        scene.step(request())
    assert (error.value.status, error.value.reason) == (503, "breaker_open")
    assert error.value.headers["Retry-After"] == "4"
    assert error.value.headers["Proxy-Status"] == "gproxy; error=destination_unavailable"
    assert scene.breaker.snapshot() == {"breaker": "open", "next_try_in": 3.5}


# --- latency


def test_opens_when_the_quantile_is_too_slow():
    """Of 100 requests more than 5 took longer: the 0.95 quantile is above the limit."""
    scene = Scene(breaker_latency=Seconds(0.2), breaker_window=Seconds(1000))
    scene.ask(200, 95)
    scene.ask(200, 5, seconds=0.3)
    assert scene.state == "closed"
    scene.ask(200, 1, seconds=0.3)
    assert scene.state == "open"


def test_at_the_limit_is_not_above_it():
    scene = Scene(breaker_latency=Seconds(0.25), breaker_window=Seconds(1000))
    scene.ask(200, 100, seconds=0.25)
    assert scene.state == "closed"


def test_without_a_latency_nothing_is_too_slow():
    scene = Scene(breaker_window=Seconds(1000))
    scene.ask(200, 30, seconds=60)
    assert scene.state == "closed"


def test_what_the_client_takes_for_its_upload_is_not_the_upstreams():
    scene = Scene(breaker_latency=Seconds(0.2), breaker_window=Seconds(1000))
    asked = request()
    asked.deadline.expires = scene.clock() + 3

    def slow_upload(passed):
        scene.clock.advance(10)
        passed.deadline.pause(9.9)
        return Response(200)

    step = scene.breaker.judging(slow_upload)
    for _ in range(30):
        step(asked)
    assert scene.state == "closed"


# --- half-open


def test_one_trial_at_a_time():
    scene = opened()
    scene.clock.advance(5)
    inside = []
    scene.step = scene.breaker.before(scene.breaker.judging(lambda asked: inside.append(scene._ask()) or Response(200)))
    assert scene._ask() == 200
    assert inside == ["breaker_open"]


def test_a_trial_that_fails_opens_it_again():
    scene = opened()
    scene.clock.advance(5)
    assert scene.ask(502, 3) == [502, "breaker_open", "breaker_open"]
    assert scene.state == "open"
    scene.clock.advance(4.9)
    assert scene.ask() == ["breaker_open"]
    scene.clock.advance(0.1)
    assert scene.ask() == [200]


@pytest.mark.parametrize("outcome", [ClientGone(), HTTPError(413), HTTPError(503, reason="queue_full")])
def test_a_trial_that_says_nothing_is_followed_by_another(outcome):
    scene = opened()
    scene.clock.advance(5)
    for _ in range(3):
        scene.ask(outcome)
        assert scene.state == "half_open"
    assert scene.ask() == [200]


def test_after_a_good_trial_a_growing_share_is_let_through():
    scene = recovering()
    shares = []
    for _ in range(5):
        scene.clock.advance(0.5)
        shares.append(scene.ask(200, 100).count(200))
        scene.clock.advance(0.5)
    assert shares == sorted(shares)
    assert 5 <= shares[0] <= 15
    assert shares[4] >= 80
    assert scene.ask(200, 100) == [200] * 100
    assert scene.state == "closed"


def test_failures_while_it_recovers_open_it_again():
    scene = recovering()
    scene.clock.advance(2.5)
    assert scene.ask(502, 12).count(502) == 3
    assert scene.state == "open"


def test_some_failures_while_it_recovers_are_borne():
    scene = recovering()
    scene.clock.advance(4)
    for outcome in [200, 200, 200, 502, 200, 200] * 5:
        scene.ask(outcome)
    assert scene.state == "half_open"


def test_one_slow_request_while_it_recovers_is_borne():
    scene = Scene(breaker_latency=Seconds(0.2))
    scene.ask(200, 20, seconds=0.3)
    scene.clock.advance(5)
    scene.ask()
    scene.clock.advance(3)
    scene.ask(200, 3)
    scene.ask(200, 1, seconds=0.3)
    assert scene.state == "half_open"


@pytest.mark.parametrize("late", [200, 503])
def test_what_was_sent_before_it_opened_decides_nothing_about_the_trial(late):
    scene = Scene()

    def forward(asked):
        """Takes so long that the breaker opens meanwhile, and a trial is under way when it comes back."""
        scene.ask(503, 20)
        scene.breaker.state = "trial"
        return Response(late)

    scene.breaker.judging(forward)(request())
    assert scene.breaker.state == "trial"


def test_what_has_waited_in_a_queue_until_it_opened_is_refused():
    scene = opened()
    with pytest.raises(HTTPError) as error:
        scene.breaker.judging(scene.forward)(request())
    assert error.value.reason == "breaker_open"


def test_the_breaker_closes_even_without_a_request():
    scene = recovering()
    scene.clock.advance(5)
    assert scene.state == "closed"


def test_each_change_is_one_line(caplog):
    scene = recovering()
    scene.clock.advance(5)
    scene.ask(200, 5)
    assert caplog.messages == [
        "upstream u: circuit breaker open for 5 s: 20 of 20 requests failed, 0 slow",
        "upstream u: circuit breaker recovering: a growing share passes",
        "upstream u: circuit breaker closed",
    ]


# --- cost


def test_a_window_forgets_exactly_what_is_too_old():
    window = Window(10.0)
    for second in range(100):
        window.add(second + 0.5, second % 2 == 0, second % 5 == 0)
        assert window.total == min(second + 1, 10)
    assert (window.failed, window.slow) == (5, 2)
    window.add(1000.0, False, False)
    assert (window.total, window.failed, window.slow) == (1, 0, 0)


def test_counting_costs_little():
    breaker = Scene(breaker_latency=Seconds(1)).breaker
    seconds = min(timeit.repeat(lambda: breaker.note(monotonic(), 0.1, failed=False), number=2000, repeat=20)) / 2000
    assert seconds < 5e-6  # about 0.5 µs on an idle machine


def test_an_answer_without_an_attempt_decides_nothing():
    """A response without an attempt is not counted, such as that to OPTIONS with Max-Forwards: 0."""
    scene = opened()
    scene.clock.advance(5)
    step = scene.breaker.before(scene.breaker.judging(lambda _: Response(204)))
    assert step(request("OPTIONS")).status == 204
    assert scene.breaker.state == "trial"


@pytest.mark.parametrize(("status", "counts"), [(502, False), (504, False), (503, True), (500, False)])
def test_what_a_proxy_says_of_an_unfinished_upload_is_the_clients_doing(status, counts):
    scene = Scene()
    for _ in range(20):
        upload = request("POST")
        upload.body = Body(b"", reader(9, None), 9)
        scene.outcome = status
        scene.step(upload)
    assert (scene.state == "open") == counts
