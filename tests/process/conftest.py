"""Fixtures for tests with real processes; most of what they need is in shipped.py."""

import shutil

import pytest
from forked_gateway import forked_gateways, started_by_python
from shipped import UNLIMITED, running

#: Files whose gateways start by Python, as they do for users: the start is the subject, or what processes are and have.
STARTED_BY_PYTHON = frozenset({
    "test_arbiter", "test_command_line", "test_dev", "test_examples", "test_limits", "test_process_dev",
    "test_process_memory", "test_process_own_metrics", "test_process_packages",
    "test_process_pinned_code", "test_process_stop", "test_process_traces", "test_promises", "test_scripts",
    "test_stop_under_load", "test_supervisord", "test_systemd",
})  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def forks(request):
    """All gateways of these tests start by forks, but for those of the files above."""
    if request.path.stem in STARTED_BY_PYTHON:
        yield
        return
    with forked_gateways():
        yield


@pytest.fixture
def by_python():
    """Gateways of this test start by Python, whatever those of its file do."""
    with started_by_python():
        yield


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """The shipped gateway, shared by a module's tests; only its rate limit is out of the way."""
    with running(tmp_path_factory.mktemp("shipped"), UNLIMITED) as setup:
        yield setup


def pytest_collection_modifyitems(config, items):
    """Leave h2spec out where it is missing: no distribution has a package of it, so it cannot be required."""
    left = [] if shutil.which("h2spec") else [item for item in items if item.name.startswith("test_h2spec[")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def pytest_terminal_summary(terminalreporter):
    if not shutil.which("h2spec"):
        terminalreporter.write_line("not run: h2spec, which is not installed")
