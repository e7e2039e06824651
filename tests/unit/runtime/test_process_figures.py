"""The figures of a process: descriptors, memory, greenlets."""

import os
import time
from types import SimpleNamespace

import pytest

from gproxy.runtime import process_figures
from gproxy.runtime.process_figures import ProcessFigures, Seldom


def test_descriptors_are_counted_rarely_by_a_kernel_that_does_not_know_their_number(monkeypatch):
    now, names = [100.0], ["0", "1", "2"]
    some = ProcessFigures(lambda: now[0])
    stat = SimpleNamespace(st_size=0)
    monkeypatch.setattr(process_figures, "os", SimpleNamespace(stat=lambda path: stat, listdir=lambda path: names))
    assert some.descriptors() == 3
    names.append("3")
    now[0] += 9
    assert some.descriptors() == 3
    now[0] += 2
    assert some.descriptors() == 4
    stat.st_size = 7
    assert some.descriptors() == 7


@pytest.mark.skipif(not os.stat("/proc/self/fd").st_size, reason="the kernel does not know the number")
def test_descriptors_that_open_and_close():
    some = ProcessFigures(time.monotonic)
    before = some.descriptors()
    read_end, write_end = os.pipe()
    assert some.descriptors() == before + 2
    os.close(read_end)
    os.close(write_end)
    assert some.descriptors() == before


class Counting:
    """A function that takes as long as the test says, on the clock of the test."""

    def __init__(self):
        self.now, self.takes, self.calls = 0.0, 0.0, 0

    def __call__(self):
        self.now += self.takes
        self.calls += 1
        return self.calls

    def clock(self):
        return self.now


def test_a_quick_count_is_made_every_ten_seconds():
    counting = Counting()
    seldom = Seldom(counting, counting.clock)
    found = []
    for _ in range(22):
        found.append(seldom())
        counting.now += 1
    assert found == [1] * 10 + [2] * 10 + [3] * 2


def test_a_slow_count_is_made_less_often():
    counting = Counting()
    counting.takes = 0.1
    seldom = Seldom(counting, counting.clock)
    seldom()
    counting.now += 199
    assert seldom() == 1
    counting.now += 2
    assert seldom() == 2
