"""Jobs in the test kit: their slots in virtual time, their results, and what is counted of them."""

import logging
from datetime import datetime, time
from functools import partial
from itertools import pairwise

import pytest

from gproxy.config.problems import ConfigError
from gproxy.testing.kit.gateway import KitGateway

INI = """
[route:all]
path = /
respond = 200
[upstream:prices]
backends = http://10.0.0.1:81
[job:own]
use = unit.jobs.test_runner:{function}
{options}
"""
RUNS = []
PAUSE = [0.0]


def note(runtime):
    RUNS.append(runtime.clock())
    runtime.sleep(PAUSE[0])


def fail(runtime):
    RUNS.append(runtime.clock())
    raise ValueError("no prices")


def fail_unprintably(runtime):
    RUNS.append(runtime.clock())
    raise UnprintableError


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError


def fail_with_file_name(runtime):
    RUNS.append(runtime.clock())
    raise OSError("no \udcff.csv")


async def wait(runtime):
    raise AssertionError


wrapped = partial(wait)


def leave(_):
    raise SystemExit(3)


def ask(runtime):
    answer = runtime.upstream("prices").request("GET", "/prices")
    runtime.table("prices", 10, "1h").set("status", answer.status)
    with runtime.lock("prices", "1m"):
        RUNS.append(answer.status)


def other(runtime, more):
    raise AssertionError


class Class:
    def __init__(self, runtime):
        raise AssertionError


def settings(options, function="note"):
    return INI.replace("{function}", function).replace("{options}", options)


def job(options, function="note"):
    return pytest.mark.gproxy(settings(options, function))


@pytest.fixture(autouse=True)
def runs():
    RUNS.clear()
    PAUSE[0] = 0.0


def state(gproxy):
    (found,) = gproxy._whole.background["job"].snapshot()
    return found


def align(gproxy, seconds):
    """Advance to the middle between two multiples of a time, and forget the runs until then."""
    gproxy.clock.advance(1.5 * seconds - gproxy.clock.wall() % seconds)
    RUNS.clear()


def counted(gproxy):
    rows = [row for row in gproxy.runtime.metrics.read() if row.name == "gproxy_job_runs_total"]
    return {row.labels[1]: row.cells[0] for row in rows if row.cells[0]}


@job("every = 10m")
def test_a_job_runs_at_each_multiple_of_its_time(gproxy):
    gproxy.clock.advance(3600)
    assert [run % 600 for run in RUNS] == pytest.approx([0.0] * 6, abs=0.01)
    assert {round(after - before) for before, after in pairwise(RUNS)} == {600}
    assert counted(gproxy) == {"success": 6}
    assert state(gproxy)["last"]["result"] == "success"
    assert state(gproxy)["next"] == pytest.approx(RUNS[-1] + 600, abs=0.01)


@job("every = 10m\non_start = yes")
def test_a_job_may_run_at_the_start_too(gproxy):
    assert len(RUNS) == 1
    gproxy.clock.advance(600)
    assert len(RUNS) == 2


@job("every = 10m\njitter = 5m")
def test_jitter_delays_each_run_at_random(gproxy):
    gproxy.clock.advance(6000)
    delays = [run % 600 for run in RUNS]
    assert len(delays) >= 9
    assert min(delays) > 0 and max(delays) <= 301 and max(delays) - min(delays) > 30


@job("every = 1m")
def test_a_slot_that_comes_during_a_run_is_skipped(gproxy):
    PAUSE[0] = 150.0
    gproxy.expect_warning("job own: skipped, the run before is still under way")
    gproxy.clock.advance(600)
    assert [round(after - before) for before, after in pairwise(RUNS)] == [180] * (len(RUNS) - 1)
    assert counted(gproxy)["skipped"] == pytest.approx(2 * counted(gproxy)["success"], abs=2)


@job("every = 1m\ntimeout = 10s")
def test_a_run_ends_at_its_timeout_and_the_next_one_comes(gproxy):
    align(gproxy, 60)
    PAUSE[0] = 15.0
    gproxy.expect_warning("job own: not finished within its timeout of 10 s")
    gproxy.clock.advance(120)
    assert len(RUNS) == 2
    assert counted(gproxy)["timeout"] == 2
    assert state(gproxy)["last"]["reason"] == "not finished within 10 s, its timeout"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        pytest.param("fail", "ValueError: no prices", marks=job("every = 1m", "fail")),
        pytest.param("leave", "SystemExit: 3", marks=job("every = 1m", "leave")),
        pytest.param(
            "wrapped",
            "TypeError: the function is asynchronous; expected an ordinary one, which may call runtime.aio",
            marks=job("every = 1m", "wrapped"),
        ),
        pytest.param("fail_unprintably", "UnprintableError", marks=job("every = 1m", "fail_unprintably")),
    ],
)
def test_an_exception_is_logged_and_the_job_goes_on(gproxy, function, reason):
    gproxy.expect_warning(r"job own failed\n(.*\n)+.*" + reason)
    gproxy.clock.advance(120)
    assert counted(gproxy) == {"error": 2}
    assert state(gproxy)["last"]["reason"] == reason
    assert len(gproxy.warnings) == 2


