"""HTTP/2 with a client that is not ours: httpx, which speaks it by the package h2."""

import asyncio

import httpx
import pytest

from gproxy.testing.backends import reply

pytestmark = pytest.mark.usefixtures("h2c")
BACKENDS = "one"
INI = """
[gateway]
handlers = compress, health
[handler:compress]
[handler:health]
cache = 0s
[route:all]
path = /
upstream = one
[route:gone]
path = /gone
respond = 410
[upstream:one]
backends = {one}
max_fails = 0
"""


@pytest.fixture
def client(play):
    with httpx.Client(http1=False, http2=True, base_url=f"http://127.0.0.1:{play.gateway.port}") as client:
        yield client


def test_a_request_and_its_response(play, client):
    play.one.act = reply(
        b"hello", "X-Mixed-Case: Yes", "Set-Cookie: a=1", "Set-Cookie: b=2", "Connection: X-Hop", "X-Hop: 1"
    )
    answer = client.get("/a?b=c", headers={"X-Asked": "yes", "Cookie": "d=3"})
    assert (answer.status_code, answer.http_version, answer.text) == (200, "HTTP/2", "hello")
    assert answer.headers["x-mixed-case"] == "Yes"
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert not {"connection", "x-hop", "transfer-encoding"} & set(answer.headers)
    (seen,) = play.one.requests
    assert seen.line == "GET /a?b=c HTTP/1.1"
    assert (seen["x-asked"], seen["cookie"], seen["x-forwarded-proto"]) == ("yes", "d=3", "http")
    assert seen["x-forwarded-host"] == f"127.0.0.1:{play.gateway.port}"
    assert play.gateway.line("/a")["protocol"] == "HTTP/2.0"


@pytest.mark.parametrize("size", [0, 1, 16_384, 65_536, 3_000_000])
def test_bodies_of_all_sizes_both_ways(play, client, size):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    play.one.act = lambda peer, request: peer.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, peer.read_body(request).body)
    )
    answer = client.post("/echo", content=body)
    assert answer.content == body
    assert play.one.requests[0].body == body


def test_an_upload_without_a_length(play, client):
    answer = client.post("/", content=(b"x" * 10_000 for _ in range(100)))
    assert answer.status_code == 200
    (seen,) = play.one.requests
    assert (len(seen.body), seen["transfer-encoding"], seen["content-length"]) == (1_000_000, "chunked", None)


def test_heads_without_bodies(play, client):
    play.one.act = lambda peer, request: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    answer = client.head("/")
    assert (answer.headers["content-length"], answer.content) == ("5", b"")
    play.one.act = lambda peer, request: peer.send(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n')
    assert client.get("/").status_code == 304
    assert client.get("/gone").status_code == 410


def test_a_compressed_stream(play, client):
    play.one.act = reply(b"hello " * 10_000, "Content-Type: text/plain")
    with client.stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert b"".join(answer.iter_bytes()) == b"hello " * 10_000


def test_many_requests_at_once_over_one_connection(play):
    play.one.act = lambda peer, request: reply(request.line.encode() * 500)(peer, request)

    async def ask():
        async with httpx.AsyncClient(http1=False, http2=True) as client:
            url = f"http://127.0.0.1:{play.gateway.port}"
            return await asyncio.gather(*(client.get(f"{url}/{number}") for number in range(400)))

    assert [one.content for one in asyncio.run(ask())] == [b"GET /%d HTTP/1.1" % number * 500 for number in range(400)]
