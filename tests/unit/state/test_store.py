"""The store of the settings: which class is behind a URL, what is shown of it, and that others are not imported."""

import subprocess
import sys

import pytest

from gproxy.config.sections.state import SCHEMES, RedisURL, StateSettings
from gproxy.state.redis.store import RedisStore
from gproxy.state.store import STORES, create_store


def settings(url):
    return StateSettings(redis=RedisURL(url))


def test_each_scheme_that_the_settings_accept_has_a_store():
    assert set(STORES) == set(SCHEMES)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:s3cret@cache.example:7000/3", "redis cache.example:7000"),
        ("rediss://me:s3cret@cache.example", "redis cache.example:6379"),
        ("unix://me:s3cret@/run/redis.sock", "redis unix:/run/redis.sock"),
    ],
)
def test_a_store_is_described_without_its_password(url, shown):
    store = create_store(settings(url))
    assert isinstance(store, RedisStore)
    assert store.describe() == shown
    assert store.snapshot() == {"kind": "redis", "state": "up", "failures": 0}


def test_a_new_store_has_not_connected():
    store = create_store(settings("unix:/nowhere/redis.sock"))
    assert (store.is_up, store.trips, store.failures, store.seconds) == (True, 0, 0, 0.0)
    store.close()


def test_without_a_store_the_package_of_none_is_imported():
    program = (
        "from gproxy.config.sections.state import StateSettings; from gproxy.state.store import create_store; import sys;"
        "assert create_store(StateSettings()) is None; print('redis' in sys.modules, 'gevent' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
