"""`gproxy replay`: against another server, against other settings, and against recorded backends."""

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import forked
import pytest

from gproxy.commands.replay.target import Target
from gproxy.recording.json_lines import exchange_line, header_line
from gproxy.recording.record import (
    RecordedAttempt,
    RecordedBody,
    RecordedExchange,
    RecordedRequest,
    RecordedResponse,
    RecordHeader,
)
from gproxy.recording.replaying import Choice, Plan
from gproxy.testing.backends import Actor, Held, reply
from gproxy.testing.gateway import PATIENCE, eventually

START = 1_700_000_000.0
JSON = "Content-Type: application/json"
HEADER = RecordHeader(redacted={"pseudonyms": "~[0-9a-f]{4}"})


def exchange(
    target="/users/1", body=b'{"a": 1}', *, method="GET", status=200, at=0.0, sent=None, headers=(), **options
):
    """An exchange with one attempt, whose response is the one that the client got."""
    fields = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *options.pop("fields", ())]
    response = RecordedResponse(status, fields, RecordedBody.of(body))
    request = RecordedRequest(method, target, [("Host", "a.test"), *headers], sent and RecordedBody.of(sent))
    attempt = RecordedAttempt("users", "127.0.0.1:1", 0.001, 0.002, None, response)
    plain = {
        "id": "one",
        "duration": 0.003,
        "client": "192.0.2.7",
        "scheme": "http",
        "host": "a.test",
        "route": "users",
    }
    return RecordedExchange(
        time=START + at, **{**plain, **options}, request=request, response=response, attempts=[attempt]
    )


def write(folder, *exchanges, name="recording.jsonl", header=HEADER):
    data = header_line(header) + b"".join(map(exchange_line, exchanges))
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return name


@pytest.fixture
def replay(tmp_path):
    """Run the command in `tmp_path`; return the exit code, standard output and standard error."""

    def run(*arguments):
        done = forked.run(
            [sys.executable, "-m", "gproxy", "replay", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def server():
    with Actor(reply(b'{"a": 1}', JSON)) as made:
        made.url = f"http://127.0.0.1:{made.port}"
        yield made


def test_equal_responses_are_no_difference(replay, server, tmp_path):
    file = write(tmp_path, *(exchange(f"/users/{n}", fields=[("Date", "then")]) for n in range(20)))
    status, text, errors = replay(file, "--against", server.url)
    assert (status, errors) == (0, "")
    assert text.startswith("20 of 20 exchanges replayed\n")
    assert text.endswith("\nno difference\n")
    assert {one.line for one in server.requests} == {f"GET /users/{n} HTTP/1.1" for n in range(20)}
    assert {one["host"] for one in server.requests} == {"a.test"}


def test_interim_responses_are_not_the_answer(replay, server, tmp_path):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"

    def act(peer, request):
        peer.send(hints * 2)
        reply(b'{"a": 1}', JSON)(peer, request)

    server.act = act
    file = write(tmp_path, *(exchange(f"/users/{n}") for n in range(3)))
    assert replay(file, "--against", server.url)[0] == 0


def test_requests_are_sent_as_recorded(replay, server, tmp_path):
    headers = [("X-A", "1"), ("X-A", "2"), ("Connection", "close, X-Hop"), ("X-Hop", "1"), ("Accept", "*/*")]
    write(tmp_path, exchange("/a%2fb//c/../d?x=%c3%A4&y", headers=headers))
    assert replay("recording.jsonl", "--against", f"{server.url}/base/", "--set", "X-B: 2", "--set", "accept:")[0] == 0
    [one] = server.requests
    assert one.line == "GET /base/a%2fb//c/../d?x=%c3%A4&y HTTP/1.1"
    assert one.fields == [("host", "a.test"), ("x-a", "1"), ("x-a", "2"), ("x-b", "2")]


def test_a_compressed_recording_is_read_and_the_report_is_json(replay, server, tmp_path):
    file = write(tmp_path, exchange(body=b'{"a": 2}'), exchange("/b"), name="recording.jsonl.gz")
    status, text, _ = replay(file, "--against", server.url, "--json")
    report = json.loads(text)
    assert (status, report["recorded"], report["replayed"], report["different"]) == (1, 2, 2, 1)
    [found] = report["differences"]
    assert (found["route"], found["kind"], found["count"]) == ("users", "body $.a", 1)
    assert found["example"] == {"exchange": 1, "request": "GET /users/1", "before": "2", "after": "1"}
    assert set(report["times"]["after"]) == {"p50", "p95", "p99"}


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), 1),
        (("--ignore", "json:$.a"), 0),
        (("--ignore", "header:X-A,json:$.a"), 0),
        (("--fail-on", "status"), 0),
        (("--fail-on", "status,slower:100000%"), 0),
        (("--fail-on", "slower:0%"), 1),
    ],
)
def test_what_fails_is_chosen(replay, server, tmp_path, arguments, status):
    write(tmp_path, exchange(body=b'{"a": 2}', duration=0.0001))
    assert replay("recording.jsonl", "--against", server.url, *arguments)[0] == status


