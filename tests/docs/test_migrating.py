"""The configurations of docs/migrating.md: each is a correct file and does what its table says."""

import importlib
import json
import re
import socket
import ssl
import sys
import threading
import time
from base64 import b64encode
from contextlib import ExitStack, contextmanager
from pathlib import Path

import forked
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually, free_port
from gproxy.upstream.balance import POLICIES

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "migrating.md").read_text()
PARTS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
FILES = {
    title: re.search(r"^```ini\n(.*?)^```", text, re.M | re.S)[1] for title, text in PARTS.items() if "```ini" in text
}
DJANGO, HOSTS, TRAEFIK, KONG, HAPROXY, FLASK = FILES
HANDLERS = re.search(r"^```python\n(.*?)^```", PAGE, re.M | re.S)[1]
ROW = re.compile(r"^\| (\d+) \| ((?:[^|]|\\\|)*) \| ((?:[^|]|\\\|)*) \|$", re.M)
ENVIRON = {"OFFICE_PASSWORD": "open sesame", "REDIS_URL": "redis://127.0.0.1:1/0"}
WEBSOCKET = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==",
)
FIELDS = "Content-Type: text/html\r\nX-Powered-By: x\r\nServer: x\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_every_feature_has_a_number_and_most_are_settings():
    rows = ROW.findall(PAGE)
    assert [int(number) for number, _, _ in rows] == [*range(1, len(rows) + 1)]
    settings = [row for row in rows if not row[2].startswith(("no: ", "Python: "))]
    found = re.search(r"(\d+) features.*?(\d+) of them", PAGE, re.S)
    assert (len(rows), len(settings)) == (int(found[1]), int(found[2]))
    assert len(settings) >= 115
    assert len(settings) / len(rows) > 0.83


CONFIG = (DOCS / "config.md").read_text()
SECTIONS = {name.split(":")[0] for name in re.findall(r"^## \[(\w+(?::\w+)?)\]", CONFIG, re.M)}
#: Options, handlers that are built in, policies, words of values, and names that are not ours.
NAMES = {
    *re.findall(r"^\| `(\w+)` \|", CONFIG, re.M),
    *re.findall(r"^## \[handler:(\w+)\]", CONFIG, re.M),
    *POLICIES,
    *("backup", "deck", "gproxy", "proxy", "redirect", "tls", "traceparent", "use", "maxminddb"),
}


@pytest.mark.parametrize("title", [title for title, text in PARTS.items() if "\n|---" in text])
def test_every_name_in_our_column_exists(title):
    """Options are those of config.md; sections and handlers are those of the file below the table."""
    file = FILES.get(title, "")
    cells = re.findall(r"\| ((?:[^|]|\\\|)*) \|$", PARTS[title].partition("```")[0], re.M)
    unknown = [name for cell in cells[1:] for name in re.findall(r"`([^`]+)`", cell) if not is_known(name, file)]
    assert unknown == []


def is_known(name, file):
    if section := re.match(r"\[(\w+)(?::([\w-]+))?\]", name):
        return section[1] in SECTIONS and (section[2] in {None, "NAME"} or section[0] in file)
    word = re.match(r"([a-z]\w*)(?: =| |$)", name)  # others are paths, headers, placeholders, calls in Python
    return not word or word[1] in NAMES or f"[handler:{word[1]}]" in file or word[1] in HANDLERS


