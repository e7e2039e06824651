"""A redis-server process for tests, without persistence: a test can kill, freeze and restart it."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

from gproxy.testing.gateway import PATIENCE, eventually, free_port


class RunningRedis:
    """A redis-server for use in a `with`; `url` is for settings, `arguments` are its own: "--requirepass", "secret"."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.port = free_port()
        self.path = folder / "redis.sock"
        self.url = f"redis://127.0.0.1:{self.port}/0"
        program = shutil.which("redis-server")
        assert program, "redis-server is not installed; scripts/test installs it"
        self._command = [
            program, "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.path),
            "--dir", str(folder), "--save", "", "--appendonly", "no", *arguments,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the server, without data."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        eventually(self._listens, "redis-server to listen")

    def _listens(self) -> bool:
        with socket.socket() as sock:
            return not sock.connect_ex(("127.0.0.1", self.port))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)

    def freeze(self) -> None:
        """Stop the process: the kernel accepts connections and bytes, and the server does not answer."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """Return the reply to an inline command, up to 64 KiB: "INFO", "commandstats"."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as sock:
            sock.sendall((" ".join(words) + "\r\nQUIT\r\n").encode())
            answer = b""
            while data := sock.recv(65536):
                answer += data
        return answer.decode().removesuffix("+OK\r\n")

    def calls(self, command: str) -> int:
        """Return the number of calls of a command since the start of the server."""
        for line in self.ask("INFO", "commandstats").splitlines():
            if line.startswith(f"cmdstat_{command}:calls="):
                return int(line.partition("=")[2].partition(",")[0])
        return 0
