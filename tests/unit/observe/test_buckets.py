import math
import random
from bisect import bisect_left

import pytest

from gproxy.config.sections.metrics import BUCKETS
from gproxy.observe.buckets import Buckets


def counted(buckets, values):
    counts = [0.0] * buckets.size
    for value in values:
        counts[bisect_left(buckets.inner, value)] += 1
    return counts


def test_each_usual_bucket_has_four_parts():
    buckets = Buckets(BUCKETS)
    assert len(buckets.inner) == 4 * len(BUCKETS)
    assert set(BUCKETS) <= set(buckets.inner)
    steps = [high / low for low, high in zip(buckets.inner[3:], buckets.inner[4:], strict=False)]
    assert max(steps) < 1.26


@pytest.mark.parametrize("bounds", [BUCKETS, (0.005, 5.0), (1.0,), (0.1, 0.2, 60.0)])
def test_inner_buckets_make_the_public_ones(bounds):
    buckets, chance = Buckets(bounds), random.Random(1)
    values = [chance.uniform(0, 2 * bounds[-1]) for _ in range(1000)] + [*bounds]
    folded = buckets.fold(counted(buckets, values))
    assert folded == [sum(bisect_left(bounds, value) == place for value in values) for place in range(len(bounds) + 1)]


@pytest.mark.parametrize("bounds", [BUCKETS, (0.001, 0.1, 10.0)])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_percentile_is_within_13_percent(bounds, share):
    buckets, chance = Buckets(bounds), random.Random(2)
    for middle in (0.002, 0.03, 0.4, 2.0):
        values = [min(10.0, max(0.001001, chance.lognormvariate(math.log(middle), 0.7))) for _ in range(999)]
        exact = sorted(values)[math.ceil(share * 999) - 1]
        assert buckets.percentile(counted(buckets, values), share) == pytest.approx(exact, rel=0.13)


def test_percentiles_at_the_ends():
    buckets = Buckets(BUCKETS)
    assert buckets.percentile([0.0] * buckets.size, 0.5) is None
    assert buckets.percentile(counted(buckets, [0.0]), 0.5) == pytest.approx(0.0000625)
    assert buckets.percentile(counted(buckets, [99.0]), 0.5) == 10.0


def test_other_bounds_have_another_key():
    assert Buckets(BUCKETS).key == Buckets(map(float, BUCKETS)).key != Buckets((0.1, 1.0)).key
