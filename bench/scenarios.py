"""What is asked, and the backends that answer it."""

import json
import os
from dataclasses import dataclass

from bench.server import OTHER_CORE, Server
from bench.templates import fill
from gproxy.testing.gateway import free_port

_UPLOAD = "wrk.method = 'POST'\nwrk.body = string.rep('x', 1048576)\n"


@dataclass(frozen=True)
class Scenario:
    """`fields` are header lines that every request has, `script` is wrk's."""

    about: str
    path: str
    connections: int
    fields: tuple[str, ...] = ()
    script: str = ""
    #: Does every request bring a token, which has to be verified?
    jwt: bool = False


SCENARIOS = {
    "small": Scenario("118 bytes of JSON", "/users/1", 32),
    "small-c1": Scenario("the same, one client", "/users/1", 1),
    "jwt": Scenario("the same with a token", "/users/1", 32, jwt=True),
    "json-gzip": Scenario("14 kB of JSON, compressed", "/users/list.json", 16, ("Accept-Encoding: gzip",)),
    "json-14k": Scenario("14 kB of JSON", "/users/list.json", 16),
    "download-1m": Scenario("a download of 1 MB", "/users/1m", 8),
    "upload-1m": Scenario("an upload of 1 MB", "/users/upload", 8, script=_UPLOAD),
    "close": Scenario("a new connection each", "/users/1", 16, ("Connection: close",)),
    "c1000": Scenario("1,000 connections", "/users/1", 1000),
}


def backends(folder):
    """An nginx that stands for two backends; its ports are `server.ports`."""
    www = folder / "www/users"
    www.mkdir(parents=True)
    (www / "1m").write_bytes(os.urandom(1 << 20))
    users = [{"id": number, "name": f"user{number}", "v": number * 0.37 % 1} for number in range(250)]
    (www / "list.json").write_text(json.dumps(users))
    ports = free_port(), free_port()
    config = fill("backends.conf", folder, port=ports[0], other=ports[1])
    server = Server(
        "backends", ["nginx", "-e", folder / "backends.err", "-c", config], ports[0], folder, core=OTHER_CORE
    )
    server.ports = ports
    return server
