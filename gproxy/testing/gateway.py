"""A gateway process for tests, on a free port, with access to its error log and its access lines."""

import itertools
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gproxy.config.types.units import plural

#: Timeout of every wait in tests, in seconds; long, because only a failing test reaches it.
PATIENCE: Final = 15.0
#: Ports of gateways: below the kernel's range for outgoing connections, which could take one before it is listened on.
_PORTS: Final = range(15_000, 32_000)
#: The number of processes that share these ports.
_SHARES: Final = 8


class RunningGateway:
    """A `gproxy` process, for use in a `with`; `port` is its port, `errors` its standard error.

    `ini` is the text of the settings file, without `[server] bind`; `{tmp}` in it stands for the working directory.
    `words`: what its address offers, such as `h2c`.
    """

    words = ""

    def __init__(self, ini: str, folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.config = folder / "gproxy.ini"
        self.config.write_text(ini.replace("{tmp}", str(folder)))
        address = f"127.0.0.1:{self.port} {self.words}".strip()
        self._command = [
            sys.executable, "-m", "gproxy", "--bind", address, "--config", str(self.config), *arguments,
        ]  # fmt: skip
        self._environ = {**os.environ, **(environ or {})}
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        self.process = self._start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait_for_line("serves on")
        except BaseException:
            self._end()
            raise
        return self

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command, cwd=self.folder, env=self._environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if error is not None:
            sys.stderr.write("\n--- the gateway's error log ---\n" + self.errors)

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(PATIENCE)
        for stream in (self.process.stderr, self.process.stdout):
            if stream:
                stream.close()

    def _read(self) -> None:
        stream = self.process.stderr
        assert stream is not None
        for line in stream:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def errors(self) -> str:
        """The standard error so far."""
        return "".join(self._lines)

    def wait_for_line(self, text: str) -> str:
        """Wait for a line of the error log with this text, and return it. Raises AssertionError if none comes."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while time.monotonic() < deadline:
                found = next((line for line in self._lines if text in line), None)
                if found is not None:
                    return found
                if self.process.poll() is not None and not self._reader.is_alive():
                    break
                self._changed.wait(0.2)
        raise AssertionError(f"no line with {text!r} in the error log:\n{self.errors}")

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers, in the order of their start."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"gproxy.server.worker" in _command_line(pid)]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def reload(self) -> None:
        """Send HUP, and wait until the next generation serves."""
        before = len(self.errors)

        def has_reloaded() -> bool:
            _, begin, outcome = self.errors[before:].rpartition("SIGHUP: reloading")
            return bool(begin) and "reloaded: generation" in outcome

        self.signal(signal.SIGHUP)
        eventually(has_reloaded, "a reload")

    def wait(self) -> int:
        """Wait until the process has exited, and return its exit code."""
        return self.process.wait(PATIENCE)

    def access(self, count: int = 1, name: str = "log/access.log") -> list[dict[str, str]]:
        """Wait until there are `count` access lines in LTSV, and return all of them as dicts."""
        path = self.folder / name
        eventually(lambda: path.exists() and path.read_text().count("\n") >= count, plural(count, "access line"))
        whole, _, _ = path.read_text().rpartition("\n")  # the rest is an incomplete line
        return [dict(field.split(":", 1) for field in line.split("\t")) for line in whole.split("\n") if line]

    def line(self, path: str) -> dict[str, str]:
        """Wait for an access line with this path, and return the last one."""
        found: list[dict[str, str]] = []

        def is_there() -> bool:
            found[:] = [line for line in self.access() if line["path"] == path]
            return bool(found)

        eventually(is_there, f"an access line for {path}")
        return found[-1]

    def wait_until_idle(self) -> None:
        """Wait until /health reports no active attempt and no queued request."""
        eventually(lambda: not sum(self.active()), "release of all leases")

    def active(self) -> list[int]:
        """Return the active attempts of each backend, then the active and the queued requests of each limit."""
        report = self.health()
        counts = [backend["active"] for upstream in report["upstreams"].values() for backend in upstream]
        limits = report.get("admission", {}).values()
        return counts + [limit.get(key, 0) for limit in limits for key in ("active", "queued")]

    def connect(self) -> "Wire":
        """Return a raw connection to the gateway."""
        return Wire(socket.create_connection(("127.0.0.1", self.port), PATIENCE))

    def ask(self, raw: bytes | str) -> "Answer":
        """Send raw bytes on a new connection, return one response, and close the connection."""
        with self.connect() as wire:
            wire.send(raw)
            return wire.read_response()

    def get(self, path: str = "/", *headers: str, method: str = "GET") -> "Answer":
        """Send a request with these header lines, and return the response."""
        lines = "".join(f"{header}\r\n" for header in headers)
        with self.connect() as wire:
            wire.send(f"{method} {path} HTTP/1.1\r\nHost: gateway.test\r\n{lines}\r\n")
            return wire.read_response(head_only=method == "HEAD")

    def health(self) -> dict[str, Any]:
        """Return the report of /health, if the health handler is on."""
        import json

        report: dict[str, Any] = json.loads(self.get("/health").body)
        return report

    def wait_for_answers_of(self, workers: int) -> set[int]:
        """Wait until so many workers have answered /health, and return their process ids."""
        found: set[int] = set()

        def are_there() -> bool:
            found.add(self.health()["pid"])
            return len(found) == workers

        eventually(are_there, plural(workers, "worker"))
        return found

    def metric(self, sample: str) -> float:
        """Return the value of a sample on /metrics, by its name and labels as the page has them; 0 without it."""
        lines = self.get("/metrics").body.decode().splitlines()
        return next((float(line.removeprefix(f"{sample} ")) for line in lines if line.startswith(f"{sample} ")), 0.0)


class Message:
    """A message as received: head, first line, header fields with names in lower case, body."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head = head
        self.body = body
        self.line, _, fields = head.decode("latin-1").partition("\r\n")
        self.fields = [
            (n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in fields.split("\r\n") if line)
        ]

    def __getitem__(self, name: str) -> str | None:
        """Return the value of a header, joined if repeated; None if absent."""
        found = [value for key, value in self.fields if key == name.lower()]
        return ", ".join(found) if found else None


class Answer(Message):
    """A response; `complete` is False if it was cut off."""

    def __init__(self, head: bytes, body: bytes, *, complete: bool = True) -> None:
        super().__init__(head, body)
        self.complete = complete
        self.status = int(self.line.split(" ")[1]) if self.line else 0

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.fields} {self.body[:200]!r} complete={self.complete}>"


