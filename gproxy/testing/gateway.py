"""A real gateway process for tests: started on a free port, stopped at the end, its log and access lines at hand."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

#: How long a test waits for what must happen, in seconds; generous, because it is only reached when a test fails.
PATIENCE: Final = 15.0


class RunningGateway:
    """`gproxy` as a user starts it. Use it in a `with`; `port` is where it serves, `errors` its standard error.

    `ini` is the settings file without `[server] bind`, which is added, and with `{tmp}` for the working directory.
    """

    def __init__(self, ini: str, folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.config = folder / "gproxy.ini"
        self.config.write_text(ini.replace("{tmp}", str(folder)))
        self._command = [
            sys.executable, "-m", "gproxy", "--bind", f"127.0.0.1:{self.port}", "--config", str(self.config),
            *arguments,
        ]  # fmt: skip
        self._environ = {**os.environ, **(environ or {})}
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command, cwd=self.folder, env=self._environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait_for_line("serves on")
        except BaseException:
            self._end()
            raise
        return self

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
        """All of standard error so far."""
        return "".join(self._lines)

    def wait_for_line(self, text: str) -> str:
        """The first error-log line with this text. Raises AssertionError if it does not come."""
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
        """The process ids of its workers, those that started first coming first."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"gproxy.server.worker" in _command_line(pid)]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(PATIENCE)

    def access(self, count: int = 1, name: str = "log/access.log") -> list[dict[str, str]]:
        """The access lines, once there are `count`; LTSV as dicts."""
        path = self.folder / name
        eventually(lambda: path.exists() and path.read_text().count("\n") >= count, f"{count} access lines")
        whole, _, _ = path.read_text().rpartition("\n")  # what follows is being written
        return [dict(field.split(":", 1) for field in line.split("\t")) for line in whole.split("\n") if line]

    def line(self, path: str) -> dict[str, str]:
        """The access line of the request for this path, once it is there; of several the last."""
        found: list[dict[str, str]] = []

        def is_there() -> bool:
            found[:] = [line for line in self.access() if line["path"] == path]
            return bool(found)

        eventually(is_there, f"an access line for {path}")
        return found[-1]

    def wait_until_idle(self) -> None:
        """Until no backend has an attempt under way and nobody waits for one, by what /health says."""
        eventually(lambda: not sum(self.active()), "all leases given back")

    def active(self) -> list[int]:
        """How many attempts each backend has under way, then how many each limit lets in and keeps waiting."""
        facts = self.health()
        counts = [backend["active"] for upstream in facts["upstreams"].values() for backend in upstream]
        gates = facts.get("admission", {}).values()
        return counts + [gate.get(key, 0) for gate in gates for key in ("active", "queued")]

    def connect(self) -> "Wire":
        """A raw connection to it."""
        return Wire(socket.create_connection(("127.0.0.1", self.port), PATIENCE))

    def ask(self, raw: bytes | str) -> "Answer":
        """Send raw bytes on a new connection, read one response, close."""
        with self.connect() as wire:
            wire.send(raw)
            return wire.read_response()

    def get(self, path: str = "/", *headers: str, method: str = "GET") -> "Answer":
        """A plain request with these header lines."""
        lines = "".join(f"{header}\r\n" for header in headers)
        with self.connect() as wire:
            wire.send(f"{method} {path} HTTP/1.1\r\nHost: gateway.test\r\n{lines}\r\n")
            return wire.read_response(head_only=method == "HEAD")

    def health(self) -> dict[str, Any]:
        """What /health says, if the health handler is on."""
        import json

        facts: dict[str, Any] = json.loads(self.get("/health").body)
        return facts


class Message:
    """What came over the wire: its head, its first line, its header fields with names in lower case, its body."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head = head
        self.body = body
        self.line, _, fields = head.decode("latin-1").partition("\r\n")
        self.fields = [
            (n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in fields.split("\r\n") if line)
        ]

    def __getitem__(self, name: str) -> str | None:
        """A header's value, joined if repeated; None if absent."""
        found = [value for key, value in self.fields if key == name.lower()]
        return ", ".join(found) if found else None


class Answer(Message):
    """A response; `complete` is False if it broke off."""

    def __init__(self, head: bytes, body: bytes, *, complete: bool = True) -> None:
        super().__init__(head, body)
        self.complete = complete
        self.status = int(self.line.split(" ")[1]) if self.line else 0

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.fields} {self.body[:200]!r} complete={self.complete}>"


class Wire:
    """A raw client connection with just enough HTTP to cut responses apart."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        #: Did the peer end it with a reset?
        self.was_reset = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, raw: bytes | str) -> None:
        self.sock.sendall(raw.encode("latin-1") if isinstance(raw, str) else raw)

    def read_more(self) -> bool:
        """Receive once; False at the end."""
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            self.was_reset = True
            return False
        self.buffer += data
        return bool(data)

    def read_until(self, text: bytes) -> bytes:
        """Everything up to and with `text`; what there is if the connection ends first."""
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
        """Until the gateway closes."""
        while self.read_more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def is_closed(self) -> bool:
        """Has the gateway closed, with nothing more to read? Waits for it."""
        return not self.buffer and not self.read_more()

    def read_response(self, *, head_only: bool = False) -> Answer:
        """One final or interim response, chunks decoded."""
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
                return body, self.read_until(b"\r\n").endswith(b"\r\n")
            data = self.read_exactly(size + 2)
            body += data[:size]
            if len(data) != size + 2:
                return body, False


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()  # that of a zombie is empty
    except OSError:
        return b""


def free_port() -> int:
    """A port that nobody uses right now.

    From below the range that the kernel takes ports for outgoing connections from: one of those may come between
    asking for a port and listening on it.
    """
    for port in random.sample(range(15_000, 32_000), 100):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no free port among a hundred")


def eventually(condition: Any, what: str) -> None:
    """Wait until it holds. Raises AssertionError after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never came: {what}")
        time.sleep(0.01)