@pytest.fixture(scope="session")
def issuer():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def folder(tmp_path, issuer):
    """With the files that the settings name."""
    for name in ("tls", "keys", "pages"):
        (tmp_path / name).mkdir()
    authority = Authority(tmp_path / "tls", "staff-ca")
    for name in ("shop", "example", "admin", "gateway"):
        authority.issue(f"{name}.example.com", file=name)
    authority.issue("admin.internal", "office.internal", "api.internal", file="backend")
    for name in ("staff-ca", "backend-ca"):
        (tmp_path / f"tls/{name}.crt").write_bytes(authority.path.read_bytes())
    pem = tmp_path / "tls/shop.pem"
    pem.touch(0o600)
    pem.write_bytes((tmp_path / "tls/shop.crt").read_bytes() + (tmp_path / "tls/shop.key").read_bytes())
    public = issuer.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "keys/issuer.pem").write_bytes(public)
    for name in ("404", "50x", "503"):
        (tmp_path / f"pages/{name}.html").write_text(f"<h1>page {name} {{status}} {{id}}</h1>")
    (tmp_path / "media").mkdir()
    (tmp_path / "media/a.txt").write_text("an upload")
    (tmp_path / "handlers.py").write_text(HANDLERS)
    write_modules(tmp_path)
    return tmp_path


def write_modules(folder):
    """Write the modules of the page that have their names in the first line."""
    for name, code in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", PAGE, re.M | re.S):
        (folder / name).write_text(code)


@pytest.mark.parametrize("title", FILES)
def test_a_file_has_no_mistake_and_no_warning(folder, title):
    (folder / "gproxy.ini").write_text(FILES[title])
    command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"]
    done = forked.run(command, cwd=folder, env={"PATH": "/usr/bin:/bin", **ENVIRON}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


class Site:
    """The gateway of one file, with a backend for each port that the file names; `backends` has them by port."""

    def __init__(self, gateway, backends, ports, folder):
        self.gateway, self.backends, self.folder = gateway, backends, folder
        self.secure, self.redirecting = ports

    def ask(self, host, target="/", *fields, method="GET", wire=None, source="127.0.0.1"):
        lines = "".join(f"{field}\r\n" for field in fields)
        address = ("127.0.0.1", self.gateway.port)
        with wire or Wire(socket.create_connection(address, PATIENCE, source_address=(source, 0))) as wire:
            wire.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")
            return wire.read_response()

    def statuses(self, count, host, target, *fields):
        """The statuses of so many requests in one piece, so that no time passes between them."""
        lines = "".join(f"{field}\r\n" for field in fields)
        with self.gateway.connect() as wire:
            wire.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n" * count)
            return [wire.read_response().status for _ in range(count)]

    def redirected(self, host, target):
        """What a client of the plain listener gets."""
        with Wire(socket.create_connection(("127.0.0.1", self.redirecting), PATIENCE)) as wire:
            wire.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
            answer = wire.read_response()
            return answer.status, answer["location"]

    def over_tls(self, host, certificate=None):
        """A connection with TLS to this host, which the client verifies."""
        context = ssl.create_default_context(cafile=self.folder / "tls/staff-ca.crt")
        context.check_hostname = False
        if certificate:
            context.load_cert_chain(self.folder / f"tls/{certificate}.crt", self.folder / f"tls/{certificate}.key")
        sock = socket.create_connection(("127.0.0.1", self.secure), PATIENCE)
        return Wire(context.wrap_socket(sock, server_hostname=host))

    def received(self, path, *ports):
        """The last request for this path at these backends."""
        wanted = [
            request for port in ports for request in self.backends[port].requests if request.line.split(" ")[1] == path
        ]
        assert wanted, [request.line for port in ports for request in self.backends[port].requests]
        return wanted[-1]

    def count(self, *ports):
        return [sum(not is_probe(request) for request in self.backends[port].requests) for port in ports]


def is_probe(request):
    return "gproxy" in (request["user-agent"] or "")


@contextmanager
def started(title, folder, scripts=(), change=("", "")):
    """The file's gateway in front of backends that answer with their port; those with https:// speak TLS."""
    text, backends, scripts = FILES[title].replace(*change), {}, dict(scripts)
    secure, redirecting = free_port(), free_port()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "tls/backend.crt", folder / "tls/backend.key")
    try:
        for scheme, port in sorted(set(re.findall(r"(https?)://localhost:(\d+)", text))):
            script = scripts.get(int(port)) or answering(body=b"ok " + port.encode() * 300, headers=FIELDS)
            backend = Backend(script, tls=tls if scheme == "https" else None)
            backends[int(port)] = backend.__enter__()
            text = text.replace(f"{scheme}://localhost:{port}", backend.url)
        binds = (f"127.0.0.1:{secure} tls", f"127.0.0.1:{redirecting} redirect except=/.well-known/acme-challenge")
        arguments = [word for bind in binds for word in ("--bind", bind)]
        with RunningGateway(text, folder, "--workers", "1", *arguments, environ=ENVIRON) as gateway:
            yield Site(gateway, backends, (secure, redirecting), folder)
    finally:
        for backend in backends.values():
            backend.__exit__(None, None, None)


