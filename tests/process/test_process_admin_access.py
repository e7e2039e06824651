"""Who may ask the admin listener of a real gateway, over TCP and over its unix socket; what is rejected changes nothing.

Each test has a loopback address of its own, because failures are counted by address.
"""

import os
import subprocess
import sys

import forked
import pytest
from admin_listener import READ_TOKEN, TOKEN, Admin

from gproxy.testing.gateway import eventually

JSON = "Content-Type: application/json"
#: An operation that nothing carries out: a caller who may act gets 404.
CHANGE = "/v1/nothing"
#: A client of the unix socket under another user. It prints whether it could connect.
OTHER_USER = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])
except PermissionError: print("rejected")
else: print("connected")
"""


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    with Admin(tmp_path_factory.mktemp("access")) as admin:
        yield admin


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    with Admin(tmp_path_factory.mktemp("reading"), "act = no\n") as admin:
        yield admin


@pytest.mark.parametrize("token", ["", "x" * 32, TOKEN[:-1], TOKEN.upper()])
def test_without_the_token_an_operator_sees_and_changes_nothing(admin, token):
    seen = admin.ask(token=token, source="127.0.0.2")
    assert seen.status == 401
    assert seen["www-authenticate"] == 'Bearer realm="gproxy admin"'
    assert b"generation" not in seen.body
    assert admin.ask(f"DELETE {CHANGE}", JSON, token=token, source="127.0.0.2").status == 401
    assert admin.ask("GET /v1/nothing", token=token, source="127.0.0.2").status == 401  # what exists is not told
    assert "by 127.0.0.2: 401" in admin.gateway.wait_for_line("by 127.0.0.2: 401")


def test_with_the_token_an_operator_sees_and_changes(admin):
    assert admin.ask().status == 200
    assert admin.ask(f"DELETE {CHANGE}", JSON).status == 404


def test_a_foreign_host_is_rejected_even_with_the_token(admin):
    assert admin.ask(host="evil.example").status == 421
    assert admin.ask(host="localhost.evil.example").status == 421


def test_a_foreign_page_changes_nothing_even_with_the_token(admin):
    foreign = admin.ask(f"DELETE {CHANGE}", JSON, "Origin: http://evil.example")
    own = admin.ask(f"DELETE {CHANGE}", JSON, "Origin: http://localhost")
    assert (foreign.status, own.status) == (403, 404)
    admin.gateway.wait_for_line(f"admin: rejected DELETE {CHANGE} by token from 127.0.0.1: 403")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"])
def test_a_form_of_another_site_changes_nothing(admin, kind):
    for ask in (admin.ask, admin.ask_unix):
        answer = ask(f"POST {CHANGE}", f"Content-Type: {kind}", "Origin: http://evil.example", "Content-Length: 0")
        assert answer.status == 415
    assert "415" in admin.gateway.wait_for_line(f"rejected POST {CHANGE} by uid {os.getuid()} (pid {os.getpid()})")


def test_an_address_that_is_not_listed_is_rejected_before_its_token_counts(admin):
    assert admin.ask(source="127.0.0.200").status == 403
    assert admin.ask(source="127.0.0.200", host="evil.example").status == 403
    admin.gateway.wait_for_line("by 127.0.0.200: 403")


def test_the_read_token_reads_and_changes_nothing(admin):
    assert admin.ask(token=READ_TOKEN).status == 200
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert admin.ask(f"{method} {CHANGE}", JSON, token=READ_TOKEN).status == 403
    admin.gateway.wait_for_line(f"rejected DELETE {CHANGE} by read_token from 127.0.0.1: 403")


def test_with_act_no_every_client_reads_and_none_changes(reading):
    assert reading.ask().status == reading.ask_unix().status == 200
    assert reading.ask(f"DELETE {CHANGE}", JSON).status == reading.ask_unix(f"DELETE {CHANGE}", JSON).status == 403
    reading.gateway.wait_for_line(f"rejected DELETE {CHANGE} by uid {os.getuid()}")


def test_ten_wrong_tokens_of_an_address_close_the_listener_for_this_address_only(admin):
    wrong = [admin.ask(token="x" * 32, source="127.0.0.3").status for _ in range(11)]
    assert wrong == [401] * 10 + [429]
    late = admin.ask(source="127.0.0.3")
    assert late.status == 429
    assert 1 <= int(late["retry-after"]) <= 60
    assert admin.ask(source="127.0.0.4").status == 200


def test_strangers_cannot_fill_the_log(admin):
    for _ in range(40):
        admin.ask(token="", source="127.0.0.5")
    assert admin.gateway.errors.count("401") < 5
    eventually(
        lambda: "admin: requests rejected with 401: " in admin.gateway.errors, "the number of further rejections"
    )


def test_strangers_cannot_fill_the_log_by_forms_of_foreign_pages(admin):
    for _ in range(40):
        answer = admin.ask("POST /login", "Origin: http://evil.example", token="", source="127.0.0.7", body="token=x")
        assert answer.status == 403
    assert admin.gateway.errors.count("by 127.0.0.7: 403") < 5


@pytest.mark.parametrize("origin", ["http://[::1", "null", "http://", "http://localhost@evil.example", "localhost", ""])
def test_an_origin_that_is_none_changes_nothing(admin, origin):
    assert admin.ask(f"DELETE {CHANGE}", JSON, f"Origin: {origin}").status == 403
    assert "a handler failed" not in admin.gateway.errors


@pytest.mark.parametrize("period", ["9" * 400, "1e308", '"999999d"'])
def test_a_time_that_no_date_follows_is_an_error_of_the_client(admin, period):
    answer = admin.ask("PATCH /v1/upstreams/u/backends/b", JSON, body=f'{{"state": "up", "for": {period}}}')
    assert answer.status == 400
    assert b"for: expected a time" in answer.body


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_another_user_cannot_open_the_unix_socket(admin, tmp_path):
    folder = os.path.dirname(admin.socket)
    while folder != "/":  # only the permissions of the socket itself may reject
        os.chmod(folder, os.stat(folder).st_mode | 0o011)
        folder = os.path.dirname(folder)
    done = subprocess.run([sys.executable, "-c", OTHER_USER, admin.socket], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "rejected"


def test_a_head_request_has_the_head_of_a_get(admin):
    answer = admin.ask("HEAD /v1/status")
    assert (answer.status, answer["content-type"]) == (200, "application/json")
    assert admin.ask("HEAD /v1/status", token="").status == 401


def test_a_foreign_page_that_asks_first_gets_no_permission(admin):
    for token in ("", TOKEN):
        answer = admin.ask("OPTIONS /v1/status", "Origin: http://evil.example", token=token)
        assert answer.status == (405 if token else 401)
        assert not [name for name, _ in answer.fields if name.startswith("access-control")]
    assert admin.ask("OPTIONS /v1/status")["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("line", "fields", "status"),
    [
        ("GET /v1/status", (), 200),
        ("GET /v1/nothing", (), 404),
        ("TRACE /v1/status", (JSON,), 405),
        ("GET /v1/status?unknown=1", (), 400),
        ("GET /v1/%2e%2e/status", (), 404),
        ("GET /v1/status", ("Content-Length: -1",), 400),
        ("GET  /v1/status", (), 400),
        ("DELETE /v1/nothing", (), 415),
    ],
)
def test_answers_and_errors_are_never_kept_framed_or_run(admin, line, fields, status):
    answer = admin.ask(line, *fields)
    assert answer.status == status
    assert answer["cache-control"] == "no-store"
    assert answer["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer["content-security-policy"]
    assert "frame-ancestors 'none'" in answer["content-security-policy"]


def test_requests_to_the_admin_listener_are_in_no_access_log(admin):
    admin.ask()
    assert not (admin.gateway.folder / "log").exists()


def ps(admin, *arguments, **environ):
    """The result of `gproxy ps` over TCP."""
    command = [sys.executable, "-m", "gproxy", "ps", "--admin", *(arguments or (f"http://127.0.0.1:{admin.port}",))]
    return forked.run(command, capture_output=True, text=True, env={**os.environ, **environ}, timeout=60)


def test_a_command_takes_a_token_with_a_line_end_and_never_prints_one(admin):
    assert ps(admin, GPROXY_ADMIN_TOKEN=f"{TOKEN}\n").returncode == 0
    done = ps(admin, GPROXY_ADMIN_TOKEN=f"{TOKEN}\nX: y")
    assert (done.returncode, done.stderr) == (1, "the token has characters that no header can carry\n")


@pytest.mark.parametrize("place", ["http://[::1", "http://localhost:99999", "http://localhost:x", "localhost:80"])
def test_a_command_names_a_place_that_is_none(admin, place):
    done = ps(admin, place)
    assert (done.returncode, done.stderr) == (1, f"{place}: expected unix:PATH or http://HOST:PORT\n")
