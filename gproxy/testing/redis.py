"""A real redis-server for tests: empty, without persistence; it can be killed, frozen and brought back."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

from gproxy.testing.gateway import PATIENCE, eventually, free_port


class RunningRedis:
    """Use it in a `with`. `url` is for settings; `arguments` are for redis-server: "--requirepass", "secret"."""

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
        """Empty, whatever there was before."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        eventually(self._listens, "redis-server listens")

    def _listens(self) -> bool:
        with socket.socket() as sock:
            return not sock.connect_ex(("127.0.0.1", self.port))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)

    def freeze(self) -> None:
        """It takes connections and bytes, and says nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """What it answers to an inline command, up to 64 KiB: "INFO", "commandstats"."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as sock:
            sock.sendall((" ".join(words) + "\r\nQUIT\r\n").encode())
            answer = b""
            while data := sock.recv(65536):
                answer += data
        return answer.decode().removesuffix("+OK\r\n")

    def calls(self, command: str) -> int:
        """How often it was sent that command, since it was started."""
        for line in self.ask("INFO", "commandstats").splitlines():
            if line.startswith(f"cmdstat_{command}:calls="):
                return int(line.partition("=")[2].partition(",")[0])
        return 0
