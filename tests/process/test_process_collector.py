"""The collector of cycles of a worker runs on the hub: what it finalizes may use the loop."""

import shutil
from pathlib import Path

import pytest

from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[route:all]
path = /
handlers = collecting
respond = 200
[handler:collecting]
use = collecting:Handler
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collector")
    shutil.copy(Path(__file__).parent / "collecting.py", folder)
    with RunningGateway(INI, folder) as running:
        yield running


def test_finalizers_run_on_the_hub_though_threads_allocate(gateway):
    """A timer that another thread stops corrupts the heap of libev, and the worker dies within seconds."""

    def finalized():
        return [int(word) for word in gateway.get("/").body.split()]

    eventually(lambda: finalized()[0] >= 5, "collections")
    assert finalized()[1] == 0


def test_a_handler_that_computes_does_not_fill_the_memory(gateway):
    assert gateway.get("/compute").body == b"1"


def test_a_child_that_a_handler_forks_collects_by_itself(gateway):
    assert gateway.get("/child").body == b"1"