@job("every = 1m", "fail_with_file_name")
def test_a_message_that_is_no_unicode_ends_the_run_as_any_other(gproxy, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gproxy"), "propagate", False)  # xdist cannot send what pytest captures of it
    gproxy.expect_warning(r"job own failed")
    gproxy.clock.advance(120)
    assert counted(gproxy) == {"error": 2}
    assert state(gproxy)["last"]["reason"] == "OSError: no \\udcff.csv"


@job("every = 1m", "ask")
def test_a_job_uses_upstreams_tables_and_locks(gproxy):
    gproxy.clock.advance(60)
    assert RUNS == [200]
    assert gproxy.runtime.table("prices", 10, "1h").get("status") == 200


@job("every = 1h")
def test_a_job_can_be_run_now_unless_it_runs(gproxy):
    runner = gproxy._whole.background["job"]
    align(gproxy, 3600)
    PAUSE[0] = 5.0
    began = runner.run_now("own")
    gproxy.clock.advance(0)
    with pytest.raises(ValueError, match="job own is running already"):
        runner.run_now("own")
    with pytest.raises(LookupError, match="unknown job 'orders'"):
        runner.run_now("orders")
    gproxy.clock.advance(6)
    assert state(gproxy)["last"]["began"] == began
    assert len(RUNS) == 1


@job("every = 10m")
def test_a_clock_that_is_set_back_does_not_stop_the_job(gproxy):
    align(gproxy, 600)
    gproxy.clock._epoch -= 7 * 86_400
    gproxy.clock.advance(3600)
    assert len(RUNS) == 6
    assert [run % 600 for run in RUNS] == pytest.approx([0.0] * 6, abs=0.01)


@job("at = 03:00, 03:05\njitter = 1h")
def test_no_slot_is_lost_to_jitter(gproxy):
    gproxy.clock.advance(3600 * ((36 - datetime.fromtimestamp(gproxy.clock.wall()).hour) % 24))  # to noon
    RUNS.clear()
    gproxy.clock.advance(3 * 86_400)
    assert len(RUNS) == 6
    first = [run for run in RUNS if datetime.fromtimestamp(run).time() < time(3, 5)]
    assert len(first) == 3


@job("every = 1h")
def test_the_machine_has_slept_over_its_slots(gproxy):
    align(gproxy, 3600)
    gproxy.clock.now += 7200  # without anything that runs meanwhile
    gproxy.clock.advance(5)
    assert RUNS == []
    gproxy.clock.advance(3600)
    assert [run % 3600 < 1 for run in RUNS] == [True]


def test_without_a_job_no_module_of_jobs_is_imported():
    import subprocess
    import sys

    program = (
        "import sys, gproxy.server.worker, gproxy.gateway.build;"
        "print([name for name in sys.modules if name.startswith('gproxy.jobs')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("options", "function", "message"),
    [
        ("", "note", "is missing; expected every, such as 10m, or at, such as 03:30"),
        ("every = 10m\nat = 03:30", "note", "expected every or at, not both"),
        ("every = 10ms", "note", "expected at least 1s"),
        ("every = 1m\njitter = 1m", "note", "expected less than every"),
        ("at = 25:00", "note", "the times are 00:00 to 23:59"),
        ("at = 03:30, 03:30", "note", "03:30"),
        ("every = 1m", "missing", "has no 'missing'"),
        ("every = 1m", "other", "cannot be called with .runtime."),
        ("every = 1m", "wait", "is asynchronous; expected an ordinary function"),
        ("every = 1m", "Class", "is a class; expected a function"),
        ("every = 1m", "RUNS", "is not callable; expected a function"),
        ("every = 1m\nevry = 2m", "note", "unknown option"),
    ],
)
def test_mistakes_in_the_section_are_reported_with_their_line(tmp_path, options, function, message):
    with pytest.raises(ConfigError, match=rf"gproxy.ini:\d+: .*{message}"):
        KitGateway(settings(options, function), tmp_path / "gproxy.ini")


def test_a_wrong_option_hides_no_wrong_function(tmp_path):
    with pytest.raises(ConfigError) as caught:
        KitGateway(settings("every = soon", "missing"), tmp_path / "gproxy.ini")
    assert "has no 'missing'" in str(caught.value)
    assert "found 'soon'" in str(caught.value)
