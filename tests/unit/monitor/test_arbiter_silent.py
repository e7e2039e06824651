"""An arbiter that does not answer the orders of its monitor in time."""

from types import SimpleNamespace

import pytest

from gproxy.http.errors import HTTPError
from gproxy.monitor.answers.upstreams import reset
from gproxy.monitor.processes.silent_workers import SilentWorkers
from gproxy.monitor.processes.worker_lines import WorkerAnswer, WorkerRef


class Orders:
    def order(self, name, seconds, **_):
        raise TimeoutError(f"the arbiter has not carried the order {name} out within {seconds:g} s")


def test_a_stack_that_the_arbiter_does_not_get_is_none():
    assert SilentWorkers(Orders()).stack(1) == []


def test_a_change_of_a_backend_that_the_arbiter_does_not_keep_fails():
    backends = [{"backend": "http://a:80", "state": "healthy"}]
    lines = SimpleNamespace(ask=lambda *_: [WorkerAnswer(WorkerRef(1, 1, 1), [{"name": "u", "backends": backends}])])
    call = SimpleNamespace(
        gateway=SimpleNamespace(lines=lines, orders=Orders()), values={"upstream": "u", "backend": "a:80"}
    )
    with pytest.raises(HTTPError, match=r"504 .*the arbiter has not carried the order override out"):
        reset(call)
