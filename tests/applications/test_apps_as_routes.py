"""Flask and Django as routes of the gateway, behind limits, tokens and compression."""

import os
import subprocess
import sys

import jwt
import pytest
from programs import APPS

from gproxy.testing.gateway import RunningGateway

SECRET = "a secret of at least thirty-two bytes"
SETTINGS = """
[gateway]
handlers = health, metrics, compress, jwt
[handler:health]
cache = 0s
[handler:metrics]
[handler:compress]
[handler:jwt]
secret = %s
forward = sub: X-User-ID
[handler:few]
use = rate_limit
limit = 3/hour
[route:shop]
path = /
app = flask_shop:app
[route:limited]
path = /account
handlers = few
app = flask_shop:app
[route:checked]
path = /checked
strip_prefix = yes
app = checked:app
[route:admin]
path = /admin, /address
host = shop.example.com
app = django_site:application
"""
CHECKED = """
from wsgiref.validate import validator

def plain(environ, start_response):
    body = environ["wsgi.input"].read(3)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["HTTP_X_USER_ID"].encode(), body]

app = validator(plain)
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("routes")
    environ = {"APP_FOLDER": str(folder), "PYTHONPATH": f"{APPS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    subprocess.run(
        [sys.executable, str(APPS / "django_site.py")], env={**os.environ, **environ}, check=True, timeout=50
    )
    (folder / "large").write_bytes(bytes(range(256)) * 40)
    (folder / "checked.py").write_text(CHECKED)
    with RunningGateway(SETTINGS % SECRET, folder, environ=environ) as running:
        yield running


def signed(user="alice"):
    return f"Authorization: Bearer {jwt.encode({'sub': user, 'exp': 4_000_000_000}, SECRET, 'HS256')}"


def test_a_client_without_a_token_reaches_no_app(gateway):
    assert gateway.get("/files/large").status == 401
    assert gateway.line("/files/large")["backend"] == "-"


def test_ranges_and_conditions_of_flask(gateway):
    answer = gateway.get("/files/large", signed(), "Range: bytes=10-19", "Accept-Encoding: identity")
    assert (answer.status, answer.body) == (206, bytes(range(10, 20)))
    assert answer["content-range"] == "bytes 10-19/10240"
    assert gateway.get("/files/large", signed(), f"If-None-Match: {answer['etag']}").status == 304


def test_a_form_for_flask(gateway):
    body = b"user=alice"
    answer = gateway.ask(
        b"POST /login HTTP/1.1\r\nHost: shop\r\n%b\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 10\r\n\r\n%b" % (signed().encode(), body)
    )
    assert (answer.status, answer["location"]) == (302, "http://shop/account")
    assert sum(name == "set-cookie" for name, _ in answer.fields) == 2


def test_the_response_of_an_app_is_compressed(gateway):
    answer = gateway.get("/stream?lines=1", signed(), "Accept-Encoding: gzip")
    assert answer["content-encoding"] in {"gzip", None}
    assert answer.status == 200


def test_a_limit_holds_before_the_app(gateway):
    statuses = [gateway.get("/account", signed()).status for _ in range(5)]
    assert statuses[3:] == [429, 429]


def test_the_validator_of_the_standard_library_finds_nothing(gateway):
    fields = f"Host: shop\r\n{signed('bob')}\r\nX-User-ID: root\r\nContent-Length: 3\r\n\r\nabc"
    answer = gateway.ask(f"POST /checked/a?b=c HTTP/1.1\r\n{fields}")
    assert (answer.status, answer.body) == (200, b"bobabc")


def test_django_knows_the_client(gateway):
    """It redirects to https: the gateway is the proxy of its settings, and the client has used http."""
    answer = gateway.get("/address", signed())
    assert answer.status == 404  # of flask: another host
    with gateway.connect() as wire:
        wire.send(f"GET /address HTTP/1.1\r\nHost: shop.example.com\r\n{signed()}\r\n\r\n")
        answer = wire.read_response()
    assert (answer.status, answer["location"]) == (301, "https://shop.example.com/address")


def test_the_time_of_an_app_is_that_of_its_route(gateway):
    for _ in range(128):  # one of so many requests is timed
        gateway.get("/private", signed())
    assert gateway.metric('gproxy_handler_duration_seconds_count{handler="app:shop"}') >= 1
