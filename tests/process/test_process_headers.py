"""Feature 6: what the backend is told about the client and the request, and what it is not."""

import re

from shipped import PUBLIC, UNLIMITED, response, running

from gproxy.testing.backends import answering


def test_what_the_backend_gets_from_an_ordinary_client(ours):
    forged = (
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.test",
        "X-Request-ID: mine",
    )
    hop = (
        "Connection: keep-alive, X-Hop",
        "X-Hop: 1",
        "Keep-Alive: 5",
        "Proxy-Authorization: Basic abc",
        "Forwarded: for=1.2.3.4",
    )
    answer = ours.get("/orders?q=1", ours.bearer(), *forged, *hop, "X-Mine: a", "X-Mine: b")
    seen = ours.two.requests[-1]
    assert seen.line == "GET /orders?q=1 HTTP/1.1"
    assert seen["host"] == "gateway.test"
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert seen["x-forwarded-host"] == "gateway.test"
    assert "1.2.3.4" not in seen.head.decode()
    assert [value for name, value in seen.fields if name == "x-mine"] == ["a", "b"]
    assert {"authorization", "x-hop", "keep-alive", "proxy-authorization"}.isdisjoint(dict(seen.fields))
    assert re.fullmatch("[0-9a-f]{32}", seen["x-request-id"])
    assert answer["x-request-id"] == seen["x-request-id"]
    line = ours.line_of(answer)
    assert (line["id"], line["client"], line["vhost"]) == (seen["x-request-id"], "127.0.0.1", "gateway.test")


def test_request_ids_differ_and_are_in_refusals_and_error_log_lines_too(tmp_path):
    with running(tmp_path, UNLIMITED, *PUBLIC) as ours:
        ours.two.stop()
        answers = [ours.get("/orders"), ours.get("/nothing"), ours.ask("GET / HTTP/1.1\r\n\r\n")]
        assert [answer.status for answer in answers] == [502, 401, 400]
        assert len({answer["x-request-id"] for answer in answers}) == 3
        for answer in answers:
            ours.line_of(answer)
        assert "/orders" in ours.wait_for_line(answers[0]["x-request-id"])


def test_a_trusted_proxy_is_believed_and_continued(tmp_path):
    with running(tmp_path, UNLIMITED, *PUBLIC, ("trusted_proxies =  ", "trusted_proxies = 127.0.0.1 ")) as ours:
        answer = ours.get(
            "/orders",
            "X-Forwarded-For: 1.2.3.4",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: shop.test",
            "X-Request-ID: abc-1",
        )
        seen = ours.two.requests[-1]
        assert seen["x-forwarded-for"] == "1.2.3.4, 127.0.0.1"
        assert (seen["x-forwarded-proto"], seen["x-forwarded-host"]) == ("https", "shop.test")
        assert seen["x-request-id"] == answer["x-request-id"] == ours.line_of(answer)["id"] == "abc-1"
        assert ours.line_of(answer)["client"] == "1.2.3.4"
        nonsense = ours.get("/orders", "X-Request-ID: a b\tc")
        assert re.fullmatch("[0-9a-f]{32}", nonsense["x-request-id"])


def test_keep_and_host(tmp_path):
    keep = ("upstream = orders\n", "upstream = orders\nskip = jwt\nkeep = Authorization\n")
    literal = ("[upstream:orders]\n", "[upstream:orders]\nhost = orders.internal\n")
    own = ("balance = round_robin", "balance = round_robin\nhost = backend")
    with running(tmp_path, UNLIMITED, keep, literal, own) as ours:
        ours.get("/orders", "Authorization: Basic YTpi")
        ours.get("/users", ours.bearer())
        assert ours.two.requests[0]["authorization"] == "Basic YTpi"
        assert ours.two.requests[0]["host"] == "orders.internal"
        assert ours.two.requests[0]["x-forwarded-host"] == "gateway.test"
        assert ours.one.requests[0]["authorization"] is None
        assert ours.one.requests[0]["host"] == f"localhost:{ours.one.port}"


def test_what_the_client_gets(tmp_path):
    fields = (
        "X-Own: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n"
    )
    with running(tmp_path, UNLIMITED, *PUBLIC, scripts=(None, answering(response(headers=fields)))) as ours:
        answer = ours.get("/orders")
        assert [value for name, value in answer.fields if name == "set-cookie"] == ["a=1", "b=2"]
        assert (answer["x-own"], answer["x-hop"], answer["keep-alive"]) == ("1", None, None)
