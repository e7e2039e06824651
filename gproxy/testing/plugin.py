"""The pytest plugin: whole gateways as fixtures, in the process of the test or beside it.

pytest loads this module in every run where gproxy is installed. It imports nothing until a test uses a fixture.
"""

import os
import sys
from collections.abc import Generator, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from gproxy.testing.backends import Actor
    from gproxy.testing.gateway import RunningGateway
    from gproxy.testing.kit.clock import VirtualClock
    from gproxy.testing.kit.gateway import KitGateway

_MARKER: Final = (
    "gproxy(ini, file=None, seed=0, at=None): settings of the fixtures gproxy and gproxy_process, as text or in a file "
    "beside the test; the seed of the gateway's random; the time of day at the start, such as 2026-11-29T16:40:00Z"
)
_FILE: Final = "gproxy.ini"
#: What messages call the text of a marker.
_TEXT: Final = "@pytest.mark.gproxy"
#: The place of a real backend in the settings of a real gateway.
_BACKEND: Final = "{backend}"
_GATEWAY: Final = pytest.StashKey["KitGateway"]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test fail that has left a lease, or a warning that it does not expect."""
    result = yield
    gateway = item.stash.get(_GATEWAY, None)
    problems = gateway.problems() if gateway is not None else []
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
    return result


@pytest.fixture
def gproxy(request: pytest.FixtureRequest, gproxy_clock: "VirtualClock", tmp_path: Path) -> "Iterator[KitGateway]":
    """Yield a whole gateway without sockets, with virtual time; docs/testing.md describes it."""
    from gproxy.config.problems import ConfigError
    from gproxy.testing.kit.gateway import KitGateway

    marker = request.node.get_closest_marker("gproxy")
    seed = marker.kwargs.get("seed", 0) if marker is not None else 0
    ini, folder, name = _settings(request)
    before = list(sys.path)
    try:
        made = KitGateway(ini, folder / name, state_dir=tmp_path / "var", clock=gproxy_clock, seed=seed)
    except ConfigError as error:
        sys.path[:] = before
        raise pytest.fail.Exception(f"the settings of the test are not valid:\n{error}", pytrace=False) from None
    try:
        with made as gateway:
            request.node.stash[_GATEWAY] = gateway
            yield gateway
    finally:
        sys.path[:] = [place for place in sys.path if place in before]


@pytest.fixture
def gproxy_clock(request: pytest.FixtureRequest) -> "Iterator[VirtualClock]":
    """Yield the virtual clock of the fixture `gproxy`, and for handlers that take a clock."""
    from gproxy.testing.kit.clock import VirtualClock

    clock = VirtualClock(wall=_start(request))
    yield clock
    clock.close()


@pytest.fixture
def gproxy_process(request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[RunningGateway]":
    """Yield a gateway process on a free port; `{backend}` in its settings is the address of `gproxy_backend`."""
    from gproxy.testing.gateway import RunningGateway

    ini, folder, name = _settings(request)
    text = (folder / name).read_text() if ini is None else ini
    if _BACKEND in text:
        port = request.getfixturevalue("gproxy_backend").port
        text = text.replace(_BACKEND, f"127.0.0.1:{port}")
    places = [str(folder), str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    with RunningGateway(text, tmp_path, environ={"PYTHONPATH": os.pathsep.join(places)}) as gateway:
        yield gateway


@pytest.fixture
def gproxy_backend() -> "Iterator[Actor]":
    """Yield a backend on a port of its own, which answers 200 until a test replaces its `act`."""
    from gproxy.testing.backends import Actor

    with Actor() as backend:
        yield backend


def _start(request: pytest.FixtureRequest) -> float | None:
    """Return the time of day that the marker names, in seconds since the epoch; None without one."""
    marker = request.node.get_closest_marker("gproxy")
    text = marker.kwargs.get("at") if marker is not None else None
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        problem = f"{_TEXT}: at={text!r} is no time; expected one such as 2026-11-29T16:40:00Z"
        raise pytest.fail.Exception(problem, pytrace=False) from None


def _settings(request: pytest.FixtureRequest) -> tuple[str | None, Path, str]:
    """Return the text of the settings if the test has it, the folder of the settings, and the name of their file.

    Without a marker the file is gproxy.ini beside the test, or in the nearest folder above within pytest's root.
    """
    folder = request.path.parent
    marker = request.node.get_closest_marker("gproxy")
    if marker is not None and marker.args:
        return marker.args[0], folder, _TEXT
    if marker is not None and "file" in marker.kwargs:
        return None, folder, marker.kwargs["file"]
    root = request.config.rootpath
    for one in (folder, *folder.parents):
        if (one / _FILE).is_file():
            return None, one, _FILE
        if one == root:
            break
    raise pytest.fail.Exception(
        f"no {_FILE} beside {request.path} or above it; write the settings there, or as text in "
        f'@pytest.mark.gproxy("[route:NAME] …")',
        pytrace=False,
    )
