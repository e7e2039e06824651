"""Access lines with chosen fields, of requests over real sockets."""

import json
import socket
import ssl
import time

import pytest
from scenes import scene

from gproxy.config.types.access_log import DEFAULT_FIELDS
from gproxy.testing.authority import Authority
from gproxy.testing.backends import reply
from gproxy.testing.gateway import Wire, eventually, free_port

FIELDS = "default, apptime, query, scheme, tls, request.X-Kind, request.Content-Length, response.Content-Type, response.Location"
INI = """
[gateway]
handlers = health
timeout = 1s
trusted_proxies = 127.0.0.2
[handler:health]
cache = 0s
[route:a]
path = /
upstream = a
[route:retried]
path = /retried
upstream = both
[route:away]
path = /away
redirect = https://other.test/new?b={query}
[route:handled]
path = /handled
handlers = own
respond = 200
[handler:own]
use = fields_of_test:changes
[upstream:a]
backends = {a}
max_fails = 0
[upstream:both]
backends = {a}, {b}
balance = first
retry_on = 503
max_fails = 0
[tls:a]
certificate = a.test.crt
key = a.test.key
[log]
fields = {fields}
"""
OWN = """
from gproxy import Response

def changes(request, next):
    request.headers["X-Kind"] = "of the handler"
    request.query = "changed=1"
    return Response(200, b"x", {"Content-Type": "text/own"})
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    Authority(folder).issue("a.test")
    (folder / "fields_of_test.py").write_text(OWN)
    port = free_port()
    secure = ("--bind", f"127.0.0.1:{port} tls")
    with scene(INI.replace("{fields}", FIELDS), "a b", folder, arguments=secure) as found:
        found.secure = port
        yield found


def fields(play, answer):
    """Return what stands behind the default fields in the line of this answer."""
    found = []
    eventually(
        lambda: found.extend(line for line in play.gateway.access() if line["id"] == answer["x-request-id"]) or found,
        "its line",
    )
    (line,) = found
    assert [*line][:2] == ["time", "id"]
    return dict([*line.items()][len(DEFAULT_FIELDS) :])


def test_fields_of_a_request_and_its_response(play):
    play.a.act = reply(b"<p>", "Content-Type: text/html", "Location: /there?secret=1")
    with play.gateway.connect() as wire:
        wire.send(
            'POST /a?b=1&c=%09 HTTP/1.1\r\nHost: a\r\nX-Kind: one\r\nX-Kind: t\two "x"\r\nContent-Length: 2\r\n\r\nok'
        )
        answer = wire.read_response()
    line = fields(play, answer)
    assert 0 < float(line.pop("apptime")) < 1
    assert line == {
        "query": "b=1&c=%09",
        "scheme": "http",
        "tls": "-",
        "request.X-Kind": 'one, t\\x09wo "x"',
        "request.Content-Length": "2",
        "response.Content-Type": "text/html",
        "response.Location": "/there",
    }


def test_without_an_attempt_and_with_nothing_to_note(play):
    line = fields(play, play.gateway.get("/health"))
    assert (line["apptime"], line["query"], line["request.X-Kind"]) == ("-", "-", "-")
    assert line["response.Content-Type"] == "application/json"


def test_the_request_counts_as_sent_and_the_response_as_handlers_have_left_it(play):
    line = fields(play, play.gateway.get("/handled?a=1", "X-Kind: of the client"))
    assert (line["query"], line["request.X-Kind"], line["response.Content-Type"]) == (
        "a=1",
        "of the client",
        "text/own",
    )


def test_a_redirect_and_errors(play):
    line = fields(play, play.gateway.get("/away?secret=1"))
    assert line["response.Location"] == "https://other.test/new"
    line = fields(play, play.gateway.ask(b"GET  / HTTP/1.1\r\n\r\n"))
    assert (line["query"], line["scheme"], line["response.Content-Type"]) == ("-", "-", "application/problem+json")


def test_a_client_that_leaves_has_the_fields_of_its_request(play):
    play.a.act = lambda peer, request: peer.sock.recv(1)
    with play.gateway.connect() as wire:
        wire.send("GET /leaves?a=1 HTTP/1.1\r\nHost: a\r\nX-Kind: gone\r\n\r\n")
        play.a.wait_for_requests(1)
    line = play.gateway.line("/leaves")
    assert (line["status"], line["query"], line["request.X-Kind"], line["response.Content-Type"]) == (
        "499",
        "a=1",
        "gone",
        "-",
    )
    assert line["apptime"] == "-"


def test_tls(play):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", play.secure))) as secure:
        wire = Wire(secure)
        wire.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n")
        line = fields(play, wire.read_response())
    assert (line["scheme"], line["tls"]) == ("https", "TLSv1.3")


def test_apptime_is_that_of_the_last_attempt(play):
    def slowly_fails(peer, request):
        time.sleep(0.3)
        reply(b"", status="503 Busy")(peer, request)

    play.a.act = slowly_fails
    answer = play.gateway.get("/retried")
    assert answer.body == b"b"
    assert 0 < float(fields(play, answer)["apptime"]) < 0.3


def test_apptime_without_a_head(play):
    play.a.act = lambda peer, request: peer.reset()
    answer = play.gateway.get("/a")
    assert answer.status == 502
    assert fields(play, answer)["apptime"] == "-"


def test_chosen_fields_in_json(tmp_path):
    with scene(
        "[route:a]\npath = /\nrespond = 204\n[log]\nformat = json\nfields = status, query, path, apptime, tls\n",
        "",
        tmp_path,
    ) as play:
        play.gateway.get('/a?"')
        path = tmp_path / "log/access.log"
        eventually(lambda: path.exists() and path.read_text(), "a line")
    assert json.loads(path.read_text()) == {"status": 204, "query": '"', "path": "/a", "apptime": None, "tls": ""}