class Wire:
    """A raw client connection with just enough HTTP/1.1 to separate responses."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        #: True if the peer has reset the connection.
        self.was_reset = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, raw: bytes | str) -> None:
        self.sock.sendall(raw.encode("latin-1") if isinstance(raw, str) else raw)

    def send_while_taken(self, data: bytes, patience: float) -> int:
        """Send the data again and again until nothing is taken for so many seconds; return the number of bytes."""
        self.sock.settimeout(patience)
        total = 0
        try:
            while True:
                total += self.sock.send(data)
        except OSError:  # a timeout, or the peer has closed
            return total
        finally:
            self.sock.settimeout(PATIENCE)

    def shut_writing(self) -> None:
        """Send no more; what the peer sends is still received."""
        self.sock.shutdown(socket.SHUT_WR)

    def read_more(self) -> bool:
        """Receive once; return False at the end of the stream."""
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            self.was_reset = True
            return False
        self.buffer += data
        return bool(data)

    def read_until(self, text: bytes) -> bytes:
        """Return the bytes up to and including `text`; the remaining bytes if the connection ends first."""
        while text not in self.buffer and self.read_more():
            pass
        end = self.buffer.find(text)
        cut = len(self.buffer) if end < 0 else end + len(text)
        data, self.buffer = self.buffer[:cut], self.buffer[cut:]
        return data

    def read_exactly(self, size: int) -> bytes:
        while len(self.buffer) < size and self.read_more():
            pass
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read_all(self) -> bytes:
        """Return all bytes until the connection ends."""
        while self.read_more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def is_closed(self) -> bool:
        """Wait for bytes or the end; return whether the connection has ended with nothing more to read."""
        return not self.buffer and not self.read_more()

    def read_response(self, *, head_only: bool = False) -> Answer:
        """Return one final or interim response, chunks decoded."""
        head = self.read_until(b"\r\n\r\n")
        if not head.endswith(b"\r\n\r\n"):
            return Answer(head, b"", complete=False)
        answer = Answer(head.removesuffix(b"\r\n\r\n"), b"")
        if head_only or answer.status in (204, 304) or answer.status < 200:
            return answer
        if (answer["transfer-encoding"] or "").lower() == "chunked":
            answer.body, answer.complete = self._read_chunks()
        elif answer["content-length"] is not None:
            size = int(answer["content-length"])
            answer.body = self.read_exactly(size)
            answer.complete = len(answer.body) == size
        else:
            answer.body = self.read_all()
            answer.complete = not self.was_reset
        return answer

    def _read_chunks(self) -> tuple[bytes, bool]:
        body = b""
        while True:
            line = self.read_until(b"\r\n")
            if not re.fullmatch(rb"[0-9a-fA-F]+\r\n", line):
                return body, False
            size = int(line, 16)
            if size == 0:
                while (line := self.read_until(b"\r\n")) not in {b"\r\n", b""}:  # trailers
                    pass
                return body, line == b"\r\n"
            data = self.read_exactly(size + 2)
            body += data[:size]
            if len(data) != size + 2:
                return body, False


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()  # a zombie's is empty
    except OSError:
        return b""


def _ports() -> Iterator[int]:
    """Yield the ports of this process in turn; those of processes of pytest-xdist differ."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SHARES
    ports = list(_PORTS[process::_SHARES])
    random.shuffle(ports)
    return itertools.cycle(ports)


_unused_ports = _ports()


def free_port() -> int:
    """Return a port that is free now, and that no test has had lately."""
    for port in itertools.islice(_unused_ports, 100):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("100 ports are all in use; expected a free one")


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds. Raises AssertionError after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"timeout while waiting for {what}")
        time.sleep(0.01)
