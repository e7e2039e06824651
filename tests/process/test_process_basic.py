"""Users and passwords in files of real tools: logins, their cost for others, changes without a reload, limits."""

import os
import pty
import subprocess
import sys
import threading
import time
from base64 import b64encode

import forked
import pytest
from started import started

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[server]
workers = {workers}
[gateway]
handlers = basic
timeout = 30s
[handler:basic]
users = users
forward = sub: X-User
[log]
access = log/access.log
level = debug
[upstream:all]
backends = http://127.0.0.1:{port}
[route:open]
path = /open
upstream = all
skip = basic
[route:all]
upstream = all
"""


@pytest.fixture
def backend():
    with Backend(answering(body=b"fine")) as backend:
        yield backend


def gateway(folder, backend, workers=1, *changes):
    text = INI.replace("{workers}", str(workers)).replace("{port}", str(backend.port))
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return RunningGateway(text, folder)


def authorization(user, password):
    return f"Authorization: Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def login(running, user, password, path="/a"):
    return running.get(path, authorization(user, password))


def htpasswd(file, user, password, *options):
    create = [] if file.exists() else ["-c"]
    subprocess.run(["htpasswd", *create, "-i", *options, file, user], input=password, text=True, check=True, timeout=30)


def argon2(password):
    """Return what Debian's program argon2 writes."""
    command = ["argon2", "a-salt-of-one", "-id", "-e", "-t", "2", "-k", "19456", "-p", "1"]
    done = subprocess.run(command, input=password, text=True, check=True, capture_output=True, timeout=30)
    return done.stdout.strip()


def ours_writes(folder, user, password, *options):
    forked.run(
        [sys.executable, "-m", "gproxy", "password", user, "--file", "users", *options],
        cwd=folder, input=password + "\n", text=True, check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def test_users_of_htpasswd_argon2_and_ours_log_in(tmp_path, backend):
    file = tmp_path / "users"
    htpasswd(file, "alice", "wonderland", "-B", "-C", "5")
    with file.open("a") as lines:
        lines.write(f"bob:{argon2('the builder')}\n")
    ours_writes(tmp_path, "cäcilie", "söng: 1")
    ours_writes(tmp_path, "dave", "HAL", "--kind", "bcrypt")
    with gateway(tmp_path, backend) as ours:
        for user, password in [
            ("alice", "wonderland"),
            ("bob", "the builder"),
            ("cäcilie", "söng: 1"),
            ("dave", "HAL"),
        ]:
            assert login(ours, user, password).status == 200
            seen = backend.requests[-1]
            assert (seen["x-user"], seen["authorization"]) == (user, None)
            answer = login(ours, user, password + "x")
            assert (answer.status, answer["www-authenticate"]) == (401, 'Basic realm="gproxy", charset="UTF-8"')
        assert ours.get("/a").status == 401
        lines = {(line["user"], line["status"], line["reason"]) for line in ours.access(9)}
        assert {("alice", "200", "-"), ("-", "401", "auth_invalid"), ("-", "401", "auth_missing")} <= lines
        for secret in ("wonderland", "the builder", "HAL", b64encode(b"alice:wonderland").decode()):
            texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] + [ours.errors]
            assert not [text for text in texts if secret in text]


def test_a_person_types_a_password_twice_and_sees_nothing_of_it(tmp_path):
    terminal, its_end = pty.openpty()
    command = [sys.executable, "-m", "gproxy", "password", "alice", "--file", "users"]
    terminals = {"stdin": its_end, "stdout": its_end, "stderr": its_end}
    screen = b""
    with started(command, cwd=tmp_path, start_new_session=True, **terminals) as typing:
        os.close(its_end)
        for prompt in (b"password of alice: ", b"again: "):
            while not screen.endswith(prompt):
                screen += os.read(terminal, 1000)
            os.write(terminal, b"wonderland\n")
        assert typing.wait(60) == 0
    assert b"wonderland" not in screen
    assert (tmp_path / "users").read_text().startswith("alice:$scrypt$ln=15,r=8,p=3$")
    os.close(terminal)