def test_a_request_that_may_change_something_is_not_sent_without_a_terminal(replay, server, tmp_path):
    write(tmp_path, exchange(), exchange("/b", method="POST", sent=b"x"), exchange("/c", method="DELETE"))
    status, text, _ = replay("recording.jsonl", "--against", server.url)
    assert "not sent: 2 with a method that is not safe (--unsafe sends them)" in text
    status, text, _ = replay("recording.jsonl", "--against", server.url, "--unsafe")
    assert (status, [one.line[:3] for one in server.requests]) == (0, ["GET", "GET"])
    assert "not sent: 2 with a method that is not safe (asking needs a terminal)" in text


def test_a_terminal_is_asked_before_each_of_them(server, tmp_path):
    targets = [exchange(f"/{name}", method="POST", sent=b"x", headers=[("Content-Length", "1")]) for name in "abcd"]
    write(tmp_path, *targets)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gproxy", "replay", "recording.jsonl", "--against", server.url, "--unsafe"]
    with subprocess.Popen(
        [*command, "--concurrency", "1"], cwd=tmp_path, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        for question, given in (("POST /a (1 byte)", b"y\n"), ("POST /b", b"\n"), ("POST /c", b"a\n")):
            asked = b""
            while not asked.endswith(b": "):
                asked += process.stderr.read(1)
            assert question in asked.decode()
            os.write(ours, given)
        text = process.communicate(timeout=PATIENCE)[0].decode()
    os.close(ours)
    os.close(theirs)
    assert [one.line for one in server.requests] == [f"POST /{name} HTTP/1.1" for name in "acd"]
    assert [one.body for one in server.requests] == [b"x"] * 3
    assert "not sent: 1 that were declined" in text


def test_gaps_are_kept_with_speed_1x_and_divided_by_other_factors(replay, server, tmp_path):
    moments = []
    answer = server.act

    def act(peer, request):
        moments.append(time.monotonic())
        answer(peer, request)

    server.act = act
    write(tmp_path, *(exchange(at=at) for at in (0.0, 0.6, 1.2)))
    for arguments, least, most in ((("--speed", "1x"), 1.0, 9), (("--speed", "4x"), 0.2, 0.9), ((), 0, 0.9)):
        moments.clear()
        assert replay("recording.jsonl", "--against", server.url, *arguments)[0] == 0
        assert least <= moments[2] - moments[0] <= most


@pytest.mark.parametrize("number", [1, 3])
def test_so_many_requests_are_sent_at_a_time(replay, server, tmp_path, number):
    lock, active, peak, everyone = threading.Lock(), [0], [0], threading.Barrier(number)
    answer = server.act

    def act(peer, request):
        with lock:
            active[0] += 1
            peak[0] = max(active[0], peak[0])
        everyone.wait(PATIENCE)  # so many are there at once, or the test fails
        with lock:
            active[0] -= 1
        answer(peer, request)

    server.act = act
    write(tmp_path, *(exchange() for _ in range(9)))
    assert replay("recording.jsonl", "--against", server.url, "--concurrency", str(number))[0] == 0
    assert peak[0] == number


def test_a_server_that_goes_away_is_a_difference_and_one_that_is_not_there_an_error(replay, server, tmp_path):
    def act(peer, request):
        peer.close() if request.line.startswith("GET /b") else reply(b'{"a": 1}', JSON)(peer, request)

    server.act = act
    write(tmp_path, exchange(), exchange("/b"))
    status, text, _ = replay("recording.jsonl", "--against", server.url)
    assert status == 1
    assert "no response: 1 exchange" in text
    server.stop()
    assert replay("recording.jsonl", "--against", server.url) == (
        2, "", f"gproxy replay: {server.url}: connection refused\n",
    )  # fmt: skip


def test_no_answer_commands_the_terminal(replay, server, tmp_path):
    def act(peer, request):
        peer.send(b"\x1b]0;owned\x07\r\n\r\n")
        peer.close()

    server.act = act
    status, text, errors = replay(write(tmp_path, exchange()), "--against", server.url)
    assert (status, text) == (2, "")
    assert errors == f"gproxy replay: {server.url} does not answer: \\x1b]0;owned\\x07\n"


def test_a_body_that_comes_byte_by_byte_is_given_up(server, monkeypatch):
    gone = threading.Event()

    def act(peer, request):
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not gone.wait(0.05):
            peer.send(b"x")

    server.act = act
    monkeypatch.setattr("gproxy.commands.replay.target._WHOLE", 0.3)
    target = Target(server.url)
    started = time.monotonic()
    [request] = Plan(Choice()).requests([exchange()])
    answer = target.send(request)
    took = time.monotonic() - started
    gone.set()
    target.close()
    assert (answer.error, answer.side.status, answer.side.body) == ("", 200, None)
    assert took < 20  # the whole body takes 50 s


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_replay_that_is_ended_leaves_no_gateway(server, settings, tmp_path, number):
    held = Held()
    server.act = held
    command = [sys.executable, "-m", "gproxy", "replay", "recording.jsonl", "--config", settings]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert held.asked.acquire(timeout=PATIENCE)
        gateways = [pid for pid in Path("/proc").glob("[0-9]*") if is_gateway_of(tmp_path, pid)]
        assert len(gateways) == 1
        process.send_signal(number)
        said = process.stderr.read() if number == signal.SIGINT else ""
        assert process.wait(PATIENCE) == (2 if number == signal.SIGINT else -number)
        assert said.count("gproxy replay: interrupted\n") == (number == signal.SIGINT)
        assert "Traceback" not in said
        held.go.set()
        eventually(lambda: not is_gateway_of(tmp_path, gateways[0]), "the end of the gateway")


def is_gateway_of(folder, process):
    """Whether the process is the gateway of a replay in this folder."""
    try:
        arguments = (process / "cmdline").read_bytes()
        return b"gproxy.commands.replay.gateway" in arguments and (process / "cwd").readlink() == folder
    except OSError:
        return False


def whole(tmp_path):
    return header_line(HEADER) + exchange_line(exchange())


def damaged(data):
    """The data with a wrong byte in its second half."""
    place = len(data) * 2 // 3
    return data[:place] + bytes([data[place] ^ 0xFF] * 40) + data[place + 40 :]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda data: data[:-20], "the last line is cut off"),
        (lambda data: gzip.compress(data)[:-20], "cut off or damaged"),
        (lambda data: data.replace(b'"gproxy-record":1', b'"gproxy-record":7'), "version 7 of the format"),
        (lambda data: data.partition(b"\n")[0] + b"\n", "the recording has no exchange"),
        (lambda data: b"", "no recording"),
        (lambda data: b"GET / HTTP/1.1\r\n", "no JSON"),
        (lambda data: data.replace(b'"status":200', b'"status":1e999'), "no recorded exchange: OverflowError"),
        (
            lambda data: data.replace(b"~[0-9a-f]{4}", b"(~*)*!"),
            "expected a form such as ~[0-9a-f]{16}; found '(~*)*!'",
        ),
        (lambda data: damaged(gzip.compress(b'{"log": {"entries": ["' + os.urandom(9000) + b'"]}}')), "damaged"),
    ],
)
def test_a_file_that_is_no_whole_recording_is_an_error(replay, server, tmp_path, make, message):
    (tmp_path / "broken").write_bytes(make(whole(tmp_path)))
    status, text, errors = replay("broken", "--against", server.url)
    assert (status, text) == (2, "")
    assert message in errors
    assert errors.startswith("gproxy replay: broken")
    assert not server.requests


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "missing: --against URL, or --config FILE"),
        (("--against", "ftp://a"), "expected http://HOST"),
        (("--against", "http://alice:secret@a"), "--against: a URL with credentials; expected http://HOST"),
        (("--against", "http://alice:secret@[a"), "--against: no URL; expected http://HOST"),
        (("--against", "http://a", "--config", "g.ini"), "give one of them"),
        (("--against", "http://a", "--sign"), "--sign: needs --config"),
        (("--against", "http://a", "--backends", "recorded"), "--backends: is for --config alone"),
        (("--config", "g.ini", "--backends", "recorded", "--fail-on", "slower:1%"), "no real times"),
        (("--against", "http://a", "--ignore", "Date"), "--ignore: expected header:NAME"),
        (("--against", "http://a", "--set", "A"), "--set: expected 'NAME: VALUE'"),
        (("--against", "http://a", "--speed", "fast"), "--speed: expected max"),
        (("--against", "http://a", "--fail-on", "all"), "--fail-on: expected diff"),
        (("--against", "http://a", "--only", "POST"), "no request was sent: 1 with a method that --only does not name"),
    ],
)
def test_wrong_arguments_are_said(replay, tmp_path, arguments, message):
    write(tmp_path, exchange())
    status, text, errors = replay("recording.jsonl", *arguments)
    assert (status, text) == (2, "")
    assert message in errors
    assert "alice" not in errors


