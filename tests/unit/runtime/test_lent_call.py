"""A call in a thread: what it has used ends in the thread of the loop."""

import threading

import gevent
import pytest
from gevent.monkey import get_original

from gproxy.runtime.lent_call import run_lent

SLEEP = get_original("time", "sleep")


class Used:
    """An argument, a result or a local that notes the thread in which it ends."""

    def __init__(self, ended):
        self.ended = ended

    def __del__(self):
        self.ended.append(threading.get_native_id())


def run(function, *arguments):
    return run_lent(gevent.get_hub(), function, arguments)


def wait_for(ended, count=1):
    with gevent.Timeout(5):
        while len(ended) < count:
            gevent.sleep(0.001)


def test_the_result_comes_from_another_thread():
    assert run(threading.get_native_id) != threading.get_native_id()
    assert run(max, 2, 3) == 3


def test_an_exception_of_the_function(capfd):
    def fail():
        raise OSError("no")

    with pytest.raises(OSError, match="no") as caught:
        run(fail)
    assert caught.traceback[-1].name == "fail"
    assert "fail" not in capfd.readouterr().err


def test_what_is_used_ends_in_this_thread():
    ended = []
    run(lambda used: Used(ended), Used(ended))
    assert ended == [threading.get_native_id()] * 2


@pytest.mark.parametrize("fails", [False, True])
def test_so_it_does_after_an_end_of_the_wait(fails, capfd):
    ended, left = [], []

    def work(used):
        while not left:
            SLEEP(0.001)
        SLEEP(0.01)
        if fails:
            raise OSError("too late")
        return Used(ended)

    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        run(work, Used(ended))
    del work
    left.append(True)
    wait_for(ended, 1 if fails else 2)
    assert set(ended) == {threading.get_native_id()}
    assert ("OSError: too late" in capfd.readouterr().err) == fails
