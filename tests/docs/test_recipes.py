"""Each recipe of docs/recipes.md is a correct file, and does what the page expects of it."""

import re
import socket
import sqlite3
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import forked
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor, Backend, answering, reply
from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually, free_port
from gproxy.testing.redis import RunningRedis

PAGE = (Path(__file__).resolve().parents[2] / "docs/recipes.md").read_text()
RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
SECRET = "a secret of at least thirty-two bytes"
ENVIRON = {"JWT_SECRET": SECRET, "REDIS_URL": "redis://127.0.0.1:1/0"}
WEBSOCKET = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==",
)


def blocks(title, language):
    return re.findall(rf"^```{language}\n(.*?)^```", RECIPES[title], re.M | re.S)


FILES = [(title, number) for title in RECIPES for number in range(len(blocks(title, "ini")))]


@pytest.fixture(scope="session")
def issuer():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def folder(tmp_path, issuer):
    """With the files that recipes name, besides their own modules."""
    for name in ("tls", "keys"):
        (tmp_path / name).mkdir()
    Authority(tmp_path / "tls").issue("shop.example.com")
    pem = issuer.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "keys/issuer.pem").write_bytes(pem)
    return tmp_path


def write_modules(title, folder):
    for block in blocks(title, "python"):
        name = re.match(r"# (\w+\.py)\n", block)[1]
        (folder / name).write_text(block)


def test_there_are_eighteen_recipes_and_each_has_a_file():
    assert len(RECIPES) == 18
    assert {title for title, _ in FILES} == set(RECIPES)
    assert all("\nExpect " in text for text in RECIPES.values())


