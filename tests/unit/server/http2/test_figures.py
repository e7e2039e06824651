"""What a process counts of HTTP/2."""

import pytest
from gevent.event import Event

from gproxy.http.h2.frames import CANCEL
from gproxy.http.response import Response
from gproxy.server.http2.figures import HTTP2Figures

pytestmark = pytest.mark.timeout(20)


def counts(some):
    figures = some.runtime.single(HTTP2Figures)
    return figures.connections, figures.streams, figures.client_resets, figures.gateway_resets, figures.floods


def test_connections_and_streams_are_counted_while_they_last(scene):
    some = scene()
    go = Event()
    some.gateway.answer = lambda request: go.wait() and Response(200)
    stream = some.request()
    some.until(lambda: some.connection.active_requests)
    assert counts(some) == (1, 1, 0, 0, 0)
    go.set()
    some.response(stream)
    some.until(lambda: counts(some) == (1, 0, 0, 0, 0))
    some.close()
    assert counts(some) == (0, 0, 0, 0, 0)


def test_resets_are_counted_by_their_sender(scene):
    some = scene()
    some.gateway.answer = lambda request: Response(200, request.body.read())
    some.reset_code(some.request(fields=[("te", "gzip")]))
    stream = some.request("POST", end=False)
    some.until(lambda: some.connection.active_requests)
    some.client.reset(stream, CANCEL)
    some.send()
    some.until(lambda: counts(some)[2:4] == (1, 1))


def test_a_flood_is_counted(scene):
    some = scene()
    some.send_raw(b"\x00\x00\x05\x02\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00" * 500)  # PRIORITY
    some.read_until(lambda: some.is_closed)
    assert counts(some)[4] == 1
