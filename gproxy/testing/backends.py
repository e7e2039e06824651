"""Backends for tests: threads on real sockets that send scripted bytes, valid or not."""

import re
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from types import TracebackType
from typing import Self

from gproxy.config.types.units import plural
from gproxy.testing.gateway import PATIENCE, Message, Wire, eventually


class Received(Message):
    """A request as the backend received it; `complete` is False if its body was cut off."""

    def __init__(self, head: bytes, body: bytes, trailers: bytes = b"") -> None:
        super().__init__(head, body)
        self.trailers = trailers
        #: True if the body was received to its end.
        self.complete = True

    def __repr__(self) -> str:
        return f"<Received {self.line} {self.fields} {self.body[:100]!r}>"


class Peer(Wire):
    """The backend's end of one connection, for use in a script."""

    def read_head(self) -> Received | None:
        """Read the head of a request; return None if the gateway closed the connection."""
        head = self.read_until(b"\r\n\r\n")
        return Received(head[:-4], b"") if head.endswith(b"\r\n\r\n") else None

    def read_request(self) -> Received | None:
        """Read a whole request with its body, chunks decoded; return None if the gateway closed the connection."""
        received = self.read_head()
        return None if received is None else self.read_body(received)

    def read_body(self, received: Received) -> Received:
        """Read the body that follows a head, chunks decoded."""
        if received["transfer-encoding"]:
            received.body, received.complete = self._read_chunks()
        elif received["content-length"]:
            received.body = self.read_exactly(int(received["content-length"]))
            received.complete = len(received.body) == int(received["content-length"])
        return received

    def close(self) -> None:
        """Close the connection with FIN."""
        self.sock.close()


Script = Callable[[Peer, "Backend"], None]


class Backend:
    """A backend that runs `script(peer, backend)` in a thread for each connection; with `tls`, over https.

    It listens on a port of `address`, or on a unix socket at `path`.

    requests: those that scripts have recorded. connections: the number accepted so far. open: the number open now.
    """

    def __init__(
        self,
        script: Script,
        *,
        backlog: int = 128,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
        path: Path | None = None,
    ) -> None:
        self._script = script
        self._tls = tls
        self.requests: list[Received] = []
        self.errors: list[BaseException] = []
        self.connections = 0
        self.open = 0
        self._lock = threading.Lock()
        self._peers: set[Peer] = set()
        self.port = 0
        if path is not None:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(backlog)
            self.url = f"unix:{path}"
        else:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            self._listener = socket.create_server((address, port), family=family, backlog=backlog)
            self.port = self._listener.getsockname()[1]
            host = f"[{address}]" if ":" in address else address
            self.url = f"https://localhost:{self.port}" if tls else f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the listener and every connection."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept(), which would keep the socket open
        except OSError:
            pass
        self._listener.close()
        with self._lock:
            peers = list(self._peers)
        for peer in peers:
            try:
                peer.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(Peer(sock),), daemon=True).start()

    def _serve(self, peer: Peer) -> None:
        with self._lock:
            self.connections += 1
            self.open += 1
            self._peers.add(peer)
        try:
            if self._tls:
                peer.sock = self._tls.wrap_socket(peer.sock, server_side=True)
            self._script(peer, self)
        except OSError as error:
            self.errors.append(error)
        finally:
            peer.sock.close()
            with self._lock:
                self.open -= 1
                self._peers.discard(peer)

    def wait_for_requests(self, count: int) -> list[Received]:
        """Wait until there are `count` requests, and return all that were received."""
        eventually(lambda: len(self.requests) >= count, f"{plural(count, 'request')} at the backend")
        return self.requests


def answering(response: bytes | str = b"", *, body: bytes = b"ok", headers: str = "") -> Script:
    """Return a keep-alive script that answers every request alike: with raw bytes, or 200 with a body."""
    raw = response.encode("latin-1") if isinstance(response, str) else response
    if not raw:
        raw = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode("latin-1") + body

    def script(peer: Peer, backend: Backend) -> None:
        while (request := peer.read_request()) is not None:
            backend.requests.append(request)
            peer.send(raw)
            if re.search(rb"(?i)\r\nconnection: *close", raw.partition(b"\r\n\r\n")[0]):
                return

    return script


Act = Callable[[Peer, Received], object]


class Actor(Backend):
    """A backend that calls `act(peer, request)` with the head of each request; a test may replace `act` at any time.

    The connection is kept alive unless the act closes it.
    """

    def __init__(
        self,
        act: Act | None = None,
        *,
        backlog: int = 128,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
        path: Path | None = None,
    ) -> None:
        super().__init__(_run_acts, backlog=backlog, port=port, tls=tls, address=address, path=path)
        self.act: Act = act or reply()


def _run_acts(peer: Peer, backend: Backend) -> None:
    assert isinstance(backend, Actor)
    while peer.sock.fileno() >= 0 and (request := peer.read_head()) is not None:
        backend.requests.append(request)
        backend.act(peer, request)


def reply(body: bytes = b"ok", *headers: str, status: str = "200 OK") -> Act:
    """Return an act that reads the request body and sends this response."""
    lines = "".join(f"{header}\r\n" for header in headers)
    raw = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode("latin-1") + body

    def act(peer: Peer, request: Received) -> None:
        peer.read_body(request)
        peer.send(raw)

    return act


def switching(request: Received) -> bytes:
    """Return the 101 that opens a WebSocket, with the proof that the backend has read the key of the request."""
    proof = b64encode(sha1(f"{request['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
    lines = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {proof.decode()}\r\n"
    return f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode()


class Held:
    """An act that holds each response back until `go` is set; `asked` is released for each request.

    `paths` has the paths of the requests, in the order of their arrival.
    """

    def __init__(self, act: Act | None = None) -> None:
        self.go = threading.Event()
        self.asked = threading.Semaphore(0)
        self.paths: list[str] = []
        self._act = act or reply()

    def __call__(self, peer: Peer, request: Received) -> None:
        self.paths.append(request.line.split(" ")[1])
        self.asked.release()
        self.go.wait(2 * PATIENCE)  # each wait of the test ends before
        self._act(peer, request)
