"""`gproxy explain` as a user types it."""

import subprocess
import sys

import forked
import pytest

from gproxy.testing.gateway import free_port

INI = """\
[server]
max_body = 1MB
[gateway]
handlers = compress, rate_limit, jwt
trusted_proxies = 10.0.0.0/8
[route:users]
path = /users
upstream = users weight=95, canary weight=5
split_by = cookie:uid
strip_prefix = yes
keep = Authorization
[route:beta]
path = /users
headers = X-Beta: ~[0-9]+, Authorization: secret
upstream = canary
[route:public]
path = /public
skip = jwt, rate_limit
timeout = 1s
max_body = 10KB
upstream = canary
[route:admin]
path = /admin
methods = POST
upstream = canary
[route:hosted]
host = *.example.com
exact = yes
upstream = canary
[route:gone]
path = /gone
redirect = https://{host}{path}
status = 308
[upstream:users]
backends = http://127.0.0.1:%d
[upstream:canary]
backends = http://127.0.0.1:%d
first_byte_timeout = 500ms
host = backend
[handler:rate_limit]
limit = 10/s
burst = 20
delay = 16
[handler:jwt]
secret = auto
forward = sub: X-User-ID
"""


@pytest.fixture
def explain(tmp_path):
    port = free_port()
    (tmp_path / "gproxy.ini").write_text(INI % (port, port))

    def run(*arguments, code=0):
        command = [sys.executable, "-m", "gproxy", "explain", "--config", "gproxy.ini", *arguments]
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        assert done.returncode == code, done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["gproxy.ini"], "nothing is opened"
        return done.stdout if not code else done.stderr

    run.port = port
    return run


def section(text, title):
    """The lines below a title, each with single blanks."""
    _, _, rest = ("\n" + text).partition(f"\n{title}\n")
    assert rest, f"no section {title!r} in\n{text}"
    return [" ".join(line.split()) for line in rest.partition("\n\n")[0].rstrip("\n").split("\n")]


def test_the_whole_answer(explain):
    text = explain(
        "GET",
        "/users/%31?x=1",
        "-H",
        "Authorization: Bearer abc",
        "-H",
        "X-User-ID: 7",
        "-H",
        "X_User_Id: 8",
        "-H",
        "X-Note: 1",
        "-H",
        "X-Forwarded-For: 1.2.3.4, 203.0.113.9, 10.0.0.2",
        "-H",
        "Connection: X-Note",
        "--from",
        "10.0.0.1",
        "--as",
        "sub: alice",
    )
    assert text.startswith("GET /users/%31?x=1: route users\n\n")
    assert section(text, "client") == [
        "10.0.0.1 one of [gateway] trusted_proxies",
        "10.0.0.2 one of [gateway] trusted_proxies",
        "203.0.113.9 the client: in X-Forwarded-For, the first address from the right that is no trusted proxy",
    ]
    assert section(text, "routes") == [
        "the path is read as /users/1",
        "users taken: /users and below",
        "beta no: header X-Beta: ~[0-9]+ is required; the request has none",
        "public no: path: only /public and below",
        "admin no: path: only /admin and below",
        "hosted no: path: only / and nothing below",
        "gone no: path: only /gone and below",
    ]
    assert section(text, "route users")[:6] == [
        "chain compress > rate_limit > jwt > forward",
        "timeout 3s ([gateway] timeout, the default)",
        "max_body 1MB ([server] max_body, gproxy.ini:2)",
        "rate_limit 10/second ([handler:rate_limit] limit, gproxy.ini:41)",
        "rate_limit burst 20 ([handler:rate_limit] burst, gproxy.ini:42)",
        "rate_limit delay 16 ([handler:rate_limit] delay, gproxy.ini:43)",
    ]
    assert section(text, "upstream users (the first in turn)")[:4] == [
        "connect 1s ([upstream:users] connect_timeout, the default)",
        "first_byte no limit ([upstream:users] first_byte_timeout, the default)",
        "read 3s, as timeout ([upstream:users] read_timeout, the default)",
        "tunnel 1h in event streams and tunnels ([route:users] tunnel_timeout, the default)",
    ]
    assert section(text, f"request to 127.0.0.1:{explain.port}, before handlers") == [
        "GET /%31?x=1 HTTP/1.1",
        "Host: localhost",
        "Authorization: ***",
        "~ X-Forwarded-For: 1.2.3.4, 203.0.113.9, 10.0.0.2, 10.0.0.1 instead of 1.2.3.4, 203.0.113.9, 10.0.0.2",
        "+ X-Real-IP: 203.0.113.9",
        "+ X-Forwarded-Proto: http",
        "+ X-Forwarded-Host: localhost",
        "+ X-Request-ID: (a new one for each request)",
        "+ Via: 1.1 gproxy-(a new id for each start)",
        "+ X-Forwarded-Prefix: /users",
        "- X-User-ID: 7 identifies the client, and only a handler may set it",
        "- X_User_Id: 8 identifies the client, and only a handler may set it",
        "- X-Note: 1 concerns only this connection",
        "- Connection: X-Note concerns only this connection",
        "+ x-user-id: set by jwt",
    ]