def test_a_changed_password_counts_within_two_seconds_without_a_reload(tmp_path, backend):
    file = tmp_path / "users"
    htpasswd(file, "alice", "old", "-B", "-C", "5")
    with gateway(tmp_path, backend, 2, ("users = users", "users = users\nmax_failures = none")) as ours:
        assert {login(ours, "alice", "old").status for _ in range(6)} == {200}
        assert {login(ours, "alice", "new").status for _ in range(6)} == {401}
        began = time.monotonic()
        htpasswd(file, "alice", "new", "-B", "-C", "5")
        eventually(lambda: ours.errors.count("users reloaded") == 2, "a change of the file")
        assert time.monotonic() - began < 4  # 2 s, and longer on a busy machine
        assert {login(ours, "alice", "old").status for _ in range(6)} == {401}
        assert {login(ours, "alice", "new").status for _ in range(6)} == {200}
        assert "generation 2" not in ours.errors


def asked_for(running, seconds):
    """Return the durations of requests without a credential, one after the other for so many seconds."""
    times = []
    ends = time.monotonic() + seconds
    with running.connect() as wire:
        while (began := time.monotonic()) < ends:
            wire.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read_response().status == 200
            times.append(time.monotonic() - began)
    return sorted(times)


def test_fifty_logins_at_once_hold_up_no_other_request(tmp_path, backend):
    """A hash costs a tenth of a second; were it on the loop, each other request would wait for one or more of them."""
    lines = "".join(f"user{number}:{argon2(f'password {number}')}\n" for number in range(50))
    (tmp_path / "users").write_text(lines)
    with gateway(tmp_path, backend, 1) as ours:
        statuses = {}

        def log_in(number):
            while True:
                with ours.connect() as wire:
                    wire.sock.settimeout(60)
                    fields = authorization(f"user{number}", f"password {number}")
                    wire.send(f"GET /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")
                    answer = wire.read_response()
                if answer.status != 503:
                    break
                assert answer["retry-after"] == "1"
                time.sleep(0.2)
            statuses[number] = answer.status

        threads = [threading.Thread(target=log_in, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        busy = asked_for(ours, 1.5)
        for thread in threads:
            thread.join()
        assert statuses == dict.fromkeys(range(50), 200)
        p99 = busy[len(busy) * 99 // 100]
        assert p99 < 0.05
        began = time.monotonic()
        assert {login(ours, f"user{number}", f"password {number}").status for number in range(50)} == {200}
        assert time.monotonic() - began < 1  # nothing is hashed again


def test_ten_wrong_passwords_of_an_address_over_all_workers(tmp_path, backend):
    htpasswd(tmp_path / "users", "alice", "secret", "-B", "-C", "5")
    with gateway(tmp_path, backend, 2) as ours:
        assert {login(ours, "alice", "secret").status for _ in range(12)} == {200}  # each worker knows it
        statuses = [login(ours, "alice", f"guess {number}").status for number in range(15)]
        assert statuses == [401] * 10 + [429] * 5
        assert login(ours, "alice", "secret").status == 200
        assert ours.get("/a").status == 401
        assert login(ours, "bob", "secret")["retry-after"]


def test_check_names_the_lines_with_weak_hashes(tmp_path, backend):
    file = tmp_path / "users"
    htpasswd(file, "alice", "secret", "-B", "-C", "5")
    htpasswd(file, "bob", "secret", "-m")
    htpasswd(file, "carol", "secret", "-s")
    htpasswd(file, "dave", "secret", "-d")
    (tmp_path / "gproxy.ini").write_text(INI.replace("{workers}", "1").replace("{port}", str(backend.port)))
    done = forked.run(
        [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    place = "gproxy.ini:8: [handler:basic] users: users"
    for line, user, kind in [(2, "bob", "MD5"), (3, "carol", "SHA-1"), (4, "dave", "crypt")]:
        assert f"{place}:{line}: the entry of '{user}' is a hash of {kind}, which is guessed too fast" in done.stderr
