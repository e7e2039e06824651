"""Opaque tokens: a gateway process that asks an issuer over TLS about them (RFC 7662)."""

import base64
import json
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlencode
from urllib.request import Request, urlopen

import pytest
from shipped import problem

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, eventually, free_port
from gproxy.testing.issuer import Issuer

INI = """
[outgoing]
tls_ca = {tmp}/ca.pem
[gateway]
handlers = health, metrics, who
timeout = 5s
[handler:health]
[handler:metrics]
[handler:who]
use = introspect
endpoint = ISSUER/introspect
issuer = ISSUER
client_id = gateway
client_secret = s3cret:%
audience = api
forward = sub: X-User-ID, roles: X-User-Role
max_failures = 100000/minute
MORE
[route:all]
upstream = one
[upstream:one]
backends = BACKEND
"""


class SlowIssuer(Issuer):
    """An issuer that answers about tokens once `go` is set; `most` is how many calls were under way at once."""

    def __init__(self, **options):
        super().__init__(**options)
        self.go = threading.Event()
        self.running = self.most = 0
        self._lock = threading.Lock()

    def _content(self, endpoint, request):
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(10)
        with self._lock:
            self.running -= 1
        return super()._content(endpoint, request)


class Scene:
    """A gateway, its backend, and the issuer that it asks."""

    def __init__(self, gateway, backend, issuer):
        self.gateway, self.backend, self.issuer = gateway, backend, issuer

    def get(self, token, path="/"):
        return self.gateway.get(path, f"Authorization: Bearer {token}")

    @property
    def calls(self):
        return self.issuer.requests["introspection"]


@pytest.fixture
def started(tmp_path):
    """Start a scene whose handler has `more` options; all of it ends with the test."""
    stack = []

    def start(more="", change=(), issuer=Issuer):
        issuer = issuer(authority=Authority(tmp_path, "ca"))
        stack.append(issuer.__enter__())
        backend = Backend(answering())
        stack.append(backend.__enter__())
        ini = INI.replace("MORE", more).replace("BACKEND", backend.url)
        for before, after in change:
            assert before in ini
            ini = ini.replace(before, after)
        gateway = RunningGateway(ini.replace("ISSUER", issuer.url), tmp_path)
        stack.append(gateway.__enter__())
        return Scene(gateway, backend, issuer)

    yield start
    for part in reversed(stack):
        part.__exit__(None, None, None)


def rejected(scene, token, detail):
    answer = scene.get(token, "/rejected")
    assert (answer.status, problem(answer)["detail"]) == (401, f"the token is rejected: {detail}")
    assert 'error="invalid_token"' in answer["www-authenticate"]
    assert scene.gateway.line("/rejected")["reason"] == "auth_invalid"


def unavailable(scene, token, within=4.0):
    began = time.monotonic()
    answer = scene.get(token, "/unavailable")
    assert time.monotonic() - began < within
    assert (answer.status, answer["retry-after"], answer["www-authenticate"]) == (503, "1", None)
    assert problem(answer)["detail"] == "identity is temporarily unavailable"
    assert scene.gateway.line("/unavailable")["reason"] == "auth_unavailable"


def test_tokens_are_judged_by_what_the_issuer_says(started):
    scene = started()
    make = scene.issuer.opaque
    good = make("alice", roles=["clerk", "lead"], exp=None)
    assert scene.get(good).status == 200
    seen = scene.backend.requests[0]
    assert (seen["x-user-id"], seen["x-user-role"], seen["authorization"]) == ("alice", "clerk,lead", None)
    line = scene.gateway.line("/")
    assert (line["user"], line["auth"]) == ("alice", "who")
    now = time.time()
    for token, detail in (
        ("unknown", "it is not active"),
        (make(active=False), "it is not active"),
        (make(active="true"), "it is not active"),
        (make(exp=now - 1), "it has expired"),
        (make(exp="tomorrow"), "its exp is no date"),
        (make(nbf=now + 60), "it is not valid yet"),
        (make(aud="another"), "it is meant for another audience"),
        (make(aud=None), "it is meant for another audience"),
        (make(iss="https://another.example"), "its issuer is not the expected one"),
        (make(cnf={"jkt": "abc"}), "it is bound to a key whose proof is not checked here"),
        (make(cnf={"x5t#S256": "abc"}), "it is bound to a client certificate, and the connection has none"),
        ("a b", "it is malformed"),
        ("x" * 8193, "it exceeds the limit of 8192 bytes"),
    ):
        rejected(scene, token, detail)
    assert len(scene.backend.requests) == 1
    assert scene.get(make(aud=["other", "api"])).status == 200


