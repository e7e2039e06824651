"""The number of workers for `auto`: the usable cores, within a container's quota."""

import os

import pytest

from gproxy.arbiter.generations import generation


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("max 100000\n", 8),
        ("", 8),
        (None, 8),
    ],
)
def test_usable_cores(quota, cores, tmp_path, monkeypatch):
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    monkeypatch.setattr(generation, "_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert generation.usable_cores() == cores
