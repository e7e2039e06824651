"""The beginning of a body, collected before the next step runs: which bodies, how much, where it is kept."""

import errno

import pytest

from gproxy.http.body import NO_BODY, Body
from gproxy.http.errors import HTTPError
from gproxy.http.framing import reader
from gproxy.http.request import request
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.testing.scripted_channel import END, ScriptedChannel
from gproxy.upstream.forwarder import replay
from gproxy.upstream.forwarder.request_buffer import RequestBuffer

PIECES = [bytes([65 + n]) * 10_000 for n in range(20)]


class Scene:
    """A request whose client sends these pieces, and the step behind the buffer, which notes what it gets."""

    def __init__(self, pieces, length, state_dir, at_hand=b"", buffers=1 << 20):
        self.scripted = ScriptedChannel(pieces)
        self.client = self.scripted.client
        self.runtime = Runtime(state_dir=state_dir, buffers=buffers)
        self.request = request("PUT")
        self.request.client_stream = self.client
        self.request.body = Body(at_hand, reader(-1 if length is None else length - len(at_hand), self.client), length)
        self.at_hand = None

    def run(self, size, spool=0):
        def following(asked):
            self.at_hand, self.buffered = asked.body.at_hand, asked.body.buffered
            return Response(204)

        return RequestBuffer(following, self.runtime, size=size, spool=spool)(self.request)


@pytest.fixture
def scene(tmp_path):
    scenes = []

    def make(pieces=PIECES, length=200_000, **options):
        scenes.append(Scene(pieces, length, tmp_path, **options))
        return scenes[-1]

    yield make
    for one in scenes:
        one.request.end()
        assert one.runtime.buffers.used == 0
        one.scripted.close()


@pytest.mark.parametrize(
    ("size", "spool", "buffered", "used"),
    [
        (1, 0, 10_000, 10_000),  # the piece that is there already
        (25_000, 0, 30_000, 30_000),
        (64 * 1024, 0, 70_000, 70_000),
        (200_000, 0, 60_000, 70_000),  # complete; the rest is on disk
        (64 * 1024, 200_000, 60_000, 70_000),
        (64 * 1024, 100_000, 70_000, 70_000),  # too long, as is known: nothing goes to disk
    ],
)
def test_so_much_is_collected(scene, size, spool, buffered, used):
    some = scene()
    some.run(size, spool)
    complete = size + spool >= 200_000
    assert (some.buffered, some.runtime.buffers.used) == (buffered, used)
    assert some.request.body.done == complete
    assert some.request.body.can_begin_again
    assert some.request.body.read() == b"".join(PIECES)


def test_a_body_that_arrived_whole_is_passed_on_at_once(scene):
    some = scene([], 5, at_hand=b"hello")
    some.run(64 * 1024)
    assert some.at_hand == b"hello"
    assert some.runtime.buffers.used == 0


@pytest.mark.parametrize("spool", [0, 30_000, 45_000])
def test_chunks_that_are_too_long_in_the_end(scene, spool):
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in PIECES]
    some = scene([*chunks, b"0\r\nX-T: 1\r\n\r\n"], None)
    some.run(64 * 1024, spool)
    body = some.request.body
    assert (body.length, body.done) == (None, False)
    assert body.received == (70_000 if not spool else 70_000 + (64 * 1024 + spool - 70_000) // 10_000 * 10_000 + 10_000)
    assert body.read() == b"".join(PIECES)
    assert body.trailers == [("X-T", "1")]


def _without_client(some):
    some.request.client_stream = None


def _upgrading(some):
    some.request.upgrade = "websocket"


def _grpc(some):
    some.request.headers["Content-Type"] = "application/grpc+json"


def _expecting(some):
    some.request.body.on_first_read = lambda: None


def _read_before(some):
    some.request.body.next_piece()


@pytest.mark.parametrize("change", [_without_client, _upgrading, _grpc, _expecting, _read_before])
def test_what_is_passed_on_as_it_comes(scene, change):
    some = scene()
    change(some)
    some.run(64 * 1024)
    assert some.at_hand == b""
    assert len(some.scripted.remaining) == len(PIECES) - (change is _read_before)


def test_a_request_without_a_body(scene):
    some = scene()
    some.request.body = NO_BODY
    assert some.run(64 * 1024).status == 204


def test_without_room_the_rest_goes_to_disk(scene):
    some = scene(buffers=5_000)
    some.run(200_000)
    assert some.runtime.buffers.used == 10_000
    assert some.request.body.done
    assert some.request.body.read() == b"".join(PIECES)


def test_a_client_that_breaks_off(scene):
    some = scene([b"half", END], 8)
    with pytest.raises(HTTPError) as raised:
        some.run(64 * 1024)
    assert (raised.value.status, raised.value.reason) == (400, "client_gone")
    assert some.at_hand is None


def test_a_full_disk_ends_the_collecting_and_loses_nothing(scene, monkeypatch, caplog):
    written = []

    def write(file, position, data, real=replay._write):
        written.append(data)
        return real(file, position, data) if len(written) < 4 else OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(replay, "_write", write)
    some = scene()
    some.run(200_000)
    assert not some.request.body.done
    assert some.request.body.can_begin_again
    assert some.request.body.read() == b"".join(PIECES)
    assert not some.request.body.can_begin_again
    assert "request body cannot be recorded: No space left on device" in caplog.text


def test_a_collected_body_can_be_sent_again(scene):
    some = scene()
    some.run(200_000)
    for _ in range(3):
        assert some.request.body.read() == b"".join(PIECES)
        some.request.body.rewind()


def test_the_time_of_the_backends_begins_after_it(scene):
    some = scene()
    renewed = []
    some.request.deadline.progress = renewed.append
    some.run(100_000)
    assert renewed == [False]