def test_what_the_recording_does_not_have_is_said_and_no_difference(replay, server, tmp_path):
    server.act = reply(b'{"a": "real"}', JSON, "Set-Cookie: sid=real; Path=/")
    write(
        tmp_path,
        exchange(
            "/a?t=~0123", b'{"a": "~4567"}', headers=[("X-Key", "~89ab")], fields=[("Set-Cookie", "sid=~cdef; Path=/")]
        ),
        exchange("/b", b'{"a": "~4567"}', fields=[("Set-Cookie", "sid=~cdef; Path=/x")]),
    )
    status, text, _ = replay("recording.jsonl", "--against", server.url)
    assert status == 1
    assert "header Set-Cookie: 1 exchange\n    first: exchange 2, GET /b\n" in text
    assert "note: 1 request sent with pseudonyms in X-Key" in text
    assert "note: 1 request sent with pseudonyms in the URL" in text
    assert "note: 3 values not compared: the recording has pseudonyms in their place" in text


def test_requests_whose_credentials_are_pseudonyms_are_not_compared_if_they_are_rejected(replay, server, tmp_path):
    def act(peer, request):
        is_good = request["authorization"] == "Basic good"
        reply(b'{"a": 1}', JSON, status="200 OK" if is_good else "401 Unauthorized")(peer, request)

    server.act = act
    write(
        tmp_path,
        exchange(headers=[("Authorization", "Basic ~0123")]),
        exchange(headers=[("Authorization", "Basic good")]),
    )
    status, text, _ = replay("recording.jsonl", "--against", server.url)
    assert status == 0
    assert "note: 1 exchange not compared: rejected, because" in text
    write(tmp_path, exchange(headers=[("Authorization", "Basic ~0123")]))
    status, _, errors = replay("recording.jsonl", "--against", server.url)
    assert status == 2
    assert "all requests were rejected" in errors
    assert replay("recording.jsonl", "--against", server.url, "--set", "Authorization: Basic good")[0] == 0