def bearer(issuer, **claims):
    claims = {"sub": "alice", "aud": "api", "iss": "https://login.example.com", "exp": time.time() + 60, **claims}
    return f"Authorization: Bearer {jwt.encode(claims, issuer, 'RS256')}"


def explain(folder, *arguments):
    command = [sys.executable, "-m", "gproxy", "explain", "--config", "gproxy.ini", *arguments]
    environ = {"PATH": "/usr/bin:/bin", **ENVIRON}
    return forked.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=True).stdout


def chatting(peer, backend):
    """A backend that answers plain requests, and WebSockets with an echo of five bytes."""
    while (request := peer.read_request()) is not None:
        backend.requests.append(request)
        if request["upgrade"]:
            peer.send(SWITCH)
            peer.send(peer.read_exactly(5))
            return
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def chats(site, host):
    with site.gateway.connect() as wire:
        wire.send("GET /chat HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n" % (host, "\r\n".join(WEBSOCKET)))
        assert wire.read_response().status == 101
        wire.send(b"hello")
        return wire.read_exactly(5) == b"hello"


def breaking(peer, backend):
    """A backend with a page of its own for a failure."""
    while (request := peer.read_request()) is not None:
        backend.requests.append(request)
        status = "503 Busy" if "/broken" in request.line else "200 OK"
        body = b"backend " * 200
        fields = f"Content-Type: text/html\r\nContent-Length: {len(body)}\r\n"
        peer.send(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode() + body)


