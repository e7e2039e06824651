"""Where a greenlet waits: the line of the user, the handler, the frames."""

import re
import sys
from pathlib import Path

import gevent
import pytest
from gevent.queue import Queue

from gproxy.handlers.rate_limit import RateLimit
from gproxy.introspection.handler_code import HandlerCode
from gproxy.introspection.stacks import place_of, spawned_by, stack_of
from gproxy.runtime.client_watch import ClientWatch

HERE = Path(__file__).name


def waits(request, next):
    return Queue().get()


def asks(request, next):
    return next(request)


def sorts(request, next):
    """A library calls back: its frames are between those of the user."""
    return sorted([1, 2], key=lambda _: Queue().get())


def gathers(request, next):
    return gevent.joinall([gevent.spawn(helps)])


def helps():
    gevent.spawn(gevent.sleep, 60).join()


def watches(_):
    ClientWatch(None).wait()


CODE = HandlerCode({"waits": waits, "asks": asks, "sorts": sorts, "gathers": gathers, "limits": RateLimit})


@pytest.fixture
def waiting():
    """A greenlet that has run a function until it waits."""
    started = []

    def start(function, *arguments):
        started.append(gevent.spawn(function, *arguments))
        gevent.idle()
        return started[-1]

    yield start
    gevent.killall(started)


def lines(function):
    first = function.__code__.co_firstlineno
    return range(first, first + 4)


def test_the_line_of_a_handler_that_waits(waiting):
    handler, line = place_of(waiting(waits, None, None), CODE)
    file, _, number = line.rpartition(":")
    assert (handler, Path(file).name, int(number)) == ("waits", HERE, waits.__code__.co_firstlineno + 1)


def test_the_innermost_handler_counts_and_its_stack_has_the_others(waiting):
    one = waiting(asks, None, lambda request: waits(request, None))
    assert place_of(one, CODE).handler == "waits"
    shown = [entry.rsplit(" ", 1)[1] for entry in stack_of(one, CODE)]
    assert [name for name in shown if "asks" in name or name == "waits"] == ["asks", "waits"]


def test_a_line_of_the_user_inside_a_library(waiting):
    handler, line = place_of(waiting(sorts, None, None), CODE)
    assert (handler, int(line.rpartition(":")[2]) in lines(sorts)) == ("sorts", True)


def test_the_users_modules_count_beside_handlers(waiting):
    handler, line = place_of(waiting(asks, None, lambda _: helps()), CODE)
    assert (handler, int(line.rpartition(":")[2]) in lines(helps)) == ("asks", True)


def test_the_gateways_own_frames_are_omitted_unless_all_are_asked_for(waiting):
    one = waiting(asks, None, watches)
    own = re.compile(r"/gproxy/runtime/client_watch\.py:\d+ ClientWatch\.wait$")
    assert not any(own.search(entry) for entry in stack_of(one, CODE))
    is_compiled = sys.modules[ClientWatch.__module__].__file__.endswith(".so")
    assert is_compiled or any(own.search(entry) for entry in stack_of(one, CODE, is_whole=True))


def test_a_greenlet_that_has_ended_has_neither_place_nor_stack(waiting):
    ended = waiting(lambda: None)
    assert (place_of(ended, CODE), stack_of(ended, CODE)) == (("", ""), [])


def test_the_greenlets_that_a_handler_waits_for(waiting):
    parent = waiting(gathers, None, None)
    other = waiting(gathers, None, None)
    found = spawned_by(parent)
    assert [one.spawning_greenlet() is parent for one in found] == [True, False]  # what it has spawned, has spawned one
    assert not set(found) & {parent, other, *spawned_by(other)}
    assert any(entry.endswith(" helps") for entry in stack_of(found[0], CODE))


def test_a_deep_stack_shows_its_innermost_frames(waiting):
    def recurse(left):
        return recurse(left - 1) if left else waits(None, None)

    shown = stack_of(waiting(recurse, 300), CODE)
    assert (len(shown), shown[-1].endswith("recurse")) == (100, False)
