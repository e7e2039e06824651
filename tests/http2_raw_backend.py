"""A backend of HTTP/2 that sends the frames that a test makes, legal or not, and keeps those that come."""

import socket
import threading
from contextlib import suppress

import hpack

from gproxy.http.h2 import frames
from gproxy.http.h2.frames import frame
from gproxy.testing.gateway import PATIENCE, eventually

OK = [(":status", "200")]


def literals(*fields, first=0x00):
    """A block of these fields as literals that enter no table; names and values may be any bytes."""
    return b"".join(bytes([first]) + _text(name) + _text(value) for name, value in fields)


def _text(text):
    raw = text if isinstance(text, bytes) else text.encode("latin-1")
    size, out = len(raw), bytearray()
    if size < 127:
        return bytes([size]) + raw
    size -= 127
    out.append(127)
    while size >= 128:
        out.append(size % 128 + 128)
        size //= 128
    return bytes([*out, size]) + raw


def data(stream_id, content=b"", *, end=False, padding=None):
    flags = frames.END_STREAM if end else 0
    if padding is None:
        return frame(frames.DATA, flags, stream_id, content)
    return frame(frames.DATA, flags | frames.PADDED, stream_id, bytes([padding]) + content + bytes(padding))


class RawLink:
    """One connection of the gateway; its thread reads, and calls `act` for each request."""

    def __init__(self, backend, sock):
        self.backend, self.sock = backend, sock
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        #: All frames that have come: (kind, flags, stream id, payload).
        self.frames = []
        #: The fields of each request by its stream, and the trailers behind them.
        self.requests, self.trailers = {}, {}
        self.is_closed = False
        self._buffer = b""
        self._block = b""

    def send(self, *pieces):
        """Send frames; nothing if the gateway has closed the connection."""
        with suppress(OSError):
            self.sock.sendall(b"".join(pieces))

    def head(self, stream_id, fields=OK, *, end=False):
        """HEADERS with these fields."""
        return frames.headers_frames(stream_id, self.encoder.encode(fields), end=end)

    def answer(self, stream_id, body=b"fine", *fields):
        """Send a whole response."""
        self.send(self.head(stream_id, [*OK, *fields]), data(stream_id, body, end=True))

    def cut(self):
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def of(self, kind, stream_id=None):
        """The frames of this kind that have come, on one stream or on all."""
        return [one for one in list(self.frames) if one[0] == kind and stream_id in (None, one[2])]

    def resets(self, stream_id):
        """The codes of the RST_STREAM frames for this stream."""
        return [frames.word(one[3]) for one in self.of(frames.RST_STREAM, stream_id)]

    def goaways(self):
        """The codes of the GOAWAY frames."""
        return [frames.word(one[3], 4) for one in self.of(frames.GOAWAY)]

    def uploaded(self, stream_id):
        return b"".join(one[3] for one in self.of(frames.DATA, stream_id))

    def has_ended(self, stream_id):
        """Whether the gateway has ended its side of the stream."""
        return any(one[2] == stream_id and one[0] in (0, 1) and one[1] & frames.END_STREAM for one in self.frames)

    def read_until(self, is_enough):
        """Read frames until the condition holds or the connection ends; return whether it holds."""
        while not is_enough():
            if not self._read():
                return bool(is_enough())
        return True

    def run(self):
        with self.sock:
            try:
                self.send(self.backend.greeting)
                if self._exactly(len(frames.PREFACE)) != frames.PREFACE:
                    return
                while self._read():
                    pass
            except OSError:
                pass
            finally:
                self.is_closed = True

    def _exactly(self, size):
        while len(self._buffer) < size:
            piece = self.sock.recv(65536)
            if not piece:
                raise ConnectionError
            self._buffer += piece
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _read(self):
        """Read one frame and act on it; return False at the end of the connection."""
        try:
            head = self._exactly(frames.HEAD)
            payload = self._exactly(int.from_bytes(head[:3], "big"))
        except OSError:
            self.is_closed = True
            return False
        kind, flags, stream_id = head[3], head[4], int.from_bytes(head[5:], "big")
        self.frames.append((kind, flags, stream_id, payload))
        if kind == frames.SETTINGS and not flags & frames.ACK and self.backend.acknowledges:
            self.send(frames.SETTINGS_ACK)
        elif kind == frames.PING and not flags & frames.ACK and self.backend.acknowledges:
            self.send(frames.ping(payload, ack=True))
        elif kind in (frames.HEADERS, frames.CONTINUATION):
            self._block += payload
            if flags & frames.END_HEADERS:
                block, self._block = self._block, b""
                self._on_block(stream_id, self.decoder.decode(block))
        return True

    def _on_block(self, stream_id, fields):
        if stream_id in self.requests:
            self.trailers[stream_id] = fields
            return
        self.requests[stream_id] = fields
        self.backend.requests.append((self, stream_id, dict(fields)))
        self.backend.act(self, stream_id)


def fine(link, stream_id):
    link.answer(stream_id)


class RawBackend:
    """A backend whose `act(link, stream_id)` runs for each request, in the thread that reads the connection.

    `greeting` is what it sends first, `acknowledges` whether it answers SETTINGS and PING.
    """

    def __init__(self):
        self.links = []
        self.reset()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self, act=fine):
        self.act = act
        self.requests = []
        self.greeting = frames.settings([])
        self.acknowledges = True

    def retire(self):
        """Let the gateway end the present connections: the next request gets a new one."""
        for link in self.links:
            link.send(frames.goaway(frames.MAX_STREAM_ID, frames.NO_ERROR))
        for link in self.links:
            eventually(lambda link=link: link.is_closed, "the end of a connection")
        self.links.clear()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(PATIENCE)
            link = RawLink(self, sock)
            self.links.append(link)
            threading.Thread(target=link.run, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
        for link in self.links:
            link.cut()
