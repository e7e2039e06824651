"""The same requests for a backend of HTTP/1.1 and one of HTTP/2: responses, backends and access lines are the same."""

import hashlib
import json
import re
import threading
from contextlib import ExitStack

import pytest
from http2_backend import HTTP2Backend
from scenes import Scene

from gproxy.testing.backends import Actor
from gproxy.testing.gateway import RunningGateway, eventually

#: The options of a route and of its upstream; `{n}` is the backend.
FEATURES = {
    "plain": ("", ""),
    "direct": ("max_body = 1KiB", "buffer_request = 0\nbuffer_response = 0"),
    "packed": ("handlers = compress", ""),
    "retried": ("", "retry_on = connect, stale, reset, 503\nretries = 2\nretry_header = X-Try"),
    "moved": ("strip_prefix = yes\nadd_prefix = /p", "host = moved.test"),
    "asked": ("handlers = asks{n}", ""),
    "read": ("handlers = reads", ""),
    "errors": ("", "fail_statuses = 500-599"),
}
INI = """
[gateway]
handlers = health
timeout = 15s
trusted_proxies = 127.0.0.0/8
[errors]
replace = 599
[log]
fields = default, query, response.X-Upper
[handler:health]
cache = 0s
[handler:compress]
min_size = 10
[handler:reads]
use = handlers:reads
"""
PARTS = """
[handler:asks{n}]
use = forward_auth
upstream = plain{n}
path = /auth
body = 2KiB
copy_back = Set-Cookie
"""
PART = """
[route:{name}{n}]
path = /{name}{n}
upstream = {name}{n}
{route}
[upstream:{name}{n}]
backends = {url}
http2 = {http2}
max_fails = 0
{upstream}
"""
HANDLERS = """
def reads(request, next):
    response = next(request)
    response.body = b"read: " + response.read()
    return response
"""
HOWS = [
    "ok", "chunked", "201", "204", "304", "404", "429", "500", "503", "599", "cookies", "caps", "etag", "latin", "long", "many",
    "text", "events", "empty", "trailers", "interim", "big", "once 503", "204 cookies", "304 etag",
]  # fmt: skip
FIELDS = {
    "cookies": [("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2"), ("location", "/p/x")],
    "caps": [("X-UPPER", "B"), ("server", "x"), ("vary", "Accept"), ("vary", "Origin")],
    "etag": [("etag", '"a"'), ("retry-after", "1")],
    "latin": [("x-upper", "caf\xe9"), ("x-empty", "")],
    "long": [("x-long", "y" * 9000)],
    "many": [(f"x-n{n}", "v" * 100) for n in range(90)],
    "text": [("content-type", "text/plain")],
    "events": [("content-type", "text/event-stream")],
    "trailers": [("trailer", "x-sum")],
}
LISTS = [
    ["Cookie: a=1; b=2"], ["Connection: X-Hop, close", "X-Hop: 1"], ["TE: trailers", "Connection: TE"], ["X-A: a", "X-A: b"],
    ["X-A:"], ["Authorization: Basic eDp5"], ["Via: 1.0 z"], ["X-Long: " + "l" * 20_000], [f"X-Q{n}: {n}" for n in range(80)],
    ["Keep-Alive: 3", "Proxy-Connection: x"], ["X_Under_Score: 1"], ["Idempotency-Key: k"], ["Upgrade: h2c", "Connection: upgrade"],
]  # fmt: skip
#: Fields of each connection's own; the ids of requests are compared in the access lines.
OWN = {"connection", "content-length", "date", "te", "transfer-encoding"}


def each(methods, names, hows, *field_lists, target="/x/y?b=c", body="hello"):
    """Return the requests for all combinations."""
    return [
        (method, name, how, fields, target, body if method in {"POST", "PUT"} else None)
        for method in methods.split() for name in names.split() for how in hows for fields in field_lists or [[]]
    ]  # fmt: skip


AREAS = {
    "responses": each("GET HEAD POST", "plain direct", HOWS),
    "features": each("GET POST", " ".join(FEATURES), ["ok", "503", "599", "cookies", "text", "trailers", "once 503"]),
    "fields": each("GET POST", "plain moved", ["ok"], *LISTS),
    "bodies": [one for size in (0, 1, 1024, 1025, 70_000) for one in each("POST PUT", "plain direct retried asked", ["ok", "once 503"], body="x" * size)],
    "targets": [one for target in ("/%41", "//x", "/a%2fb", "/?a=%zz", "/;a=b", "/a|b", "/" + "z" * 6000, "", "?x") for one in each("GET", "plain moved", ["ok"], target=target)],
}  # fmt: skip


