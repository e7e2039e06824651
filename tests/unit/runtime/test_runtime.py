"""What the runtime knows of its process."""

from gproxy.runtime import Runtime


class Part:
    def __init__(self, runtime):
        self.runtime = runtime


def test_a_single_part_is_made_once():
    runtime = Runtime()
    part = runtime.single(Part)
    assert part.runtime is runtime
    assert runtime.single(Part) is part
    assert Runtime().single(Part) is not part
