"""A running gateway with its backends, for the tests of a whole flow."""

import socket
from contextlib import ExitStack, contextmanager

from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import PATIENCE, RunningGateway
from gproxy.testing.http2_wire import HTTP2Wire


def connect_by_http2(gateway):
    return HTTP2Wire(socket.create_connection(("127.0.0.1", gateway.port), PATIENCE))


class Scene:
    """A running gateway and its backends, by name."""

    def __init__(self, gateway, backends):
        self.gateway = gateway
        self.backends = backends

    def __getattr__(self, name):
        try:
            return self.backends[name]
        except KeyError:
            raise AttributeError(name) from None

    def reset(self):
        for backend in self.backends.values():
            backend.act = reply(backend.name.encode())
            backend.requests.clear()


@contextmanager
def scene(ini, names, folder, environ=None, arguments=()):
    """`ini` has `{name}` for each backend's URL."""
    with ExitStack() as stack:
        backends = {}
        for name in names.split():
            backends[name] = stack.enter_context(Actor())
            backends[name].name = name
            ini = ini.replace("{%s}" % name, backends[name].url)
        yield Scene(stack.enter_context(RunningGateway(ini, folder, *arguments, environ=environ)), backends)
