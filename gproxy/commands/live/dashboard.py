"""`gproxy dashboard`: serves the page of a unix socket on a loopback port while it runs.

The URL that it prints works once: it gives a cookie for this port, without which the port gives 401. Each request has a
connection of its own, so each is checked; its bytes go to the socket, and those of the answer come back.
"""

import argparse
import json
import secrets
import socket
from contextlib import suppress
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Final
from urllib.parse import parse_qs, urlsplit

from gproxy.commands.live.admin_client import AdminClient, AdminError, add_admin_options, ask_monitor

#: Seconds that the other side may be silent; the page's events come once a second.
_PATIENCE: Final = 120.0
_ONCE: Final = "once"
#: Fields that belong to the connection between browser and command.
_OWN: Final = frozenset({"connection", "cookie", "keep-alive", "proxy-connection", "upgrade"})


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the port."""
    add_admin_options(parser)
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="the loopback port; default: a free one")


def _port(text: str) -> int:
    """Return the number of a port. Raises ArgumentTypeError for what is none."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535; found {text!r}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Serve the page until a signal."""
    return ask_monitor(options, _serve)


def _serve(client: AdminClient, options: argparse.Namespace) -> None:
    client.get("/v1/status")
    if not client.place.startswith("unix:"):
        _announce(f"{client.place}/", options, "log in there with the token")
        return
    try:
        server = _Server(options.port, Path(client.place.removeprefix("unix:")))
    except OSError as error:
        raise AdminError(f"port {options.port} cannot be opened: {error.strerror}") from None
    with server, suppress(KeyboardInterrupt):
        _announce(server.url, options, "works once; ends with this command")
        server.serve_forever()


def _announce(url: str, options: argparse.Namespace, note: str) -> None:
    print(json.dumps({"url": url}) if options.json else f"{url}\n({note})", flush=True)


class _Server(ThreadingHTTPServer):
    """The server on the loopback port. Raises OSError."""

    daemon_threads = True

    def __init__(self, port: int, target: Path) -> None:
        super().__init__(("127.0.0.1", port), _Forwarding)
        self.target = target
        #: The name of the cookie: browsers send cookies to all ports of a host.
        self.cookie = f"gproxy_dashboard_{self.server_port}"
        self.session = secrets.token_urlsafe(32)
        self._once = secrets.token_urlsafe(32)
        self._lock = Lock()

    @property
    def url(self) -> str:
        """The URL that works once."""
        return f"http://127.0.0.1:{self.server_port}/?{_ONCE}={self._once}"

    def admits(self, key: str) -> bool:
        """Return whether the key of the URL is right, once."""
        with self._lock:
            is_right = bool(self._once) and compare_digest(key.encode(), self._once.encode())
            if is_right:
                self._once = ""
            return is_right

    def handle_error(self, request: object, client_address: object) -> None:
        """Report nothing: a browser has left, or the monitor has ended."""


class _Forwarding(BaseHTTPRequestHandler):
    """A request of a browser."""

    server: _Server
    timeout = _PATIENCE
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        self.close_connection = True
        host = self.headers.get("host", "")
        if host not in {f"127.0.0.1:{self.server.server_port}", f"localhost:{self.server.server_port}"}:
            self._answer(421, "This is the page of a gateway on a loopback port, and no other host.")
        elif self._has_session():
            self._pass_on()
        elif self.command == "GET" and self.server.admits(self._key()):
            cookie = f"{self.server.cookie}={self.server.session}; Path=/; HttpOnly; SameSite=Strict"
            self._answer(303, "", {"Location": "/", "Set-Cookie": cookie})
        else:
            self._answer(401, "The URL works once. Run gproxy dashboard again for a new one.")

    do_GET = do_HEAD = do_OPTIONS = do_POST = do_PUT = do_PATCH = do_DELETE = _forward  # noqa: N815 names of the library

    def _key(self) -> str:
        return parse_qs(urlsplit(self.path).query).get(_ONCE, [""])[0]

    def _has_session(self) -> bool:
        try:
            found = SimpleCookie(self.headers.get("cookie", "")).get(self.server.cookie)
        except CookieError:
            return False
        return found is not None and compare_digest(found.value.encode(), self.server.session.encode())

    def _pass_on(self) -> None:
        fields = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in _OWN]
        head = [self.requestline, *fields, "Connection: close", "", ""]
        length = self.headers.get("content-length", "0")
        body = self.rfile.read(int(length)) if length.isascii() and length.isdecimal() else b""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(_PATIENCE)
            try:
                monitor.connect(str(self.server.target))
                monitor.sendall("\r\n".join(head).encode("latin-1") + body)
            except OSError as error:
                self._answer(502, f"The monitor does not answer: {error.strerror}")
                return
            while data := monitor.recv(65536):
                self.wfile.write(data)

    def _answer(self, status: int, text: str, fields: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        own = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), "Connection": "close"}
        safe = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        for name, value in {**own, **safe, **(fields or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: the URL holds a secret."""
