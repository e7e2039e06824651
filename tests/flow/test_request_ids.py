"""The header of requests' ids, over real sockets: another name, and none."""

import json
import re
import socket

import pytest
from scenes import scene

from gproxy.testing.gateway import Wire, eventually

BACKENDS = "one"
INI = """
[gateway]
handlers = health, edit
trusted_proxies = 127.0.0.2
request_id_header = X-Correlation-ID
[handler:edit]
use = headers
request = X-Id: {id}
[route:one]
upstream = one
[upstream:one]
backends = {one}
"""
NEW = re.compile("[0-9a-f]{32}")


def ask(play, *fields, source="127.0.0.1"):
    place = ("127.0.0.1", play.gateway.port)
    lines = "\r\n".join(["GET / HTTP/1.1", "Host: a", *fields, "", ""])
    with Wire(socket.create_connection(place, source_address=(source, 0))) as wire:
        wire.send(lines)
        answers = [wire.read_response()]
        while answers[-1].status < 200:
            answers.append(wire.read_response())
        return answers


def echo(peer, request):
    peer.read_body(request)
    peer.send("HTTP/1.1 103 Early Hints\r\nX-Correlation-ID: theirs\r\nX-Request-ID: other\r\nLink: </a>\r\n\r\n")
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Correlation-ID: theirs\r\nX-Request-ID: other\r\n\r\n")


def test_the_id_of_a_trusted_proxy_under_another_name(play):
    play.one.act = echo
    hints, answer = ask(play, "X-Correlation-ID: abc-1", "x_correlation_id: forged", source="127.0.0.2")
    (seen,) = play.one.requests
    assert (seen["x-correlation-id"], seen["x_correlation_id"], seen["x-id"]) == ("abc-1", None, "abc-1")
    assert (answer["x-correlation-id"], answer["x-request-id"]) == ("abc-1", "other")
    assert (hints["x-correlation-id"], hints["x-request-id"], hints["link"]) == (None, "other", "</a>")
    eventually(lambda: play.gateway.access()[-1]["id"] == "abc-1", "the access line")


@pytest.mark.parametrize(
    ("source", "sent"), [("127.0.0.1", "abc-1"), ("127.0.0.2", "a b"), ("127.0.0.2", ""), ("127.0.0.2", "a" * 129)]
)
def test_a_new_id_for_an_untrusted_client_and_in_place_of_nonsense(play, source, sent):
    (answer,) = ask(play, f"X-Correlation-ID: {sent}", "X-Request-ID: of-the-client", source=source)
    (seen,) = play.one.requests
    assert NEW.fullmatch(answer["x-correlation-id"])
    assert seen["x-correlation-id"] == answer["x-correlation-id"]
    assert (seen["x-request-id"], answer["x-request-id"]) == ("of-the-client", None)


def test_errors_have_it_too(play):
    with play.gateway.connect() as wire:
        wire.send("GET / HTTP/1.1\r\n\r\n")
        answer = wire.read_response()
    assert answer.status == 400
    assert json.loads(answer.body)["request_id"] == answer["x-correlation-id"]


def test_no_header_at_all(tmp_path):
    ini = INI.replace("request_id_header = X-Correlation-ID", "request_id_header = off")
    with scene(ini, BACKENDS, tmp_path) as play:
        play.one.act = echo
        for source in ("127.0.0.1", "127.0.0.2"):
            hints, answer = ask(play, "X-Request-ID: of-the-client", source=source)
            seen = play.one.requests[-1]
            assert NEW.fullmatch(seen["x-id"])
            assert seen["x-request-id"] == "of-the-client"
            assert hints["x-request-id"] == answer["x-request-id"] == "other"
            eventually(lambda seen=seen: play.gateway.access()[-1]["id"] == seen["x-id"], "the access line")
