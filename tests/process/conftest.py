"""Fixtures for tests with real processes; most of what they need is in shipped.py."""

import shutil

import pytest
from shipped import UNLIMITED, running


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
