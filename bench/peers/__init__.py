"""The proxies, and the servers of apps, that are compared: for each name, the command that starts it.

Each does as many of the ten features as it offers by configuration: gproxy and the gateway in Go all of them, nginx,
HAProxy and Caddy all but tokens, the two Python proxies and go-h2 none but forwarding.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.requests import SECRET
from bench.templates import TEMPLATES as _HERE
from bench.templates import fill

_BUILT = _HERE.parents[1] / ".bench"
_NGINX_TLS = "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3; http2_max_concurrent_streams 256;"
_NGINX_GRPC = "location /users/Greet { grpc_ssl_protocols TLSv1.3; grpc_pass grpcs://greeter; }"
_GREETER = """\
[route:greeter]
path = /users/Greet
upstream = greeter
[upstream:greeter]
backends = https://localhost:{}
http2 = yes
tls_ca = {}
"""


@dataclass(frozen=True)
class Secure:
    """What HTTP/2 over TLS needs: a certificate with its key, who has signed it, and the port of a gRPC server."""

    certificate: Path
    key: Path
    authority: Path
    grpc: int


@dataclass(frozen=True)
class Place:
    """What a peer is told: where to serve, what stands behind it, where to write, whether to ask for tokens.

    `app`: whether it serves the app, in place of backends. `secure`: with what it serves HTTP/2; None: it serves
    HTTP/1.1. `grpc`: whether the gRPC server stands behind it.
    """

    port: int
    backends: tuple[int, int]
    folder: Path
    jwt: bool = False
    app: bool = False
    secure: Secure | None = None
    grpc: bool = False

    def fill(self, template, **values):
        backend, other = self.backends
        return fill(template, self.folder, port=self.port, backend=backend, other=other, **values)

    def copy_app(self):
        """Copy the app into the folder, and return its name there."""
        shutil.copy(_HERE / "flask_app.py", self.folder)
        return "flask_app:app"


def _plain(place):
    return [sys.executable, _HERE / "plain.py", place.port, place.backends[0]]


def _aiohttp(place):
    return [sys.executable, _HERE / "aiohttp_proxy.py", place.port, place.backends[0]]


def _nginx(place):
    secure = place.secure
    values = {"listen": "", "tls": "", "greeter": place.backends[0], "grpc": _NGINX_GRPC if place.grpc else ""}
    if secure:
        tls = _NGINX_TLS.format(secure.certificate, secure.key)
        values |= {"listen": "ssl http2", "tls": tls, "greeter": secure.grpc}
    config = place.fill("nginx.conf", **values)
    return ["nginx", "-e", place.folder / "nginx-peer.err", "-c", config]


def _haproxy(place):
    return ["haproxy", "-db", "-f", place.fill("haproxy.cfg")]


def _caddy(place):
    return ["caddy", "run", "--adapter", "caddyfile", "--config", place.fill("Caddyfile")]


def _go(place):
    log = place.folder / "go-access.log"
    users = ",".join(f"http://127.0.0.1:{port}" for port in place.backends)
    secret = SECRET if place.jwt else ""
    return [_build_go("go"), "-bind", f"127.0.0.1:{place.port}", "-users", users, "-log", log, "-secret", secret]


def _go_h2(place):
    secure = place.secure
    backend = f"https://localhost:{secure.grpc}" if place.grpc else f"http://127.0.0.1:{place.backends[0]}"
    tls = ["-cert", secure.certificate, "-key", secure.key, *["-ca", secure.authority] * place.grpc]
    return [_build_go("go-h2"), "-bind", f"127.0.0.1:{place.port}", "-backend", backend, *tls]


def _build_go(name):
    source, built = _HERE / name / "main.go", _BUILT / name
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        built.parent.mkdir(exist_ok=True)
        subprocess.run(["go", "build", "-o", built, source], check=True)
    return built


def _gunicorn(place):
    """One worker of gevent. It writes an access log, as the gateway does."""
    log = place.folder / "gunicorn-access.log"
    served = ["--bind", f"127.0.0.1:{place.port}", "--access-logfile", log, place.copy_app()]
    return [sys.executable, "-m", "gunicorn", "--worker-class", "gevent", "--workers", "1", *served]


def gproxy(place, workers=1):
    """The command; the settings are etc/gproxy.ini's, but for limits, or those of the app."""
    handlers = ["compress", "health", "rate_limit", *["jwt"] * place.jwt]
    if place.app:
        config = place.fill("app.ini", app=place.copy_app())
    else:
        more = _secure_sections(place) if place.secure else ""
        config = place.fill("gproxy.ini", secret=SECRET, handlers=", ".join(handlers), more=more)
    address = f"127.0.0.1:{place.port}{' tls' if place.secure else ''}"
    options = "--bind", address, "--workers", workers, "--config", config
    return [sys.executable, "-m", "gproxy", *options]


def _secure_sections(place):
    secure = place.secure
    tls = f"[tls:bench]\ncertificate = {secure.certificate}\nkey = {secure.key}\n"
    return tls + _GREETER.format(secure.grpc, secure.authority) if place.grpc else tls


PEERS = {
    "plain": _plain, "nginx": _nginx, "haproxy": _haproxy, "caddy": _caddy, "aiohttp": _aiohttp, "go": _go,
    "go-h2": _go_h2, "gunicorn": _gunicorn, "gproxy": gproxy,
}  # fmt: skip
#: Those that serve an app. The first is the yardstick, and no proxy.
APP_SERVERS = "gunicorn", "gproxy"
#: Those that check tokens. Where every request brings one, the others would do less for it, and are not measured.
WITH_TOKENS = "go", "gproxy"
#: Those that serve HTTP/2, and the one that serves nothing else here.
WITH_HTTP2 = "go-h2", "nginx", "gproxy"
ONLY_HTTP2 = "go-h2"
