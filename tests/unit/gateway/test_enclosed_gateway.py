"""The parts that a command adds: they see each request first, and each response last."""

import pytest

from gproxy.config.problems import ConfigError
from gproxy.config.sections.settings import PARTS
from gproxy.gateway.build import build, load
from gproxy.gateway.enclosed_gateway import EnclosedGateway
from gproxy.gateway.gateway import Gateway
from gproxy.gateway.router import Router
from gproxy.http.errors import BadMessage, HTTPError
from gproxy.http.exchange import Exchange
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.runtime.command_part import CommandPart
from gproxy.testing import request

INI = """
[route:fixed]
path = /fixed
respond = 200
[route:broken]
path = /broken
handlers = broken
respond = 200
[handler:broken]
use = own_of_test_enclosed:broken
[log]
access = off
"""
OWN = "def broken(request, next):\n    raise KeyError('no')\n"


class Part(CommandPart):
    """Rejects one client, numbers responses, and answers mistakes."""

    def admit(self, request):
        if request.received.peer == "192.0.2.1":
            raise HTTPError(403, "not you")

    def mark(self, response, peer, request):
        response.headers["X-Peer"] = peer

    def error(self, error, found, request):
        return Response(found.status, repr(error).encode()) if "page" in request.headers else None


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own_of_test_enclosed.py").write_text(OWN)
    (tmp_path / "gproxy.ini").write_text(INI)
    return tmp_path


@pytest.fixture
def gateway(folder):
    settings = load(folder / "gproxy.ini", {PARTS: f"{__name__}:Part"})
    return build(settings, Runtime())


def asked(path, client="127.0.0.1", **headers):
    return request("GET", path, headers, client=client)


def test_a_gateway_without_parts_is_not_enclosed(folder):
    settings = load(folder / "gproxy.ini")
    assert settings.parts == ()
    assert type(build(settings, Runtime())) is Gateway


def test_a_file_cannot_add_parts(folder):
    with (folder / "gproxy.ini").open("a") as file:
        file.write("[command]\nparts = os:abort\n")
    with pytest.raises(ConfigError, match=r"\[command\] unknown section"):
        load(folder / "gproxy.ini")


@pytest.mark.parametrize(("path", "status"), [("/fixed", 200), ("/broken", 500), ("/none", 404), ("/%zz", 400)])
def test_every_response_is_marked(gateway, path, status):
    response = gateway(asked(path))
    assert (response.status, response.headers["X-Peer"]) == (status, "127.0.0.1")


def test_a_request_that_is_not_admitted_reaches_no_route(gateway):
    one = asked("/broken", "192.0.2.1")
    response = gateway(one)
    assert (response.status, one.route, response.headers["X-Peer"]) == (403, None, "192.0.2.1")


def test_what_is_rejected_before_a_request_exists_is_marked(gateway):
    exchange = Exchange.rejected("192.0.2.9", ("GET", "/", "HTTP/1.1"))
    assert gateway.reject(BadMessage("odd"), exchange).headers["X-Peer"] == "192.0.2.9"


def test_a_part_may_answer_mistakes_of_handlers(gateway):
    assert gateway(asked("/broken", page="yes")).body == b"KeyError('no')"
    assert b"internal error" in gateway(asked("/broken")).body
    assert b"KeyError" not in gateway(asked("/none", page="yes")).body


def test_a_listener_has_the_parts_too(gateway):
    other = gateway.with_router(Router(gateway.router.routes[:1]))
    assert isinstance(other, EnclosedGateway)
    assert other(asked("/broken", "192.0.2.1")).status == 403
    assert other(asked("/broken")).status == 404
