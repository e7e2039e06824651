"""What flow tests share: a gateway process a module, backends that do what the test says, no lease left behind."""

import time
from contextlib import ExitStack, contextmanager

import pytest

from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import RunningGateway


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