def test_django(folder):
    with started(DJANGO, folder, {8000: breaking}) as site:
        assert site.redirected("example.com", "/cart?a=1") == (308, "https://example.com/cart?a=1")
        assert site.redirected("example.com", "/.well-known/acme-challenge/x")[0] == 200
        assert site.received("/.well-known/acme-challenge/x", 8005)

        with site.over_tls("shop.example.com") as wire:
            answer = site.ask("example.com", "/cart", "X-Forwarded-Proto: http", "X-Real-IP: 10.0.0.1", wire=wire)
        assert (answer.status, answer["strict-transport-security"]) == (200, "max-age=31536000")
        assert (answer["x-frame-options"], answer["x-content-type-options"]) == ("DENY", "nosniff")
        request = site.received("/cart", 8000)
        assert (request["host"], request["x-forwarded-proto"]) == ("example.com", "https")
        assert (request["x-real-ip"], request["x-forwarded-for"]) == ("127.0.0.1", "127.0.0.1")
        assert site.ask("example.com", "/media/a.txt").body == b"an upload"
        assert site.ask("example.com", "/", "Authorization: Basic abc").status == 200
        assert site.received("/", 8000)["authorization"] == "Basic abc"

        answer = site.ask("www.example.com", "/api/x?y=1")
        assert (answer.status, answer["location"]) == (301, "https://example.com/api/x?y=1")
        assert site.ask("example.com", "/api/items").status == 200
        assert site.received("/items", 8001, 8002)["x-forwarded-prefix"] == "/api"
        rejected = site.ask("example.com", "/api/items", method="PATCH")
        assert (rejected.status, {*rejected["allow"].split(", ")}) == (405, {"GET", "HEAD", "POST", "PUT", "DELETE"})
        for port in (8001, 8002):
            site.backends[port].stop()
        assert site.ask("example.com", "/api/items").status == 200
        assert site.received("/items", 8003)

        assert site.ask("example.com", "/static/a.css")["cache-control"] == "public, max-age=2592000"
        assert site.ask("example.com", "/admin").status == 200
        assert site.ask("example.com", "/admin", source="127.0.0.2").status == 403
        assert site.ask("example.com", "/favicon.ico").status == 204
        assert [site.ask("example.com", path).status for path in ("/.env", "/a/b.BAK", "/.environment")] == [
            404,
            404,
            200,
        ]
        assert site.ask("example.com", "/.env", "Accept: text/html").body.startswith(b"<h1>page 404 404 ")
        assert site.ask("example.com", "/broken", "Accept: text/html").body.startswith(b"<h1>page 50x 503 ")
        assert site.ask("example.com", "/.env")["content-type"] == "application/problem+json"
        assert site.ask("example.com", "/", "Accept-Encoding: gzip, br")["content-encoding"] == "br"
        assert site.ask("example.com", "/upload", "Content-Length: 20000001", method="POST").status == 413
        with site.gateway.connect() as wire:
            wire.send("POST /form HTTP/1.1\r\nHost: example.com\r\nContent-Length: 10\r\n\r\nhalf ")
            assert site.ask("example.com", "/beside").status == 200
            assert not [request for request in site.backends[8000].requests if "/form" in request.line]
            wire.send("other")
            assert wire.read_response().status == 200
        assert site.received("/form", 8000).body == b"half other"
        assert b"gproxy_requests_total" in site.ask("example.com", "/metrics").body
        assert site.ask("example.com", "/health").status == 200


def signs_in(peer, backend):
    """The sign-in service: who has a session is alice."""
    while (request := peer.read_request()) is not None:
        backend.requests.append(request)
        if request["cookie"] == "session=1":
            peer.send("HTTP/1.1 200 OK\r\nX-Auth-User: alice\r\nContent-Length: 0\r\n\r\n")
        else:
            peer.send("HTTP/1.1 302 Found\r\nLocation: https://login.example.com/\r\nContent-Length: 0\r\n\r\n")


def test_hosts_of_an_api(folder, issuer):
    api, token = "api.example.com", bearer(issuer, role="clerk")
    syslog = socket.socket(type=socket.SOCK_DGRAM)
    syslog.bind(("127.0.0.1", 0))
    syslog.settimeout(PATIENCE)
    change = ("syslog:127.0.0.1:514", f"syslog:127.0.0.1:{syslog.getsockname()[1]}")
    with syslog, started(HOSTS, folder, change=change) as site:
        assert site.ask(api, "/items", "Accept-Language: de").status == 401
        line = syslog.recv(10_000).decode()
        assert all(text in line for text in ("auth_missing", "apptime", "request.Accept-Language"))
        answer = site.ask(api, "/items", token, "X-User: forged", "X-API-Key: a")
        assert (answer.status, answer["x-powered-by"], answer["server"]) == (200, None, None)
        request = site.received("/items", 8001, 8002, 8003)
        assert (request["x-user"], request["x-role"], request["authorization"]) == ("alice", "clerk", None)
        assert site.ask(api, "/admin", token).status == 403
        assert site.ask(api, "/admin", bearer(issuer, role="admin")).status == 200
        assert site.ask(api, "/v1/items/7", token).status == 200
        assert site.received("/legacy/items/7", 8001, 8002)
        assert site.ask(api, "/items", token, "Cookie: beta=yes").status == 200
        assert site.received("/items", 8003)["cookie"] == "beta=yes"
        assert site.ask(api, "/items", token, "Content-Length: 2000000", method="POST").status == 413

        statuses = site.statuses(60, api, "/items", token, "X-API-Key: busy")
        assert statuses.index(429) >= 20
        assert site.ask(api, "/items", token, "X-API-Key: other").status == 200
        eventually(lambda: site.count(8004)[0] >= 1, "a mirrored request")

        preflight = ("Origin: https://app.example.com", "Access-Control-Request-Method: PUT")
        answer = site.ask(api, "/items", *preflight, method="OPTIONS")
        assert (answer.status, answer["access-control-allow-origin"]) == (204, "https://app.example.com")
        shop = "Origin: https://blue.shops.example.com"
        assert site.ask(api, "/items", token, shop)["access-control-allow-origin"] == "https://blue.shops.example.com"
        assert site.ask(api, "/items", token, f"{shop}.evil.org")["access-control-allow-origin"] is None
        assert site.ask(api, "/items", "User-Agent: Mozilla (Nikto/2)", token).status == 403
        assert site.ask(api, "/internal").status == 403
    assert "route internal" in explain(folder, "GET", "/internal", "-H", f"Host: {api}", "--from", "10.1.2.3")


