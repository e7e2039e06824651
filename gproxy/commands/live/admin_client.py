"""A client of the admin API, for the commands: by the settings file, or by a URL."""

import argparse
import http.client
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from gproxy.config.ini.files import parse_files, read_files
from gproxy.config.load import load_process
from gproxy.config.problems import ConfigError, Problem
from gproxy.config.types import Address

#: Seconds that an answer may take; a reload may take a minute.
_PATIENCE: Final = 100.0
_KINDS: Final[Mapping[str, type[http.client.HTTPConnection]]] = {
    "http": http.client.HTTPConnection, "https": http.client.HTTPSConnection,
}  # fmt: skip


class AdminError(Exception):
    """A monitor that does not answer, or an operation that failed; the message is one line.

    reasons: of a failed reload, a line each; empty for other operations. status: of the answer; 0 without one.
    """

    def __init__(self, message: str, reasons: Sequence[str] = (), status: int = 0) -> None:
        super().__init__(message)
        self.reasons = reasons
        self.status = status


class AdminClient:
    """A client of one monitor. A place is `unix:PATH` or `http[s]://HOST:PORT`; `token` is for TCP."""

    def __init__(self, place: str, token: str = "") -> None:
        self.place = place
        self._token = token.strip()

    @classmethod
    def of(cls, config: str | None, url: str | None, token: str = "") -> "AdminClient":
        """Return the client of the monitor at `url`, or of the gateway with this settings file.

        Without `[admin] bind` the socket that `gproxy dev` opens counts. Raises ArgumentError without both, ConfigError
        for a file that cannot be read, and AdminError if the file has no monitor.
        """
        if url:
            return cls(url, token or os.environ.get("GPROXY_ADMIN_TOKEN", ""))
        if not config:
            raise argparse.ArgumentError(None, "missing: --config FILE or --admin URL")
        files = read_files(config, os.environ)
        problems: list[Problem] = []
        if parse_files(files, os.environ, problems) is None:
            raise ConfigError(problems)
        server, _, admin, _ = load_process(files, {})
        if server is None or admin is None:
            raise AdminError(f"{config}: [server] or [admin] has a problem; gproxy check --config {config} reports it")
        if not admin.bind:
            if (opened := server.state_dir.absolute() / "admin.sock").is_socket():  # by a running `gproxy dev`
                return cls(f"unix:{opened}")
            raise AdminError(
                f"{config}: there is no [admin] bind, so the gateway cannot be asked; write bind = unix:PATH in [admin]"
            )
        place = place_of(admin.bind)
        if place.startswith("unix:"):
            return cls(place)
        return cls(place, token or (admin.token.reveal() if admin.token is not None else _kept_token(server.state_dir)))

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 JSON
        """Return the answer of a GET. Raises AdminError."""
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path, None)

    def send(self, method: str, path: str, content: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 JSON
        """Return the answer of an operation that changes something. Raises AdminError."""
        return self._ask(method, path, dict(content or {}))

    def pieces(self, target: str, method: str = "GET", content: Mapping[str, object] | None = None) -> Iterator[bytes]:
        """Yield an answer as it comes, which may go on, as server-sent events do. Raises AdminError."""
        connection = self.connection()
        try:
            response = self._response(connection, method, target, content)
            if response.status >= 400:
                _content(response, response.read())
            if connection.sock is not None:
                connection.sock.settimeout(None)
            while piece := response.read1(65536):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise self._silence(error) from None
        finally:
            connection.close()

    def _ask(self, method: str, target: str, content: object) -> Any:  # noqa: ANN401 JSON
        connection = self.connection()
        try:
            response = self._response(connection, method, target, content)
            return _content(response, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise self._silence(error) from None
        finally:
            connection.close()

    def _response(
        self, connection: http.client.HTTPConnection, method: str, target: str, content: object
    ) -> http.client.HTTPResponse:
        """Send a request and return the head of its response. Raises OSError, HTTPException and AdminError."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        body = None
        if content is not None:
            headers["Content-Type"], body = "application/json", json.dumps(content)
        try:
            connection.request(method, target, body, headers)
        except ValueError:  # whose text has the token
            raise AdminError("the token has characters that no header can carry") from None
        return connection.getresponse()

    def _silence(self, error: Exception) -> AdminError:
        if isinstance(error, http.client.IncompleteRead):
            return AdminError(f"the monitor at {self.place} has ended within its answer")
        text = f"{getattr(error, 'strerror', None) or error}; is the gateway running, and is this its [admin] bind?"
        return AdminError(f"the monitor at {self.place} does not answer: {text}")

    def connection(self) -> http.client.HTTPConnection:
        """Return a new connection to the monitor. Raises AdminError for a place that is none."""
        if self.place.startswith("unix:"):
            return _UnixConnection(Path(self.place.removeprefix("unix:")))
        try:
            parts = urlsplit(self.place)
            return _KINDS[parts.scheme](parts.hostname or "", parts.port, timeout=_PATIENCE)
        except (ValueError, LookupError):
            raise AdminError(f"{self.place}: expected unix:PATH or http://HOST:PORT") from None


def add_admin_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of each command that asks a monitor, besides --config."""
    text = "place of the monitor, instead of --config: unix:PATH or http://HOST:PORT; GPROXY_ADMIN_TOKEN has the token"
    parser.add_argument("--admin", metavar="URL", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON")


def ask_monitor(options: argparse.Namespace, command: Callable[[AdminClient, argparse.Namespace], int | None]) -> int:
    """Run the command with the client of its monitor, and return its exit code; 1 with the reason if it fails."""
    try:
        return command(AdminClient.of(options.config, options.admin), options) or 0
    except AdminError as error:
        print(error, file=sys.stderr)
        return 1


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(str(self._path))


def _kept_token(state_dir: Path) -> str:
    """Return the token that the gateway has generated. Raises AdminError if the user may not read it."""
    try:
        return (state_dir / "admin.token").read_text()
    except (OSError, ValueError) as error:
        raise AdminError(f"the token in {state_dir}/admin.token cannot be read: {error}") from None


def place_of(addresses: tuple[Address, ...]) -> str:
    """Return the best address to ask: a unix socket, which needs no token, else the first one."""
    address = next((one for one in addresses if one.kind == "unix"), addresses[0])
    if address.kind == "unix":
        return f"unix:{address.path}"
    host = address.host if address.host not in {"", "0.0.0.0", "::"} else "localhost"  # noqa: S104
    return f"{'https' if address.tls is not None else 'http'}://{f'[{host}]' if ':' in host else host}:{address.port}"


def _content(response: http.client.HTTPResponse, data: bytes) -> Any:  # noqa: ANN401 JSON
    try:
        content = json.loads(data) if data else None
    except (ValueError, RecursionError):
        content = data.decode(errors="replace")
    if response.status >= 400:
        problem = content if isinstance(content, dict) else {}
        detail = f": {problem['detail']}" if problem.get("detail") else ""
        raise AdminError(f"{response.status} {response.reason}{detail}", problem.get("reasons", ()), response.status)
    return content