class Twins:
    """Backends of both versions that answer alike, and what each has got."""

    def __init__(self, stack):
        self.seen = {1: [], 2: []}
        self.backends = {
            1: stack.enter_context(Actor(self.act)),
            2: stack.enter_context(HTTP2Backend(self.act_in_http2)),
        }

    def plan(self, version, line, fields, body):
        """Note a request; return how to answer, with the status, the fields and the content."""
        named = dict(fields)
        fields = sorted((name, value) for name, value in fields if name not in OWN)
        self.seen[version].append([line, fields, hashlib.sha256(body).hexdigest()])
        how = named.get("x-act", "").split()
        if (
            how[:1] == ["once"]
            and sum(dict(one[1])["x-request-id"] == named["x-request-id"] for one in self.seen[version]) > 1
        ):
            how = []
        status = next((int(word) for word in how if word.isdigit()), 200)
        content = json.dumps([line, *fields]).encode()
        content = {"text": b"all work and no play " * 500, "big": b"z" * 1_000_000, "empty": b""}.get(
            " ".join(how), content
        )
        extra = [field for word in how for field in FIELDS.get(word, [])]
        return how, status, extra, b"" if status in (204, 304) else content

    def act(self, peer, request):
        peer.read_body(request)
        line = request.line.removesuffix(" HTTP/1.1")
        how, status, fields, content = self.plan(1, line, request.fields, request.body)
        if "interim" in how:
            peer.send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n")
        in_chunks = {"chunked", "trailers"} & set(how)
        if status != 204:
            fields = [*fields, ("transfer-encoding", "chunked") if in_chunks else ("content-length", str(len(content)))]
        head = f"HTTP/1.1 {status} Fine\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        if line.startswith("HEAD"):
            content = b""
        elif in_chunks:
            trailers = b"x-sum: 7\r\n" if "trailers" in how else b""
            content = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(content), content, trailers)
        peer.send(head.encode("latin-1") + content)

    def act_in_http2(self, exchange):
        body = exchange.whole()
        fields = [(name.replace(":authority", "host"), value) for name, value in exchange.pairs]
        fields = [field for field in fields if not field[0].startswith(":")]
        how, status, fields, content = self.plan(2, f"{exchange.method} {exchange.path}", fields, body)
        fields = [(name.lower(), value.encode("latin-1")) for name, value in fields]
        if "interim" in how:
            exchange.interim(103, ("link", "</a.css>"))
        if not {"chunked", "trailers"} & set(how) and status != 204:
            fields.append(("content-length", str(len(content))))
        is_bare = exchange.method == "HEAD" or status in (204, 304)
        exchange.head(status, *fields, end=is_bare)
        if is_bare:
            return
        exchange.data(content, end="trailers" not in how)
        if "trailers" in how:
            exchange.finish(("x-sum", "7"))


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twins")
    (folder / "handlers.py").write_text(HANDLERS)
    with ExitStack() as stack:
        twins = Twins(stack)
        ini = INI
        for n, backend in twins.backends.items():
            ini += PARTS.format(n=n)
            for name, (route, upstream) in FEATURES.items():
                http2 = "yes" if n == 2 else "no"
                ini += PART.format(
                    name=name, n=n, route=route.format(n=n), upstream=upstream, url=backend.url, http2=http2
                )
        found = Scene(stack.enter_context(RunningGateway(ini, folder)), {})
        found.twins = twins
        yield found


def ask(gateway, n, request, request_id):
    """Send a request to the backend n; return all that has come back."""
    method, name, how, fields, target, body = request
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    lines = [
        f"{method} /{name}{n}{target} HTTP/1.1",
        "Host: a.test",
        f"X-Request-ID: {request_id}",
        f"X-Act: {how}",
        *fields,
        *length,
    ]
    interim = []
    with gateway.connect() as wire:
        wire.send("\r\n".join([*lines, "", body or ""]))
        while (answer := wire.read_response(head_only=method == "HEAD")).status == 103:
            interim.append(answer.fields)
    named = sorted(field for field in answer.fields if field[0] not in OWN)
    return [interim, answer.status, named, answer.body.decode("latin-1"), answer.complete]


def without_number(found, n):
    """Return what was found with the names of routes for both backends."""
    return json.loads(re.sub(rf"(asks|{'|'.join(FEATURES)}){n}", r"\1", json.dumps(found)))


@pytest.mark.parametrize("area", AREAS)
def test_both_backends_do_the_same(play, area):
    gateway, asked, found = play.gateway, AREAS[area], {1: [], 2: []}

    def run(n):
        play.twins.seen[n].clear()
        found[n] = [ask(gateway, n, one, f"{area}-{n}-{number}") for number, one in enumerate(asked)]
        found[n].append(play.twins.seen[n])

    threads = [threading.Thread(target=run, args=(n,)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gateway.wait_until_idle()

    def lines(n):
        here = [line for line in gateway.access() if line["id"].startswith(f"{area}-{n}-")]
        omitted = {"time", "duration", "backend", "id"}
        for line in here:
            if int(line["status"]) >= 400:  # an error ends the upload, wherever it is
                line["reqsize"] = ""
        return [{key: value for key, value in line.items() if key not in omitted} for line in here]

    eventually(lambda: [len(lines(1)), len(lines(2))] == [len(asked)] * 2, "the access lines")
    for n in (1, 2):
        found[n] = without_number([*found[n], *lines(n)], n)
    one, two = (json.loads(json.dumps(found[n]).replace(f"{area}-{n}-", f"{area}-")) for n in (1, 2))
    for number, (first, second) in enumerate(zip(one, two, strict=True)):
        assert first == second, asked[number : number + 1]