def test_the_gateway_sends_its_own_credentials_and_the_token(started):
    scene = started()
    assert scene.get(scene.issuer.opaque()).status == 200
    (asked,) = scene.issuer.received
    assert asked.line == "POST /introspect HTTP/1.1"
    assert asked["authorization"] == "Basic Z2F0ZXdheTpzM2NyZXQlM0ElMjU="
    assert set(parse_qs(asked.body.decode())) == {"token", "token_type_hint"}


def test_a_hundred_requests_with_a_new_token_are_one_call(started):
    scene = started(issuer=SlowIssuer)
    token = scene.issuer.opaque()
    with ThreadPoolExecutor(100) as pool:
        answers = [pool.submit(scene.get, token) for _ in range(100)]
        eventually(lambda: scene.calls, "the call")
        eventually(lambda: scene.gateway.metric("gproxy_connections") > 99, "the other requests")
        scene.issuer.go.set()
        assert [answer.result().status for answer in answers] == [200] * 100
    assert scene.get(token).status == 200
    assert scene.calls == 1


def test_few_calls_run_at_the_same_time_and_others_wait_for_their_turn(started):
    scene = started("max_asking = 2\ntimeout = 5s", issuer=SlowIssuer)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(scene.get, scene.issuer.opaque()) for _ in range(8)]
        eventually(lambda: scene.issuer.running == 2, "two calls")
        eventually(lambda: scene.gateway.metric("gproxy_connections") > 7, "the other requests")
        scene.issuer.go.set()
        assert [answer.result().status for answer in answers] == [200] * 8
    assert (scene.calls, scene.issuer.most) == (8, 2)


@pytest.mark.parametrize("how", ["status", "hang", "trickle", "huge", "redirect", "garbage", "empty"])
def test_an_endpoint_that_fails_is_never_a_401(started, how):
    scene = started("timeout = 500ms")
    known, new = scene.issuer.opaque(), scene.issuer.opaque()
    assert scene.get(known).status == 200
    scene.issuer.fail(how, "introspection")
    unavailable(scene, new)
    unavailable(scene, "unknown")
    assert scene.get(known).status == 200
    scene.issuer.recover()
    assert scene.get(new).status == 200
    rejected(scene, "unknown", "it is not active")


def test_an_endpoint_that_is_down(started):
    scene = started("cache = 1s")
    token = scene.issuer.opaque()
    assert scene.get(token).status == 200
    scene.issuer.stop()
    assert scene.get(token).status == 200  # its answer counts for a second
    eventually(lambda: scene.get(token).status == 503, "the end of that second")
    unavailable(scene, "unknown", within=1.0)
    scene.gateway.wait_for_line("[handler:who] no credential can be judged: https://")
    scene.issuer.start()
    assert scene.get(token).status == 200


def test_an_endpoint_that_rejects_the_gateway(started):
    with Backend(answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}")) as endpoint:
        scene = started(change=[("ISSUER/introspect", endpoint.url)])
        unavailable(scene, scene.issuer.opaque())
    scene.gateway.wait_for_line("the endpoint rejects the gateway's own credentials (401)")
    assert "s3cret" not in scene.gateway.errors


def test_an_endpoint_with_malformed_fields_does_not_fill_the_log(started):
    raw = 'HTTP/1.1 200 OK\r\nX-A: b\r\nno field\r\nConnection: close\r\n\r\n{"active": false}'
    with Backend(answering(raw)) as endpoint:
        scene = started(change=[("ISSUER/introspect", endpoint.url)])
        assert [scene.get(scene.issuer.opaque()).status for _ in range(5)] == [401] * 5
        assert scene.gateway.errors.count("no field") == 0


FAULTY = """
import http.client

class Faulty:
    def open(self, runtime):
        http.client.HTTPResponse.begin = lambda response: [][0]

    def __call__(self, request, next):
        return next(request)
"""


def test_a_fault_of_a_library_is_a_503_too(started, tmp_path):
    (tmp_path / "faulty.py").write_text(FAULTY)
    patched = ("[handler:health]", "[handler:faulty]\nuse = faulty:Faulty\n[handler:health]")
    scene = started(change=[("health, metrics", "faulty, health, metrics"), patched])
    for _ in range(3):
        unavailable(scene, scene.issuer.opaque())
    scene.gateway.wait_for_line("/introspect: IndexError: list index out of range")
    assert "Traceback" not in scene.gateway.errors


def test_an_answer_counts_for_the_cache_time_and_never_past_exp(started):
    scene = started("cache = 1s")
    token, short = scene.issuer.opaque(), scene.issuer.opaque(exp=time.time() + 0.5)
    assert [scene.get(token).status for _ in range(5)] == [200] * 5
    assert scene.get(short).status == 200
    assert scene.calls == 2
    eventually(lambda: scene.get(short).status == 401, "its expiry")
    scene.issuer.revoke(token)
    eventually(lambda: scene.get(token).status == 401, "the end of its answer")
    assert scene.calls == 4


