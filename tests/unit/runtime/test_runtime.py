"""What the runtime knows of its process."""

import os
from types import SimpleNamespace

import pytest

from gproxy import runtime
from gproxy.runtime import Runtime


def test_descriptors_are_counted_rarely_by_a_kernel_that_does_not_know_their_number(monkeypatch):
    now, names = [100.0], ["0", "1", "2"]
    some = Runtime(monotonic=lambda: now[0])
    stat = SimpleNamespace(st_size=0)
    monkeypatch.setattr(runtime, "os", SimpleNamespace(stat=lambda path: stat, listdir=lambda path: names))
    assert some.count_descriptors() == 3
    names.append("3")
    now[0] += 9
    assert some.count_descriptors() == 3
    now[0] += 2
    assert some.count_descriptors() == 4
    stat.st_size = 7
    assert some.count_descriptors() == 7


@pytest.mark.skipif(not os.stat("/proc/self/fd").st_size, reason="the kernel does not know the number")
def test_descriptors_that_open_and_close():
    some = Runtime()
    before = some.count_descriptors()
    read_end, write_end = os.pipe()
    assert some.count_descriptors() == before + 2
    os.close(read_end)
    os.close(write_end)
    assert some.count_descriptors() == before


class Part:
    def __init__(self, runtime):
        self.runtime = runtime


def test_a_single_part_is_made_once():
    runtime = Runtime()
    part = runtime.single(Part)
    assert part.runtime is runtime
    assert runtime.single(Part) is part
    assert Runtime().single(Part) is not part
