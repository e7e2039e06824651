"""The same requests over HTTP/1.1 and HTTP/2, through one gateway: responses, backends and access lines are the same."""

import hashlib
import json
import re
import socket
import time

import jwt
import pytest
from scenes import connect_by_http2, scene

from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually

SECRET = "a-secret-of-at-least-thirty-two-bytes"
KEY = "a-key-that-partners-have-already"
INI = f"""
[gateway]
handlers = health, own
timeout = 15s
trusted_proxies = 127.0.0.0/8
report_header = both
[log]
fields = default, query, report, scheme, request.X-Asked, response.X-Said
[handler:health]
cache = 0s
[handler:own]
use = handlers:Own
[handler:jwt]
secret = {SECRET}
forward = sub: X-User-ID, role: X-User-Role
[handler:cookie]
use = jwt
secret = {SECRET}
sources = cookie:sid
[handler:api_key]
keys = {{tmp}}/keys.ini
forward = sub: X-Partner
[handler:allow]
allow = method:GET
[handler:limit]
use = rate_limit
limit = 1000/minute
headers = off
key = header:X-Asked
[handler:compress]
min_size = 10
[handler:cors]
origins = https://page.test
[handler:forward_auth]
upstream = one
path = /auth
body = 1KiB
copy_back = Set-Cookie
[handler:headers]
request = X-Env: test
remove_request = X-Asked
response = X-Said: yes
[handler:failing]
use = handlers:failing
on_error = open
[route:plain]
path = /plain
upstream = one
max_body = 1KiB
handlers = compress, limit
[route:unbuffered]
path = /unbuffered
upstream = one
buffer_request = 0
buffer_response = 0
handlers = headers
[route:jwt]
path = /jwt
upstream = one
handlers = jwt, allow
[route:report]
path = /report
upstream = one
handlers = jwt, allow
report = jwt, allow
[route:cookie]
path = /cookie
upstream = one
handlers = cookie
[route:key]
path = /key
upstream = one
handlers = api_key
[route:fwd]
path = /fwd
upstream = one
handlers = forward_auth
[route:cors]
path = /cors
upstream = one
handlers = cors, failing
[route:files]
path = /files
root = {{tmp}}/www
strip_prefix = yes
fallback = index.html
[route:app]
path = /app
app = handlers:app
strip_prefix = yes
[route:threads]
path = /threads
app = handlers:app
strip_prefix = yes
offload = yes
[route:some]
path = /some
methods = GET, PUT
query = a: 1
headers = X-Asked: yes
host = *.gateway.test
rewrite = ^/some/(\\w+) -> /other/\\1
upstream = one
[route:away]
path = /away
redirect = https://{{host}}{{path}}
[route:dead]
path = /dead
upstream = dead
[upstream:one]
backends = {{one}}
[upstream:dead]
backends = http://127.0.0.1:9
"""
HANDLERS = """
from gproxy import HTTPError, Response


class Own:
    def __call__(self, request, next):
        kind = request.path.removeprefix("/own/")
        return getattr(self, kind)(request, next) if request.path.startswith("/own/") else next(request)

    def generator(self, request, next):
        return Response(200, iter([b"piece ", b"", b"by piece"]), {"Content-Type": "text/plain"})

    def length(self, request, next):
        return Response(200, iter([b"abc", b"def"]), {"Content-Length": "6"})

    def bad_length(self, request, next):
        return Response(200, iter([b"abc"]), {"Content-Length": "six"})

    def empty(self, request, next):
        return Response(200, iter([]))

    def no_content(self, request, next):
        return Response(204, b"abc", {"X-Said": "nothing"})

    def not_modified(self, request, next):
        return Response(304, b"abc", {"ETag": '"a"', "Content-Length": "7"})

    def error(self, request, next):
        raise HTTPError(403, "no", {"X-Said": "b", "Retry-After": "7"}, reason="word")

    def crash(self, request, next):
        raise KeyError("a")

    def echo(self, request, next):
        return Response(200, request.body.buffer(5000), {"X-Said": f"{request.method} {request.query} {request.client}"})

    def fields(self, request, next):
        response = Response(200, b"x", {"Connection": "X-Hop", "X-Hop": "1", "Keep-Alive": "3", "X-UPPER": "b"})
        for cookie in ("a=1", "b=2"):
            response.headers.add("Set-Cookie", cookie)
        return response


def failing(request, next):
    raise ValueError


def app(environ, start_response):
    path, body = environ["PATH_INFO"], environ["wsgi.input"]
    fields = [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    if path == "/early":
        start_response("413 Too Large", fields)
        return [b"too large"]
    if path == "/gone":
        start_response("204 No Content", [])
        return []
    if path == "/raise":
        raise ValueError
    start_response("200 OK", [*fields, ("Content-Length", "5")] if path == "/five" else fields)
    if path == "/five":
        return [b"12", b"345"]
    if path == "/lines":
        return iter(body.readline, b"")
    seen = {key: value for key, value in environ.items() if key.startswith(("HTTP_", "PATH", "QUERY", "REMOTE", "RAW"))}
    return [f"{key}={value}\\n".encode("latin-1") for key, value in sorted(seen.items())]
"""


