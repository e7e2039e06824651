"""What flow tests share: a gateway process a module, backends that do what the test says, no lease left behind.

Each test runs twice: its client speaks HTTP/1.1, then HTTP/2. http1_only.py names the tests that only HTTP/1.1 can say.
"""

import socket
import time
from contextlib import ExitStack, contextmanager

import pytest
from http1_only import is_http1_only

from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import PATIENCE, RunningGateway
from gproxy.testing.http2_wire import HTTP2Wire


def pytest_generate_tests(metafunc):
    metafunc.parametrize("protocol", getattr(metafunc.module, "PROTOCOLS", ["http1", "http2"]), indirect=True)


def pytest_collection_modifyitems(config, items):
    left = [item for item in items if is_http1_only(item)]
    config.hook.pytest_deselected(items=left)
    gone = set(left)
    items[:] = [item for item in items if item not in gone]


@pytest.fixture(scope="module", autouse=True)
def offers_http2():
    """Let the gateways of all tests accept HTTP/2 by prior knowledge, beside HTTP/1.x."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunningGateway, "words", "h2c")
        yield


@pytest.fixture(autouse=True)
def protocol(request, monkeypatch):
    """The protocol of the connections that a test opens."""
    if request.param == "http2":
        monkeypatch.setattr(RunningGateway, "connect", connect_by_http2)
    return request.param


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


@pytest.fixture(scope="module")
def stage(request, tmp_path_factory):
    """The module's INI and BACKENDS, running; a `handlers.py` beside them if it has HANDLERS."""
    module = request.module
    folder = tmp_path_factory.mktemp(module.__name__)
    if hasattr(module, "HANDLERS"):
        (folder / "handlers.py").write_text(module.HANDLERS)
    with scene(module.INI, module.BACKENDS, folder) as found:
        yield found


@pytest.fixture
def play(stage):
    """The module's scene with every backend answering 200 and its name; at the end no lease may be left."""
    stage.reset()
    yield stage
    stage.gateway.wait_until_idle()
    assert stage.gateway.process.poll() is None


class Stopwatch:
    def __enter__(self):
        self.started = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.started


@pytest.fixture
def stopwatch():
    return Stopwatch()
