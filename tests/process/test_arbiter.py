"""The process that a user starts, and its workers: who ends when, who takes whose place."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from hammer import load
from shipped import PUBLIC, UNLIMITED, line_with, response, running

from gproxy.arbiter.spawn import STACK_SIGNAL, spawn
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import PATIENCE, RunningGateway, eventually, free_port

INI = """
[server]
{server}
[gateway]
handlers = health
[handler:mine]
use = mine:mine
[route:all]
handlers = mine
upstream = one
[upstream:one]
backends = {url}
"""
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
PLAIN = "def mine(request, next):\n    return next(request)\n"
#: Answers with the process that it runs in; /stuck hangs the whole of it, /die ends it.
PID = """
import os
from gevent.monkey import get_original
from gproxy import Response

def mine(request, next):
    if request.path == "/stuck":
        hang()
    if request.path == "/die":
        os._exit(3)
    return Response(200, str(os.getpid()).encode())

def hang():
    get_original("time", "sleep")(60)
"""


@pytest.fixture
def backend():
    with Backend(answering(body=b"one")) as one:
        yield one


def gateway(folder, backend, *server, handlers=PLAIN, options=(), environ=None):
    (folder / "mine.py").write_text(handlers)
    ini = INI.format(server="\n".join(server), url=backend.url)
    return RunningGateway(ini, folder, *options, environ=environ)


def pids(gateway, count):
    """Ask until so many workers have answered."""
    found = set()
    eventually(lambda: found.add(gateway.get("/").body) or len(found) == count, f"answers from {count} workers")
    return {int(pid) for pid in found}


def test_one_worker_beside_an_arbiter_that_is_small_and_bears_its_name(tmp_path, backend):
    with gateway(tmp_path, backend) as ours:
        (worker,) = ours.workers
        arbiter = psutil.Process(ours.process.pid)
        # 20.1 MB with Python 3.11, of which 0.2 MB depend on the pages of the kernel; Python 3.13 takes 1.2 MB more. The
        # options of apps, files and chains are 0.6 MB of it.
        assert arbiter.memory_info().rss < (21_100_000 if sys.version_info < (3, 13) else 23_100_000)
        assert (arbiter.name(), psutil.Process(worker).name()) == ("gproxy: arbiter", "gproxy: worker1")
        assert psutil.Process(worker).cmdline()[-6:-2] == ["--generation", "1", "--worker", "1"]
        names = [os.readlink(f"/proc/{worker}/fd/{fd}") for fd in os.listdir(f"/proc/{worker}/fd")]
        assert sum("gproxy-state" in name for name in names) == 1
        assert not any("gproxy-settings" in name for name in names)


@pytest.mark.parametrize("workers", ["2", "auto"])
def test_several_workers_take_from_one_queue(tmp_path, backend, workers):
    count = 2 if workers == "2" else len(os.sched_getaffinity(0))
    with gateway(tmp_path, backend, f"workers = {workers}", handlers=PID) as ours:
        assert len(ours.workers) == count
        assert pids(ours, count) == set(ours.workers)
        assert ours.errors.count("serves on") == 1
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        assert ours.errors.count("stopped after") == 1


def test_what_is_wrong_is_said_once_whatever_the_number_of_workers(tmp_path, backend):
    (tmp_path / "folder").mkdir()
    ini = INI.format(server="workers = 4", url=backend.url)
    for broken, code, said in (
        (ini.replace("upstream = one", "upstream = two"), 2, "unknown upstream 'two'"),
        (ini + "[log]\naccess = folder\n", 1, "[log] access: "),
        (ini.replace("mine:mine", "nowhere:mine"), 2, "cannot import nowhere"),
    ):
        (tmp_path / "mine.py").write_text(PLAIN)
        (tmp_path / "gproxy.ini").write_text(broken)
        command = [sys.executable, "-m", "gproxy", "--config", "gproxy.ini", "--bind", f"127.0.0.1:{free_port()}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert said in done.stderr


def test_a_worker_that_dies_before_it_is_ready_is_no_start(tmp_path, backend):
    (tmp_path / "mine.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    (tmp_path / "gproxy.ini").write_text(INI.format(server="", url=backend.url))
    command = [sys.executable, "-m", "gproxy", "--config", "gproxy.ini", "--bind", f"127.0.0.1:{free_port()}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert re.search(r"worker 1 \(generation 1, pid \d+\) was killed by SIGKILL before it was ready\n$", done.stderr)


def test_a_killed_worker_costs_only_what_it_had_in_flight(tmp_path):
    def script(peer, backend):
        while peer.read_request() is not None:
            time.sleep(0.02)
            peer.send(response(b"x" * 100))

    with running(tmp_path, UNLIMITED, *PUBLIC, ("workers = 1", "workers = 2"), scripts=[script] * 3) as ours:
        eventually(lambda: len(ours.workers) == 2, "two workers")
        victim = ours.workers[0]
        with load(ours.port, may_lose=8) as clients:
            os.kill(victim, signal.SIGKILL)
            line = ours.wait_for_line("was killed by SIGKILL")
            assert f"pid {victim}" in line
            assert "starting another one" in line
            before = sum(client.answered for client in clients)
            eventually(lambda: len(ours.workers) == 2 and victim not in ours.workers, "another worker")
            eventually(lambda: sum(client.answered for client in clients) > before + 100, "answers after it")
        lost = [how for client in clients for how in client.lost]
        assert len(lost) <= len(clients)  # each has one in flight at a time


def test_a_worker_that_dies_again_and_again_is_started_ever_more_slowly(tmp_path, backend):
    with gateway(tmp_path, backend, "workers = 2", handlers=PID) as ours:
        other = ours.workers[1]
        for _ in range(4):
            eventually(lambda: pids(ours, 2), "two workers")
            os.kill(next(pid for pid in ours.workers if pid != other), signal.SIGKILL)
            eventually(lambda: ours.workers == [other] or len(ours.workers) == 2, "its end")
        ours.wait_for_line("starting another one in 0.4 s")
        said = re.findall(r"was killed by SIGKILL; starting another one(.*)", ours.errors)
        assert said == ["", " in 0.1 s", " in 0.2 s", " in 0.4 s"]


def test_of_workers_that_are_killed_all_together_one_starts_at_once(tmp_path, backend):
    with gateway(tmp_path, backend, "workers = 3", handlers=PID) as ours:

        def kill_until_one_starts_at_once():
            for pid in ours.workers:
                os.kill(pid, signal.SIGKILL)
            return ours.errors.count("SIGKILL; starting another one\n") > before

        for _ in range(5):  # the pauses of the others grow
            eventually(lambda: _answers(ours.port), "an answer")
            before = ours.errors.count("SIGKILL; starting another one\n")
            eventually(kill_until_one_starts_at_once, "a start at once")
        eventually(lambda: _answers(ours.port), "an answer")


def test_a_replacement_that_reads_newer_files_than_its_generation_is_logged(tmp_path, backend):
    """Code is pinned; files that are no code are not."""
    page = tmp_path / "404.txt"
    page.write_text("first")
    (tmp_path / "mine.py").write_text(PID)
    ini = INI.format(server="workers = 2", url=backend.url)
    with RunningGateway(f"{ini}[errors]\n404 = 404.txt\n", tmp_path) as ours:
        os.kill(ours.workers[0], signal.SIGKILL)
        eventually(lambda: pids(ours, 2), "another worker")
        assert "newer files" not in ours.errors
        page.write_text("newer")
        (tmp_path / "mine.py").write_text("newer")
        os.kill(ours.workers[0], signal.SIGKILL)
        line = ours.wait_for_line("newer files")
        assert "reads newer files than generation 1 did: 404.txt changed; HUP lets all workers read them\n" in line
        eventually(lambda: pids(ours, 2), "another worker")
        (tmp_path / "mine.py").write_text(PID)
        ours.signal(signal.SIGHUP)
        ours.wait_for_line("reloaded: generation 2")
        os.kill(ours.workers[-1], signal.SIGKILL)
        eventually(lambda: ours.errors.count("was killed by SIGKILL") == 3, "its end")
        eventually(lambda: pids(ours, 2), "another worker")
        assert ours.errors.count("newer files") == 1


def test_a_replacement_that_cannot_serve_uses_up_no_core(tmp_path, backend):
    data = tmp_path / "data"
    data.write_text("")
    with gateway(tmp_path, backend, handlers=f"open({str(data)!r}).close()\n{PID}") as ours:
        data.unlink()
        os.kill(ours.workers[0], signal.SIGKILL)
        ours.wait_for_line("starting another one in 0.4 s")
        data.write_text("")
        eventually(lambda: _answers(ours.port), "an answer")


def test_an_arbiter_that_cannot_start_a_worker_goes_on_with_those_that_live(tmp_path, backend):
    with gateway(tmp_path, backend, "workers = 2") as ours:
        arbiter = ours.process.pid
        before = resource.prlimit(arbiter, resource.RLIMIT_NOFILE)
        resource.prlimit(arbiter, resource.RLIMIT_NOFILE, (psutil.Process(arbiter).num_fds(), before[1]))
        os.kill(ours.workers[0], signal.SIGKILL)
        ours.wait_for_line("cannot start a worker: Too many open files; retrying in 0.2 s")
        ours.signal(signal.SIGHUP)
        ours.wait_for_line("reload failed; generation 1 keeps serving")
        assert ours.get("/").status == 200
        resource.prlimit(arbiter, resource.RLIMIT_NOFILE, before)
        eventually(lambda: len(ours.workers) == 2, "another worker")


def test_a_worker_without_descriptors_answers_for_itself_and_is_looked_at(tmp_path, backend):
    (tmp_path / "mine.py").write_text(PLAIN)
    ini = INI.format(server="workers = 2", url=backend.url).replace("= health", "= metrics, health")
    with RunningGateway(ini, tmp_path) as ours, ours.connect() as wire:
        wire.send(HEALTH)
        pid = json.loads(wire.read_response().body)["pid"]
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (psutil.Process(pid).num_fds(), before[1]))
        for _ in range(3):
            time.sleep(1.1)
            wire.send(HEALTH)
            answer = wire.read_response()
            assert (answer.status, json.loads(answer.body)["pid"]) == (200, pid)
        assert json.loads(answer.body)["memory"] > 10_000_000
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert "Traceback" not in ours.errors
        assert ours.get("/metrics").body.count(b"\ngproxy_worker_memory_bytes{") == 2


@pytest.mark.parametrize("limit", ["-v 1000000", "-f 200000"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_limit_on_addresses_or_files_leaves_room_for_what_is_shared(tmp_path, backend, workers, limit):
    port = free_port()
    (tmp_path / "mine.py").write_text(PLAIN)
    server = f"bind = 127.0.0.1:{port}\nworkers = {workers}"
    (tmp_path / "gproxy.ini").write_text(INI.format(server=server, url=backend.url))
    command = f"ulimit {limit}; exec {sys.executable} -m gproxy --config gproxy.ini 2>err"
    said = tmp_path / "err"
    with subprocess.Popen(command, shell=True, cwd=tmp_path) as process:
        try:
            eventually(lambda: _answers(port), "an answer")
            process.send_signal(signal.SIGHUP)
            eventually(lambda: "reloaded: generation 2 serves" in said.read_text(), "the reload")
            assert _answers(port)
            process.terminate()
            assert process.wait(15) == 0
        finally:
            process.kill()
        assert "ERROR" not in said.read_text()


def test_a_limit_on_files_that_leaves_no_room_is_one_line(tmp_path, backend):
    (tmp_path / "mine.py").write_text(PLAIN)
    (tmp_path / "gproxy.ini").write_text(INI.format(server="", url=backend.url))
    for command in ("", "dev "):
        line = f"ulimit -f 100; exec {sys.executable} -m gproxy {command}--config gproxy.ini --bind 127.0.0.1:{free_port()}"
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=20)
        said = "cannot start a worker: files may have 102400 bytes (ulimit -f); the workers share memory of at least "
        assert (done.returncode, done.stderr.partition("least ")[0] + "least ") == (1, said)
        assert done.stderr.count("\n") == 1


def test_a_worker_that_cannot_do_what_it_is_told_makes_room_for_another(tmp_path, backend):
    with gateway(tmp_path, backend, handlers=PID) as ours:
        (worker,) = ours.workers
        most = psutil.Process(worker).memory_info().vms + 100_000_000
        resource.prlimit(worker, resource.RLIMIT_AS, (most, most))
        ours.signal(signal.SIGHUP)
        ours.wait_for_line("command from the arbiter failed; this worker is being replaced")
        ours.wait_for_line("reloaded: generation 2 serves")
        assert ours.get("/").body != str(worker).encode()
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_streams_that_whoever_started_us_has_closed(tmp_path, backend, closed):
    port = free_port()
    (tmp_path / "mine.py").write_text(PLAIN)
    (tmp_path / "gproxy.ini").write_text(INI.format(server=f"bind = 127.0.0.1:{port}", url=backend.url))
    command = f"exec {sys.executable} -m gproxy --config gproxy.ini {closed}"
    with subprocess.Popen(command, shell=True, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: _answers(port), "an answer")
        process.terminate()
        assert process.wait(15) == 0
        assert "ERROR" not in process.stderr.read()


def _answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 15) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return sock.recv(1000).startswith(b"HTTP/1.1 200 ")
    except ConnectionRefusedError:
        return False


def test_a_worker_that_hangs_is_replaced_and_its_stack_is_logged(tmp_path, backend):
    with gateway(tmp_path, backend, "worker_timeout = 1s", "workers = 2", handlers=PID) as ours:
        before = set(ours.workers)
        with ours.connect() as wire:
            wire.send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
            assert "has sent no heartbeat for 1 s; killing it" in ours.wait_for_line("has sent no heartbeat")
            assert not wire.read_response().complete
        ours.wait_for_line("hung here")
        ours.wait_for_line("was killed by SIGKILL; starting another one")
        assert re.search(r'hung here:\n(  .*\n)*  +File ".*mine\.py", line \d+ in hang\n', ours.errors)
        eventually(lambda: len(ours.workers) == 2, "another worker")
        assert len(before & set(ours.workers)) == 1
        assert pids(ours, 2) == set(ours.workers)


def test_a_worker_that_still_starts_writes_its_stacks_once_it_can():
    started = spawn(1, 1)
    os.kill(started.pid, STACK_SIGNAL)
    with started.control as sock:
        sock.settimeout(PATIENCE)
        stacks = b""
        while b"worker.py" not in stacks:
            stacks += sock.recv(10_000) or b"it has ended, worker.py"
    assert b"most recent call first" in stacks
    assert os.waitstatus_to_exitcode(os.waitpid(started.pid, 0)[1]) == 0  # the arbiter is gone


def test_a_handler_whose_close_waits_for_ever_is_named(tmp_path, backend):
    """The hub runs meanwhile, so the stack of the thread would be that of the hub."""
    waits = "import time\nclass Waits:\n    def close(self):\n        time.sleep(100)\n    def __call__(self, request, next):\n        return next(request)\nmine = Waits()\n"
    with gateway(tmp_path, backend, "grace = 0s", handlers=waits) as ours:
        assert ours.get("/").status == 200
        ours.signal(signal.SIGTERM)
        ours.wait_for_line("did not exit in time; killing it")
        ours.wait_for_line("1 worker killed")
        assert re.search(r'hung here:\n(  .*\n)*  +File ".*mine\.py", line 4 in close\n', ours.errors)


def test_a_worker_that_sends_what_its_state_does_not_allow_is_replaced(tmp_path, backend):
    writes = """
