"""etc/gproxy.ini as it ships, with other ports, in front of three scripted backends; and what its tests ask for."""

import json
import re
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jwt

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, eventually

ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "etc" / "gproxy.ini").read_text()
PORTS = ("5001", "5002", "5003")

#: For tests that share a gateway and ask more than a hundred times a minute.
UNLIMITED = ("limit = 100/minute", "limit = 1000000/minute")
PUBLIC = (
    ("upstream = users\n", "upstream = users\nskip = jwt\n"),
    ("upstream = orders\n", "upstream = orders\nskip = jwt\n"),
)


def shipped(ports, *changes, more=""):
    """The shipped file with these backend ports; `changes` are texts in it with what stands there instead."""
    text = SHIPPED
    new = {before: str(after) for before, after in zip(PORTS, ports, strict=True)}
    assert all(port in text for port in PORTS)
    text = re.sub("|".join(PORTS), lambda found: new[found[0]], text)  # at once: a new port may contain an old one
    for before, after in changes:
        assert before in text, f"the shipped file has no {before!r}"
        text = text.replace(before, after, 1)
    return text + more


class Setup:
    """Three backends (users: one and three, orders: two), and the gateway before them."""

    def __init__(self, backends, gateway):
        self.backends = self.one, self.two, self.three = backends
        self.gateway = gateway

    def __getattr__(self, name):
        return getattr(self.gateway, name)

    @property
    def received(self):
        """How many requests the backends got together."""
        return sum(len(backend.requests) for backend in self.backends)

    def token(self, **claims):
        """A token for alice, signed by PyJWT with the secret that the gateway has made; a claim of None is left out."""
        secret = (self.gateway.folder / "var" / "jwt.secret").read_text().strip()
        return signed(secret, "HS256", **claims)

    def bearer(self, **claims):
        return f"Authorization: Bearer {self.token(**claims)}"

    def line_of(self, answer):
        """The access line of the request that got this answer."""
        wanted = answer["x-request-id"]
        found = []
        eventually(lambda: found.extend(e for e in self.gateway.access() if e["id"] == wanted) or found, "its line")
        (line,) = found
        return line


def signed(key, algorithm, **claims):
    given = {"sub": "alice", "role": "admin", "exp": int(time.time()) + 600} | claims
    return jwt.encode({name: value for name, value in given.items() if value is not None}, key, algorithm=algorithm)


@contextmanager
def running(folder, *changes, scripts=(), more="", environ=None):
    """The gateway with the shipped file, changed so, in front of backends that say which of the three they are."""
    with ExitStack() as stack:
        chosen = [*scripts, *[None] * 3][:3]
        backends = [
            stack.enter_context(Backend(script or answering(body=name, headers="Content-Type: text/plain\r\n")))
            for script, name in zip(chosen, (b"one", b"two", b"three"), strict=True)
        ]
        text = shipped([backend.port for backend in backends], *changes, more=more)
        yield Setup(backends, stack.enter_context(RunningGateway(text, folder, environ=environ)))


def line_with(stream, text):
    """Read the stream up to a line with this text, and return the line: a slow start has a warning before it."""
    return next(line for line in stream if text in line)


def curl(*arguments):
    """What curl prints."""
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "20", *arguments], capture_output=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def problem(answer):
    """The content of an error that a client who takes JSON gets."""
    assert answer["content-type"] == "application/problem+json"
    facts = json.loads(answer.body)
    assert facts["status"] == answer.status
    assert facts["request_id"] == answer["x-request-id"]
    return facts


def on_path(path, first, otherwise):
    """A script that answers requests for one path by `first(peer, request)`, others with `otherwise`'s bytes."""

    def script(peer, backend):
        while (request := peer.read_request()) is not None:
            backend.requests.append(request)
            if request.line.split(" ")[1] == path:
                first(peer, request)
            else:
                peer.send(otherwise)

    return script


def response(body=b"ok", headers="Content-Type: text/plain\r\n", status="200 OK"):
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body
