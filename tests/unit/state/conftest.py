import os

import pytest

from gproxy.state.shared.memory import SharedState


@pytest.fixture
def state():
    made = SharedState.create()
    yield made
    os.close(made.fd)