def token(**claims):
    return "Bearer " + jwt.encode({"sub": "ann", "role": "clerk", "exp": time.time() + 600} | claims, SECRET, "HS256")


GOOD, BOB, OLD = token(), token(sub="bob"), token(exp=1000)
FORGED = [f"{name}: forged" for name in ("X-User-ID", "x-user-role", "X_User_Id", "X-Partner", "Gproxy-Report")]
MULTI = "X-Forwarded-For: 192.0.2.1, 192.0.2.2", "X-Forwarded-Proto: https", "Via: 1.0 a", "Via: 1.1 b"
#: What a backend answers with, in the field X-Act.
ACTS = [
    "chunked",
    "none",
    "201",
    "204",
    "304",
    "404",
    "429",
    "500",
    "503",
    "hops",
    "cookies",
    "text",
    "caps",
    "blank",
    "latin",
    "many",
    "interim",
    "late",
]


def each(methods, paths, *field_lists, body=None):
    """Return the requests for all combinations."""
    return [
        (method, path, fields, body if method in {"POST", "PUT"} else None)
        for method in methods.split() for path in paths.split() for fields in field_lists or [[]]
    ]  # fmt: skip


AREAS = {
    "backends": [
        *each("GET HEAD POST", "/plain/a /unbuffered/a?b=c", *[[f"X-Act: {act}"] for act in ACTS], body="some"),
        *each("GET", "/plain/a", *[[f"X-Act: {act}", "Accept-Encoding: gzip"] for act in ACTS]),
    ],
    "methods": [
        *each("GET HEAD POST PUT PATCH DELETE OPTIONS TRACE get M-SEARCH", "/plain/x /jwt/x /some/x?a=1 /files/app.js /nowhere", body="some"),
        *each("GET PUT", "/some/x?a=1 /some/x?a=2 /some/x", ["X-Asked: yes"], ["X-Asked: no"], body="some"),
    ],
    "tokens": [
        *each("GET POST", "/jwt/a /report/a", *[[f"Authorization: {value}", *FORGED] for value in (GOOD, BOB, OLD, "Bearer x", "Basic YTpi", "")], body="some"),
        *each("GET", "/jwt/a /report/a", FORGED, [f"Authorization: {GOOD}", f"Authorization: {BOB}"]),
        *each("GET POST", "/cookie/a", *[[f"Cookie: a=b; sid={value[7:]}; c=d", origin] for value in (GOOD, OLD) for origin in ("Origin: https://evil.test", "X-Asked: yes")]),
    ],
    "keys": each("GET POST", "/key/a", [f"X-API-Key: {KEY}", *FORGED], ["X-API-Key: no"], [], body="some"),
    "authorizer": each("GET HEAD POST", "/fwd/a?b=c", ["X-Act: 204"], ["X-Act: 401"], ["X-Act: cookies"], ["X-Act: 503"], body="some"),
    "pages": each("GET OPTIONS", "/cors/a", *[[f"Origin: https://{site}.test", *more] for site in ("page", "evil") for more in ([], ["Access-Control-Request-Method: PUT"])]),
    "files": each("GET HEAD", "/files/app.js /files/ /files/sub /files/no.js /files/no /files/.no /files/%2e%2e/x /files/%zz", [], ["Range: bytes=2-5"], ["Range: bytes=99999-"], ["If-None-Match: *"], ["If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"], ["Accept-Encoding: gzip"]),
    "apps": [
        *each("GET HEAD POST", "/app/seen?a=b /threads/seen /app/early /app/lines /threads/lines /app/five /app/gone /app/raise", ["Cookie: a=1", "X-Asked: 1", "X-Asked: 2"], body="one\ntwo"),
        *each("POST", "/app/seen /app/lines /plain/a /own/echo", ["Expect: 100-continue"], body="one\ntwo"),
    ],
    "handlers": each("GET HEAD POST", " ".join(f"/own/{kind}" for kind in re.findall(r"def (\w+)\(self", HANDLERS)[1:]), ["Accept: application/json"], ["Accept: text/html"], body="some"),
    "bodies": [("POST", path, [f"Content-Type: {kind}"], "x" * size) for path in ("/plain/a", "/unbuffered/a", "/fwd/a", "/own/echo") for size in (1, 1024, 1025, 50_000) for kind in ("text/plain", "")],
    "targets": each("GET", "/plain/%41 /plain/a//b /plain/../jwt/a /plain/a%2fb /plain/a? /plain/a%00 /plain/a;b=c?d=%zz //plain/a /plain?x /away/a?b /dead/a /health/x /plain/" + "z" * 5000),
    "fields": each("GET POST", "/plain/a /app/seen", MULTI, ["Max-Forwards: 0"], ["X-Asked: caf\xe9"], ["X-Asked:  a  b "], ["X-Asked:"], ["Cookie: a=1; b=2"], ["Proxy-Authorization: x", "Proxy: y"], ["User-Agent: x", "Referer: http://a/b?c"], ["x_forwarded_for: 1.1.1.1"], [f"X-N{n}: {n}" for n in range(90)], ["X-Long: " + "y" * 20_000], body="some"),
}  # fmt: skip
#: Fields that each protocol has of its own.
OWN = {"connection", "date", "keep-alive", "transfer-encoding"}


