"""The gateway, called without a connection."""

from gproxy.gateway.build import build, load
from gproxy.runtime import Runtime
from gproxy.testing import request

OWN = """
from gproxy import Response

def moves(request, next):
    request.path = "/long"
    return next(request)

def tells(request, next):
    return Response(200, f"{request.deadline.remaining():.0f}".encode())
"""
INI = """
[gateway]
handlers = moves
timeout = 3s
[route:short]
path = /short
respond = 200
[route:long]
path = /long
timeout = 30s
handlers = tells
respond = 200
[handler:moves]
use = own_of_test_gateway:moves
[handler:tells]
use = own_of_test_gateway:tells
[log]
access = off
"""


def test_a_request_led_to_another_route_has_the_timeout_of_that_route(tmp_path):
    (tmp_path / "own_of_test_gateway.py").write_text(OWN)
    (tmp_path / "gproxy.ini").write_text(INI)
    settings = load(tmp_path / "gproxy.ini")
    gateway = build(settings, Runtime.of(settings))
    assert gateway(request("GET", "/short")).body == b"30"
