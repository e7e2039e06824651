"""What is asked, and the backends that answer it."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench import requests
from bench.peers import Secure
from bench.server import OTHER_CORE, Server
from bench.templates import fill
from gproxy.testing.authority import Authority
from gproxy.testing.gateway import free_port

_UPLOAD = "wrk.method = 'POST'\nwrk.body = string.rep('x', 1048576)\n"


@dataclass(frozen=True)
class Scenario:
    """One request for `path` with the header lines `fields`, again and again; or a list of requests."""

    about: str
    connections: int
    path: str = "/users/1"
    fields: tuple[str, ...] = ()
    #: In Lua, for wrk.
    script: str = ""
    #: Makes the list; `path`, `fields` and `script` are then not used.
    requests: Callable[[], list[bytes]] | None = None
    #: True if every request brings a token, which has to be verified. Without a list all bring the same one.
    jwt: bool = False
    #: True if a WSGI app answers, in the gateway or in a server of its own, and no backend.
    app: bool = False
    #: If not 0: in each so many requests of the list there is one for what does not exist.
    not_found: int = 0
    #: If not 0: how long each round takes, whatever --seconds says.
    seconds: int = 0
    #: If not 0: clients speak HTTP/2 over TLS, with so many streams on each connection.
    streams: int = 0
    #: Makes a list of paths, for HTTP/2; `path` is then not used.
    paths: Callable[[], list[str]] | None = None
    #: True if each request is a gRPC call, to a backend that speaks HTTP/2 over TLS.
    grpc: bool = False

    def unexpected(self, failed, requests):
        """Return how many of the responses with a status of 400 or more are not what the list asks for.

        The requests without a response, at most one for each connection, may have changed the share of the others.
        """
        if not self.not_found:
            return failed
        return max(0, round(abs(failed - requests / self.not_found)) - self.connections)


#: A list is longer than the requests that a gateway may remember, and a run goes on where the last one ended.
_LIST = 20_000
#: More tokens than any gateway keeps: gproxy by default 10,000.
_TOKENS = 60_000

VARIED = {
    "varied": Scenario("a GET with 14 fields", 32, requests=partial(requests.gets, _LIST)),
    "varied-jwt": Scenario(
        "the same with one of 2,000 tokens", 32, requests=partial(requests.gets, _LIST, 2000), jwt=True
    ),
    "new-jwt": Scenario(
        "the same with a new token each time", 32, requests=partial(requests.gets, _TOKENS, _TOKENS), jwt=True
    ),
    "post": Scenario("a POST of 2 kB", 32, requests=partial(requests.posts, _LIST)),
    "mix": Scenario(
        "118 bytes, 14 kB compressed, 100 kB, that GET, that POST, 404 in turn", 16,
        requests=partial(requests.mix, _LIST // 6), not_found=6,
    ),
}  # fmt: skip

REPEATED = {
    "same": Scenario("one GET with 14 fields", 32, requests=requests.same),
    "small": Scenario("118 bytes of JSON", 32),
    "small-c1": Scenario("118 bytes of JSON, one client", 1),
    "jwt": Scenario("118 bytes of JSON with a token", 32, jwt=True),
    "json-gzip": Scenario("14 kB of JSON, compressed", 16, "/users/list.json", ("Accept-Encoding: gzip",)),
    "json-14k": Scenario("14 kB of JSON", 16, "/users/list.json"),
    "download-1m": Scenario("a download of 1 MB", 8, "/users/1m"),
    "upload-1m": Scenario("an upload of 1 MB", 8, "/users/upload", script=_UPLOAD),
    "close": Scenario("a new connection each", 16, fields=("Connection: close",)),
    "c1000": Scenario("1,000 connections", 1000),
    "c1000-new": Scenario("the first second of 1,000 connections", 1000, seconds=1),
}

APPS = {"flask": Scenario("Flask's hello world", 32, "/", app=True)}

HTTP2 = {
    "h2-small": Scenario("118 bytes of JSON, 32 streams of one connection", 1, streams=32),
    "h2-conns": Scenario("118 bytes of JSON, one stream of each connection", 32, streams=1),
    "h2-varying": Scenario(
        "the same with a new path each time, 32 streams", 1, streams=32, paths=partial(requests.paths, _LIST)
    ),
    "h2-download": Scenario("a download of 1 MB, one stream of each connection", 8, "/users/1m", streams=1),
    "h2-download-c1": Scenario("a download of 1 MB, 8 streams of one connection", 1, "/users/1m", streams=8),
    "grpc-unary": Scenario("a gRPC call, 32 streams of one connection", 1, "/users/Greet", streams=32, grpc=True),
}

SCENARIOS = {**VARIED, **REPEATED, **APPS, **HTTP2}
#: What a reader has to know of a figure first.
KINDS = {
    "no request like another": VARIED, "the same request again": REPEATED, "an app as a route": APPS,
    "HTTP/2 over TLS": HTTP2,
}  # fmt: skip


def backends(folder, cores=OTHER_CORE):
    """An nginx that stands for two backends and a gRPC server.

    Its ports are `ports`, and `secure` has what HTTP/2 over TLS needs.
    """
    www = folder / "www/users"
    www.mkdir(parents=True)
    (www / "1m").write_bytes(os.urandom(1 << 20))
    (www / "100k").write_bytes(os.urandom(100_000))
    users = [{"id": number, "name": f"user{number}", "v": number * 0.37 % 1} for number in range(250)]
    (www / "list.json").write_text(json.dumps(users))
    ports = free_port(), free_port()
    authority = Authority(folder)
    secure = Secure(*authority.issue("localhost", "127.0.0.1"), authority.path, free_port())
    served = {"grpc": secure.grpc, "certificate": secure.certificate, "key": secure.key}
    config = fill("backends.conf", folder, port=ports[0], other=ports[1], **served)
    command = ["nginx", "-e", folder / "backends.err", "-c", config]
    server = Server("backends", command, ports[0], folder, cores=cores)
    server.ports, server.secure = ports, secure
    return server
