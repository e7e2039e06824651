import os

import pytest

from gproxy.config.sections.metrics import BUCKETS, MetricsSettings
from gproxy.handlers.metrics import exposition
from gproxy.observe import metrics
from gproxy.observe.metrics import EXPIRES_AFTER, Metrics
from gproxy.observe.metrics_reader import MetricsReader
from gproxy.state.shared.counters import CountersView
from gproxy.state.shared.memory import SharedState

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@pytest.fixture
def state():
    made = SharedState.create()
    yield made
    os.close(made.fd)


def reading(counted):
    """Return the values of the metrics by name and labels."""
    return {(row.name, row.labels): row.cells for row in counted.read()}


def page(counted, accept=""):
    return exposition(counted.read(), accept)[0].decode()


def in_another_process(state, function):
    """Run a function in another process that shares the metrics; the process ends without cleanup."""
    pid = os.fork()
    if pid == 0:
        try:
            counted = Metrics()
            counted.share(SharedState(state.fd))
            function(counted)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def count(counted, times=1):
    for _ in range(times):
        counted.series("gproxy_requests_total", "users", "200", "").cells[0] += 1
        counted.series("gproxy_request_duration_seconds", "users").observe(0.02)


def requests(counted):
    return reading(counted)["gproxy_requests_total", ("users", "200", "")]


def test_a_process_without_a_row_reads_the_counts_of_all(state):
    reader = MetricsReader(SharedState(state.fd), BUCKETS)
    assert reader.read() == []
    in_another_process(state, count)
    in_another_process(state, lambda counted: count(counted, 2))
    counts = {row.labels: row.cells for row in reader.read() if row.name == "gproxy_requests_total"}
    assert counts == {("users", "200", ""): [3.0]}
    assert len(CountersView.of(state).rows()) == 1, "it took a row"


def test_a_page():
    counted = Metrics()
    counted.series("gproxy_requests_total", 'us"e\\rs', "200", "").cells[0] += 3
    for seconds in (0.0005, 0.001, 0.02, 99.0):
        counted.series("gproxy_request_duration_seconds", "users").observe(seconds)
    lines = page(counted).splitlines()
    assert "# TYPE gproxy_requests_total counter" in lines
    assert r'gproxy_requests_total{reason="",route="us\"e\\rs",status="200"} 3.0' in lines
    assert 'gproxy_request_duration_seconds_bucket{le="0.001",route="users"} 2.0' in lines
    assert 'gproxy_request_duration_seconds_bucket{le="0.01",route="users"} 2.0' in lines
    assert 'gproxy_request_duration_seconds_bucket{le="0.025",route="users"} 3.0' in lines
    assert 'gproxy_request_duration_seconds_bucket{le="10.0",route="users"} 3.0' in lines
    assert 'gproxy_request_duration_seconds_bucket{le="+Inf",route="users"} 4.0' in lines
    assert 'gproxy_request_duration_seconds_count{route="users"} 4.0' in lines
    assert 'gproxy_request_duration_seconds_sum{route="users"} 99.0215' in lines


