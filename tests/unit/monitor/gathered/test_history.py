"""The history of the figures: what it keeps, for how long, and in how much memory."""

import sys

from gproxy.monitor.gathered.history import MOST_SAMPLES, MOST_SERIES, Figure, History

RATE = Figure("requests")


def test_it_keeps_one_sample_a_second_for_its_time():
    history = History(60)
    for second in range(100):
        history.add(1000.0 + second, {RATE: float(second)})
    assert history.interval == 1.0
    assert history.times() == [1000.0 + second for second in range(40, 100)]
    assert history.of("requests") == [float(second) for second in range(40, 100)]
    assert history.of("requests", since=1097.0) == [98.0, 99.0]


def test_a_second_without_a_value_is_a_gap():
    history = History(60)
    history.add(1.0, {RATE: 1.0})
    history.add(2.0, {RATE: None})
    history.add(3.0, {})
    history.add(4.0, {RATE: 4.0, Figure("p50"): 0.5})
    assert dict(history.read()) == {RATE: [1.0, None, None, 4.0], Figure("p50"): [None, None, None, 0.5]}


def test_old_values_do_not_come_back_when_the_arrays_are_full():
    history = History(60)
    history.add(0.5, {RATE: 7.0})
    for second in range(1, 61):
        history.add(second + 0.5, {})
    assert history.of("requests") == [None] * 60


def test_a_long_history_has_means_over_longer_intervals():
    history = History(4 * MOST_SAMPLES)
    for second in range(8):
        history.add(float(second + 1), {RATE: float(second)})
    history.add(9.0, {RATE: 100.0})
    assert history.interval == 4.0
    assert history.times() == [1.0, 5.0, 9.0]
    assert history.of("requests") == [0.0, 2.5, (5 + 6 + 7 + 100) / 4]


def test_series_beyond_the_most_are_omitted_and_counted():
    history = History(60)
    history.add(1.0, {Figure("requests", "route", str(number)): 1.0 for number in range(MOST_SERIES + 3)})
    assert len(dict(history.read("route"))) == MOST_SERIES
    assert history.describe() == {"interval": 1.0, "series": MOST_SERIES, "omitted": 3}


def test_the_largest_history_stays_below_8_mb():
    history = History(86_400)
    history.add(1.0, {Figure("requests", "route", str(number)): 1.0 for number in range(MOST_SERIES)})
    columns = [*history._series.values(), history._times]
    assert len(columns) == MOST_SERIES + 1
    assert sum(map(sys.getsizeof, columns)) < 8_000_000
