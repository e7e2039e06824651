"""Jobs of several workers: each slot once, through kills and reloads; stops, and runs that operators want."""

import json
import os
import signal
import subprocess
import sys
import time

import forked
import pytest
from admin_listener import client_of
from started import started

from gproxy.testing.gateway import RunningGateway, eventually, free_port

JOBS = """
import os
import time


def note(runtime, what):
    line = f"{what} {time.time():.3f} {os.getpid()} {runtime.worker} {runtime.generation}\\n"
    with open("runs.txt", "a") as file:
        file.write(line)


def run(runtime):
    note(runtime, "begin")
    runtime.sleep(SECONDS)
    note(runtime, "end")


def hold(runtime):
    note(runtime, "begin")
    while not os.path.exists("go"):
        runtime.sleep(0.05)
    note(runtime, "end")


def fail(runtime):
    raise ValueError("no price list")
"""
INI = """
[server]
workers = WORKERS
grace = GRACE
[gateway]
handlers = metrics, health
[handler:metrics]
[handler:health]
[job:prices]
use = jobs:run
OPTIONS
[route:all]
path = /
respond = 200
[log]
access = off
"""
ADMIN = """
[admin]
bind = unix:{tmp}/admin.sock
ACCESS
"""


def running(folder, options="every = 1s", seconds=0.3, workers=3, grace="30s", more=""):
    (folder / "jobs.py").write_text(JOBS.replace("SECONDS", str(seconds)))
    ini = INI.replace("WORKERS", str(workers)).replace("OPTIONS", options).replace("GRACE", grace)
    return RunningGateway(ini + more, folder)


def runs(gateway):
    """The lines so far: what, when, and the process."""
    try:
        text = (gateway.folder / "runs.txt").read_text()
    except FileNotFoundError:
        return []
    found = [line.split() for line in text.splitlines()]
    return [
        (what, float(when), int(pid), int(worker), int(generation)) for what, when, pid, worker, generation in found
    ]


def begun(gateway):
    return [run for run in runs(gateway) if run[0] == "begin"]


def command(gateway, *words):
    line = [sys.executable, "-m", "gproxy", "job", *words, "--config", str(gateway.config)]
    return forked.run(line, capture_output=True, text=True, timeout=60, cwd=gateway.folder)


def test_each_slot_runs_once_though_its_leaders_are_killed(tmp_path):
    with running(tmp_path) as gateway:
        killed = set()
        for _ in range(3):
            count = len(begun(gateway))
            eventually(lambda count=count: len(begun(gateway)) >= count + 2, "two more runs")
            leader = begun(gateway)[-1][2]
            os.kill(leader, signal.SIGKILL)
            killed.add(leader)
        count = len(begun(gateway))
        eventually(lambda: len(begun(gateway)) >= count + 2, "two more runs")
        eventually(lambda: len(gateway.workers) == 3, "three workers")
        found = runs(gateway)
    slots = [int(when) for what, when, *_ in found if what == "begin"]
    assert len(set(slots)) == len(slots)
    assert slots == [*range(slots[0], slots[-1] + 1)]
    under_way = None
    for what, _, pid, *_ in found:
        if what == "begin":
            assert under_way is None or under_way in killed
            under_way = pid
        else:
            assert under_way == pid
            under_way = None
    assert len({pid for _, _, pid, *_ in found}) >= 4


def test_a_run_of_the_old_generation_keeps_the_new_one_from_running(tmp_path):
    with running(tmp_path, "every = 1h", more="[job:held]\nuse = jobs:hold\nevery = 1s\n") as gateway:
        eventually(lambda: runs(gateway), "the first run")
        gateway.reload()
        skipped = 'gproxy_job_runs_total{job="held",result="skipped"}'
        before = gateway.metric(skipped)
        eventually(lambda: gateway.metric(skipped) > before + 1, "slots of the new generation")
        assert [run[0] for run in runs(gateway)] == ["begin"]
        (tmp_path / "go").touch()
        eventually(lambda: len(begun(gateway)) >= 2, "the run after")
        first, second, third = runs(gateway)[:3]
        assert [first[0], second[0], third[0]] == ["begin", "end", "begin"]
        assert (first[4], second[4], third[4]) == (1, 1, 2)
        succeeded = 'gproxy_job_runs_total{job="held",result="success"}'
        eventually(lambda: gateway.metric(succeeded) >= 1, "the success counted")
        last = gateway.metric('gproxy_job_last_success_timestamp_seconds{job="held"}')
        assert last >= second[1] - 1


def test_each_worker_runs_a_job_of_workers(tmp_path):
    with running(tmp_path, "every = 1h\non = worker\non_start = yes", seconds=0) as gateway:
        eventually(lambda: len(runs(gateway)) == 6, "a run in each worker")
        assert {worker for _, _, _, worker, _ in runs(gateway)} == {1, 2, 3}


def test_a_job_runs_once_at_the_start_and_not_after_a_reload_or_a_kill(tmp_path):
    with running(tmp_path, "every = 1h\non_start = yes", seconds=0) as gateway:
        eventually(lambda: len(runs(gateway)) == 2, "a run")
        gateway.reload()
        before = gateway.workers
        os.kill(before[-1], signal.SIGKILL)
        eventually(lambda: len(gateway.workers) == 3 and gateway.workers != before, "another worker")
        gateway.get("/")
        assert len(runs(gateway)) == 2


