"""No log, answer, page, report or file of the gateway holds a credential, whatever kind, at level = debug."""

import base64
import json
import sys
import time

import forked
import pytest
from shipped import signed

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway
from gproxy.testing.issuer import Issuer

JWT_SECRET = "the-signing-secret-of-sixty-four-bytes-or-a-few-more-as-RFC-7518-asks"
CLIENT_SECRET = "the-secret-of-the-gateway-as-a-client"
PASSWORD = "Tr0ub4dor-and-3-horses"
ENVIRON = {"JWT_SECRET": JWT_SECRET, "CLIENT_SECRET": CLIENT_SECRET}
INI = """\
[gateway]
timeout = 60s
handlers = metrics, health, who
trusted_proxies = 127.0.0.1
[handler:who]
use = any_of
of = jwt, signed, keys, staff, opaque
[handler:jwt]
issuer = {issuer.url}
audience = api
sources = bearer, cookie:sid, query:token
[handler:signed]
use = jwt
secret = ${{JWT_SECRET}}
sources = header:X-Signed
audience = api
[handler:keys]
use = api_key
keys = keys.ini
[handler:staff]
use = basic
users = users
[handler:opaque]
use = introspect
endpoint = {issuer.introspection_url}
client_id = gateway
client_secret = ${{CLIENT_SECRET}}
audience = api
[route:all]
path = /
upstream = all
[upstream:all]
backends = {backend}
[log]
level = debug
fields = default, request.Referer, response.Location
"""


def gproxy(folder, *arguments, text=""):
    """What a command prints; it runs with the secrets of the gateway."""
    command = [sys.executable, "-m", "gproxy", *arguments]
    environ = {"PATH": "/usr/bin:/bin", **ENVIRON}
    done = forked.run(command, cwd=folder, capture_output=True, text=True, timeout=60, input=text, env=environ)
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    with Issuer() as issuer, Backend(answering(body=b"ok")) as backend:
        (folder / "keys.ini").write_text("")
        text = INI.format(issuer=issuer, backend=backend.url)
        (folder / "gproxy.ini").write_text(text)
        key = gproxy(folder, "key", "new", "acme", "--config", "gproxy.ini").split("\n")[0].strip()
        assert key.startswith("gk_")
        gproxy(folder, "password", "alice", "--file", "users", text=f"{PASSWORD}\n")
        with RunningGateway(text, folder, environ=ENVIRON) as gateway:
            yield folder, issuer, backend, gateway, key


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def credentials(issuer, key):
    """Good and bad credentials of each kind: the request target, its header, the status."""
    good, opaque = issuer.token(), issuer.opaque()
    forged = good[:-8] + "AAAAAAAA"
    other = issuer.token(aud="https://other.example/")
    mac = signed(JWT_SECRET, "HS256", aud="api")
    return [
        ("/", f"Authorization: Bearer {good}", 200),
        ("/", f"Authorization: Bearer {forged}", 401),
        ("/", f"Authorization: Bearer {other}", 401),
        ("/", f"Cookie: a=1; sid={issuer.token(jti='cookie')}", 200),
        ("/", f"Cookie: sid={issuer.token(jti='old', exp=int(time.time()) - 9)}", 401),
        (f"/?a=1&token={issuer.token(jti='query')}", "X-A: 1", 200),
        (f"/?token={issuer.token(jti='query', iss=None)}", "X-A: 1", 401),
        ("/", f"X-Signed: {mac}", 200),
        ("/", f"X-Signed: {signed(JWT_SECRET, 'HS256', aud='apis')}", 401),
        ("/", f"X-API-Key: {key}", 200),
        ("/", f"X-API-Key: {key[:-1]}{'A' if key[-1] != 'A' else 'B'}", 401),
        ("/", "X-API-Key: a-key-of-another-gateway-0123456789", 401),
        ("/", f"Authorization: {basic('alice', PASSWORD)}", 200),
        ("/", f"Authorization: {basic('alice', PASSWORD + '!')}", 401),
        ("/", f"Authorization: Bearer {opaque}", 200),
        ("/", "Authorization: Bearer opaque-nonsense-0123456789", 401),
    ]


def secrets_in(target, header):
    """The parts of a request that must be nowhere: the credential, and for a token its payload and signature."""
    value = header.partition(": ")[2].removeprefix("Bearer ").removeprefix("Basic ").rpartition("sid=")[2]
    value = target.rpartition("token=")[2] if "token=" in target else value
    found = [value, *value.split(".")[1:]]
    if header.startswith("Authorization: Basic"):
        found.append(base64.b64decode(value).decode().partition(":")[2])
    return [one for one in found if len(one) > 8]


def without_referer(request):
    """The head that a backend got, without what the client itself says of the page before."""
    return [request.line, *(field for field in request.fields if field[0] != "referer")]


def patiently(gateway, target, *fields):
    """The response; on a busy machine the thread that hashes passwords gets little time."""
    with gateway.connect() as wire:
        wire.sock.settimeout(60)
        wire.send("\r\n".join([f"GET {target} HTTP/1.1", "Host: gateway.test", *fields, "", ""]))
        return wire.read_response()


@pytest.mark.timeout(180)  # the passwords and some forty commands take 12 s alone
def test_no_output_holds_a_credential(scene):
    folder, issuer, backend, gateway, key = scene
    forbidden = [JWT_SECRET, CLIENT_SECRET, PASSWORD, key]
    outputs = {}
    for number, (target, header, status) in enumerate(credentials(issuer, key)):
        answer = patiently(
            gateway, target, header, f"X-Forwarded-For: 192.0.2.{number + 1}", f"Referer: http://r.test{target}"
        )
        assert answer.status == status, (target, header, answer, gateway.errors)
        outputs[f"answer {number}"] = answer.head.decode() + answer.body.decode()
        if status == 401:
            gateway.wait_for_line(f"request {answer['x-request-id']}: ")
        forbidden += secrets_in(target, header)
        explained = gproxy(folder, "explain", "--config", "gproxy.ini", "GET", "/", "-H", header)
        outputs[f"explain {number}"] = explained
        if header.startswith("Authorization: Bearer"):
            read = gproxy(folder, "token", "--read", "--config", "gproxy.ini", text=header)
            outputs[f"token --read {number}"] = read
    for path in ("/metrics", "/health"):
        outputs[path] = gateway.get(path).body.decode()
    for command in ("check", "config", "routes"):
        outputs[command] = gproxy(folder, command, "--config", "gproxy.ini")
    outputs["check --online"] = gproxy(folder, "check", "--online", "--config", "gproxy.ini")
    outputs["error log"] = gateway.errors
    gateway.access(len(credentials(issuer, key)))
    for path in folder.rglob("*"):
        if path.is_file():
            outputs[f"file {path.name}"] = path.read_text(errors="replace")
    outputs["backend"] = json.dumps([without_referer(request) for request in backend.requests])
    for name, text in outputs.items():
        for secret in forbidden:
            assert secret not in text, f"{name} has {secret!r}:\n{text}"
    assert "file access.log" in outputs
    assert outputs["error log"].count("credential") + outputs["error log"].count("is rejected") >= 7
