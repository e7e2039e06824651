"""Requests of the gateway itself: limits of time and size, verified TLS, no redirects, pooled connections."""

import contextlib
import json
import ssl
import threading
from urllib.parse import quote

import pytest

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import RunningGateway, eventually, free_port
from gproxy.testing.issuer import Issuer

INI = """
[server]
state_dir = {tmp}
[gateway]
handlers = health, ask
[handler:health]
cache = 0s
[handler:ask]
use = handlers:Ask
[route:r]
path = /
respond = 200
[route:brief]
path = /brief
timeout = 100ms
respond = 200
[outgoing]
timeout = 1s
"""

HANDLERS = """
import json, time
from urllib.parse import parse_qs
from gproxy import Response
from gproxy.identity.outgoing.client import Outgoing, OutgoingError

class Ask:
    def open(self, runtime):
        self.outgoing = runtime.single(Outgoing)

    def __call__(self, request, next):
        if request.path not in ("/ask", "/brief"):
            return next(request)
        asked = {name: values[0] for name, values in parse_qs(request.query).items()}
        started = time.monotonic()
        try:
            answer = self.outgoing.fetch(
                asked["url"], method=asked.get("method", "GET"), limit=20_000, public="public" in asked,
                body=asked.get("body", "").encode(), repeatable="repeatable" in asked,
            )
            outcome = {"status": answer.status, "body": answer.body.decode(), "x": answer.headers.get("x-ABC")}
        except OutgoingError as error:
            outcome = {"error": str(error)}
        return Response(200, json.dumps(outcome | {"seconds": time.monotonic() - started}).encode())
"""


class Asking:
    def __init__(self, gateway):
        self.gateway = gateway

    def __call__(self, url, **asked):
        query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in {"url": url, **asked}.items())
        return json.loads(self.gateway.get(f"/ask?{query}").body)


def running(folder, ini):
    (folder / "handlers.py").write_text(HANDLERS)
    return RunningGateway(ini, folder)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ask(tmp_path_factory, authority):
    with running(tmp_path_factory.mktemp("outgoing"), INI + f"tls_ca = {authority.path}\n") as gateway:
        yield Asking(gateway)


@pytest.fixture
def backend():
    with Actor(reply(b"hello", "X-Abc: y")) as backend:
        yield backend


def test_an_answer_of_any_status_comes_back_with_its_headers(ask, backend):
    outcome = ask(backend.url)
    assert (outcome["status"], outcome["body"], outcome["x"]) == (200, "hello", "y")
    backend.act = reply(b"no", status="404 Not Found")
    assert ask(backend.url)["status"] == 404
    assert backend.requests[0]["accept"] == "application/json"
    assert backend.requests[0]["accept-encoding"] == "identity"


def test_a_body_is_sent(ask):
    got = []

    def act(peer, request):
        got.append(peer.read_body(request).body)
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with Actor(act) as backend:
        assert ask(backend.url, method="POST", body="token=x")["status"] == 200
    assert got == [b"token=x"]


def test_connections_are_used_again(ask, backend):
    for _ in range(5):
        ask(backend.url)
    assert backend.connections == 1


@pytest.mark.parametrize("failure", ["hang", "trickle"])
def test_a_slow_server_costs_the_time_limit_and_no_more(ask, failure):
    with Issuer() as issuer:
        issuer.fail(failure)
        outcome = ask(issuer.keys_url)
        assert outcome["error"] == "no answer within 1 s"
        assert 0.9 < outcome["seconds"] < 3
        issuer.recover()
        assert "status" in ask(issuer.keys_url)


def test_a_server_that_is_slow_delays_no_other_request(ask, backend):
    with Issuer() as issuer:
        issuer.fail("hang")
        slow = threading.Thread(target=ask, args=(issuer.keys_url,))
        slow.start()
        eventually(lambda: issuer.requests["keys"], "the slow request")
        assert ask(backend.url)["seconds"] < 0.5
        slow.join()


def test_a_body_of_1_gb_is_not_read(ask):
    with Issuer() as issuer:
        issuer.fail("huge")
        before = ask.gateway.health()["memory"]
        for _ in range(5):
            assert ask(issuer.keys_url)["error"] == "the body exceeds 20000 bytes"
        assert ask.gateway.health()["memory"] - before < 8_000_000


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "x" * 1000),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-Trailer: x\r\n"),
    ],
    ids=["interim responses", "a chunk extension", "trailers"],
)
def test_what_comes_without_end_stops_no_other_request(ask, backend, begin, piece):
    seconds = []

    def flood(peer, request):
        peer.send(begin)
        with contextlib.suppress(OSError):
            while True:
                peer.send(piece * 1000)

    def ask_others():
        while flooding.is_alive():
            seconds.append(ask(backend.url)["seconds"])

    with Actor(flood) as server:
        outcome = {}
        flooding = threading.Thread(target=lambda: outcome.update(ask(server.url)))
        before = ask.gateway.health()["memory"]
        flooding.start()
        ask_others()
    assert outcome["error"] in {
        "the answer exceeds 2097152 bytes",
        "Response chunk size line exceeded maximum allowed length",
        "no answer within 1 s",
    }
    assert max(seconds) < 0.5
    assert ask.gateway.health()["memory"] - before < 16_000_000