def archive(url):
    """An HTTP Archive as a browser writes it: HTTP/2 names of fields, a body that is decoded."""
    headers = [{"name": name, "value": value} for name, value in ((":method", "GET"), ("accept", "*/*"))]
    answer = [{"name": name, "value": value} for name, value in (("content-type", "application/json"),)]
    request = {"method": "GET", "url": url, "httpVersion": "h2", "headers": headers, "queryString": [], "cookies": []}
    content = {"size": 8, "mimeType": "application/json", "text": '{"a": 2}'}
    response = {"status": 200, "statusText": "", "httpVersion": "h2", "headers": answer, "content": content}
    entry = {"startedDateTime": "2026-11-28T12:00:00.000Z", "time": 12.5, "request": request, "response": response}
    return {"log": {"version": "1.2", "creator": {"name": "browser", "version": "1"}, "entries": [entry]}}


def test_an_archive_of_a_browser_is_replayed(replay, server, tmp_path):
    (tmp_path / "old.har").write_text(json.dumps(archive("https://shop.test/users/1?a=b")))
    status, text, errors = replay("old.har", "--against", server.url)
    assert (status, errors) == (1, "")
    assert "body $.a: 1 exchange" in text
    [one] = server.requests
    assert one.line == "GET /users/1?a=b HTTP/1.1"
    assert ("host", "shop.test") in one.fields
    (tmp_path / "g.ini").write_text("[route:a]\npath = /\nrespond = 204\n")
    status, _, errors = replay("old.har", "--config", "g.ini", "--backends", "recorded")
    assert status == 2
    assert "does not know what backends answered" in errors