def test_without_a_cache_each_request_is_a_call(started):
    scene = started("cache = 0s")
    token = scene.issuer.opaque()
    assert [scene.get(token).status for _ in range(3)] == [200] * 3
    assert scene.calls == 3
    scene.issuer.revoke(token)
    assert scene.get(token).status == 401


def test_with_stale_an_answer_lasts_while_the_endpoint_is_down(started):
    scene = started("cache = 0s\nstale = 2s")
    token, revoked = scene.issuer.opaque(), scene.issuer.opaque()
    assert [scene.get(one).status for one in (token, revoked)] == [200, 200]
    scene.issuer.revoke(revoked)
    assert scene.get(revoked).status == 401
    scene.issuer.stop()
    assert scene.get(token).status == 200
    scene.gateway.wait_for_line("[handler:who] kept answers are used: https://")
    assert scene.get(revoked).status == 401
    unavailable(scene, "unknown")
    eventually(lambda: scene.get(token).status == 503, "the end of the stale answer")


def test_bad_tokens_are_kept_apart_from_good_ones(started):
    scene = started("negative_cache = 1s")
    token = scene.issuer.opaque()
    assert scene.get(token).status == 200
    with scene.gateway.connect() as wire:
        for number in [*range(300), 299]:
            wire.send(f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer bad-{number}\r\n\r\n")
            assert wire.read_response().status == 401
    assert scene.calls == 301  # the second look at the last one is no call
    assert scene.get(token).status == 200
    assert scene.calls == 301
    time.sleep(1.0)
    rejected(scene, "bad-299", "it is not active")
    assert scene.calls == 302


def test_a_client_that_guesses_is_stopped_and_its_good_token_is_not(started):
    scene = started(change=[("max_failures = 100000/minute\n", "")])
    token = scene.issuer.opaque()
    assert scene.get(token).status == 200
    assert [scene.get(f"bad-{number}").status for number in range(30)] == [401] * 30
    assert scene.get("bad-30", "/throttled").status == 429
    assert scene.gateway.line("/throttled")["reason"] == "auth_throttled"
    assert scene.get(token).status == 200
    assert scene.get(scene.issuer.opaque()).status == 429
    assert scene.calls == 31


def test_a_client_that_guesses_at_many_tokens_at_once_is_stopped_too(started):
    limited = ("max_failures = 100000/minute", "max_failures = 3/minute\nmax_asking = 2\ntimeout = 5s")
    scene = started(change=[limited], issuer=SlowIssuer)
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(scene.get, f"guess{number}") for number in range(20)]
        eventually(lambda: scene.issuer.running == 2, "two calls")
        eventually(lambda: scene.gateway.metric("gproxy_connections") > 19, "the other requests")
        scene.issuer.go.set()
    statuses = sorted(answer.result().status for answer in answers)
    assert 3 <= scene.calls <= 4  # two calls are under way when the third bad token is counted
    assert statuses == [401] * scene.calls + [429] * (20 - scene.calls)


def test_a_request_waits_no_longer_than_its_deadline(started):
    scene = started("timeout = 10s", change=[("timeout = 5s", "timeout = 300ms")])
    scene.issuer.fail("hang", "introspection")
    assert scene.get(scene.issuer.opaque()).status == 504
    assert scene.gateway.line("/")["reason"] == "handler_timeout"


def test_a_client_that_leaves_is_noticed_while_the_endpoint_thinks(started):
    scene = started("timeout = 30s", change=[("timeout = 5s", "timeout = 30s")], issuer=SlowIssuer)
    token = scene.issuer.opaque()
    with ThreadPoolExecutor(1) as pool:
        with scene.gateway.connect() as wire:
            wire.send(f"GET /leaves HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")
            eventually(lambda: scene.calls, "the call")
            patient = pool.submit(scene.get, token, "/stays")
            eventually(lambda: scene.gateway.metric("gproxy_connections") > 1, "the other request")
        assert scene.gateway.line("/leaves")["status"] == "499"
        assert scene.issuer.running == 1, "the issuer has not answered yet"
        scene.issuer.go.set()
        assert patient.result().status == 200
    assert scene.calls == 1


def test_calls_are_counted(started):
    scene = started("timeout = 300ms")
    scene.get(scene.issuer.opaque())
    scene.get("unknown")
    scene.issuer.fail("hang", "introspection")
    scene.get("other")
    for outcome in ("ok", "rejected", "failed"):
        assert scene.gateway.metric('gproxy_auth_asked_total{handler="who",outcome="%s"}' % outcome) == 1
    assert scene.gateway.metric('gproxy_auth_asked_seconds_count{handler="who"}') == 3


