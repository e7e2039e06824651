"""A table in Redis does what one in memory does, with all kinds of values and at their limits."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.config.sections.state import RedisURL, StateSettings
from gproxy.config.types import Seconds
from gproxy.state.redis.store import RedisStore
from gproxy.state.table import MemoryEntries, Table
from gproxy.testing import Clock
from gproxy.testing.redis import RunningRedis


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RunningRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def store(server):
    made = RedisStore(RedisURL.parse(server.url), StateSettings(timeout=Seconds(5.0)))
    yield made
    made.close()


def table(store, max_keys=5, ttl=600.0):
    found = Table("t", store.table("t", max_keys), ttl)
    for key in KEYS:
        found.pop(key)
    return found


KEYS = ["", "a", "b", "ü\ud800", "k" * 256, "ends"]
VALUES = [
    0, 2**63 - 1, -(2**63), -0.0, 1e308, -1e308, 5e-324, "", "1", "f1", "a\ud800", b"", b"1", b"\xff" * 1024, True, None,
    {"a": [1, 2**70]},
]  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["set", "add"]), st.sampled_from(KEYS), st.sampled_from(VALUES)),
        st.tuples(st.just("incr"), st.sampled_from(KEYS), st.sampled_from([1, -7, 0.5, 2**63 - 1, 1e308, -1e308])),
        st.tuples(st.sampled_from(["get", "pop"]), st.sampled_from(KEYS)),
    ),
    max_size=60,
)


def outcome(table, step):
    name, *arguments = step
    try:
        found = getattr(table, name)(*arguments)
    except (TypeError, ValueError) as error:
        return type(error)
    return repr(found)


@settings(deadline=None)
@given(STEPS)
def test_it_does_what_a_dict_does(store, steps):
    one, other = Table("t", MemoryEntries(len(KEYS), Clock()), 600.0), table(store, len(KEYS))
    for step in steps:
        assert outcome(one, step) == outcome(other, step)


def test_entries_outlive_those_of_a_machine_with_a_shorter_ttl(store):
    long, short = table(store), table(store, ttl=0.05)
    long.set("a", 1)
    short.set("b", 1)
    began = time.monotonic()
    while time.monotonic() - began < 0.2:
        assert long.get("a") == 1
    assert long.get("b") is None


def test_a_sum_beyond_all_numbers_changes_nothing(store):
    found = table(store)
    found.set("a", 1e308)
    with pytest.raises(ValueError, match=r"1e\+308 plus 1e\+308"):
        found.incr("a", 1e308)
    assert found.get("a") == 1e308
    assert store.failures == 0