@pytest.mark.parametrize(("title", "number"), FILES, ids=lambda value: str(value).replace(" ", "-"))
def test_a_recipe_has_no_mistake_and_no_warning(folder, title, number):
    write_modules(title, folder)
    (folder / "gproxy.ini").write_text(blocks(title, "ini")[number])
    command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"]
    done = forked.run(command, cwd=folder, env={"PATH": "/usr/bin:/bin", **ENVIRON}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def started(title, folder, urls, *arguments, number=0, environ=(), change=()):
    """The recipe's gateway; `urls` takes the place of its backends' ports, `change` of further pieces of text."""
    write_modules(title, folder)
    text = blocks(title, "ini")[number]
    for before, after in {**{f"http://localhost:{port}": url for port, url in urls.items()}, **dict(change)}.items():
        assert before in text, before
        text = text.replace(before, after)
    return RunningGateway(text, folder, *arguments, environ={**ENVIRON, **dict(environ)})


def ask(gateway, host, target, method="GET", fields=""):
    return gateway.ask(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n")


def upload(gateway, target, size):
    return ask(gateway, "a.test", target, "POST", f"Content-Length: {size}\r\nExpect: 100-continue\r\n")


def bearer(key, algorithm="HS256", **claims):
    token = jwt.encode({"exp": time.time() + 60, **claims}, key, algorithm)
    return f"Authorization: Bearer {token}"


def test_tls_with_a_redirect(folder):
    plain, secure = free_port(), free_port()
    words = ("--bind", f"127.0.0.1:{plain} redirect", "--bind", f"127.0.0.1:{secure} tls")
    with Backend(answering()) as backend:
        with started("TLS with a redirect to https", folder, {5001: backend.url}, *words):
            head = "GET /cart HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"
            with Wire(socket.create_connection(("127.0.0.1", plain), PATIENCE)) as wire:
                wire.send(head)
                answer = wire.read_response()
                assert (answer.status, answer["location"]) == (308, "https://shop.example.com/cart")
            context = ssl.create_default_context(cafile=folder / "tls/authority.pem")
            sock = socket.create_connection(("127.0.0.1", secure), PATIENCE)
            with Wire(context.wrap_socket(sock, server_hostname="shop.example.com")) as wire:
                wire.send(head)
                answer = wire.read_response()
                assert (answer.status, answer["strict-transport-security"]) == (200, "max-age=31536000")
        assert backend.requests[0]["x-forwarded-proto"] == "https"


def test_websockets_and_events(folder):
    def script(peer, backend):
        request = peer.read_request()
        if request["upgrade"]:
            peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            peer.send(peer.read_exactly(5))
        else:
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
            time.sleep(0.8)  # longer than the route's timeout, below
            peer.send("data: 2\n\n")

    with Backend(script) as backend:
        change = [("timeout = 3s", "timeout = 500ms")]
        with started("WebSockets and server-sent events", folder, {5001: backend.url}, change=change) as gateway:
            with gateway.connect() as wire:
                wire.send("\r\n".join(["GET /chat HTTP/1.1", "Host: a.test", *WEBSOCKET, "", ""]))
                assert wire.read_response().status == 101
                wire.send("hello")
                assert wire.read_exactly(5) == b"hello"
            assert gateway.get("/events").body == b"data: 1\n\ndata: 2\n\n"
            assert gateway.line("/chat")["status"] == "101"


def test_large_uploads(folder):
    with Backend(answering()) as app, Backend(answering()) as files:
        with started("Large uploads", folder, {5001: app.url, 5002: files.url}) as gateway:
            assert upload(gateway, "/", 2_000_000).status == 413
            with gateway.connect() as wire:
                wire.send("POST /uploads HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2000000\r\n\r\n")
                wire.send(b"x" * 2_000_000)
                assert wire.read_response().status == 200
            assert len(files.requests[0].body) == 2_000_000
            assert not app.requests


def test_cors(folder):
    preflight = "Access-Control-Request-Method: PUT"
    with started("CORS", folder, {}) as gateway:
        for origin, named in (("https://app.example.com", "https://app.example.com"), ("https://evil.test", None)):
            answer = gateway.get("/api/1", f"Origin: {origin}", preflight, method="OPTIONS")
            assert (answer.status, answer["access-control-allow-origin"]) == (204, named)
        answer = gateway.get("/api/1", "Origin: https://app.example.com")
        assert (answer.status, answer["access-control-allow-origin"]) == (401, "https://app.example.com")


def test_canary(folder):
    with Backend(answering(body=b"blue")) as blue, Backend(answering(body=b"green")) as green:
        urls = {5001: blue.url, 5002: green.url}
        with started("Canary by cookie, blue/green by share", folder, urls) as gateway:
            assert gateway.get("/", "Cookie: canary=yes").body == b"green"
            assert gateway.access()[0]["upstream"] == "green"
            answers = [gateway.get("/", "Cookie: canary=no").body for _ in range(20)]
            assert answers.count(b"green") == 1
            assert len({gateway.get("/", "Cookie: session=alice").body for _ in range(5)}) == 1


def test_maintenance(folder):
    with started("A maintenance page", folder, {}) as gateway:
        answer = gateway.get("/cart")
        assert (answer.status, answer["retry-after"], answer["content-type"]) == (
            503,
            "600",
            "text/html; charset=utf-8",
        )
        assert b"<h1>We are back at 12:00</h1>" in answer.body
        assert [gateway.get(path).status for path in ("/health", "/ready")] == [200, 200]


def test_bursts_and_turns(folder):
    arrivals = []

    def act(peer, request):
        arrivals.append(time.monotonic())
        reply(b"ok")(peer, request)

    title = "A burst, and requests that wait for their turn"
    with Actor(act) as backend, ThreadPoolExecutor(3) as pool:
        with started(title, folder, {5001: backend.url}, change=[("10/second", "1/minute")]) as gateway:
            began = time.monotonic()
            assert [*pool.map(lambda _: gateway.get("/search").status, range(3))] == [200] * 3
            assert arrivals[2] - began > 0.198
            assert [gateway.get("/").status for _ in range(31)] == [200] * 30 + [429]


def test_few_requests_at_the_same_time(folder):
    go, asked = threading.Event(), threading.Semaphore(0)

    def act(peer, request):
        asked.release()
        go.wait(PATIENCE)
        reply(b"ok")(peer, request)

    with Actor(act) as backend, ThreadPoolExecutor(2) as pool:
        with started("Few requests of a client at the same time", folder, {5001: backend.url}) as gateway:
            alice, bob = bearer(SECRET, sub="alice"), bearer(SECRET, sub="bob")
            running = [pool.submit(gateway.get, "/reports", alice) for _ in range(2)]
            assert all(asked.acquire(timeout=PATIENCE) for _ in running)
            refused = gateway.get("/reports", alice)
            assert (refused.status, refused["retry-after"]) == (429, "1")
            go.set()
            assert [one.result().status for one in running] == [200, 200]
            assert [gateway.get("/reports", bearing).status for bearing in (alice, bob)] == [200, 200]


LOAD_BALANCER = "Several workers behind a load balancer"


def test_behind_a_load_balancer(folder):
    with Backend(answering()) as backend:
        change = [("http://10.0.1.1:8000, http://10.0.1.2:8000", backend.url), ("10.0.0.0/24", "127.0.0.1")]
        with started(LOAD_BALANCER, folder, {}, "--workers", "2", change=[*change, ("100/", "2/")]) as gateway:
            forwarded = "X-Forwarded-For: 203.0.113.9"
            assert [gateway.get("/", forwarded).status for _ in range(3)] == [200, 200, 429]
            assert gateway.get("/", "X-Forwarded-For: 203.0.113.10").status == 200
            assert {line["client"] for line in gateway.access(4)} == {"203.0.113.9", "203.0.113.10"}


def test_behind_a_load_balancer_with_the_proxy_protocol(folder):
    with Backend(answering()) as backend:
        change = [("http://10.0.1.1:8000, http://10.0.1.2:8000", backend.url), ("10.0.0.0/24", "127.0.0.1")]
        port = free_port()
        bind = ("--bind", f"127.0.0.1:{port} proxy")
        with started(LOAD_BALANCER, folder, {}, *bind, number=1, change=change) as gateway:
            with Wire(socket.create_connection(("127.0.0.1", port), PATIENCE)) as wire:
                wire.send("PROXY TCP4 203.0.113.9 10.0.0.1 4000 8080\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                assert wire.read_response().status == 200
            assert gateway.access()[0]["client"] == "203.0.113.9"


def test_systemd(folder):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(PATIENCE)
        environ = {"NOTIFY_SOCKET": str(folder / "notify")}
        with started("systemd", folder, {}, environ=environ) as gateway:
            received = ""
            while "READY=1" not in received:
                received = manager.recv(4096).decode()
            assert gateway.get("/health").status == 200


def test_a_container(folder):
    with Backend(answering()) as backend:
        with started("A container", folder, {}, environ={"APP_URL": backend.url}) as gateway:
            assert gateway.get("/", bearer(SECRET, sub="alice")).status == 200
            assert '"user":"alice"' in gateway.process.stdout.readline()
            assert not (folder / "log").exists()


def test_a_database(folder):
    (folder / "var").mkdir()
    with sqlite3.connect(folder / "var/customers.db") as database:
        database.execute("create table api_keys (digest text primary key, customer text)")
        database.execute("insert into api_keys values (?, ?)", (sha256(b"secret-key").hexdigest(), "acme"))
    with Backend(answering()) as backend:
        with started("A handler with a database look-up", folder, {5001: backend.url}) as gateway:
            assert gateway.get("/", "X-Customer: forged").status == 401
            assert gateway.get("/", "X-API-Key: other").status == 401
            assert not backend.requests
            assert gateway.get("/", "X-API-Key: secret-key", "X-Customer: forged").status == 200
            assert (backend.requests[0]["x-customer"], backend.requests[0]["x-api-key"]) == ("acme", None)
            assert [line["user"] for line in gateway.access(3)] == ["-", "-", "acme"]


def test_tokens_of_a_provider(folder, issuer):
    claims = {"iss": "https://login.example.com", "aud": "shop", "sub": "alice"}
    reader, admin = (bearer(issuer, "RS256", **claims, role=role) for role in ("reader", "admin"))
    with Backend(answering()) as backend:
        title = "Tokens of an identity provider, and public routes"
        with started(title, folder, {5001: backend.url}) as gateway:
            assert gateway.get("/").status == 401
            assert gateway.get("/", bearer(issuer, "RS256", **(claims | {"aud": "other"}))).status == 401
            assert gateway.get("/", reader, "X-User-ID: forged").status == 200
            assert (backend.requests[0]["x-user-id"], backend.requests[0]["x-user-role"]) == ("alice", "reader")
            assert gateway.get("/login").status == 200
            assert gateway.get("/admin", reader).status == 403
            assert gateway.get("/admin", admin).status == 200


def test_a_limit_over_several_machines(folder):
    title = "A rate limit for each user, over several machines"
    (folder / "second").mkdir()
    with Backend(answering()) as backend, RunningRedis(folder) as redis:
        options = {"environ": {"REDIS_URL": redis.url}, "change": [("100/minute", "3/minute")]}
        with (
            started(title, folder, {5001: backend.url}, "--workers", "1", **options) as first,
            started(title, folder / "second", {5001: backend.url}, "--workers", "1", **options) as second,
        ):
            alice, bob = bearer(SECRET, sub="alice"), bearer(SECRET, sub="bob")
            machines = (first, second, first, second)
            answers = [gateway.get("/api", alice) for gateway in machines]
            assert [answer.status for answer in answers] == [200, 200, 200, 429]
            assert answers[-1]["retry-after"]
            assert second.get("/api", bob).status == 200


def test_several_applications(folder):
    with Backend(answering()) as shop, Backend(answering()) as blog:
        urls = {5001: shop.url, 5002: blog.url}
        with started("Several applications under one host", folder, urls) as gateway:
            start = gateway.get("/")
            assert (start.status, start["location"]) == (302, "/shop/")
            for path in ("/shop/cart", "/blog/1", "/old-api/users"):
                assert gateway.get(path).status == 200
            assert gateway.get("/other").status == 404
        assert [request.line for request in shop.requests] == ["GET /cart HTTP/1.1", "GET /api/v1/users HTTP/1.1"]
        assert shop.requests[0]["x-forwarded-prefix"] == "/shop"
        assert blog.requests[0].line == "GET /1 HTTP/1.1"


def test_a_flaky_backend(folder):
    failing = answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    def script(peer, backend):
        while (request := peer.read_request()) is not None:
            if "/alive" not in request.line:
                peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            else:
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with Backend(script) as bad, Backend(answering()) as good, Backend(failing) as dead:
        title = "A flaky backend"
        with started(title, folder, {5001: bad.url, 5002: good.url}) as gateway:
            assert [gateway.get("/orders").status for _ in range(2)] == [200, 200]
            assert {line["tries"] for line in gateway.access(2)} == {"1", "2"}
        (folder / "both").mkdir()
        with started(title, folder / "both", {5001: bad.url, 5002: dead.url}) as gateway:
            eventually(lambda: gateway.get("/orders") and gateway.access()[-1]["reason"] == "breaker_open", "a break")
            assert gateway.health()["admission"]["orders"]["breaker"] == "open"


def test_redirects_and_static_answers(folder):
    with Backend(answering()) as backend:
        with started("Redirects and static answers", folder, {5001: backend.url}) as gateway:
            for host, target, status, location in (
                ("www.example.com", "/cart?id=1", 301, "https://example.com/cart?id=1"),
                ("example.com", "/docs/start", 308, "https://docs.example.com/start"),
            ):
                answer = ask(gateway, host, target)
                assert (answer.status, answer["location"]) == (status, location)
            robots = gateway.get("/robots.txt")
            assert (robots.status, robots.body) == (200, b"User-agent: *\nDisallow: /admin")
            retired = gateway.get("/v0")
            assert (retired.status, retired["content-type"]) == (410, "application/problem+json")
            assert gateway.get("/").status == 200
