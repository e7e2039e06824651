"""Tables and locks by name: their arguments, in a process of tests and in the test kit."""

import math
from dataclasses import dataclass

import gevent
import pytest

from gproxy import Response
from gproxy.config.sections.state import RedisURL, StateSettings
from gproxy.runtime import Runtime
from gproxy.state.shared.memory import SharedState

INI = """
[handler:own]
use = unit.runtime.test_tables:Counting
scope = {scope}
[route:all]
path = /
handlers = own
respond = 404
"""
host = pytest.mark.gproxy(INI.replace("{scope}", "host"))
redis = pytest.mark.gproxy(INI.replace("{scope}", "redis") + "[state]\nredis = redis://127.0.0.1:9\n")


@dataclass
class Counting:
    """Counts requests, one at a time."""

    scope: str = "host"

    def open(self, runtime):
        self.runtime = runtime
        self.table = runtime.table("count", 10, "1m", scope=self.scope)

    def __call__(self, request, next):
        with self.runtime.lock("one", "10s"):
            number = self.table.get("number", 0)
            self.runtime.sleep(1)
            self.table.set("number", number + 1)
            return Response(200, b"%d" % (number + 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a b", 1, 1), "expected a name of up to 64"),
        (("a", 0, 1), "max_keys is 0; expected 1 to 100000"),
        (("a", 100_001, 1), "expected 1 to 100000"),
        (("a", 1, 0), "ttl is 0; expected more than 0 seconds"),
        (("a", 1, math.inf), "ttl is inf; expected more than 0 seconds, and at most 100 years"),
        (("a", 1, "soon"), "'soon' is no time; expected seconds, or a text such as 30s"),
        (("a", 1, 1, "moon"), 'scope is \'moon\'; expected "host" or "redis"'),
        (("a", 1, 1, "redis"), "needs the option redis in .state."),
    ],
)
def test_wrong_arguments_of_a_table(arguments, message):
    with pytest.raises(ValueError, match=message):
        Runtime().table(*arguments)


def test_a_name_is_one_table():
    runtime = Runtime()
    assert runtime.table("a", 10, "1m") is runtime.table("a", 10, 60)
    with pytest.raises(ValueError, match='max_keys=10, ttl=60, scope="host"; expected the same, not max_keys=11'):
        runtime.table("a", 11, "1m")


def test_tables_are_bounded_in_number():
    runtime = Runtime()
    for number in range(100):
        runtime.table(str(number), 1, 1)
    with pytest.raises(ValueError, match="100 tables already"):
        runtime.table("one-more", 1, 1)


def test_a_table_without_room_in_the_memory_is_an_error(monkeypatch):
    monkeypatch.setattr("gproxy.state.shared.memory._SIZE", 1024 * 1024)
    runtime = Runtime()
    runtime.host_state = SharedState.create()
    with pytest.raises(ValueError, match="'a': no room in the memory of the workers; expected a smaller max_keys"):
        runtime.table("a", 10_000, 1)
    runtime.table("a", 100, 1).set("key", 1)


@pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf])
def test_a_lock_needs_an_end(ttl):
    with pytest.raises(ValueError, match=f"'a': ttl is {ttl}; expected more than 0 seconds, and at most 100 years"):
        Runtime().lock("a", ttl)


def test_a_lock_that_is_freed_since_too_many_are_held_is_a_line_of_the_log(monkeypatch, caplog):
    monkeypatch.setattr("gproxy.runtime.tables._MOST_LOCKS", 1)
    runtime = Runtime()
    with runtime.lock("a", 10):
        assert not caplog.messages
        with runtime.lock("b", 10):
            assert caplog.messages == ["locks: more than 1 are held at a time, so the oldest was freed before its end"]


def test_without_a_store_there_is_no_client_of_redis():
    with pytest.raises(LookupError, match=r"needs the option redis in \[state\]"):
        _ = Runtime().redis


@pytest.mark.parametrize("scope", [pytest.param("host", marks=host), pytest.param("redis", marks=redis)])
def test_tables_and_locks_in_the_kit(gproxy, scope):
    requests = [gevent.spawn(gproxy.get, "/") for _ in range(2)]
    gevent.joinall(requests, raise_error=True)
    assert sorted(request.value.body for request in requests) == [b"1", b"2"]
    assert gproxy.clock() >= 1_000_002
    gproxy.clock.advance(61)
    assert gproxy.get("/").body == b"1"


@redis
def test_the_kit_has_no_client_of_redis(gproxy):
    with pytest.raises(LookupError, match=r"set gateway\.runtime\.redis"):
        _ = gproxy.runtime.redis
    gproxy.runtime.redis = "mine"
    assert gproxy.runtime.redis == "mine"


def test_a_table_of_all_machines_is_its_own_in_a_self_test():
    """A self-test changes nothing that others see; there is no Redis here, which it would fail to reach."""
    runtime = Runtime(state=StateSettings(redis=RedisURL.parse("redis://127.0.0.1:9")))
    runtime.set_apart()
    table = runtime.table("count", 10, "1m", scope="redis")
    assert (table.incr("one"), table.get("one")) == (1, 1)
