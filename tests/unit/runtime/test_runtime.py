"""What the runtime knows of its process, and what its threads do."""

import pytest

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


def test_offload_raises_what_its_function_raises_and_prints_nothing(capfd):
    with pytest.raises(ZeroDivisionError):
        Runtime().offload(divmod, 1, 0)
    assert capfd.readouterr().err == ""
    assert Runtime().offload(divmod, 7, 2) == (3, 1)