def act(peer, request):
    """Answer with what has come, as X-Act says."""
    peer.read_body(request)
    how = request["x-act"] or ""
    status, fields = how if how.isdigit() else "200", ["Content-Type: application/json"]
    body = b"" if how in {"204", "304"} else json.dumps(seen(request)).encode()
    if how == "interim":
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
    if how == "late":
        time.sleep(0.05)
    fields += {
        "hops": ["Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=3", "X-Said: b"],
        "cookies": ["Set-Cookie: a=1", "Set-Cookie: b=2", "Location: /x", 'ETag: "a"'],
        "caps": ["X-UPPER: B", "server: x", "Vary: Accept", "vary: Origin"],
        "blank": ["X-Said:   a  b ", "X-Empty:"],
        "latin": ["X-Said: caf\xe9"],
        "many": [f"X-N{n}: {'v' * 500}" for n in range(60)],
    }.get(how, [])
    framing, content = {
        "chunked": ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)),
        "none": ("Connection: close", body),
        "204": ("X-Said: nothing", b""),
        "304": ("Content-Length: 7", b""),
    }.get(how, (f"Content-Length: {len(body)}", body))
    lines = "\r\n".join([f"HTTP/1.1 {status} Fine", *fields, framing, "", ""])
    peer.send(lines.encode("latin-1") + (b"" if request.line.startswith("HEAD") else content))
    if how == "none":
        peer.close()


def same(name, value):
    """A field's value with the version of HTTP in it set to one."""
    return value.replace("2.0 gproxy", "1.1 gproxy") if name == "via" else value


def seen(request):
    """What a backend has got of a request."""
    fields = sorted((name, same(name, value)) for name, value in request.fields if name not in OWN)
    return [request.line, fields, hashlib.sha256(request.body).hexdigest(), request.complete]


def ask(gateway, wire, request, request_id):
    """Send a request; return all that has come back."""
    method, target, fields, body = request
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    lines = [f"{method} {target} HTTP/1.1", "Host: a.gateway.test", f"X-Request-ID: {request_id}", *fields, *length]
    interim = []
    with wire:
        wire.send("\r\n".join([*lines, "", body or ""]))
        while (answer := wire.read_response(head_only=method == "HEAD")).status in {100, 103}:
            interim.append(answer.status)
    named = sorted((name, value) for name, value in answer.fields if name not in OWN)
    text = re.sub(r"(VIA=.*)2\.0 gproxy", r"\g<1>1.1 gproxy", answer.body.decode("latin-1"))
    return interim, answer.status, named, text, answer.complete


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    folder = tmp_path_factory.mktemp("same")
    (folder / "handlers.py").write_text(HANDLERS)
    (folder / "keys.ini").write_text(f"[acme]\nhash = sha256:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    (folder / "www" / "sub").mkdir(parents=True)
    for name in ("index.html", "app.js", "app.js.gz", "sub/index.html"):
        (folder / "www" / name).write_text(f"the content of {name}\n" * 9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunningGateway, "words", "h2c")
        with scene(INI, "one", folder) as found:
            found.one.act = act
            yield found


def by_http1(gateway):
    return Wire(socket.create_connection(("127.0.0.1", gateway.port), PATIENCE))


@pytest.mark.parametrize("area", AREAS)
def test_both_protocols_do_the_same(play, area):
    gateway, found = play.gateway, {}
    for connect in (by_http1, connect_by_http2):
        play.one.requests.clear()
        found[connect] = [ask(gateway, connect(gateway), one, f"{area}-{n}") for n, one in enumerate(AREAS[area])]
        gateway.wait_until_idle()
        found[connect].append([seen(request) for request in play.one.requests])
    for number, (one, other) in enumerate(zip(*found.values(), strict=True)):
        assert one == other, AREAS[area][number : number + 1]
    count = len(AREAS[area])

    def lines(protocol):
        here = [line for line in gateway.access() if line["id"].startswith(f"{area}-") and line["protocol"] == protocol]
        omitted = {"time", "duration", "protocol"}
        return [{key: value for key, value in line.items() if key not in omitted} for line in here]

    eventually(lambda: [len(lines("HTTP/1.1")), len(lines("HTTP/2.0"))] == [count, count], "the access lines")
    for one, other in zip(lines("HTTP/1.1"), lines("HTTP/2.0"), strict=True):
        assert one == other
