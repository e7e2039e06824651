"""Metrics of handlers: names, label sets, and sums over workers."""

import os

import pytest

from gproxy.config.sections.metrics import BUCKETS
from gproxy.handlers.metrics import exposition
from gproxy.observe.metrics_reader import MetricsReader
from gproxy.observe.user_metrics import MOST
from gproxy.runtime import Runtime
from gproxy.state.shared.memory import SharedState

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@pytest.fixture
def state():
    made = SharedState.create()
    yield made
    os.close(made.fd)


@pytest.fixture
def runtime():
    return Runtime()


def values(rows):
    return {(row.name, *row.labels): row.value for row in rows}


def declare(runtime):
    counter = runtime.counter("orders_total", ["kind"], "orders")
    return counter, runtime.histogram("order_bytes", [], "sizes", (10, 100)), runtime.gauge("open_orders", [], "open")


def use(runtime):
    counter, histogram, gauge = declare(runtime)
    counter.add(2, "book")
    counter.add(1, "book")
    histogram.observe(50)
    gauge.set(5)
    gauge.add(-1)


def in_another_process(state, function):
    pid = os.fork()
    if pid == 0:
        try:
            runtime = Runtime()
            runtime.metrics.share(SharedState(state.fd))
            function(runtime)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_the_page_has_them(runtime):
    use(runtime)
    lines = exposition(runtime.metrics.read(), "")[0].decode().splitlines()
    assert "# HELP orders_total orders" in lines
    assert 'orders_total{kind="book"} 3.0' in lines
    assert 'order_bytes_bucket{le="10.0"} 0.0' in lines
    assert 'order_bytes_bucket{le="100.0"} 1.0' in lines
    assert "order_bytes_sum 50.0" in lines
    assert "open_orders 4.0" in lines


def test_workers_are_added_up_also_for_a_process_without_the_handler(runtime, state):
    use(runtime)
    runtime.metrics.share(state)
    in_another_process(state, use)
    expected = {("orders_total", "book"): 6, ("order_bytes",): 100, ("open_orders",): 4}
    assert values(runtime.metrics.read()) == expected
    reader = MetricsReader(state, BUCKETS)
    assert {**values(reader.read()), ("open_orders",): 4} == expected  # locks of gauges are those of processes


def test_the_101st_label_set_is_other(runtime, state):
    runtime.metrics.share(state)
    in_another_process(state, lambda theirs: [declare(theirs)[0].add(1, f"a{number}") for number in range(60)])
    counter = declare(runtime)[0]
    for number in range(1000):
        counter.add(1, f"b{number}")
    counter.add(1, "b0")
    counter.add(1, "a0")
    found = {labels: value for (name, *labels), value in values(runtime.metrics.read()).items() for labels in labels}
    assert len(found) == MOST + 1
    assert found["b0"] == 2
    assert found["other"] == 1000 - 40 + 1


def test_gauges_have_as_many_label_sets(runtime):
    gauge = runtime.gauge("level", ["tank"], "level")
    for number in range(500):
        gauge.set(number, str(number))
    found = values(runtime.metrics.read())
    assert len(found) == MOST + 1
    assert found["level", "other"] == 499


def test_a_later_generation_may_declare_other_labels(state, runtime):
    in_another_process(state, lambda theirs: theirs.counter("a_total", ["x"], "old").add(1, "1"))
    runtime.metrics.share(state)
    runtime.counter("a_total", ["x", "y"], "new").add(2, "1", "2")
    assert values(MetricsReader(state, BUCKETS).read()) == {("a_total", "1", "2"): 2}


@pytest.mark.parametrize(
    ("kind", "name", "labels", "problem"),
    [
        ("counter", "orders", (), "end with _total"),
        ("counter", "gproxy_orders_total", (), "does not begin with gproxy_"),
        ("counter", "or ders_total", (), "letters, digits"),
        ("gauge", "orders_total", (), "reserved"),
        ("histogram", "size_bucket", (), "reserved"),
        ("gauge", "level", ("le",), "cannot be a label"),
        ("gauge", "level", ("a", "a"), "listed twice"),
        ("gauge", "level", ("a-b",), "cannot be a label"),
    ],
)
def test_bad_names_raise_at_the_declaration(runtime, kind, name, labels, problem):
    with pytest.raises(ValueError, match=problem):
        getattr(runtime, kind)(name, labels, "doc")


def test_two_handlers_share_a_metric_only_if_they_mean_the_same(runtime):
    for _ in range(2):
        runtime.counter("a_total", ["x"], "doc").add(1, "1")
    assert values(runtime.metrics.read()) == {("a_total", "1"): 2}
    with pytest.raises(ValueError, match="another kind"):
        runtime.counter("a_total", ["y"], "doc")


def test_wrong_use_raises(runtime):
    counter = runtime.counter("a_total", ["x"], "doc")
    with pytest.raises(ValueError, match="expected 1 label values, not 2"):
        counter.add(1, "a", "b")
    with pytest.raises(ValueError, match="0 or more"):
        counter.add(-1, "a")
