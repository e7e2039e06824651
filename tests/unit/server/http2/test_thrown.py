"""What is thrown into a request at any point at which it waits keeps no stream, no byte and no place among requests."""

import gevent
import greenlet
import pytest

from gproxy.http.response import Response

pytestmark = pytest.mark.timeout(60)


def pieces(size):
    for _ in range(2):
        gevent.sleep(0.001)
        yield bytes(size)


def slowly(request):
    gevent.sleep(0.001)
    return Response(200, b"late")


#: What answers, the request, and the window of its client.
CASES = {
    "a handler that waits": (slowly, {}, 1 << 20),
    "a body of pieces": (lambda request: Response(200, pieces(100)), {}, 1 << 20),
    "a body without window": (lambda request: Response(200, bytes(200_000)), {}, 70_000),
    "pieces without window": (lambda request: Response(200, pieces(100_000)), {}, 70_000),
    "an upload": (lambda request: Response(200, request.body.read()), {"method": "POST", "body": b"some", "end": False}, 70_000),
    "an unwanted upload": (lambda request: Response(200, b"enough"), {"method": "POST", "body": b"some", "end": False}, 70_000),
}  # fmt: skip


class Thrower:
    """Throws into the first greenlet that answers when that waits for the n-th time."""

    def __init__(self, answer, number, thrown):
        self._answer, self._left, self._thrown = answer, number, thrown
        self._target = None

    @property
    def has_begun(self):
        return self._target is not None

    @property
    def has_thrown(self):
        return self._left == 0

    def __call__(self, request):
        self._target = self._target or greenlet.getcurrent()
        return self._answer(request)

    def on_switch(self, event, between):
        if event == "switch" and between[0] is self._target and self._left:
            self._left -= 1
            if self.has_thrown:
                gevent.get_hub().loop.run_callback(self._target.throw, self._thrown)


def read_whole(some, stream):
    """Read the response, and give window back as it comes."""
    taken = 0
    while not some.is_over(stream):
        before = len(some.events)
        some.read_until(lambda before=before: len(some.events) > before)
        size = len(some.content(stream))
        some.client.consumed(stream, size - taken)
        some.send()
        taken = size


@pytest.mark.parametrize("thrown", [gevent.Timeout(), greenlet.GreenletExit()], ids=["timer", "kill"])
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_kept(scene, name, thrown):
    answer, asked, window = CASES[name]
    for number in range(1, 20):
        some = scene(max_streams=1, window=window)
        some.gateway.answer = thrower = Thrower(answer, number, thrown)
        greenlet.settrace(thrower.on_switch)
        try:
            stream = some.request(**asked)
            if name == "an upload":
                some.until(lambda thrower=thrower: thrower.has_begun)
                some.client.send_data(stream, b"rest", end=True)
                some.send()
            read_whole(some, stream)
            some.read_until(lambda stream=stream: stream.is_closed)
            http2 = some.connection.multiplexed
            some.until(lambda http2=http2: not http2._active)
        finally:
            greenlet.settrace(None)
        session = http2._session
        assert (session.under_way, session.streams, http2._transport._waiting) == (0, {}, [])
        assert some.context.channels.buffers.used == 0
        some.gateway.answer = lambda request: Response(200, b"next")
        assert some.response(some.request())[::2] == (200, b"next")
        if not thrower.has_thrown:
            assert number > 1
            return