def test_what_a_route_changes(explain):
    text = explain("POST", "/public/x", "-H", "Content-Length: 5", "-H", "Authorization: Bearer abc")
    assert section(text, "client") == ["127.0.0.1 the client: the peer"]
    assert section(text, "route public") == [
        "chain compress > forward",
        "skipped rate_limit, jwt ([route:public] skip, gproxy.ini:18)",
        "timeout 1s ([route:public] timeout, gproxy.ini:19)",
        "max_body 10KB ([route:public] max_body, gproxy.ini:20)",
        "upstream canary, round_robin, retries 1",
        f"backends http://127.0.0.1:{explain.port}",
        "headers Authorization is removed: jwt",
    ]
    sent = section(text, f"request to 127.0.0.1:{explain.port}, before handlers")
    assert f"~ Host: 127.0.0.1:{explain.port} instead of localhost" in sent
    assert "Content-Length: 5" in sent
    assert "- Authorization: *** is removed without keep = Authorization" in sent
    assert "abc" not in text


def test_authorization_passes_without_an_identity_handler(explain, tmp_path):
    lines = INI.replace("[handler:jwt]\nsecret = auto\nforward = sub: X-User-ID\n", "").replace(", jwt", "")
    (tmp_path / "gproxy.ini").write_text(lines.replace("skip = jwt,", "skip =") % (explain.port, explain.port))
    text = explain("GET", "/public/x", "-H", "Authorization: Bearer abc")
    assert "headers Authorization passes: there is no identity handler" in section(text, "route public")
    assert "Authorization: ***" in section(text, f"request to 127.0.0.1:{explain.port}, before handlers")
    assert "abc" not in text


def test_a_page_that_a_handler_answers(explain, tmp_path):
    lines = INI.replace("handlers = compress, rate_limit", "handlers = health, compress, metrics, rate_limit")
    (tmp_path / "gproxy.ini").write_text(lines % (explain.port, explain.port))
    for target, said in (
        ("/ready", "the handler health answers this path"),
        ("/metrics", "the handler metrics answers this path, if those before it admit the request"),
        ("/health/x", "404 Not Found: no route matches this path"),
    ):
        assert explain("GET", target).splitlines()[0] == f"GET {target}: {said}"


def test_why_not_the_others(explain):
    text = explain("GET", "http://www.example.com/", "-H", "X-Forwarded-For: 1.2.3.4")
    assert section(text, "client") == [
        "127.0.0.1 the client: the peer, no trusted proxy: its X-Forwarded-For is ignored"
    ]
    assert section(text, "routes")[0] == "hosted taken: / and nothing below; host *.example.com"
    text = explain("GET", "/users", "-H", "X-Beta: 1", "-H", "Authorization: other")
    assert "beta no: header Authorization: *** is required; the request has another value" in section(text, "routes")
    text = explain("GET", "/users", "-H", "X-Beta: 1", "-H", "Authorization: secret")
    assert "users no: matches too, but beta has more matches" in section(text, "routes")


def test_which_upstream_a_cookie_leads_to(explain):
    found = {
        explain("GET", "/users", "-H", f"Cookie: uid={n}", "--as", "sub: alice")
        .partition("\nupstream ")[2]
        .partition("\n")[0]
        for n in (1, 2)
    }
    assert found <= {"users (by cookie:uid)", "canary (by cookie:uid)"}


