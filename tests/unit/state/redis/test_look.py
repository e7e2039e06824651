"""A look at a limit in Redis: it counts nothing there, and without Redis the process looks at its own counts."""

import pytest

from gproxy.config.sections.state import RedisURL, StateSettings
from gproxy.config.types import Rate, Seconds
from gproxy.state.rate_limit.limiter import MemoryLimiter
from gproxy.state.rate_limit.shared_limiter import SLIDING_WINDOW, TOKEN_BUCKET
from gproxy.state.redis.store import RedisStore
from gproxy.state.store import StoreUnavailableError
from gproxy.testing.gateway import PATIENCE
from gproxy.testing.redis import RunningRedis

#: So slow that no permit comes back during a test.
RATE = Rate.parse("3/hour")


def opened(path, **options):
    url = RedisURL(f"unix:{path}")
    # A busy machine may take longer than the default timeout; the process would then count and look locally.
    return RedisStore(url, StateSettings(redis=url, timeout=Seconds(PATIENCE), **options))


@pytest.mark.parametrize("algorithm", [SLIDING_WINDOW, TOKEN_BUCKET], ids=["window", "tokens"])
@pytest.mark.parametrize("lease", [1, 10])
def test_two_machines_see_what_either_has_counted(tmp_path, algorithm, lease):
    with RunningRedis(tmp_path) as server:
        stores = [opened(server.path, lease=lease) for _ in range(2)]
        fallback = MemoryLimiter(10)
        one, two = (store.limiter("failures", 10, fallback, algorithm) for store in stores)
        for _ in range(3):
            assert [limiter.look("a", RATE) for limiter in (one, two) * 3] == [0.0] * 6
            assert one.take("a", RATE, RATE.window).admitted
        assert 0 < two.look("a", RATE) <= RATE.window
        assert 0 < one.look("a", RATE) <= RATE.window
        assert two.look("b", RATE) == 0.0
        for store in stores:
            store.close()


def test_without_redis(tmp_path):
    fallback = MemoryLimiter(10)
    for _ in range(3):
        fallback.take("a", RATE)
    store = opened(tmp_path / "none.sock")
    assert 0 < store.limiter("failures", 10, fallback).look("a", RATE) <= RATE.window
    store.close()
    store = opened(tmp_path / "none.sock", on_failure="closed")
    with pytest.raises(StoreUnavailableError):
        store.limiter("failures", 10, fallback).look("a", RATE)
    store.close()
