"""Slots and places: who gets in, who waits, and that nothing is lost when greenlets are killed."""

import gevent
import pytest

from gproxy.config.sections.admission import QueueOptions
from gproxy.config.types import Seconds
from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.http.time_limit import TimeLimit
from gproxy.runtime.expired import Expired
from gproxy.testing import request
from gproxy.upstream.admission.concurrency_limit import ConcurrencyLimit


class Scene:
    """A limit before a step that streams until the test ends it."""

    def __init__(self, **options):
        self.limit = ConcurrencyLimit(QueueOptions(**{"max_requests": 1, **options}))
        self.step = self.limit.before(lambda asked: Response(200, iter([b"a stream"])))
        self.order = []

    def enter(self, name=""):
        """A response that is under way until it is closed."""
        response = self.step(request())
        self.order.append(name)
        return response

    def wait_in_line(self, name=""):
        greenlet = gevent.spawn(self.enter, name)
        gevent.idle()
        return greenlet

    @property
    def counts(self):
        return self.limit.active, self.limit.queued


@pytest.fixture
def scene():
    scene = Scene(length=3)
    yield scene
    assert scene.counts == (0, 0)


def refused(call):
    with pytest.raises(HTTPError) as error:
        call()
    assert error.value.status == 503
    assert error.value.headers["Retry-After"] == "1"
    return error.value.reason


def test_a_slot_is_held_until_the_response_is_closed():
    scene = Scene(max_requests=2)
    first, second = scene.enter(), scene.enter()
    assert refused(scene.enter) == "queue_full"
    first.close()
    third = scene.enter()
    assert scene.counts == (2, 0)
    for response in (second, third, third):
        response.close()
    assert scene.counts == (0, 0)


def test_a_response_that_came_whole_frees_its_slot_at_once():
    scene = Scene()
    scene.step = scene.limit.before(lambda asked: Response(200, b"whole"))
    scene.enter()
    assert scene.counts == (0, 0)


def test_a_slow_reader_frees_its_slot_once(scene):
    asked = request()
    response = scene.step(asked)
    waiting = scene.wait_in_line("next")
    asked.deadline.on_slow_reader()
    waiting.join(5)
    assert (scene.order, scene.counts) == (["next"], (1, 0))
    response.close()
    assert scene.counts == (1, 0)
    waiting.value.close()


def test_a_slow_reader_keeps_a_slot_that_stands_for_a_connection(scene):
    scene.limit.resize(1.0)
    asked = request()
    response = scene.step(asked)
    assert asked.deadline.on_slow_reader is None
    response.close()


def test_a_response_that_a_handler_drops_frees_its_slot_at_the_requests_end():
    scene = Scene()
    asked = request()
    scene.step(asked)
    assert scene.counts == (1, 0)
    asked.end()
    assert scene.counts == (0, 0)


@pytest.mark.parametrize("error", [HTTPError(502), ValueError(), Expired(TimeLimit.DEADLINE), gevent.GreenletExit()])
def test_what_raises_frees_its_slot(error):
    scene = Scene()

    def fail(asked):
        raise error

    with pytest.raises(type(error)):
        scene.limit.before(fail)(request())
    assert scene.counts == (0, 0)


def test_queued_requests_are_served_in_turn(scene):
    response = scene.enter("0")
    waiting = [scene.wait_in_line(name) for name in "123"]
    assert scene.counts == (1, 3)
    assert refused(scene.enter) == "queue_full"
    for greenlet in waiting:
        response.close()
        response = greenlet.get(timeout=5)
        assert scene.limit.active == 1
    response.close()
    assert scene.order == ["0", "1", "2", "3"]


def test_no_request_overtakes_the_queue(scene):
    """Between the moment a slot is given away and the moment its owner runs, it is not free."""
    response = scene.enter("0")
    waiting = scene.wait_in_line("1")
    response.close()
    assert scene.counts == (1, 0)
    last = gevent.spawn(scene.enter, "2")
    waiting.get(timeout=5).close()
    last.get(timeout=5).close()
    assert scene.order == ["0", "1", "2"]


