"""When files are looked at: while a generation with `reload = on` serves, once in each interval."""

from types import SimpleNamespace

import pytest

from gproxy.arbiter.generations.reload_on_change import ReloadOnChange


class Loop:
    """A loop whose timers are due when the test says so."""

    def __init__(self):
        self.waiting = []

    def after(self, seconds, function):
        self.waiting.append(function)

    def pass_time(self):
        due, self.waiting = self.waiting, []
        for function in due:
            function()


def generation(*, reload):
    return SimpleNamespace(server=SimpleNamespace(reload=reload), files={}, stamps={}, patterns=[])


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def causes():
    return []


@pytest.fixture
def watch(tmp_path, loop, causes):
    (tmp_path / "gproxy.ini").touch()
    return ReloadOnChange(str(tmp_path / "gproxy.ini"), loop, causes.append, lambda: False)


def test_nothing_is_looked_at_without_reload(watch, loop):
    watch.follow(generation(reload=False))
    assert loop.waiting == []


def test_looks_end_with_a_generation_that_does_not_reload_and_begin_again(watch, loop, causes, tmp_path):
    watch.follow(generation(reload=True))
    loop.pass_time()
    assert len(loop.waiting) == 1
    watch.follow(generation(reload=False))
    (tmp_path / "early.py").touch()
    watch.follow(generation(reload=True))
    loop.pass_time()
    assert (len(loop.waiting), causes) == (1, []), "what was saved before is no change"
    (tmp_path / "late.py").touch()
    loop.pass_time()
    assert len(causes) == 1
    assert causes[0].endswith("late.py changed")
    watch.follow(generation(reload=False))
    loop.pass_time()
    assert loop.waiting == []
