"""Error responses as clients see them: problem details, pages, text; the pages of [errors]; replaced responses."""

import gzip
import json
import signal

import pytest
from scenes import scene

from gproxy.testing.backends import reply
from gproxy.testing.gateway import eventually

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
INI = """
[gateway]
handlers = compress, health
[handler:health]
path = /health
[route:one]
path = /one
methods = GET
upstream = one
[route:gone]
path = /gone
respond = 410
[upstream:one]
backends = {one}
retries = 0
max_fails = 0
[errors]
410 = {tmp}/410.html, {tmp}/410.txt
replace = 502-504
"""
PAGE = "<!doctype html>\n<title>{status}</title>\n<p>{title}, {detail}, {id}</p>\n"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    (folder / "410.html").write_text(PAGE)
    (folder / "410.txt").write_text("gone\n")
    with scene(INI, "one", folder) as found:
        yield found


def get(play, path, accept=None, *more, method="GET"):
    return play.gateway.get(path, *((f"Accept: {accept}",) if accept else ()), *more, method=method)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/json, text/html;q=0.9", "application/problem+json"),
        (BROWSER, "text/html; charset=utf-8"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("image/png", "text/plain; charset=utf-8"),
    ],
)
def test_the_form_that_the_client_prefers(play, accept, kind):
    answer = get(play, "/none", accept)
    assert (answer.status, answer["content-type"], answer["cache-control"]) == (404, kind, "no-store")
    assert answer["vary"] == "Accept, Accept-Encoding"
    assert answer["x-request-id"].encode() in answer.body


def test_the_page_of_a_browser_is_compressed(play):
    plain = get(play, "/none", BROWSER)
    answer = get(play, "/none", BROWSER, "Accept-Encoding: gzip")
    assert (answer["content-encoding"], answer["vary"]) == ("gzip", "Accept, Accept-Encoding")
    assert len(gzip.decompress(answer.body)) == len(plain.body)
    assert b"<h1>404 Not Found</h1>" in plain.body


@pytest.mark.parametrize("accept", ["*/*", BROWSER, "text/plain"])
def test_head_has_the_length_of_the_page(play, accept):
    assert get(play, "/gone", accept, method="HEAD")["content-length"] == str(len(get(play, "/gone", accept).body))


def test_a_rejected_head_is_a_problem(play):
    answer = play.gateway.ask("GET / HTTP/1.1\r\nHost: a\r\nbad line\r\n\r\n")
    assert (answer.status, answer["content-type"], answer["cache-control"]) == (
        400, "application/problem+json", "no-store",
    )  # fmt: skip


def test_text_of_a_client_is_escaped(play):
    answer = get(play, "/one", BROWSER, method="A&B'")
    assert answer.status == 405
    assert b"<p>A&amp;B&#x27; is not allowed here</p>" in answer.body


def test_the_pages_of_the_user(play):
    answer = get(play, "/gone", BROWSER)
    assert answer.body.decode() == PAGE.format(status=410, title="Gone", detail="", id=answer["x-request-id"])
    assert get(play, "/gone", "text/plain").body == b"gone\n"
    assert json.loads(get(play, "/gone").body)["status"] == 410


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_backends_own_error_is_replaced(play, status):
    play.one.act = reply(b"<h1>nginx/1.2.3</h1>", "Retry-After: 9", "Server: nginx", status=f"{status} Own")
    answer = get(play, "/one", BROWSER)
    assert (answer.status, answer["retry-after"], answer["server"]) == (status, "9", None)
    assert answer["proxy-status"] == f"gproxy; received-status={status}"
    assert b"nginx" not in answer.body
    assert f"<h1>{status} ".encode() in answer.body
    eventually(lambda: play.gateway.access()[-1]["id"] == answer["x-request-id"], "the access line")
    line = play.gateway.access()[-1]
    assert (line["status"], line["reason"], line["tries"]) == (str(status), "backend_status", "1")


def test_a_replaced_error_as_plain_text(play):
    play.one.act = reply(b"theirs", status="503 Own")
    answer = get(play, "/one", "text/plain")
    assert answer.body.decode() == f"503 Service Unavailable ({answer['x-request-id']})\n"


def test_its_other_errors_pass(play):
    play.one.act = reply(b"theirs", status="500 Oh")
    answer = get(play, "/one", BROWSER)
    assert (answer.status, answer.body, answer["cache-control"]) == (500, b"theirs", None)


def test_a_replaced_response_leaves_the_connection_in_use(play):
    play.one.act = reply(b"down", status="503 Down")
    before = play.one.connections
    with play.gateway.connect() as wire:
        for _ in range(3):
            wire.send("GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert wire.read_response().status == 503
    assert play.one.connections - before <= 1


def test_a_reload_reads_the_pages_again_and_keeps_the_old_ones_if_one_is_wrong(stage):
    page = stage.gateway.folder / "410.html"
    page.write_text("<p>{titel}</p>")
    stage.gateway.signal(signal.SIGHUP)
    stage.gateway.wait_for_line("410.html:1: unknown placeholder {titel}; did you mean 'title'?")
    stage.gateway.wait_for_line("reload failed; generation 1 keeps serving")
    assert get(stage, "/gone", BROWSER).body.startswith(b"<!doctype html>")
    page.write_text("<p>new</p>")
    stage.gateway.signal(signal.SIGHUP)
    stage.gateway.wait_for_line("reloaded: ")
    assert get(stage, "/gone", BROWSER).body == b"<p>new</p>"
