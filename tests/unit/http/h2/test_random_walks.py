"""Random conversations with the library h2 as the peer, in both roles: each side receives what the other one sent.

After each step both sides agree on the windows and on which streams are open.
"""

import random
from collections import defaultdict

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import pytest

from gproxy.http.buffers import Buffers
from gproxy.http.h2 import frames
from gproxy.http.h2.events import (
    DataReceived,
    GoAwayReceived,
    HeadReceived,
    InterimReceived,
    PingAcknowledged,
    SettingsReceived,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from gproxy.http.h2.sender import CLIENT, SERVER
from gproxy.http.h2.session import Session
from gproxy.http.h2.settings import SessionOptions
from gproxy.http.headers import Headers
from unit.http.h2.conversation import NAMES

STEPS = 100
NAMES_OF_FIELDS = ["x-a", "x-b", "accept", "user-agent", "cookie", "x-long-name-of-a-field"]


class Message:
    """What was sent or received of one message."""

    def __init__(self):
        self.heads, self.content, self.trailers, self.ended = [], b"", None, False

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None

    def __repr__(self):
        return repr({**vars(self), "content": len(self.content)})


class Walk:
    """Our session, h2 as its peer, and what each has sent and received by stream."""

    def __init__(self, role, seed):
        self.random = random.Random(seed)
        self.role = role
        self.buffers = Buffers(self.random.choice([0, 3_000, 100_000, 1 << 30]))
        self.elsewhere = 0  # what other connections keep
        options = SessionOptions(max_streams=20, max_window=1 << 17)
        self.ours = Session(role, options, NAMES, lambda: 0.0, self.buffers)
        self.theirs = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=role == SERVER, header_encoding="utf-8")
        )
        self.streams = {}
        self.sent, self.received = defaultdict(Message), defaultdict(Message)  # by us
        self.their_sent, self.their_received = defaultdict(Message), defaultdict(Message)
        self.resets, self.their_resets = {}, {}
        self.finished, self.their_finished = set(), set()  # streams on which a side has sent END_STREAM
        self.pings = []
        self.ours.start()
        self.theirs.initiate_connection()
        self.exchange()

    def exchange(self):
        """Carry bytes until both sides are silent, in pieces of random sizes."""
        for _ in range(20):
            ours, theirs = b"".join(self.ours.take_output()), self.theirs.data_to_send()
            if not ours and not theirs:
                return
            for piece in self.pieces(theirs):
                for event in self.ours.receive(piece):
                    self.on_ours(event)
            for piece in self.pieces(ours):
                for event in self.theirs.receive_data(piece):
                    self.on_theirs(event)
        raise AssertionError("the two talk without end")

    def pieces(self, data):
        while data:
            size = self.random.choice([1, 5, 9, 100, 70_000])
            yield data[:size]
            data = data[size:]

    def on_ours(self, event):
        if isinstance(event, DataReceived):
            message = self.received[event.stream.id]
            message.content += event.data
            message.ended |= event.ended
        elif isinstance(event, HeadReceived | InterimReceived):
            self.streams[event.stream.id] = event.stream
            message = self.received[event.stream.id]
            start = event.head.method + event.head.target if self.role == SERVER else str(event.head.status)
            pairs = [(name.lower(), value) for name, value in event.head.headers.items() if name.lower() != "host"]
            message.heads.append((start, pairs))
            message.ended |= isinstance(event, HeadReceived) and event.ended
        elif isinstance(event, TrailersReceived):
            self.received[event.stream.id].trailers = event.pairs
            self.received[event.stream.id].ended = True
        elif isinstance(event, StreamReset):
            assert self.their_resets[event.stream.id] == event.code
        elif isinstance(event, PingAcknowledged):
            self.pings.remove(event.data)
        else:
            assert isinstance(event, SettingsReceived | WindowOpened | GoAwayReceived), event

    def on_theirs(self, event):
        if isinstance(
            event, h2.events.RequestReceived | h2.events.ResponseReceived | h2.events.InformationalResponseReceived
        ):
            fields = [(str(name), str(value)) for name, value in event.headers]
            pseudo = {name: value for name, value in fields if name[0] == ":"}
            pairs = [one for one in fields if one[0][0] != ":"]
            start = pseudo.get(":status") or pseudo[":method"] + pseudo[":path"]
            self.their_received[event.stream_id].heads.append((start, grouped(pairs)))
        elif isinstance(event, h2.events.DataReceived):
            self.their_received[event.stream_id].content += event.data
            if event.flow_controlled_length and self.random.random() < 0.9:
                self.theirs.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.their_received[event.stream_id].trailers = [tuple(one) for one in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            self.their_received[event.stream_id].ended = True
        elif isinstance(event, h2.events.StreamReset):
            assert self.resets[event.stream_id] == event.error_code
        else:
            assert not isinstance(event, h2.events.ConnectionTerminated)

    # Steps

    def fields(self):
        one = self.random
        return [
            (one.choice(NAMES_OF_FIELDS[:4]), one.choice(["1", "value", "two words", "x" * 200, ""]))
            for _ in range(one.randrange(6))
        ]

    def new_request(self):
        end = self.random.random() < 0.5
        method, path, fields = (
            self.random.choice(["GET", "POST"]),
            self.random.choice(["/", "/a?b=c"]),
            grouped(self.fields()),
        )
        if self.role == CLIENT:
            if not self.ours.can_request or len(self.ours.streams) > 10:
                return
            stream = self.ours.request(method, "https", "h", path, Headers(fields), end=end)
            self.streams[stream.id] = stream
            message, finished, stream_id = self.sent[stream.id], self.finished, stream.id
        else:
            if len(self.ours.streams) > 10 or self.ours.under_way >= 20:
                return
            stream_id = self.theirs.get_next_available_stream_id()
            pseudo = [(":method", method), (":scheme", "https"), (":authority", "h"), (":path", path)]
            self.theirs.send_headers(stream_id, [*pseudo, *fields], end_stream=end)
            message, finished = self.their_sent[stream_id], self.their_finished
        message.heads.append((method + path, fields))
        message.ended = end
        if end:
            finished.add(stream_id)

    def our_stream(self):
        """Return a stream on which we may send, or None."""
        able = [one for one in self.ours.streams.values() if one.may_send and one.id in self.streams]
        return self.random.choice(able) if able else None

    def their_stream(self):
        able = [
            one
            for one in self.ours.streams
            if one not in self.their_finished.union(self.their_resets)
            and one in (self.their_sent if self.role == SERVER else self.their_received)
        ]
        return self.random.choice(able) if able else None

    def end_ours(self, stream_id, end):
        self.sent[stream_id].ended = end
        if end:
            self.finished.add(stream_id)

    def answer(self):
        stream = self.our_stream()
        if self.role == CLIENT or stream is None or stream.has_sent_head:
            return
        crosses = stream.id in self.their_resets  # h2 takes no 1xx then, though it has been sent before we know
        status, fields = self.random.choice([200, 404] if crosses else [200, 404, 103]), grouped(self.fields())
        end = status != 103 and self.random.random() < 0.3
        self.ours.respond(stream, status, Headers(fields), end=end)
        self.sent[stream.id].heads.append((str(status), fields))
        self.end_ours(stream.id, end)

    def send(self):
        stream = self.our_stream()
        if stream is None or not stream.has_sent_head or stream.send_window < 0:  # then h2 takes no empty DATA either
            return
        size = min(self.ours.sendable(stream), self.random.choice([0, 1, 1000, 16_375, 40_000]))
        if stream.id in self.their_received:
            assert size <= max(0, self.theirs.remote_flow_control_window(stream.id))
        end = self.random.random() < 0.2
        self.ours.send_data(stream, bytes(size), end=end)
        self.sent[stream.id].content += bytes(size)
        self.end_ours(stream.id, end)

    def send_trailers(self):
        stream = self.our_stream()
        if stream is not None and stream.has_sent_head:
            self.ours.send_trailers(stream, [("x-t", "1"), ("x-u", "2")])
            self.sent[stream.id].trailers = [("x-t", "1"), ("x-u", "2")]
            self.end_ours(stream.id, True)

    def they_answer(self):
        stream_id = self.their_stream()
        if (
            self.role == SERVER
            or stream_id is None
            or (self.their_sent[stream_id].heads and self.their_sent[stream_id].heads[-1][0] != "103")
        ):
            return
        status, fields = self.random.choice(["200", "404", "103"]), grouped(self.fields())
        end = status != "103" and self.random.random() < 0.3
        self.theirs.send_headers(stream_id, [(":status", status), *fields], end_stream=end)
        self.their_sent[stream_id].heads.append((status, fields))
        self.end_theirs(stream_id, end)

    def end_theirs(self, stream_id, end):
        self.their_sent[stream_id].ended = end
        if end:
            self.their_finished.add(stream_id)

    def they_may_send(self, stream_id):
        return (
            stream_id is not None
            and bool(self.their_sent[stream_id].heads)
            and self.their_sent[stream_id].heads[-1][0] != "103"
        )

    def they_send(self):
        stream_id = self.their_stream()
        if not self.they_may_send(stream_id):
            return
        padding = self.random.choice([None, None, 0, 7, 255])
        size = min(
            self.theirs.local_flow_control_window(stream_id) - (padding or 0) - 1,
            self.random.choice([0, 1, 1000, 16_000]),
        )
        if size >= 0:
            end = self.random.random() < 0.2
            self.theirs.send_data(stream_id, bytes(size), end_stream=end, pad_length=padding)
            self.their_sent[stream_id].content += bytes(size)
            self.end_theirs(stream_id, end)

    def they_send_trailers(self):
        stream_id = self.their_stream()
        if self.they_may_send(stream_id):
            self.theirs.send_headers(stream_id, [("x-t", "1"), ("x-u", "2")], end_stream=True)
            self.their_sent[stream_id].trailers = [("x-t", "1"), ("x-u", "2")]
            self.end_theirs(stream_id, True)

    def read(self):
        for stream in list(self.streams.values()):
            self.ours.consumed(stream, self.random.choice([0, stream.unread // 2, stream.unread]))

    def reset(self):
        stream = self.our_stream()
        if stream is not None and self.random.random() < 0.3:
            self.resets[stream.id] = frames.CANCEL
            self.ours.reset(stream, frames.CANCEL)

    def they_reset(self):
        stream_id = self.their_stream()
        if stream_id is not None and self.random.random() < 0.3:
            self.their_resets[stream_id] = frames.INTERNAL_ERROR
            self.theirs.reset_stream(stream_id, frames.INTERNAL_ERROR)

    def others_keep(self):
        size = self.random.choice([0, 2_000, 200_000])
        self.buffers.add(size - self.elsewhere)
        self.elsewhere = size
        if self.ours.withheld and self.random.random() < 0.7:
            before, had_room = self.ours.withheld, self.buffers.has_room
            self.ours.release_withheld()
            assert self.ours.withheld == (0 if had_room else before)

    def ping(self):
        data = self.random.randbytes(8)
        self.pings.append(data)
        self.ours.ping(data)
        self.theirs.ping(data)

    def they_change_settings(self):
        kind = self.random.choice([4, 4, 1])
        value = self.random.choice([0, 1, 100, 30_000, 65_535, 100_000] if kind == 4 else [0, 60, 4096, 10_000])
        self.theirs.update_settings({kind: value})
        self.exchange()  # before the ACK, h2 and its peer disagree on the windows

    def end_greenlets(self):
        for stream in list(self.streams.values()):
            if stream.is_closed:
                self.ours.ended(stream)

    def check(self):
        """Check that both sides agree."""
        gone = self.resets.keys() | self.their_resets.keys()
        for sent, received in ((self.sent, self.their_received), (self.their_sent, self.received)):
            for stream_id in (sent.keys() | received.keys()) - gone:
                assert sent[stream_id] == received[stream_id], (stream_id, sent[stream_id], received[stream_id])
        for stream in self.ours.streams.values():
            window = min(stream.receive_window, self.ours._windows.receive_window)
            assert window == self.theirs.local_flow_control_window(stream.id)
            if stream.may_send:
                assert self.ours.sendable(stream) == max(0, self.theirs.remote_flow_control_window(stream.id))
        assert self.ours._windows.receive_window == self.theirs.outbound_flow_control_window
        assert len(self.ours.streams) == self.theirs.open_outbound_streams + self.theirs.open_inbound_streams
        unread = sum(stream.unread for stream in self.streams.values())
        windows = self.ours._windows
        assert windows.receive_window + windows.unreturned + self.ours.withheld == windows.size
        assert self.buffers.used == unread + self.elsewhere
        assert 0 <= self.ours.withheld <= (unread if self.role == SERVER else 0)

    def step(self):
        steps = [
            self.new_request, self.new_request, self.new_request, self.answer, self.send, self.send, self.send_trailers, self.they_answer, self.they_send, self.they_send,
            self.they_send_trailers, self.read, self.reset, self.they_reset, self.ping, self.they_change_settings,
            self.others_keep,
        ]  # fmt: skip
        for _ in range(self.random.randrange(1, 4)):
            self.random.choice(steps)()
            if self.random.random() < 0.8:
                self.exchange()
        self.exchange()
        self.check()
        self.end_greenlets()


def grouped(pairs):
    """Return pairs with those of one name together, as Headers has them; cookies are joined."""
    found = Headers()
    for name, value in pairs:
        found.add(name, value)
    return [(name, value) for name, value in found.items()]


@pytest.mark.parametrize("role", [SERVER, CLIENT])
@pytest.mark.parametrize("seed", range(40))
def test_both_sides_agree_on_a_random_conversation(role, seed):
    walk = Walk(role, seed)
    for _ in range(STEPS):
        walk.step()
    assert walk.ours.failure is None
    assert sum(bool(one.heads) for one in walk.received.values()) > 1