def test_hosts_of_an_application(folder):
    app = "app.example.com"
    moved = answering("HTTP/1.1 302 Found\r\nLocation: /start\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\r\n")
    with started(HOSTS, folder, {8005: chatting, 8006: chatting, 8009: signs_in, 8011: moved}) as site:
        answer = site.ask(app, "/")
        assert (answer.status, answer["location"]) == (302, "https://login.example.com/")
        assert site.count(8005, 8006) == [0, 0]
        answer = site.ask(app, "/cart?a=1", "Cookie: session=1", "X-Auth-User: forged", "X-Auth-Email: forged")
        assert (answer.status, answer["set-cookie"][:4]) == (200, "srv=")
        request = site.received("/cart?a=1", 8005, 8006)
        assert (request["x-auth-user"], request["x-auth-email"]) == ("alice", None)
        assert [request["x-original-uri"] for request in site.backends[8009].requests] == ["/", "/cart?a=1"]
        site.backends[8009].stop()
        assert site.ask(app, "/", "Cookie: session=1").status == 503

        assert chats(site, app)
        answer = site.ask(app, "/wiki/")
        assert (answer["location"], answer["set-cookie"]) == ("/wiki/start", "a=1; Path=/wiki")
        answer = site.ask(app, "/old/a?b=1")
        assert (answer.status, answer["location"]) == (301, "https://app.example.com/new/a?from=old&b=1")
        assert site.ask("blue.shops.example.com", "/", "X-Tenant: forged").status == 200
        assert site.received("/", 8007, 8010)["x-tenant"] == "blue"
        assert site.ask("other.example.org").status == 404


def test_hosts_and_their_certificates(folder):
    with started(HOSTS, folder) as site:
        for host, name in (("api.example.com", "example.example.com"), ("admin.example.com", "admin.example.com")):
            with site.over_tls(host, "gateway") as wire:
                assert dict(pair for (pair,) in wire.sock.getpeercert()["subject"])["commonName"] == name
        with site.over_tls("admin.example.com", "gateway") as wire:
            assert site.ask("admin.example.com", "/", "X-Client-DN: forged", wire=wire).status == 200
        assert site.received("/", 8008)["x-client-dn"] == "CN=gateway.example.com"
        with site.over_tls("admin.example.com") as wire, pytest.raises(ssl.SSLError):
            site.ask("admin.example.com", wire=wire)


def logged(folder):
    """The statuses in the access log, which is JSON."""
    whole, _, _ = (folder / "log/access.log").read_text().rpartition("\n")
    return {json.loads(line)["status"] for line in whole.splitlines()}


