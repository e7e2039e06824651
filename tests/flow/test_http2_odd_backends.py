"""Backends of HTTP/2 that do what few backends do, in frames that the tests make."""

from contextlib import ExitStack

import pytest
from conftest import Scene
from http2_raw_backend import OK, RawBackend, data, fine, literals

from gproxy.http.h2.events import HeadReceived, InterimReceived, TrailersReceived
from gproxy.http.h2.frames import headers_frames
from gproxy.http.h2.never_indexed import NeverIndexed
from gproxy.http.headers import Headers
from gproxy.testing.gateway import RunningGateway, eventually

INI = """
[gateway]
handlers = health
timeout = 4s
[handler:health]
cache = 0s
[route:all]
path = /
upstream = all
buffer_response = 0
[upstream:all]
backends = {backend}
http2 = yes
max_fails = 0
retries = 0
buffer_request = 0
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory, h2c):
    with ExitStack() as stack:
        backend = stack.enter_context(RawBackend())
        ini = INI.replace("{backend}", backend.url)
        yield Scene(stack.enter_context(RunningGateway(ini, tmp_path_factory.mktemp("odd"))), {"backend": backend})


@pytest.fixture
def play(stage):
    stage.backend.reset()
    yield stage
    stage.backend.act = fine
    stage.gateway.wait_until_idle()
    assert stage.gateway.process.poll() is None


# RFC 7541 section 7.1.3: what came as never indexed leaves so.


def marked(fields):
    """The names that came as never indexed."""
    return {name for name, value in (one for one in fields if not one.indexable)}


def test_a_request_keeps_what_its_client_has_never_indexed(play, connect):
    client = connect()
    headers = Headers([("x-key", "a"), ("x-other", "b")])
    for keys in ((), (), (), ("x-key", ":path"), ()):  # at the fourth time both would be indexes
        headers.never_index(keys)
        stream = client.session.request("POST", "http", "gateway.test", "/never", headers, end=False)
        client.session.send_trailers(stream, [(NeverIndexed("x-sum") if keys else "x-sum", "6"), ("x-plain", "7")])
        client.send()
        assert client.response(stream) == (200, b"fine")
    link, last, _ = play.backend.requests[-1]
    assert play.backend.requests[0][0] is link
    assert [marked(link.requests[stream]) for stream in (last - 4, last - 2, last)] == [
        set(),
        {"x-key", ":path"},
        set(),
    ]
    eventually(lambda: last in link.trailers, "trailers")
    assert [marked(link.trailers[stream]) for stream in (last - 4, last - 2, last)] == [set(), {"x-sum"}, set()]


def test_a_response_keeps_what_its_backend_has_never_indexed(play, connect):
    def act(link, stream_id):
        def block(plain, *fields, end=False):
            first = link.encoder.encode(plain)
            rest = literals(*fields, first=0x10) if is_marked else link.encoder.encode(fields)
            return headers_frames(stream_id, first + rest, end=end)

        link.send(block([(":status", "103")], ("link", "</a>")), block(OK, ("x-key", "a")))
        link.send(data(stream_id, b"body"), block([("x-plain", "7")], ("x-sum", "6"), end=True))

    play.backend.act = act
    client = connect()
    for is_marked in (False, False, False, True, False):
        stream = client.request("/never")
        assert client.response(stream) == (200, b"body")
        interim, head, end = (client.of(stream, one)[0] for one in (InterimReceived, HeadReceived, TrailersReceived))
        assert interim.head.headers.never_indexed == ["link"] * is_marked
        assert head.head.headers.never_indexed == ["x-key"] * is_marked
        assert [type(name) is NeverIndexed for name, _ in end.pairs] == [False, is_marked]