import os, sys
from gproxy import Response
def mine(request, next):
    if request.path == "/write":
        os.write(int(sys.argv[-1]), request.body.read() + b"\\n")
    return Response(200, str(os.getpid()).encode())
"""
    with gateway(tmp_path, backend, handlers=writes) as ours:
        for line, said in (
            ('["shared"]', "unexpected shared (state SERVING, ALONE); killing it"),
            ('["beet"]', 'unexpected malformed message ["beet"]: unknown name (state SERVING, ALONE); killing it'),
        ):
            before = ours.get("/").body
            ours.ask(f"POST /write HTTP/1.1\r\nHost: a\r\nContent-Length: {len(line)}\r\n\r\n{line}".encode())
            assert f"pid {int(before)}): {said}\n" in ours.wait_for_line(said)
            ours.wait_for_line(f"pid {int(before)}) was killed by SIGKILL; starting another one")
            eventually(lambda before=before: ours.workers not in ([], [int(before)]), "another worker")
            assert ours.get("/").body != before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'["accept"]\n', "unexpected accept"),
        (b'["bulid", "gproxy.ini", []]\n', 'unexpected malformed message ["bulid", "gproxy.ini", []]: unknown name'),
    ],
)
def test_a_worker_that_is_sent_what_it_does_not_expect_says_so(line, said):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        flags = f"-m gproxy.server.worker --generation 1 --worker 1 --control {theirs.fileno()}"
        command = [sys.executable, *flags.split()]
        ours.send(line)
        done = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr.endswith(f"UnexpectedCommandError: {said}\n")


def test_a_hub_that_is_busy_but_alive_is_left_alone(tmp_path, backend):
    busy = "import gevent\ndef mine(request, next):\n    for _ in range(30):\n        gevent.sleep(0.05)\n    return next(request)\n"
    with gateway(tmp_path, backend, "worker_timeout = 1s", handlers=busy) as ours:
        (before,) = ours.workers
        assert ours.get("/").status == 200
        assert ours.workers == [before]


def test_a_worker_that_takes_its_time_to_import_is_left_alone(tmp_path, backend):
    slow = "import time\ntime.sleep(3.5)\n" + PLAIN
    with gateway(tmp_path, backend, "worker_timeout = 1s", handlers=slow) as ours:
        assert ours.get("/").status == 200
        assert "killing it" not in ours.errors


def test_a_worker_more_and_a_worker_less(tmp_path, backend):
    with gateway(tmp_path, backend, handlers=PID) as ours:
        (first,) = ours.workers
        ours.signal(signal.SIGTTOU)
        ours.wait_for_line("only one worker is left")
        ours.signal(signal.SIGTTIN)
        ours.wait_for_line("SIGTTIN: workers: 2")
        assert pids(ours, 2) == set(ours.workers)
        with load(ours.port, threads=4):
            ours.signal(signal.SIGTTOU)
            eventually(lambda: ours.workers == [first], "only the first")
            ours.wait_for_line("SIGTTOU: workers: 1")


def test_workers_end_by_themselves_and_in_order_when_the_arbiter_is_killed(tmp_path):
    def script(peer, backend):
        while peer.read_request() is not None:
            time.sleep(0.3)
            peer.send(response(b"in the end"))

    two = ("workers = 1", "workers = 2")
    with running(tmp_path, UNLIMITED, *PUBLIC, two, scripts=[script] * 3) as ours, ours.connect() as wire:
        workers = [psutil.Process(pid) for pid in ours.workers]
        wire.send("GET /users HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: sum(ours.active()) == 1, "a request under way")
        ours.signal(signal.SIGKILL)
        assert wire.read_response().body == b"in the end"
        psutil.wait_procs(workers, 10)
        assert not any(worker.is_running() for worker in workers)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", ours.port), 5)


def test_signals_to_the_whole_group_are_the_arbiters(tmp_path, backend):
    """As from a terminal, or a process manager that means well."""
    with gateway(tmp_path, backend, "workers = 2", handlers=PID) as ours:
        before = set(ours.workers)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTTOU):
            for pid in list(before) * 20:
                os.kill(pid, number)
        assert pids(ours, 2) == before
        for pid in (*before, ours.process.pid):
            os.kill(pid, signal.SIGTERM)
        assert ours.wait() == 0
        ours.wait_for_line("nothing was cut")


def test_a_handlers_child_process_dies_of_the_usual_signals(tmp_path, backend):
    child = """