def test_traefik(folder):
    shop, office = "shop.example.com", "office.example.com"
    with started(TRAEFIK, folder) as site:
        assert site.redirected(shop, "/a") == (308, f"https://{shop}/a")
        answer = site.ask(shop, "/a", "Origin: https://app.example.com")
        assert (answer.status, answer["x-frame-options"], answer["server"]) == (200, "DENY", None)
        assert re.search(r"srv=.*; Secure", answer["set-cookie"])
        assert answer["access-control-allow-origin"] == "https://app.example.com"
        assert site.received("/a", 8001, 8002)["x-script-name"] == "shop"

        assert site.ask(shop, "/api/items?format=json", "X-Version: v2").status == 200
        assert site.received("/v2/items?format=json", 8003, 8004)
        for _ in range(9):
            site.ask(shop, "/api/items?format=json", "X-Version: v3")
        assert site.count(8003, 8004) == [9, 1]
        answer = site.ask(shop, "/api/items?format=json", "X-Version: v2")
        cookie = re.search(r"version=[^;]+", answer["set-cookie"])[0]
        for _ in range(20):
            assert site.ask(shop, "/api/items?format=json", "X-Version: v2", f"Cookie: {cookie}").status == 200
        assert site.count(8003, 8004) in ([30, 1], [9, 22])
        assert site.ask(shop, "/api/items", "X-Version: v2").status == 200
        assert site.received("/api/items", 8001, 8002)

        assert site.ask("www.example.com", "/orders/7/lines").status == 200
        assert site.received("/o/7", 8005)
        for _ in range(9):
            site.ask(shop, "/orders/7")
        eventually(lambda: site.count(8007) == [1], "a mirrored request")
        site.backends[8005].stop()
        assert site.ask(shop, "/orders/8").status == 200
        assert site.received("/o/8", 8006)
        answer = site.ask("old.example.com", "/a?b=1")
        assert (answer.status, answer["location"]) == (301, f"https://{shop}/a?b=1")

        answer = site.ask(office)
        assert (answer.status, answer["www-authenticate"]) == (401, 'Basic realm="gproxy"')
        password = f"Authorization: Basic {b64encode(b'test:open sesame').decode()}"
        assert site.ask(office, "/", password).status == 200
        request = site.received("/", 8008)
        assert (request["authorization"], request["host"]) == (None, f"localhost:{site.backends[8008].port}")
        assert site.ask(office, "/", "X-Forwarded-For: 192.0.2.1", password).status == 404

        assert site.statuses(300, shop, "/a").index(429) > 50  # a burst of 100, of which some are used
        assert [site.ask(shop, path).status for path in ("/ping", "/ready", "/metrics")] == [200, 200, 200]
        eventually(lambda: 429 in logged(folder), "the line of the rejected request")
        assert logged(folder) == {401, 404, 429}


def test_traefik_with_twenty_requests_at_once(folder):
    shop, go_on = "shop.example.com", threading.Event()

    def holding(peer, backend):
        while (request := peer.read_request()) is not None:
            backend.requests.append(request)
            go_on.wait(PATIENCE)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with started(TRAEFIK, folder, {8001: holding, 8002: holding}) as site, ExitStack() as stack:
        wires = [stack.enter_context(site.gateway.connect()) for _ in range(20)]
        for wire in wires:
            wire.send(f"GET /slow HTTP/1.1\r\nHost: {shop}\r\n\r\n")
        eventually(lambda: sum(site.count(8001, 8002)) == 20, "twenty requests at the backends")
        rejected = site.ask(shop)
        go_on.set()
        assert rejected.status == 429
        assert [wire.read_response().status for wire in wires] == [200] * 20


