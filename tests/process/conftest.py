"""Fixtures for tests with real processes; most of what they need is in shipped.py."""

import pytest
from shipped import UNLIMITED, running


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """The shipped gateway, shared by a module's tests; only its rate limit is out of the way."""
    with running(tmp_path_factory.mktemp("shipped"), UNLIMITED) as setup:
        yield setup
