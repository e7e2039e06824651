import os

import pytest

from gproxy.state.shared import exclusive_mutex, mutex
from gproxy.state.shared.memory import SharedState


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """On a loaded machine a holder may get no core for a second; what is tested here are counts, which are exact."""
    monkeypatch.setattr(mutex, "_MAX_WAIT", 60.0)
    monkeypatch.setattr(exclusive_mutex, "_MAX_WAIT", 60.0)


@pytest.fixture
def state():
    made = SharedState.create()
    yield made
    os.close(made.fd)