def test_kong(folder, issuer):
    api, token = "api.example.com", bearer(issuer, role="customer")
    with started(KONG, folder) as site:
        assert site.redirected(api, "/orders/1") == (308, f"https://{api}/orders/1")
        assert site.ask(api, "/orders/1").status == 401
        assert site.ask(api, "/orders/1", bearer(issuer, role="clerk")).status == 403
        answer = site.ask(api, "/orders/1", token, "X-Debug: 1")
        assert (answer.status, answer["x-served"], answer["x-ratelimit-limit"] is not None) == (200, "orders", True)
        assert answer["kong-request-id"]
        request = site.received("/1", 8001, 8002)
        assert (request["x-consumer"], request["x-gateway"], request["x-debug"]) == ("alice", "kong", None)
        assert request["host"].startswith("127.0.0.1:")
        assert site.ask(api, "/orders/1", token, "Content-Length: 2000000", method="POST").status == 413
        assert site.ask(api, "/orders/1", token, method="DELETE").status == 405
        statuses = [site.ask(api, "/orders/1", token).status for _ in range(60)]
        assert statuses.index(429) in {57, 58, 59}
        assert site.ask(api, "/orders/1", bearer(issuer, role="customer", sub="bob")).status == 200

        for _ in range(4):
            assert site.ask(api, "/v2/items/7", "X-Channel: web", "X-Customer: acme").status == 200
        assert sorted(site.count(8003, 8004)) == [0, 4]
        assert site.received("/items/7", 8003, 8004)["x-customer"] == "acme"
        assert site.ask(api, "/v2/items/7", "X-Channel: fax").status == 404

        assert site.ask(api, "/partners", "apikey: guess").status == 401
        assert site.ask(api, "/partners", "apikey: secret-key", "X-Consumer-Username: forged").status == 200
        request = site.received("/partners", 8005, 8006)
        assert (request["apikey"], request["x-consumer-username"]) == (None, "acme")
        closed = site.ask(api, "/beta")
        assert (closed.status, closed.body) == (503, b"back in June")
        for _ in range(10):
            site.ask(api, "/search")
        assert site.count(8007, 8008) == [9, 1]
        assert b"gproxy_requests_total" in site.ask(api, "/metrics").body


def test_haproxy(folder):
    www = "www.example.com"
    with started(HAPROXY, folder, {8004: chatting, 8005: chatting}) as site:
        assert site.redirected(www, "/a") == (308, f"https://{www}/a")
        answer = site.ask(www)
        assert (answer.status, answer["set-cookie"][:4]) == (200, "SRV=")
        cookie = f"Cookie: {answer['set-cookie'].partition(';')[0]}"
        first = site.count(8001, 8002)
        for _ in range(3):
            site.ask(www, "/", cookie)
        assert sorted(site.count(8001, 8002)) == [0, 4]
        assert [n > 0 for n in site.count(8001, 8002)] == [n > 0 for n in first]
        assert [site.ask(www, path).status for path in ("/api/a", "/v2/b", "/alive")] == [200, 200, 200]
        assert sorted(site.count(8004, 8005)) == [0, 2]
        with site.over_tls("shop.example.com") as wire:
            assert site.ask(www, wire=wire).status == 200
        assert chats(site, www)
        assert 429 in site.statuses(101, www, "/api/a")
        assert site.ask("other.example.com").status == 429


def test_a_middleware_of_flask_does_the_same_as_a_handler(tmp_path, monkeypatch):
    write_modules(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = importlib.import_module("before").app.test_client()
    fields = {"X-Forwarded-For": "192.0.2.7", "X-Tenant": "forged"}
    with RunningGateway(FILES[FLASK], tmp_path) as gateway:
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        for host, status in (("blue.shop.example.com", 200), ("blue.example.com", 404)):
            old = before.get("/", headers={**fields, "Host": host})
            with gateway.connect() as wire:
                wire.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")
                new = wire.read_response()
            assert (old.status_code, new.status) == (status, status)
            if status == 200:
                assert old.json == json.loads(new.body) == {"tenant": "blue", "client": "192.0.2.7"}
                assert re.fullmatch(r"0\.\d{3}", new["x-time"])
                assert re.fullmatch(r"0\.\d{3}", old.headers["X-Time"])
        assert gateway.access(2)[-1]["reason"] == "unknown_host"
    sys.modules.pop("before")