def test_openmetrics_on_request():
    text, media_type = exposition(Metrics().read(), "application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_watched_values_are_read_on_demand():
    counted, figure = Metrics(), [5.0]
    counted.watch("gproxy_rate_limited_total", ("a",), lambda: figure[0])
    counted.watch("gproxy_connections", (), lambda: figure[0])
    assert reading(counted) == {("gproxy_rate_limited_total", ("a",)): [5.0], ("gproxy_connections", ()): [5.0]}
    figure[0] = 7.0
    assert reading(counted) == {("gproxy_rate_limited_total", ("a",)): [7.0], ("gproxy_connections", ()): [7.0]}


def test_counts_of_other_and_ended_processes_are_added(state):
    counted = Metrics()
    count(counted, 3)
    counted.share(state)
    count(counted, 2)
    for _ in range(3):
        in_another_process(state, lambda theirs: count(theirs, 10))
    assert requests(counted) == [35.0]
    (durations,) = (row for row in counted.read() if row.name == "gproxy_request_duration_seconds")
    assert durations.value == pytest.approx(0.7)
    assert durations.counts == [35.0 if bound == 0.025 else 0.0 for bound in (*BUCKETS, None)]


def test_counts_of_another_process_are_read_without_own_counts(state):
    counted = Metrics()
    counted.share(state)
    in_another_process(state, lambda theirs: theirs.series("gproxy_retries_total", "other").cells.__setitem__(0, 4.0))
    assert reading(counted)["gproxy_retries_total", ("other",)] == [4.0]


def test_gauges_end_with_their_process(state):
    counted = Metrics()
    counted.watch("gproxy_connections", (), lambda: 2)
    counted.watch("gproxy_worker_uptime_seconds", (), lambda: 9)
    counted.share(state)

    def live(theirs):
        theirs.watch("gproxy_connections", (), lambda: 5)
        theirs.watch("gproxy_worker_uptime_seconds", (), lambda: 1)
        found = reading(theirs)
        assert found["gproxy_connections", ()] == [7.0]
        assert found["gproxy_worker_uptime_seconds", ("2",)] == [1.0]
        count(theirs)

    in_another_process(state, live)
    assert requests(counted) == [1.0]  # it came to its end
    assert reading(counted)["gproxy_connections", ()] == [2.0]
    assert ("gproxy_worker_uptime_seconds", ("2",)) not in reading(counted)
    # Nor does it come back with whoever takes over the row.
    in_another_process(state, lambda theirs: count(theirs, int(reading(theirs)["gproxy_connections", ()] == [2.0])))
    assert requests(counted) == [2.0]


def test_counts_survive_generations_of_one_worker_each(state):
    """Share, start a new process, unshare: the steps of a reload with one worker."""
    old = Metrics()
    ours = old.series("gproxy_retries_total", "users")
    ours.cells[0] += 1
    old.share(state)
    ours.cells[0] += 1
    in_another_process(state, lambda theirs: count(theirs, 2))
    old.unshare(state)
    ours.cells[0] += 1
    assert reading(old) == {
        ("gproxy_retries_total", ("users",)): [3.0],
        ("gproxy_requests_total", ("users", "200", "")): [2.0],
        ("gproxy_request_duration_seconds", ("users",)): reading(old)["gproxy_request_duration_seconds", ("users",)],
    }
    for _ in range(3):
        old.share(state)
        count(old)
        old.unshare(state)
    assert requests(old) == [5.0]
    assert ours.cells[0] == 3.0


def test_gauges_are_not_carried_over(state):
    counted = Metrics()
    counted.watch("gproxy_connections", (), lambda: 2)
    counted.watch("gproxy_worker_uptime_seconds", (), lambda: 9)
    for _ in range(3):
        counted.share(state)
        assert reading(counted)["gproxy_connections", ()] == [2.0]
        counted.unshare(state)
        assert reading(counted) == {
            ("gproxy_connections", ()): [2.0],
            ("gproxy_worker_uptime_seconds", ("1",)): [9.0],
        }


def test_what_all_workers_report_is_not_added_up(state):
    counted = Metrics()
    counted.watch("gproxy_generation", (), lambda: 3)
    counted.watch("gproxy_reloads_total", ("success",), lambda: 2)
    counted.watch("gproxy_worker_cpu_seconds_total", (), lambda: 1.5)
    for _ in range(2):
        counted.share(state)

        def live(theirs):
            theirs.watch("gproxy_generation", (), lambda: 4)
            theirs.watch("gproxy_reloads_total", ("success",), lambda: 3)
            theirs.watch("gproxy_worker_cpu_seconds_total", (), lambda: 0.5)
            found = reading(theirs)
            assert found["gproxy_generation", ()] == [4.0]
            assert found["gproxy_reloads_total", ("success",)] == [3.0]
            assert found["gproxy_worker_cpu_seconds_total", ("1",)] == [1.5]
            assert found["gproxy_worker_cpu_seconds_total", ("2",)] == [0.5]
            count(theirs)

        in_another_process(state, live)
        counted.unshare(state)
        assert reading(counted)["gproxy_generation", ()] == [3.0]
        assert reading(counted)["gproxy_reloads_total", ("success",)] == [2.0]
        assert reading(counted)["gproxy_worker_cpu_seconds_total", ("1",)] == [1.5]
        assert ("gproxy_worker_cpu_seconds_total", ("2",)) not in reading(counted)
    assert requests(counted) == [2.0]  # both came to their end


def test_series_beyond_the_limit_are_counted_as_other():
    counted = Metrics(MetricsSettings(max_series=4))
    for number in range(10):
        counted.series("gproxy_retries_total", str(number)).cells[0] += 1
    for _ in range(3):
        counted.series("gproxy_requests_total", "users", "200", "").cells[0] += 1
    found = reading(counted)
    assert len(found) == 6
    assert found["gproxy_retries_total", ("other",)] == [6.0]
    assert found["gproxy_requests_total", ("other", "other", "other")] == [3.0]
    assert counted.dropped == 7


def test_gauges_beyond_the_limit_are_added_up():
    counted = Metrics(MetricsSettings(max_series=1))
    for name in "abc":
        counted.watch("gproxy_backend_active", ("users", name), lambda: 2)
    for _ in range(3):
        assert reading(counted) == {
            ("gproxy_backend_active", ("users", "a")): [2.0],
            ("gproxy_backend_active", ("other", "other")): [4.0],
        }
    assert counted.dropped == 2


def test_cells_have_a_limit_too(monkeypatch):
    monkeypatch.setattr(metrics, "CELLS", 5)
    counted = Metrics()
    for number in range(10):
        counted.series("gproxy_retries_total", str(number)).cells[0] += 1
    assert reading(counted)["gproxy_retries_total", ("other",)] == [5.0]


def test_metrics_of_a_newer_version_are_ignored(state):
    counted = Metrics()
    counted.share(state)
    in_another_process(state, lambda theirs: theirs._counters.cells('["gproxy_of_tomorrow", "a"]', 1))
    in_another_process(state, lambda theirs: theirs._counters.cells('["gproxy_retries_total", "a", "b"]', 1))
    assert reading(counted) == {}
    page(counted)


def test_a_monitor_reads_a_single_worker_for_good(state):
    counted = Metrics()
    counted.watch("gproxy_connections", (), lambda: 2)
    counted.share_with_monitor(state)
    count(counted, 5)
    counted.unshare(state)
    pid = os.fork()
    if pid == 0:  # the reader is another process: locks are those of processes
        found = {(row.name, row.labels): row.cells for row in MetricsReader(SharedState(state.fd), BUCKETS).read()}
        is_right = found["gproxy_connections", ()] == [2.0]
        is_right = is_right and found["gproxy_requests_total", ("users", "200", "")] == [5.0]
        os._exit(0 if is_right else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_other_buckets_begin_with_zero(state):
    reader = MetricsReader(state, (0.1, 1.0))
    in_another_process(state, count)
    assert [row.name for row in reader.read()] == ["gproxy_requests_total"]
    counted = Metrics(MetricsSettings(buckets=(0.1, 1.0)))
    counted.share(state)
    count(counted)
    (durations,) = (row for row in reader.read() if row.name == "gproxy_request_duration_seconds")
    assert (durations.bounds, durations.counts) == ((0.1, 1.0), [1.0, 0.0, 0.0])


def follow_backend(counted, name="a"):
    return [
        counted.watch("gproxy_backend_attempts_total", ("users", name), lambda: 3),
        counted.watch("gproxy_backend_active", ("users", name), lambda: 1),
        counted.watch("gproxy_backend_healthy", ("users", name), lambda: 1),
    ]


@pytest.mark.parametrize("shares", [False, True])
def test_series_of_what_is_gone_leave_after_ten_minutes(state, shares):
    counted, now = Metrics(), [100.0]
    counted.clock = lambda: now[0]
    if shares:
        counted.share(state)
        in_another_process(state, lambda theirs: (follow_backend(theirs), theirs.sample()))
    gone = follow_backend(counted)
    follow_backend(counted, "b")
    counted.expire(gone)
    now[0] += EXPIRES_AFTER - 1
    assert len([labels for _, labels in reading(counted) if "a" in labels]) == 3
    now[0] += 2
    assert [labels for _, labels in reading(counted) if "a" in labels] == []
    assert len([labels for _, labels in reading(counted) if "b" in labels]) == 3
    follow_backend(counted)  # it is back
    found = reading(counted)
    assert found["gproxy_backend_active", ("users", "a")] == [1.0]
    assert found["gproxy_backend_attempts_total", ("users", "a")] == [6.0 if shares else 3.0]


def test_a_backend_that_is_back_within_ten_minutes_stays(state):
    counted, now = Metrics(), [100.0]
    counted.clock = lambda: now[0]
    counted.expire(follow_backend(counted))
    follow_backend(counted)
    now[0] += EXPIRES_AFTER + 1
    assert reading(counted)["gproxy_backend_active", ("users", "a")] == [1.0]


def test_a_group_of_gauges_follows_its_labels():
    counted = Metrics()
    waiting: dict[tuple[str, ...], float] = {("users", "a"): 2}
    counted.watch_group("gproxy_backend_waiting", lambda: waiting)
    assert reading(counted) == {("gproxy_backend_waiting", ("users", "a")): [2]}
    waiting = {("users", "b"): 1}
    assert reading(counted) == {
        ("gproxy_backend_waiting", ("users", "a")): [0],
        ("gproxy_backend_waiting", ("users", "b")): [1],
    }
