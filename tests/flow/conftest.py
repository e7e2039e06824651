"""What flow tests share: a gateway process a module, backends that do what the test says, no lease left behind.

Each file runs twice, with gateways of its own: its clients speak HTTP/1.1, then HTTP/2. Files that begin with test_http2_
have their own clients, and run once. http1_only.py names the tests that HTTP/1.1 alone can say.
"""

import time

import pytest
from forked_gateway import forked_gateways
from http1_only import is_http1_only
from http2_streams import StreamClient
from scenes import connect_by_http2, scene

from gproxy.testing.gateway import RunningGateway


class HTTP2Module(pytest.Module):
    """A file of tests, collected once more: its fixtures and tests are those of clients that speak HTTP/2."""


def pytest_collect_file(file_path, parent):
    if not file_path.name.startswith("test_") or file_path.name.startswith("test_http2_"):
        return None
    nodeid = f"{file_path.relative_to(parent.config.rootpath).as_posix()}::http2"
    return HTTP2Module.from_parent(parent, path=file_path, name=f"{file_path.name}::http2", nodeid=nodeid)


def pytest_collection_modifyitems(config, items):
    left = [item for item in items if item.getparent(HTTP2Module) and is_http1_only(item.nodeid)]
    config.hook.pytest_deselected(items=left)
    gone = set(left)
    items[:] = [item for item in items if item not in gone]


@pytest.fixture(scope="module", autouse=True)
def forks():
    """All gateways of these tests start by forks."""
    with forked_gateways():
        yield


@pytest.fixture(scope="module", autouse=True)
def protocol(request):
    """The protocol of the connections that tests open to gateways."""
    if request.node.getparent(HTTP2Module) is None:
        yield "http1"
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunningGateway, "words", "h2c")
        patch.setattr(RunningGateway, "connect", connect_by_http2)
        yield "http2"


@pytest.fixture(scope="module")
def h2c():
    """Gateways that take HTTP/2 by prior knowledge; a file of tests has to ask for this before its gateway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunningGateway, "words", "h2c")
        yield


@pytest.fixture
def connect(play):
    """A function that returns a client with streams of the module's gateway, with these windows."""
    made = []

    def connect(**windows):
        made.append(StreamClient(play.gateway.port, **windows))
        return made[-1]

    yield connect
    for one in made:
        one.__exit__()


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
