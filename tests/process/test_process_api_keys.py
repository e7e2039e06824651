"""API keys of a file and of a database: made by `gproxy key`, used by clients, changed without a reload, limited."""

import os
import signal
import sys
import threading
import time

import forked
import pytest

from gproxy.identity.secrets.api_keys import hash_of, new_key
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[server]
workers = {workers}
[gateway]
handlers = metrics, health, api_key
[handler:api_key]
keys = keys.ini
forward = sub: X-User, plan: X-Plan
[handler:metrics]
[handler:health]
details = 127.0.0.1
[log]
access = log/access.log
level = debug
fields = time, id, client, method, path, status, user, auth, reason, request.User-Agent
[upstream:all]
backends = http://127.0.0.1:{port}
[route:open]
path = /open
upstream = all
skip = api_key
[route:all]
upstream = all
"""

MINE = """
import time

ROWS = {}
under_way = 0

def find(digest):
    global under_way
    under_way += 1
    with open("asked", "a") as file:
        file.write(f"{digest} {under_way}\\n")
    time.sleep(0.05)
    under_way -= 1
    return {"user": "acme", "plan": "pro"} if digest in open("rows").read() else None
"""


def command(folder, *arguments, stdin=""):
    """Run a command of gproxy in the folder, and return its output."""
    done = forked.run(
        [sys.executable, "-m", "gproxy", *arguments],
        cwd=folder, input=stdin, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def backend():
    with Backend(answering(body=b"fine")) as backend:
        yield backend


def gateway(folder, backend, workers=1, *changes, **options):
    text = INI.replace("{workers}", str(workers)).replace("{port}", str(backend.port))
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return RunningGateway(text, folder, **options)


def status(running, key, path="/a", *more):
    return running.get(path, *([f"X-API-Key: {key}"] if key else []), *more).status


class Changes:
    """The changes of the file of keys that the workers have taken, as their log says."""

    def __init__(self, running, workers):
        self.running = running
        self.workers = workers
        self.count = 0

    def wait(self):
        """Wait until each worker has taken one more: for 2 s, and for longer on a busy machine."""
        began = time.monotonic()
        self.count += self.workers
        eventually(lambda: self.running.errors.count("keys.ini reloaded") >= self.count, "the change of a file")
        assert time.monotonic() - began < 4


def files_with(folder, text):
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_key_is_handed_out_used_rotated_disabled_and_removed_without_a_reload(tmp_path, backend):
    (tmp_path / "keys.ini").write_text("; partners\n")
    name = ("--handler", "api_key", "--config", "gproxy.ini")
    with gateway(tmp_path, backend, 2) as ours:
        changes, file = Changes(ours, 2), tmp_path / "keys.ini"
        key = command(tmp_path, "key", "new", "acme-prod", *name)
        assert status(ours, None) == 401
        changes.wait()
        assert {status(ours, key) for _ in range(10)} == {200}
        seen = backend.requests[-1]
        assert (seen["x-user"], seen["x-plan"], seen["x-api-key"]) == ("acme-prod", None, None)
        file.write_text(file.read_text() + "plan = pro\n")
        changes.wait()
        assert status(ours, key) == 200
        assert backend.requests[-1]["x-plan"] == "pro"
        second = command(tmp_path, "key", "new", "acme-prod", *name)
        changes.wait()
        assert {status(ours, one) for one in (key, second) * 5} == {200}
        file.write_text(file.read_text().replace(hash_of(key), "", 1))
        changes.wait()
        assert {status(ours, key) for _ in range(6)} == {401}
        assert status(ours, second) == 200
        command(tmp_path, "key", "disable", "acme-prod", *name)
        changes.wait()
        assert {status(ours, second) for _ in range(6)} == {401}
        assert file.read_text().startswith("; partners\n\n[acme-prod]\ndisabled = yes\n")
        assert "acme-prod  disabled  1" in command(tmp_path, "key", "list", *name)
        assert status(ours, None, "/open") == 200
        assert "generation 2" not in ours.errors
        ours.access(30)
        for secret in (key, second):
            assert files_with(tmp_path, secret) == []
            assert secret not in ours.errors
            assert secret not in str(ours.health())
        assert "auth_invalid" in (tmp_path / "log/access.log").read_text()


def test_a_key_expires_at_its_time(tmp_path, backend):
    key = new_key()
    section = f"[acme]\nhash = {hash_of(key)}\n"
    (tmp_path / "keys.ini").write_text(section)
    with gateway(tmp_path, backend) as ours:
        assert status(ours, key) == 200
        soon = int(time.time()) + 4
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(soon))
        (tmp_path / "keys.ini").write_text(f"{section}expires = {moment}\n")
        eventually(lambda: status(ours, key) == 401, "the expiry")
        assert time.time() >= soon
        assert ours.get("/a", f"X-API-Key: {key}").status == 401


def test_a_mistake_in_the_file_keeps_the_keys_and_is_logged_once(tmp_path, backend):
    key = new_key()
    file = tmp_path / "keys.ini"
    file.write_text(f"[acme]\nhash = {hash_of(key)}\n")
    with gateway(tmp_path, backend) as ours:
        file.write_text(f"[acme]\nhash = {key}\n")
        ours.wait_for_line("keys.ini:2: [acme] hash: expected a hash")
        file.unlink()
        ours.wait_for_line("keys.ini cannot be read: no such file or directory; keeping the previous content")
        assert status(ours, key) == 200
        assert ours.errors.count("keeping the previous content") == 2
        assert key not in ours.errors


def test_thirty_wrong_keys_of_an_address_and_no_more_over_all_workers_and_killed_ones(tmp_path, backend):
    key = new_key()
    (tmp_path / "keys.ini").write_text(f"[acme]\nhash = {hash_of(key)}\n")
    with gateway(tmp_path, backend, 2, ("[gateway]\n", "[gateway]\ntrusted_proxies = 127.0.0.1\n")) as ours:
        ours.wait_for_answers_of(2)
        before = ours.workers
        assert {status(ours, key) for _ in range(20)} == {200}  # each worker knows it
        wrong = [status(ours, new_key()) for _ in range(20)]
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len({*ours.workers} - {before[0]}) == 2, "another worker")
        ours.wait_for_answers_of(2)
        wrong += [status(ours, new_key()) for _ in range(20)]
        assert wrong == [401] * 30 + [429] * 10
        answer = ours.get("/a", f"X-API-Key: {new_key()}")
        assert 1 <= int(answer["retry-after"]) <= 60
        assert answer["www-authenticate"] is None
        assert ours.line("/a")["reason"] in {"auth_throttled", "auth_invalid", "-"}
        assert "auth_throttled" in {line["reason"] for line in ours.access(40)}
        assert status(ours, None) == 401  # a missing key is no failure
        assert status(ours, new_key(), "/a", "X-Forwarded-For: 192.0.2.1") == 401  # nor another address
        remaining = next(pid for pid in ours.workers if pid in before)
        assert remaining
        knows = [status(ours, key) for _ in range(30)]
        assert 200 in knows  # the worker that knows the key; the new one must look, and may not
        assert {*knows} <= {200, 429}


def test_a_database_that_blocks_holds_up_no_other_request_and_is_asked_once_for_each_key(tmp_path, backend):
    keys = [new_key() for _ in range(20)]
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "rows").write_text("".join(command(tmp_path, "key", "hash", stdin=f"{keys[0]}\n")))
    with (tmp_path / "rows").open("a") as rows:
        rows.writelines(map(hash_of, keys[1:]))
    with gateway(tmp_path, backend, 1, ("keys = keys.ini", "lookup = mine:find")) as ours:
        statuses, open_statuses = [], []
        askers = [threading.Thread(target=lambda key=key: statuses.append(status(ours, key))) for key in keys * 2]
        others = [threading.Thread(target=lambda: open_statuses.append(status(ours, None, "/open"))) for _ in range(20)]
        for thread in [*askers, *others]:
            thread.start()
        for thread in [*askers, *others]:
            thread.join()
        assert (statuses, open_statuses) == ([200] * 40, [200] * 20)
        asked = [line.split() for line in (tmp_path / "asked").read_text().splitlines()]
        assert sorted(digest for digest, _ in asked) == sorted(map(hash_of, keys))
        assert max(int(under_way) for _, under_way in asked) >= 5  # were one to block the others, it would be 1
        seen = [request for request in backend.requests if request["x-user"]]
        assert {(request["x-user"], request["x-plan"]) for request in seen} == {("acme", "pro")}
        assert [status(ours, new_key()), *(status(ours, key) for key in keys)] == [401] + [200] * 20
        assert len((tmp_path / "asked").read_text().splitlines()) == 21
        assert files_with(tmp_path, keys[0]) == []


def test_a_stop_does_not_wait_for_the_lookup_of_a_client_that_has_left(tmp_path, backend):
    (tmp_path / "mine.py").write_text(MINE.replace("0.05", "30"))
    lookup = "lookup = mine:find\ntimeout = 30s"
    with gateway(tmp_path, backend, 1, ("keys = keys.ini", lookup), ("[gateway]", "[gateway]\ntimeout = 30s")) as ours:
        with ours.connect() as wire:
            wire.send(f"GET /leaves HTTP/1.1\r\nHost: a\r\nX-API-Key: {new_key()}\r\n\r\n")
            eventually((tmp_path / "asked").exists, "the lookup")
        assert ours.line("/leaves")["status"] == "499"
        ours.process.send_signal(signal.SIGTERM)
        ours.process.wait(5)


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
def test_a_lookup_that_wants_to_exit_ends_no_worker(tmp_path, backend, error):
    (tmp_path / "mine.py").write_text(f"def find(digest): raise {error}('no database')\n")
    with gateway(tmp_path, backend, 1, ("keys = keys.ini", "lookup = mine:find")) as ours:
        workers = ours.workers
        assert status(ours, new_key()) == 503
        ours.wait_for_line(f"mine:find failed: {error}: no database")
        assert status(ours, None, "/open") == 200
        assert ours.workers == workers


@pytest.mark.parametrize(
    ("lookup", "message"),
    [
        ("mine:fnd", "[handler:api_key] lookup: mine has no 'fnd'; did you mean 'find'?"),
        ("mine:ROWS", "[handler:api_key] lookup: mine:ROWS is not callable; expected a function that gets the hash of a key"),
        ("other:find", "[handler:api_key] lookup: cannot import other"),
        ("mine:none", "[handler:api_key] lookup: mine:none cannot be called with (digest)"),
    ],
)  # fmt: skip
def test_check_names_a_lookup_that_is_none(tmp_path, backend, lookup, message):
    (tmp_path / "mine.py").write_text(MINE + "\ndef none(): pass\n")
    text = (
        INI.replace("{workers}", "1")
        .replace("{port}", str(backend.port))
        .replace("keys = keys.ini", f"lookup = {lookup}")
    )
    (tmp_path / "gproxy.ini").write_text(text)
    done = forked.run(
        [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"gproxy.ini:7: {message}" in done.stderr


def test_check_names_the_lines_of_a_file_of_keys(tmp_path, backend):
    (tmp_path / "gproxy.ini").write_text(INI.replace("{workers}", "1").replace("{port}", str(backend.port)))
    file = tmp_path / "keys.ini"
    hashed = hash_of(new_key())

    def check():
        return forked.run(
            [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"],
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    file.write_text(f"[a]\nhash = {hashed}\n[b]\nhash = {hashed}\nexpires = soon\n")
    done = check()
    assert done.returncode == 2
    assert "gproxy.ini:7: [handler:api_key] keys: keys.ini:5: [b] expires: expected a date" in done.stderr
    file.write_text(f"[a]\nhash = {hashed}\n[b]\nhash = {hashed}\n")
    assert (
        "gproxy.ini:7: [handler:api_key] keys: keys.ini:4: [b] hash: occurs twice; the first is at line 2"
        in check().stderr
    )
    file.write_text(f"[a]\nhash = {hashed}\nexpires = 2020-01-01\n")
    done = check()
    assert done.returncode == 0
    assert "warning: gproxy.ini:7: [handler:api_key] keys: keys.ini:1: the key of a has expired" in done.stderr
