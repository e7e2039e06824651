"""The proxies, and the servers of apps, that are compared: for each name, the command that starts it.

Each does as many of the ten features as it offers by configuration: gproxy and the gateway in Go all of them, nginx,
HAProxy and Caddy all but tokens, the two Python proxies none but forwarding.
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


@dataclass(frozen=True)
class Place:
    """What a peer is told: where to serve, what stands behind it, where to write, whether to ask for tokens.

    `app`: whether it serves the app, in place of backends.
    """

    port: int
    backends: tuple[int, int]
    folder: Path
    jwt: bool = False
    app: bool = False

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
    return ["nginx", "-e", place.folder / "nginx-peer.err", "-c", place.fill("nginx.conf")]


def _haproxy(place):
    return ["haproxy", "-db", "-f", place.fill("haproxy.cfg")]


def _caddy(place):
    return ["caddy", "run", "--adapter", "caddyfile", "--config", place.fill("Caddyfile")]


def _go(place):
    log = place.folder / "go-access.log"
    users = ",".join(f"http://127.0.0.1:{port}" for port in place.backends)
    secret = SECRET if place.jwt else ""
    return [_build_go(), "-bind", f"127.0.0.1:{place.port}", "-users", users, "-log", log, "-secret", secret]


def _build_go():
    source, built = _HERE / "go/main.go", _BUILT / "go-gateway"
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
        config = place.fill("gproxy.ini", secret=SECRET, handlers=", ".join(handlers))
    options = "--bind", f"127.0.0.1:{place.port}", "--workers", workers, "--config", config
    return [sys.executable, "-m", "gproxy", *options]


PEERS = {
    "plain": _plain, "nginx": _nginx, "haproxy": _haproxy, "caddy": _caddy, "aiohttp": _aiohttp, "go": _go,
    "gunicorn": _gunicorn, "gproxy": gproxy,
}  # fmt: skip
#: Those that serve an app. The first is the yardstick, and no proxy.
APP_SERVERS = "gunicorn", "gproxy"
#: Those that check tokens. Where every request brings one, the others would do less for it, and are not measured.
WITH_TOKENS = "go", "gproxy"
