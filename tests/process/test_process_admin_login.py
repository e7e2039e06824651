"""A browser on TCP: the form, the session that it gives, and the end of the session."""

import re
from contextlib import ExitStack
from urllib.parse import urlencode

import pytest
from admin_listener import READ_TOKEN, TOKEN, Admin

BROWSER = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FORM = "Content-Type: application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    with Admin(tmp_path_factory.mktemp("login"), "title = <b>shop & co</b>\n") as admin:
        yield admin


def log_in(admin, token, *fields, source="127.0.0.1"):
    return admin.ask("POST /login", FORM, *fields, token="", source=source, body=urlencode({"token": token}))


def cookie(answer):
    return f"Cookie: {answer['set-cookie'].partition(';')[0]}"


def test_a_browser_without_a_session_is_sent_to_the_form(admin):
    answer = admin.ask("GET /", BROWSER, token="")
    assert (answer.status, answer["location"], answer["cache-control"]) == (303, "/login", "no-store")
    assert admin.ask("GET /", "Accept: application/json", token="").status == 401
    assert admin.ask("GET /v1/status", BROWSER, token="").status == 401


def test_the_form_works_without_scripts_and_with_a_screen_reader(admin):
    page = admin.ask("GET /login", token="")
    text = page.body.decode()
    assert (page.status, page["content-type"]) == (200, "text/html; charset=utf-8")
    assert re.search(r'<label for="(\w+)">Token</label>.*<input id="\1"', text, re.DOTALL)
    assert '<html lang="en">' in text
    assert "<h1>&lt;b&gt;shop &amp; co&lt;/b&gt;</h1>" in text
    assert not re.search(r"<script|<style|style=|https?://", text)


def test_a_session_reads_and_acts_as_its_token_does(admin):
    entered = log_in(admin, TOKEN)
    assert (entered.status, entered["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(entered["set-cookie"].split("; "))
    change = "DELETE /v1/nothing", "Content-Type: application/json"
    assert admin.ask("GET /v1/status", cookie(entered), token="").status == 200
    assert admin.ask(*change, cookie(entered), token="").status == 404
    reading = log_in(admin, READ_TOKEN)
    assert admin.ask("GET /v1/status", cookie(reading), token="").status == 200
    assert admin.ask(*change, cookie(reading), token="").status == 403
    admin.gateway.wait_for_line("login to act by 127.0.0.1")
    admin.gateway.wait_for_line("login to read by 127.0.0.1")


def test_a_wrong_token_gives_the_form_again_and_no_session(admin):
    answer = log_in(admin, "wrong", source="127.0.0.6")
    assert (answer.status, answer["set-cookie"]) == (401, None)
    assert '<p id="problem" role="alert">This token is wrong.</p>' in answer.body.decode()
    assert b"wrong" not in answer.body.replace(b"This token is wrong.", b"")
    admin.gateway.wait_for_line("admin: rejected POST /login by 127.0.0.6: 401 this token is wrong")


def test_guessing_by_the_form_ends_after_ten_tries(admin):
    assert [log_in(admin, f"guess {n}", source="127.0.0.7").status for n in range(11)] == [401] * 10 + [429]
    assert log_in(admin, TOKEN, source="127.0.0.7").status == 429
    assert "guess" not in admin.gateway.errors


def test_forms_that_are_all_begun_before_the_first_token_give_no_more_tries(admin):
    head = f"POST /login HTTP/1.1\r\nHost: localhost\r\n{FORM}\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n"
    with ExitStack() as stack:
        wires = [stack.enter_context(admin.tcp("127.0.0.8")) for _ in range(12)]
        for wire in wires:
            wire.send(head)
            wire.read_until(b"100 Continue\r\n\r\n")
        statuses = []
        for wire in wires:
            wire.send("token=x")
            answer = wire.read_response()
            statuses.append(answer.status)
    assert statuses == [401] * 10 + [429] * 2
    assert b"Too many tokens were wrong." in answer.body


def test_another_site_cannot_log_a_browser_in_or_out(admin):
    evil = "Origin: http://evil.example"
    assert log_in(admin, TOKEN, evil)["set-cookie"] is None
    assert admin.ask("POST /logout", FORM, evil, token="").status == 403


def test_logging_out_takes_the_session_from_the_browser(admin):
    answer = admin.ask("POST /logout", FORM, cookie(log_in(admin, READ_TOKEN)), token="")
    assert (answer.status, answer["location"]) == (303, "/login")
    assert "gproxy_admin=; Path=/; Max-Age=0" in answer["set-cookie"]