SETTINGS = """
[server]
state_dir = var
[admin]
bind = unix:admin.sock
[log]
access = access.log
[gateway]
handlers = mark
[handler:mark]
use = marking:mark
[route:users]
path = /users
upstream = users
[upstream:users]
backends = {url}
"""
MARKING = """
def mark(request, next):
    response = next(request)
    response.headers["X-Mark"] = {value!r}
    return response
"""


@pytest.fixture
def settings(server, tmp_path):
    """Settings whose handler marks responses, as it did when the exchanges of `recorded` were recorded."""
    (tmp_path / "g.ini").write_text(SETTINGS.format(url=server.url))
    (tmp_path / "marking.py").write_text(MARKING.format(value="1"))
    write(tmp_path, *(exchange(f"/users/{n}", at=n / 100, id=f"id{n}") for n in range(50)))
    path = tmp_path / "recording.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *map(marked, lines[1:])]) + "\n")
    return "g.ini"


def marked(line):
    content = json.loads(line)
    content["response"]["headers"].append(["X-Mark", "1"])
    return json.dumps(content)


def test_a_gateway_with_other_settings_calls_its_backends_and_leaves_the_running_one_alone(
    replay, settings, server, tmp_path
):
    status, text, errors = replay("recording.jsonl", "--config", settings)
    assert (status, errors) == (0, "")
    assert text.endswith("no difference\n")
    assert len(server.requests) == 50
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"g.ini", "marking.py", "recording.jsonl"}
    (tmp_path / "marking.py").write_text(MARKING.format(value="another"))
    status, text, _ = replay("recording.jsonl", "--config", settings, "--json")
    assert (status, [one["kind"] for one in json.loads(text)["differences"]]) == (1, ["header X-Mark"])


@pytest.mark.parametrize("backends", [("--speed", "0.2x"), ("--backends", "recorded")])  # the first one takes 2.5 s
@pytest.mark.parametrize("times", ["every = 1s", "at = 00:00\njitter = 10s"])
def test_the_jobs_of_the_settings_do_not_run(replay, settings, server, tmp_path, times, backends):
    with (tmp_path / settings).open("a") as ini:
        ini.write(f"[job:mark]\nuse = job:run\non_start = yes\n{times}\n")
    (tmp_path / "job.py").write_text("def run(runtime):\n    open('ran', 'w').close()\n")
    status, _, errors = replay("recording.jsonl", "--config", settings, *backends)
    assert (status, errors) == (0, "")
    assert not (tmp_path / "ran").exists()


def test_recorded_backends_answer_without_sockets_and_each_time_the_same(replay, settings, server, tmp_path):
    first = replay("recording.jsonl", "--config", settings, "--backends", "recorded")
    assert first == (0, "50 of 50 exchanges replayed\n\nno difference\n", "")
    (tmp_path / "marking.py").write_text(MARKING.format(value="another"))
    runs = [replay("recording.jsonl", "--config", settings, "--backends", "recorded", "--json") for _ in range(2)]
    assert runs[0] == runs[1]
    assert [(one["kind"], one["count"]) for one in json.loads(runs[0][1])["differences"]] == [("header X-Mark", 50)]
    assert not server.requests
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"g.ini", "marking.py", "recording.jsonl"}