def test_a_request_that_waits_too_long_is_rejected():
    scene = Scene(length=1, timeout=Seconds(0.01))
    response = scene.enter()
    assert refused(scene.enter) == "queue_timeout"
    assert scene.counts == (1, 0)
    response.close()
    assert scene.counts == (0, 0)


def test_a_deadline_that_passes_in_the_queue_is_a_503():
    scene = Scene(length=1)
    response = scene.enter()
    waiting = scene.wait_in_line()
    waiting.kill(Expired(TimeLimit.DEADLINE), block=False)
    with pytest.raises(HTTPError) as error:
        waiting.get(timeout=5)
    assert error.value.reason == "queue_timeout"
    response.close()
    assert scene.counts == (0, 0)


@pytest.mark.parametrize("error", [gevent.GreenletExit, Expired(TimeLimit.DRAINING), Expired(TimeLimit.WRITE)])
def test_a_request_killed_in_the_queue_frees_its_place(scene, error):
    response = scene.enter("0")
    first, second = scene.wait_in_line("1"), scene.wait_in_line("2")
    first.kill(error, block=False)
    gevent.idle()
    assert scene.counts == (1, 1)
    response.close()
    second.get(timeout=5).close()
    assert scene.order == ["0", "2"]


@pytest.mark.parametrize("error", [gevent.GreenletExit, Expired(TimeLimit.DEADLINE)])
def test_a_request_killed_just_when_it_is_called_passes_its_slot_on(scene, error):
    response = scene.enter("0")
    first, second = scene.wait_in_line("1"), scene.wait_in_line("2")
    first.kill(error, block=False)  # scheduled before the call
    response.close()
    second.get(timeout=5).close()
    assert scene.order == ["0", "2"]


def test_a_request_killed_after_it_was_called_passes_its_slot_on(scene):
    response = scene.enter("0")
    first, second = scene.wait_in_line("1"), scene.wait_in_line("2")
    response.close()
    first.kill(block=False)
    for greenlet in (first, second):
        greenlet.join(5)
        if isinstance(greenlet.value, Response):
            greenlet.value.close()
    assert scene.order[-1] == "2"


def test_a_woken_greenlet_that_waits_for_something_else_by_then_is_left_alone(scene):
    response = scene.enter("0")
    reached = []

    def stubborn():
        try:
            scene.enter("1")
        except gevent.Timeout:
            gevent.sleep(0.02)  # a spurious switch would end it early
            reached.append("end")

    greenlet = gevent.spawn(stubborn)
    gevent.idle()
    greenlet.kill(gevent.Timeout(1), block=False)
    response.close()
    greenlet.join(5)
    assert reached == ["end"]


def test_a_growing_limit_admits_more_and_a_shrinking_one_interrupts_none():
    scene = Scene(max_requests=3, length=5)
    scene.limit.resize(1)
    held = [scene.enter()]
    waiting = [scene.wait_in_line() for _ in range(4)]
    assert scene.counts == (1, 4)
    scene.limit.resize(10)
    gevent.idle()
    assert scene.counts == (3, 2)  # max_requests holds as well
    held += [greenlet.get(timeout=5) for greenlet in waiting[:2]]
    scene.limit.resize(1)
    held.pop().close()
    held.pop().close()
    assert scene.counts == (1, 2)
    scene.limit.resize(10)
    for response in [*held, *(greenlet.get(timeout=5) for greenlet in waiting[2:])]:
        response.close()
    assert scene.counts == (0, 0)
    assert scene.limit.snapshot() == {"active": 0, "limit": 3, "queued": 0}


def test_without_a_number_the_backends_decide():
    limit = ConcurrencyLimit(QueueOptions(length=1))
    assert limit.snapshot()["limit"] is None
    limit.resize(2)
    assert limit.snapshot()["limit"] == 2