def test_which_upstream_the_gateways_own_cookie_leads_to(explain, tmp_path):
    lines, of_alice = INI.replace("cookie:uid", "sticky:variant"), ("--as", "sub: alice")
    (tmp_path / "gproxy.ini").write_text(lines % (explain.port, explain.port))
    assert "\nupstream users (the first in turn, kept by the cookie variant)\n" in explain("GET", "/users", *of_alice)
    cookie = f"Cookie: variant={'f' * 16}"
    assert "\nupstream canary (by sticky:variant)\n" in explain("GET", "/users", *of_alice, "-H", cookie)


@pytest.mark.parametrize(
    ("arguments", "first", "also"),
    [
        ("GET /", "GET /: 404 Not Found: no route matches this path", "hosted no: host: localhost is not *.example.com"),
        ("GET / --host shop.example.com --as sub:alice", "GET /: route hosted", "127.0.0.1 the client: the peer"),
        ("OPTIONS *", "OPTIONS *: 200 OK: the request concerns the gateway, which answers it", "127.0.0.1 the client: the peer"),
        ("GET /nope -H X-Forwarded-For:unknown --from 10.0.0.1", "GET /nope: 404 Not Found: no route matches this path",
         "10.0.0.1 the client: the peer, a trusted proxy, whose X-Forwarded-For ends in no address"),
        ("GET /admin", "GET /admin: 405 Method Not Allowed: GET is not allowed here; Allow: POST (the nearest route is admin)",
         "admin no: method: GET is not POST"),
        ("GET /public/..%2fadmin", "GET /public/..%2fadmin: 400 Bad Request: the path is ambiguous: its readings lead to different routes",
         "some backend may read it as /admin: route admin"),
        ("GET /gone//x?y --as sub:alice", "GET /gone//x?y: route gone", "Location: https://localhost/gone//x?y"),
        ("GET https://localhost/gone --as sub:alice", "GET /gone: route gone", "308 Permanent Redirect"),
        ("GET users", "GET users: 400 Bad Request: the request target is neither a path nor an http URL", ""),
        ("GET /%zz", "GET /%zz: 400 Bad Request: the path has a broken escape", ""),
        ("POST /public -H Content-Length:2000000", "POST /public: 413 Content Too Large: request body exceeds the limit of 1000000 bytes", ""),
    ],
)  # fmt: skip
def test_answers_of_its_own(explain, arguments, first, also):
    lines = explain(*arguments.split()).split("\n")
    assert lines[0] == first
    assert also in [" ".join(line.split()) for line in lines]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["GET"], "gproxy explain: missing: TARGET, such as /path; see gproxy explain --help"),
        (["/users/1"], "gproxy explain: missing: METHOD; write GET /users/1; see gproxy explain --help"),
        ([], "gproxy explain: missing: METHOD; see gproxy explain --help"),
        (["GET", "/", "-H", "X"], "gproxy explain: -H: expected 'NAME: VALUE'; found 'X'"),
        (["GET", "/", "--from", "nowhere"], "gproxy explain: --from: expected an address or unix; found 'nowhere'"),
        (["GET", "/", "--form", "::1"], "gproxy explain: unknown option --form; did you mean '--from'?"),
    ],
)
def test_wrong_arguments(explain, arguments, said):
    assert explain(*arguments, code=2) == said + "\n"


GUARDED = """
[gateway]
handlers = who, allow
[handler:who]
use = any_of
of = cookie, jwt
optional = yes
[handler:jwt]
secret = 0123456789abcdef
[handler:cookie]
use = jwt
secret = 0123456789abcdef
sources = cookie:sid
[handler:allow]
allow = method:GET  scope:a, role:b
deny = user:c
[route:users]
path = /users
respond = 200
[route:open]
path = /open
skip = who, allow
public = yes
respond = 200
"""


def test_routes_shows_identity_handlers_rules_and_public_routes(tmp_path):
    (tmp_path / "more.ini").write_text(GUARDED)
    command = [sys.executable, "-m", "gproxy", "routes", "--config", "more.ini"]
    done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert section(done.stdout, "users")[1:6] == [
        "chain who > allow > respond",
        "identity who (cookie | jwt), optional",
        "allow method:GET scope:a",
        "allow role:b",
        "allow deny user:c",
    ]
    assert section(done.stdout, "open")[1:3] == ["chain respond", "public yes"]


