"""A client that pipelines many requests: others have their turn in between."""

import json

import pytest

from gproxy.testing.gateway import RunningGateway, eventually

#: Counts requests in the gateway's process. The first of many makes another client send a request at that moment.
HANDLERS = """
import json
import _socket  # not gevent's: no call of it gives others a turn

from gproxy import Response

other = _socket.socket()
seen = {"many": 0, "other": 0, "many before other": 0}

def send(path):
    other.send(b"GET %s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n" % path)

def count(request, next):
    name = request.path[1:]
    if name == "open":
        other.connect(("127.0.0.1", int(request.query)))
        send(b"/hello")
    elif name == "hello":
        seen["hello"] = 1
    elif name == "many":
        seen["many"] += 1
        if seen["many"] == 1:
            send(b"/other")
    elif name == "other":
        seen["other"], seen["many before other"] = 1, seen["many"]
    return Response(200, json.dumps(seen).encode())
"""
INI = """
[route:r]
handlers = count
respond = 200
[handler:count]
use = handlers:count
"""
MANY = 2400


def test_others_have_a_turn_at_least_every_sixteen_requests(tmp_path):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    with RunningGateway(INI, tmp_path) as gateway, gateway.connect() as wire:

        def seen():
            return json.loads(gateway.get("/seen").body)

        assert gateway.get(f"/open?{gateway.port}").status == 200
        eventually(lambda: "hello" in seen(), "the other connection")
        wire.send(b"GET /many HTTP/1.1\r\nHost: a\r\n\r\n" * MANY)
        assert {wire.read_response().status for _ in range(MANY)} == {200}
        eventually(lambda: seen()["other"], "the other request")
        assert seen()["many"] == MANY
        assert seen()["many before other"] <= 16


@pytest.mark.parametrize("count", [15, 16, 17, 40])
def test_no_request_is_lost_at_a_turn(tmp_path, count):
    with RunningGateway("[route:r]\nrespond = 200\n", tmp_path) as gateway, gateway.connect() as wire:
        wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(count)))
        assert [wire.read_response().status for _ in range(count)] == [200] * count
        assert [line["path"] for line in gateway.access(count)] == [f"/{n}" for n in range(count)]