def test_a_stop_waits_for_the_run(tmp_path):
    with running(tmp_path, seconds=1.5, workers=2) as gateway:
        eventually(lambda: runs(gateway), "a run")
        gateway.signal(signal.SIGTERM)
        began = time.monotonic()
        assert gateway.wait() == 0
        assert time.monotonic() - began < 10
        assert [run[0] for run in runs(gateway)] == ["begin", "end"]


def test_a_stop_cuts_a_run_that_lasts_longer_than_grace(tmp_path):
    with running(tmp_path, seconds=60, workers=2, grace="1s") as gateway:
        eventually(lambda: runs(gateway), "a run")
        gateway.signal(signal.SIGTERM)
        began = time.monotonic()
        assert gateway.wait() == 0
        assert 0.9 < time.monotonic() - began < 5
        assert [run[0] for run in runs(gateway)] == ["begin"]
        assert gateway.errors.count("job prices: cut, not finished within grace") == 1


def test_a_stop_after_a_reload_cuts_the_run_of_the_old_generation(tmp_path):
    with running(tmp_path, "every = 1s", seconds=60, workers=1, grace="1s") as gateway:
        eventually(lambda: runs(gateway), "a run")
        gateway.reload()
        gateway.signal(signal.SIGTERM)
        began = time.monotonic()
        assert gateway.wait() == 0
        assert time.monotonic() - began < 8
        assert "job prices: cut, not finished within grace" in gateway.errors


def test_a_job_is_run_now_and_its_outcome_is_the_exit_code(tmp_path):
    bad = "[job:bad]\nuse = jobs:fail\nat = 03:30, mon 06:00\n"
    with running(tmp_path, "every = 1h", 0.5, 2, more=bad + ADMIN.replace("ACCESS", "")) as gateway:
        done = command(gateway, "run", "prices")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("job prices: success after 0.5")
        assert [run[0] for run in runs(gateway)] == ["begin", "end"]
        done = command(gateway, "run", "bad")
        assert (done.returncode, done.stdout) == (1, "")
        assert "ValueError: no price list" in done.stderr
        assert gateway.errors.count("job bad failed") == 1
        done = command(gateway, "run", "price")
        assert (done.returncode, done.stderr) == (1, "404 Not Found: unknown job 'price'; did you mean 'prices'?\n")
        assert command(gateway, "walk", "prices").returncode == 2
        gateway.wait_for_line("gproxy.audit")
        assert "job bad run in worker" in gateway.errors
        done = command(gateway, "run", "prices", "--json")
        assert json.loads(done.stdout)["result"] == "success"


def test_a_job_that_runs_is_not_run_a_second_time(tmp_path):
    with running(tmp_path, "every = 1h\non_start = yes", 60, 2, "1s", ADMIN.replace("ACCESS", "")) as gateway:
        eventually(lambda: runs(gateway), "a run")
        done = command(gateway, "run", "prices")
        assert (done.returncode, done.stderr) == (1, "409 Conflict: job prices is running already\n")


def test_a_worker_that_ends_during_the_run_is_a_failure(tmp_path):
    with running(tmp_path, "every = 1h", 60, 1, "1s", ADMIN.replace("ACCESS", "")) as gateway:
        line = [sys.executable, "-m", "gproxy", "job", "run", "prices", "--config", str(gateway.config)]
        with started(line, stderr=subprocess.PIPE, text=True) as process:
            eventually(lambda: runs(gateway), "a run")
            os.kill(runs(gateway)[0][2], signal.SIGKILL)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "has ended" in errors or "no worker answers" in errors


@pytest.mark.parametrize("access", ["act = no", "read_token = secret-token-of-readers"])
def test_who_may_not_act_runs_no_job(tmp_path, access):
    tcp = "" if access == "act = no" else "token = another-secret-token\n"
    more = ADMIN.replace("ACCESS", f"{access}\n{tcp}")
    if tcp:
        more = more.replace("unix:{tmp}/admin.sock", "127.0.0.1:PORT")
    port = free_port()
    with running(tmp_path, "every = 1h", 0, 1, more=more.replace("PORT", str(port))) as gateway:
        gateway.wait_for_line("monitor: serves on")
        if tcp:
            line = [sys.executable, "-m", "gproxy", "job", "run", "prices", "--admin", f"http://127.0.0.1:{port}"]
            environ = {**os.environ, "GPROXY_ADMIN_TOKEN": "secret-token-of-readers"}
            done = forked.run(line, capture_output=True, text=True, timeout=60, env=environ)
        else:
            done = command(gateway, "run", "prices")
        assert done.returncode == 1
        assert done.stderr.startswith("403")
        assert runs(gateway) == []


def test_the_page_and_the_api_show_the_next_run_and_the_last_outcome(tmp_path):
    bad = "[job:bad]\nuse = jobs:fail\nevery = 1s\n"
    with running(tmp_path, "every = 1h", 0, 2, more=bad + ADMIN.replace("ACCESS", "")) as gateway:
        gateway.wait_for_line("monitor: serves on")
        gateway.wait_for_line("job bad failed")
        client = client_of(gateway)
        found = {job["name"]: job for job in client.get("/v1/jobs")["jobs"]}
        assert found["prices"]["next"].endswith(":00:00.000Z")
        assert found["prices"]["runs"] == [{"worker": None, "running_since": None, "last": None}]
        last = found["bad"]["runs"][0]["last"]
        assert (last["result"], last["reason"]) == ("error", "ValueError: no price list")
        page = client.get("/", {"view": "processes"})
        assert "ValueError: no price list" in page and "one worker" in page
        assert "job bad has failed at its last run: ValueError: no price list" in client.get("/")