def test_routes_tells_all_of_it(explain, tmp_path):
    more = "[route:old]\npath = /old\nupstream = users\nmirror = canary\nmirror_share = 2.5%%\nrewrite = /old/(.*) -> /new/\\1\nmax_body = 1KB\n"
    more += "[route:closed]\npath = /closed\ncookies = a: *, b: ~[0-9]+\nquery = v: 2\nscheme = http\nrespond = 410\nbody = over\n"
    more += "[route:slow]\npath = /slow\nupstream = users, slow\ntimeout = 5s\ntotal_timeout = 2m\n"
    more += "[upstream:slow]\nbackends = http://127.0.0.1:1\nread_timeout = 30s\n"
    more += "[route:live]\npath = /live\nupstream = users\nstream = yes\ntunnel_timeout = 12h\n"
    (tmp_path / "more.ini").write_text((INI + more) % (1, 1))
    command = [sys.executable, "-m", "gproxy", "routes", "--config", "more.ini"]
    done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert section(done.stdout, "users") == [
        "match /users and below",
        "chain compress > rate_limit > jwt > forward",
        "identity jwt",
        "timeout 3s",
        "pauses 3s; in event streams and tunnels 1h",
        "split users 95, canary 5; by cookie:uid",
        "upstream users, round_robin, retries 1",
        "backends http://127.0.0.1:1",
        "upstream canary, round_robin, retries 1",
        "backends http://127.0.0.1:1",
        "headers Authorization passes: keep",
        "path strip /users",
    ]
    assert section(done.stdout, "old")[3:] == [
        "timeout 3s",
        "pauses 3s; in event streams and tunnels 1h",
        "max_body 1KB",
        "upstream users, round_robin, retries 1",
        "backends http://127.0.0.1:1",
        "mirror 2.5% to canary",
        "backends http://127.0.0.1:1",
        "headers Authorization is removed: jwt",
        r"path /old/(.*) -> /new/\1",
    ]
    assert section(done.stdout, "closed") == [
        "match /closed and below; scheme: http; cookie a; cookie b: ~[0-9]+; query v: 2",
        "chain compress > rate_limit > jwt > respond",
        "identity jwt",
        "timeout 3s",
        "respond 410, 4 bytes",
    ]
    assert section(done.stdout, "slow")[3:6] == [
        "timeout 5s",
        "pauses users 5s, slow 30s; in event streams and tunnels 1h",
        "total 2m",
    ]
    assert section(done.stdout, "live")[3:5] == ["timeout 3s", "pauses 12h"]
    assert section(done.stdout, "gone")[-1] == "redirect 308 https://{host}{path}"


def test_patterns_and_their_precedence(tmp_path):
    (tmp_path / "gproxy.ini").write_text(
        "[route:app]\nupstream = u\n[route:users]\npath = ~ /v[12]/users/\\d+, /people\nupstream = u\n"
        "[route:any]\npath = ~ /v1/.*\nupstream = u\n[route:me]\npath = /v1/users/0\nexact = yes\nupstream = u\n"
        "[upstream:u]\nbackends = http://127.0.0.1:1\n"
    )

    def run(*arguments):
        command = [sys.executable, "-m", "gproxy", *arguments]
        return forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True).stdout

    assert section(run("explain", "--config", "gproxy.ini", "GET", "/v1/users/7"), "routes") == [
        r"users taken: ~ /v[12]/users/\d+ or /people and below",
        "app no: matches too, but users has a pattern, which goes before prefixes",
        "any no: matches too, but users has the earlier line",
        "me no: path: only /v1/users/0 and nothing below",
    ]
    assert section(run("explain", "--config", "gproxy.ini", "GET", "/v1/users/0"), "routes")[:2] == [
        "me taken: /v1/users/0 and nothing below",
        "app no: matches too, but me has the exact path",
    ]
    assert (
        run("explain", "--config", "gproxy.ini", "GET", "/" + "a" * 2048)
        .splitlines()[0]
        .endswith(": 414 URI Too Long: the path has more than 2048 characters")
    )
    listed = run("routes", "--config", "gproxy.ini").split("\n\n")
    assert [text.splitlines()[0] for text in listed] == ["me", "users", "any", "app"]