def test_a_length_over_the_limit_is_enough_to_reject(ask, backend):
    backend.act = lambda peer, request: peer.send("HTTP/1.1 200 OK\r\nContent-Length: 20001\r\n\r\n")
    outcome = ask(backend.url)
    assert outcome["error"] == "the body exceeds 20000 bytes"
    assert outcome["seconds"] < 0.5


def test_redirects_are_not_followed(ask):
    with Issuer() as issuer:
        issuer.fail("redirect")
        assert ask(issuer.keys_url)["error"] == "status 302: redirects are not followed"
        assert issuer.requests["keys"] == 1


def test_certificates_are_verified(ask, authority, tmp_path):
    with Issuer(authority=authority) as issuer:
        assert ask(issuer.keys_url)["status"] == 200
    with Issuer(authority=Authority(tmp_path, "stranger")) as issuer:
        assert ask(issuer.keys_url)["error"] == (
            "its certificate is rejected: unable to get local issuer certificate; "
            "tls_ca in [outgoing] names further authorities"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("id.example.com"))
    with Actor(tls=context) as other:
        assert "Hostname mismatch" in ask(other.url)["error"]
        assert other.requests == []


def test_a_server_that_is_down_is_an_error(ask):
    assert ask(f"http://127.0.0.1:{free_port()}/")["error"].startswith("cannot connect to 127.0.0.1: ")


def test_a_name_that_does_not_resolve_is_an_error(ask):
    assert "error" in ask("https://there.is.none.invalid/")


def test_http_is_only_for_loopback(ask):
    assert ask("http://192.0.2.1/")["error"] == (
        "its URL cannot be asked: http:// is accepted only on loopback; "
        "expected https://, or insecure = yes in [outgoing]"
    )


@pytest.mark.parametrize(
    "url", ["{}", "https://localhost:1/", "https://[::ffff:10.1.2.3]/", "https://169.254.169.254/"]
)
def test_internal_addresses_are_rejected_where_only_public_ones_may_be(ask, backend, url):
    assert "internal address" in ask(url.format(backend.url), public="yes")["error"]
    assert backend.connections == 0


def closing_once(answers=1):
    """Answer so many requests, then close the connection with the next one unanswered, then answer all."""
    left = [answers]

    def act(peer, request):
        left[0] -= 1
        if left[0] == -1:
            peer.close()
        else:
            reply()(peer, request)

    return act


def test_a_request_is_sent_again_if_the_server_closed_the_idle_connection(ask, backend):
    backend.act = closing_once()
    assert [ask(backend.url)["status"] for _ in range(2)] == [200, 200]
    assert len(backend.requests) == 3


def test_a_post_is_sent_again_only_if_it_may_be(ask, backend):
    backend.act = closing_once(0)
    assert "error" in ask(backend.url, method="POST")
    backend.act = closing_once(0)
    assert ask(backend.url, method="POST", repeatable="yes")["status"] == 200


def test_a_request_that_expires_cancels_nothing(ask, backend):
    go = threading.Event()

    def act(peer, request):
        go.wait(5)
        reply()(peer, request)

    backend.act = act
    assert ask.gateway.get(f"/brief?url={quote(backend.url, safe='')}").status == 504
    assert backend.open == 1
    go.set()
    backend.act = reply()
    assert ask(backend.url)["status"] == 200
    assert backend.open == backend.connections


def test_requests_pass_a_proxy_except_those_to_loopback(tmp_path, backend):
    asked = []

    def act(peer, request):
        asked.append((request.line, request["proxy-authorization"]))
        peer.send("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        peer.close()

    with Actor(act) as proxy:
        url = proxy.url.replace("http://", "http://user:secret@")
        with running(tmp_path, INI + f"proxy = {url}\n") as gateway:
            ask = Asking(gateway)
            error = ask("https://id.example.com/keys")["error"]
            assert "502" in error
            assert "secret" not in error
            assert ask(backend.url)["status"] == 200
            gateway.signal(15)
    assert asked == [("CONNECT id.example.com:443 HTTP/1.0", "Basic dXNlcjpzZWNyZXQ=")]