import subprocess
from gproxy import Response
def mine(request, next):
    with subprocess.Popen(["sleep", "60"]) as child:
        child.terminate()
    return Response(200, str(child.returncode).encode())
"""
    with gateway(tmp_path, backend, handlers=child) as ours:
        assert ours.get("/").body == b"-15"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a process namespace")
def test_as_process_1_of_a_container(tmp_path, backend):
    """It takes the signals that have no default there, and orphans do not stay behind as zombies."""
    orphan = """
import subprocess
from gproxy import Response
def mine(request, next):
    subprocess.run(["sh", "-c", "sleep 0.1 &"])
    return Response(200, b"left")
"""
    (tmp_path / "mine.py").write_text(orphan)
    port = free_port()
    (tmp_path / "gproxy.ini").write_text(INI.format(server=f"bind = 127.0.0.1:{port}", url=backend.url))
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        sys.executable,
        "-m",
        "gproxy",
        "--config",
        "gproxy.ini",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        line_with(process.stderr, "serves on")
        (arbiter,) = psutil.Process(process.pid).children()
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert sock.recv(999).endswith(b"left")
        eventually(lambda: len(arbiter.children()) == 1, "no orphan and no zombie")
        arbiter.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert "nothing was cut" in process.stderr.read()


SHARES = """
import os
class Mine:
    def open(self, runtime):
        self.say(f"open {runtime.shared is not None}")
        runtime.join(self)
    def share(self, state):
        self.say(f"share {os.fstat(state.fd).st_size > 0}")
    def unshare(self, state):
        self.say("unshare")
    def say(self, what):
        with open("said", "a") as said:
            print(os.getpid(), what, file=said)
    def __call__(self, request, next):
        return next(request)