def test_the_metadata_of_the_issuer_name_the_endpoint(started):
    scene = started("timeout = 500ms", change=[("endpoint = ISSUER/introspect\n", "")])
    scene.issuer.fail("status", "metadata")
    token = scene.issuer.opaque()
    unavailable(scene, token)
    scene.issuer.recover()
    eventually(lambda: scene.get(token).status == 200, "the metadata")
    rejected(scene, "unknown", "it is not active")
    metadata = scene.issuer.requests["metadata"]
    assert [scene.get(scene.issuer.opaque()).status for _ in range(5)] == [200] * 5
    assert scene.issuer.requests["metadata"] == metadata


@pytest.mark.parametrize("auth", ["post", "bearer"])
def test_other_ways_to_authenticate(started, auth):
    change = [("client_id = gateway\n", "")] if auth == "bearer" else []
    scene = started(f"auth = {auth}", change)
    assert scene.get(scene.issuer.opaque()).status == 200
    (asked,) = scene.issuer.received
    sent = parse_qs(asked.body.decode())
    if auth == "bearer":
        assert asked["authorization"] == "Bearer s3cret:%"
        assert set(sent) == {"token", "token_type_hint"}
    else:
        assert asked["authorization"] is None
        assert (sent["client_id"], sent["client_secret"]) == (["gateway"], ["s3cret:%"])


def test_beside_jwt_only_other_tokens_are_asked_about(started):
    more = "[handler:both]\nuse = any_of\nof = jwt, who\n[handler:jwt]\nissuer = ISSUER\naudience = api\n"
    more += "forward = sub: X-User-ID"
    scene = started(more, change=[("metrics, who", "metrics, both")])
    assert scene.get(scene.issuer.token("bob"), "/jwt").status == 200
    assert scene.get(scene.issuer.opaque("alice"), "/opaque").status == 200
    assert [scene.gateway.line(path)["auth"] for path in ("/jwt", "/opaque")] == ["jwt", "who"]
    assert [request["x-user-id"] for request in scene.backend.requests] == ["bob", "alice"]
    assert scene.calls == 1
    assert scene.get(scene.issuer.token(exp=1)).status == 401  # a rejection by jwt is final
    assert scene.calls == 1
    assert scene.get(scene.issuer.token(iss="https://another.example")).status == 401
    assert scene.calls == 2
    scene.issuer.stop()
    assert scene.get(scene.issuer.token("carol")).status == 200  # its keys are known
    assert scene.get("unknown").status == 503


@pytest.fixture
def canaille(tmp_path):
    """Canaille over TLS in a process of its own; its URL."""
    certificate, key = Authority(tmp_path, "provider-ca").issue("localhost", file="provider")
    port = free_port()
    command = [sys.executable, Path(__file__).with_name("canaille_issuer.py"), str(port), certificate, key]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
        assert process.stdout.readline() == b"serves\n"
        yield f"https://localhost:{port}"
        process.kill()


def ask(url, folder, user, **form):
    """Send a form to the provider as one of its clients; return the JSON of its answer."""
    credentials = base64.b64encode(f"{user}:secret-of-{user}".encode()).decode()
    request = Request(url, urlencode(form).encode(), {"Authorization": f"Basic {credentials}"})
    with urlopen(request, timeout=20, context=ssl.create_default_context(cafile=folder / "provider-ca.pem")) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("place", ["endpoint = {}/oauth/introspect", "issuer = {}"])
def test_with_canaille_a_token_is_good_until_it_is_revoked(canaille, tmp_path, place):
    login = {"username": "alice", "password": "alice's password", "scope": "openid profile"}
    token = ask(f"{canaille}/oauth/token", tmp_path, "shop", grant_type="password", **login)["access_token"]
    change = [
        ("{tmp}/ca.pem", "{tmp}/provider-ca.pem"),
        ("endpoint = ISSUER/introspect\nissuer = ISSUER", place.format(canaille)),
        ("s3cret:%", "secret-of-gateway"),
        ("audience = api", "audience = gateway\ncache = 1s"),
        ("roles: X-User-Role", "client_id: X-User-Role"),
        ("timeout = 5s", "timeout = 20s"),
    ]
    with Backend(answering()) as backend:
        ini = INI.replace("MORE", "scope = profile\ntimeout = 10s").replace("BACKEND", backend.url)
        for before, after in change:
            ini = ini.replace(before, after)
        with RunningGateway(ini, tmp_path) as gateway:
            bearer = f"Authorization: Bearer {token}"
            assert gateway.get("/", bearer).status == 200
            seen = backend.requests[0]
            assert (seen["x-user-id"], seen["x-user-role"], seen["authorization"]) == ("alice", "shop", None)
            assert gateway.get("/", "Authorization: Bearer nonsense").status == 401
            assert gateway.get("/", bearer + "x").status == 401
            ask(f"{canaille}/oauth/revoke", tmp_path, "shop", token=token)
            eventually(lambda: gateway.get("/", bearer).status == 401, "the end of the revoked token")