def test_listeners_clients_and_negations(tmp_path):
    (tmp_path / "gproxy.ini").write_text(
        "[server]\nbind = 127.0.0.1:80 redirect except=/acme, 127.0.0.1:81, 127.0.0.1:82\n"
        "[route:app]\nupstream = u\n[route:inner]\npath = /x\nlistener = 127.0.0.1:82\nclient = 10.0.0.0/8\nupstream = u\n"
        "[route:beta]\npath = /x\nheaders = not X-Beta: yes\nupstream = u\n[upstream:u]\nbackends = http://127.0.0.1:1\n"
    )

    def run(*arguments, code=0):
        command = [sys.executable, "-m", "gproxy", *arguments]
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert done.returncode == code, done.stderr
        return done.stdout or done.stderr

    def explain(*arguments, code=0):
        return run("explain", "--config", "gproxy.ini", *arguments, code=code)

    assert section(explain("GET", "/x", "-H", "X-Beta: yes"), "routes") == [
        "app taken: /",
        "beta no: header X-Beta: yes must not match; the request has 'yes'",
        "inner no: listener: only 127.0.0.1:82",
    ]
    found = section(explain("GET", "/x", "--listener", "127.0.0.1:82", "--from", "10.0.0.1"), "routes")
    assert found[0] == "inner taken: /x and below; listener 127.0.0.1:82; client: 10.0.0.0/8"
    assert found[2] == "beta no: matches too, but inner has more matches"
    found = section(explain("GET", "/x", "--listener", "127.0.0.1:82"), "routes")
    assert found[0] == "beta taken: /x and below; not header X-Beta: yes"
    assert found[2] == "inner no: client: 10.0.0.0/8 is required; the request has '127.0.0.1'"
    answer = explain("GET", "/x", "--listener", "127.0.0.1:80").splitlines()[0]
    assert answer == "GET /x: 308: the listener redirects to https"
    assert explain("GET", "/acme/x", "--listener", "127.0.0.1:80").startswith("GET /acme/x: route app\n")
    assert explain("GET", "/x", "--listener", ":83", code=2) == (
        "gproxy explain: --listener: expected an address of [server] bind: "
        "127.0.0.1:80, 127.0.0.1:81, 127.0.0.1:82; found ':83'\n"
    )
    assert "match     /x and below; listener 127.0.0.1:82; client: 10.0.0.0/8" in run(
        "routes", "--config", "gproxy.ini"
    )


def test_http2_and_upgrades(tmp_path):
    (tmp_path / "gproxy.ini").write_text(
        "[route:a]\nupstream = a\n[route:b]\npath = /b\nupgrades = websocket, tcp\nupstream = b\n"
        "[route:c]\npath = /c\nupgrades =\nupstream = c\n[upstream:a]\nbackends = http://127.0.0.1:1\n"
        "[upstream:b]\nbackends = https://127.0.0.1:1\nhttp2 = yes\n"
        "[upstream:c]\nbackends = https://127.0.0.1:1\nhttp2 = auto\n"
    )

    def run(*arguments):
        command = [sys.executable, "-m", "gproxy", *arguments[:1], "--config", "gproxy.ini", *arguments[1:]]
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    routes = run("routes")
    for name, upstream, upgrades in [
        ("a", "a, round_robin, retries 1", []),
        ("b", "b, round_robin, retries 1, http2 yes", ["websocket, tcp"]),
        ("c", "c, round_robin, retries 1, http2 auto", ["none"]),
    ]:
        rows = section(routes, name)
        assert f"upstream {upstream}" in rows
        assert [row.partition(" ")[2] for row in rows if row.startswith("upgrades ")] == upgrades

    def sent(path, *lines):
        text = run("explain", "GET", path, *(word for line in ("Connection: upgrade", *lines) for word in ("-H", line)))
        return section(text, "request to 127.0.0.1:1, before handlers" if "\nrequest to " in text else "answer")

    socket = ("Upgrade: WebSocket", "Sec-WebSocket-Key: k", "Sec-WebSocket-Version: 13")
    assert sent("/a", *socket)[0] == "GET /a HTTP/1.1"
    found = sent("/b", *socket)
    assert found[:4] == [
        "CONNECT /b HTTP/2.0",
        "+ :protocol: websocket",
        "Host: localhost",
        "Sec-WebSocket-Version: 13",
    ]
    assert "- Upgrade: WebSocket concerns only this connection" in found
    assert sent("/b", "Upgrade: tcp") == ["502 the backend does not accept the upgrade over HTTP/2"]
    assert sent("/b")[0] == "GET /b HTTP/2.0"
    assert sent("/c", *socket)[0] == "GET /c HTTP/1.1"