def test_a_call_of_a_backend_that_was_not_recorded_is_a_difference_of_its_own(replay, settings, server, tmp_path):
    (tmp_path / "marking.py").write_text(
        """
class mark:
    def open(self, runtime):
        self.more = runtime.upstream("more")

    def __call__(self, request, next):
        self.more.request("GET", "/more").read()
        response = next(request)
        response.headers["X-Mark"] = "1"
        return response
"""
    )
    (tmp_path / "g.ini").write_text(SETTINGS.format(url=server.url) + f"[upstream:more]\nbackends = {server.url}\n")
    status, text, _ = replay("recording.jsonl", "--config", settings, "--backends", "recorded")
    assert status == 1
    assert "  asked a backend that the recording did not: 50 exchanges\n" in text
    assert "    + more: 1 attempt\n" in text
    assert text.count(": 50 exchanges\n") == 1


def test_a_connection_of_user_code_is_refused_with_recorded_backends(replay, settings, server, tmp_path):
    (tmp_path / "marking.py").write_text(
        f"""
import socket

def mark(request, next):
    print("printed")
    for look_up, name in ((socket.gethostbyname, "look.up.test"), (socket.gethostbyaddr, "192.0.2.99")):
        try:
            look_up(name)
        except socket.gaierror:
            pass
    socket.gethostbyname("127.0.0.1")
    try:
        socket.create_connection(("127.0.0.1", {server.port}))
    except ConnectionRefusedError:
        response = next(request)
        response.headers["X-Mark"] = "1"
        return response
"""
    )
    status, text, errors = replay("recording.jsonl", "--config", settings, "--backends", "recorded")
    assert (status, text) == (0, "50 of 50 exchanges replayed\n\nno difference\n")
    assert f"connection to ('127.0.0.1', {server.port}) refused: a replay with recorded backends opens none" in errors
    assert "connection to look.up.test refused" in errors
    assert "connection to 192.0.2.99 refused" in errors
    assert server.connections == 0


@pytest.mark.parametrize("backends", [(), ("--backends", "recorded")])
@pytest.mark.parametrize("secret", ["auto", "0123456789abcdef0123456789abcdef"])
def test_tokens_are_signed_for_the_recorded_users(replay, settings, tmp_path, backends, secret):
    with (tmp_path / settings).open("a") as file:
        file.write(f"[handler:jwt]\nsecret = {secret}\nmax_age = 10m\n")
    text = (tmp_path / settings).read_text().replace("upstream = users", "upstream = users\nhandlers = jwt", 1)
    (tmp_path / settings).write_text(text)
    headers = [("Authorization", "Bearer ~0123")]
    named = {"user": "alice", "auth": "jwt", "headers": headers}
    write(tmp_path, exchange("/users/1", fields=[("X-Mark", "1")], **named))
    status, text, errors = replay("recording.jsonl", "--config", settings, *backends)
    assert (status, "all requests were rejected" in errors) == (2, True)
    status, text, errors = replay("recording.jsonl", "--config", settings, "--sign", *backends)
    assert (status, text.splitlines()[0]) == (0, "1 of 1 exchange replayed")


@pytest.mark.parametrize("backends", [(), ("--backends", "recorded")])
@pytest.mark.parametrize(
    ("ini", "message"), [("[route:a]\npth = /\n", "did you mean 'path'"), (None, "cannot be read")]
)
def test_settings_that_are_wrong_are_said(replay, tmp_path, backends, ini, message):
    write(tmp_path, exchange())
    if ini is not None:
        (tmp_path / "g.ini").write_text(ini)
    status, text, errors = replay("recording.jsonl", "--config", "g.ini", *backends)
    assert (status, text) == (2, "")
    assert message in errors
    assert "gproxy replay: " in errors.splitlines()[-1]
