"""Client connections over socket pairs or scripts, with a gateway that answers from a function."""

import socket
from types import SimpleNamespace

import pytest

from gproxy.config.sections.server import ServerSettings
from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.http.trust import Trust
from gproxy.runtime import Runtime
from gproxy.server.connection import ClientConnection
from gproxy.server.context import ServerContext


class ScriptedGateway:
    """Answers with `answer(request)`; `recorded` has the finished exchanges, `rejected` what was no request."""

    def __init__(self):
        self.trust = Trust(())
        self.parts = SimpleNamespace(notes=None)
        self.answer = lambda request: Response(200, b"ok")
        self.requests = []
        self.recorded = []
        self.rejected = []

    def __call__(self, request):
        self.requests.append(request)
        return self.answer(request)

    def finish(self, exchange):
        self.recorded.append(exchange)

    def reject(self, error, exchange):
        self.rejected.append((error.status, exchange.client, (exchange.method, exchange.target, exchange.protocol)))
        exchange.status = error.status
        headers = error.headers if isinstance(error, HTTPError) else {}
        return Response(error.status, b"no", headers)


class Scene:
    """One connection; the client sends before it is served, and reads what has come afterwards, or follows a script."""

    def __init__(
        self, kind=ClientConnection, address=("192.0.2.1", 5000), options=None, script=None, protocols=None, **settings
    ):
        self.gateway = ScriptedGateway()
        self.runtime = Runtime()
        self.context = ServerContext.of(ServerSettings(**settings), self.gateway, self.runtime, protocols or {})
        self.socket, self.client = socket.socketpair()
        self.socket.setblocking(False)
        self.client.settimeout(5)
        if script is not None:
            self.socket.close()
            self.socket = script.socket
        self.connection = kind(self.socket, address, self.context, **(options or {}))

    def serve(self, *data):
        """Send the data and the client's end, serve, and return all that the client got."""
        self.client.sendall(b"".join(data))
        self.client.shutdown(socket.SHUT_WR)
        self.connection.handle()
        return self.read()

    def read(self):
        got = b""
        while data := self.client.recv(65536):
            got += data
        return got

    def close(self):
        if self.socket.fileno() >= 0:  # it was never served
            self.connection._channel.close()
        self.client.close()


@pytest.fixture
def scene():
    made = []

    def make(*arguments, **options):
        made.append(Scene(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