"""


def test_workers_know_whether_they_are_alone(tmp_path, backend):
    """Who serves is told before another one opens, and the last is told when the others have ended."""

    def said():
        return [tuple(line.split(" ", 1)) for line in (tmp_path / "said").read_text().splitlines()]

    (tmp_path / "mine.py").write_text(SHARES)
    ini = INI.format(server="", url=backend.url).replace("mine:mine", "mine:Mine")
    with RunningGateway(ini, tmp_path) as ours:
        first = str(ours.workers[0])
        assert said() == [(first, "open False")]
        ours.signal(signal.SIGTTIN)
        eventually(lambda: len(said()) == 4, "the second worker")
        second = str(ours.workers[1])
        assert said()[1:] == [(first, "share True"), (second, "open True"), (second, "share True")]
        ours.signal(signal.SIGTTOU)
        eventually(lambda: said()[4:] == [(first, "unshare")], "the end of the second")
        ours.signal(signal.SIGHUP)
        eventually(lambda: len(said()) == 9, "a new generation alone")
        third = str(ours.workers[0])
        assert said()[5:] == [(first, "share True"), (third, "open True"), (third, "share True"), (third, "unshare")]
        os.kill(int(third), signal.SIGKILL)
        eventually(lambda: len(said()) == 10, "another one")
        assert said()[9:] == [(str(ours.workers[0]), "open False")]
