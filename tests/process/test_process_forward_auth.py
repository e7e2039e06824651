"""A real authorizer process behind the gateway: beside NGINX, as Authelia and oauth2-proxy, and when it is gone."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from nginx_process import nginx
from websockets.sync.client import connect
from websockets.sync.server import serve

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway, eventually, free_port

INI = """
[gateway]
handlers = health, auth
[handler:health]
cache = 0s
[handler:auth]
use = forward_auth
upstream = authorizer
{options}
[route:app]
path = /
upstream = app
{more}
[upstream:app]
backends = {app}
[upstream:authorizer]
backends = http://127.0.0.1:{authorizer}
max_fails = 0
"""
PLAIN = "path = /verify\ncopy = Remote-User, Remote-Groups\nuser = Remote-User"


class Authorizer:
    """The process, which a test can end and start again on the same port."""

    def __init__(self):
        self.port = free_port()
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def start(self):
        command = [sys.executable, Path(__file__).with_name("authorizer.py"), str(self.port)]
        self.process = subprocess.Popen(command)
        eventually(self.is_up, "the authorizer")

    def is_up(self):
        with socket.socket() as sock:
            return not sock.connect_ex(("127.0.0.1", self.port))

    def stop(self):
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_):
        self.stop()


class Setup:
    def __init__(self, gateway, app, authorizer):
        self.gateway, self.app, self.authorizer = gateway, app, authorizer

    def get(self, path, *headers, method="GET"):
        return self.gateway.get(path, *headers, method=method)


@contextmanager
def running(folder, options=PLAIN, more="", script=None):
    with ExitStack() as stack:
        authorizer = stack.enter_context(Authorizer())
        app = stack.enter_context(Backend(script or answering(body=b"app")))
        text = INI.format(options=options, more=more, app=app.url, authorizer=authorizer.port)
        yield Setup(stack.enter_context(RunningGateway(text, folder)), app, authorizer)


#: NGINX as its documentation of ngx_http_auth_request_module configures it.
NGINX = """
server {{
  listen 127.0.0.1:{port};
  location / {{
    auth_request /_auth;
    auth_request_set $user $upstream_http_remote_user;
    proxy_set_header Remote-User $user;
    proxy_pass {app};
  }}
  location = /_auth {{
    internal;
    proxy_pass http://127.0.0.1:{authorizer}/verify;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
    proxy_set_header X-Original-URI $request_uri;
    proxy_set_header X-Original-Method $request_method;
  }}
}}
"""
REQUESTS = [
    (method, path, cookie)
    for method in ("GET", "POST", "DELETE", "HEAD")
    for path in ("/", "/admin/x", "/a/../admin", "/%61dmin", "//admin", "/x?y=force")
    for cookie in ("", "sid=alice", "sid=root", "sid=eve", "a=b; sid=alice", "sid=broken")
]


def verdict(app, port, method, path, cookie):
    """The status, and the user that the backend got; of an answer without the backend no user."""
    before = len(app.requests)
    lines = f"{method} {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nRemote-User: forged\r\n"
    lines += f"Cookie: {cookie}\r\n" if cookie else ""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(f"{lines}Content-Length: 0\r\n\r\n".encode())
        data = b""
        while more := sock.recv(65536):
            data += more
    status = int(data.split(b" ", 2)[1])
    seen = app.requests[before:]
    return status, [request["remote-user"] for request in seen]


def test_the_verdicts_are_those_of_nginx_with_the_same_authorizer(tmp_path):
    port = free_port()
    (tmp_path / "nginx").mkdir()
    (tmp_path / "gproxy").mkdir()
    with running(tmp_path / "gproxy") as ours:
        server = NGINX.format(port=port, app=ours.app.url, authorizer=ours.authorizer.port)
        with nginx(tmp_path / "nginx", free_port(), server):
            admitted = 0
            for request in REQUESTS:
                theirs = verdict(ours.app, port, *request)
                own = verdict(ours.app, ours.gateway.port, *request)
                if theirs[0] == 500:  # NGINX's answer for an authorizer that fails
                    theirs = (503, [])
                assert own == theirs, request
                admitted += own[0] == 200
            assert 20 < admitted < len(REQUESTS) // 2
    assert "Traceback" not in ours.gateway.errors


AUTHELIA = """path = /api/authz/forward-auth
copy = Remote-User, Remote-Groups, Remote-Email, Remote-Name
user = Remote-User
role_claims = Remote-Groups
sources = cookie:authelia_session
"""


def test_authelia_as_documented(tmp_path):
    with running(tmp_path, AUTHELIA) as ours:
        answer = ours.get("/app?x=1&y", "Accept: text/html")
        assert answer.status == 302
        where = "https://auth.example.com/?rd=http%3A%2F%2Fgateway.test%2Fapp%3Fx%3D1%26y&rm=GET"
        assert (answer["location"], answer["set-cookie"]) == (where, "authelia_session=new; HttpOnly")
        assert b"302 Found" in answer.body
        posted = ours.get("/app", method="POST")
        assert (posted.status, (posted["location"] or "")[-7:]) == (303, "rm=POST")
        assert ours.get("/app", "X-Requested-With: XMLHttpRequest").status == 401
        assert ours.app.requests == []

        assert ours.get("/app", "Cookie: a=b; authelia_session=alice", "Remote-Groups: root").status == 200
        (seen,) = ours.app.requests
        assert (seen["remote-user"], seen["remote-groups"], seen["remote-name"], seen["remote-email"]) == (
            "alice", "admins,dev", "Alice Doe", "alice@example.com",
        )  # fmt: skip
        assert seen["cookie"] == "a=b"
        forbidden = ours.get("/secret", "Cookie: authelia_session=alice")
        assert (forbidden.status, forbidden.body) == (403, b"403 Forbidden")
        lines = [(line["status"], line["reason"], line["user"]) for line in ours.gateway.access(5)]
        assert lines == [
            ("302", "auth_missing", "-"),
            ("303", "auth_missing", "-"),
            ("401", "auth_invalid", "-"),
            ("200", "-", "alice"),
            ("403", "forbidden", "-"),
        ]


OAUTH2_PROXY = """path = {path}
copy = X-Auth-Request-User, X-Auth-Request-Email
copy_back = Set-Cookie
user = X-Auth-Request-User
"""


def test_oauth2_proxy_as_documented(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with running(tmp_path / "a", OAUTH2_PROXY.format(path="/oauth2/auth")) as ours:
        assert (ours.get("/").status, ours.get("/").body) == (401, b"Unauthorized\n")
        answer = ours.get(
            "/", "Cookie: _oauth2_proxy=refreshed", "X-Auth-Request-User: root", "X_Auth_Request_Email: r"
        )
        cookies = [value for name, value in answer.fields if name == "set-cookie"]
        assert (answer.status, answer.body) == (200, b"app")
        assert cookies == ["_oauth2_proxy_0=a; Path=/; HttpOnly", "_oauth2_proxy_1=b; Path=/; HttpOnly"]
        (seen,) = ours.app.requests
        assert (seen["x-auth-request-user"], seen["x-auth-request-email"]) == ("refreshed", "refreshed@example.com")
        assert seen["x_auth_request_email"] is None
    with running(tmp_path / "b", OAUTH2_PROXY.format(path="/oauth2/")) as ours:
        answer = ours.get("/deep?link=1")
        assert (answer.status, answer["set-cookie"]) == (302, "_oauth2_proxy_csrf=x; Path=/; HttpOnly")
        assert (answer["location"] or "").endswith("state=abc:%2Fdeep%3Flink%3D1")


def test_an_authorizer_that_is_gone_is_a_503_until_it_is_back(tmp_path):
    with running(tmp_path, PLAIN) as ours:
        assert ours.get("/", "Cookie: sid=alice").status == 200
        ours.authorizer.stop()
        started = time.monotonic()
        answer = ours.get("/", "Cookie: sid=alice")
        assert (answer.status, answer["retry-after"]) == (503, "1")
        assert time.monotonic() - started < 1.5
        assert ours.get("/health").status == 200
        ours.authorizer.start()
        assert ours.get("/", "Cookie: sid=alice").status == 200
        started = time.monotonic()
        assert ours.get("/", "Cookie: sid=slow").status == 503
        assert 0.9 < time.monotonic() - started < 2
        ours.gateway.wait_until_idle()
        line = ours.gateway.wait_for_line("[handler:auth] no credential can be judged")
        assert "upstream authorizer" in line
        assert "Traceback" not in ours.gateway.errors


def test_an_answer_with_two_users_is_a_503_with_a_line(tmp_path):
    with running(tmp_path, PLAIN) as ours:
        for _ in range(2):
            answer = ours.get("/", "Cookie: sid=twice")
            assert (answer.status, answer["retry-after"]) == (503, "1")
        assert not ours.app.requests
        line = ours.gateway.wait_for_line("[handler:auth] no credential can be judged")
        assert "the answer of upstream authorizer has Remote-User several times" in line
        assert "root" not in line


@pytest.mark.parametrize("workers", [1, 2])
def test_kept_answers_end_with_their_time(tmp_path, workers):
    options = f"{PLAIN}\ncache = 2s\nsend = Cookie"
    more = f"[server]\nworkers = {workers}" if workers > 1 else ""
    with running(tmp_path, options, more) as ours:
        assert {ours.get("/", "Cookie: sid=alice").status for _ in range(20)} == {200}
        ours.authorizer.stop()
        if workers == 1:
            assert ours.get("/", "Cookie: sid=alice").status == 200
            assert ours.get("/other", "Cookie: sid=alice").status == 503
            assert ours.get("/", "Cookie: sid=root").status == 503
        eventually(lambda: ours.get("/", "Cookie: sid=alice").status == 503, "the end of the kept answer")


def test_a_websocket_of_a_browser_passes_with_its_cookie(tmp_path):
    def echo(connection):
        for message in connection:
            connection.send(f"{connection.request.headers['Remote-User']}: {message}")

    server = serve(echo, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with Authorizer() as authorizer:
            app = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
            text = INI.format(options=PLAIN, more="", app=app, authorizer=authorizer.port)
            with RunningGateway(text, tmp_path) as gateway:
                url = f"ws://127.0.0.1:{gateway.port}/ws"
                with connect(url, additional_headers={"Cookie": "sid=alice"}) as client:
                    client.send("hello")
                    assert client.recv(10) == "alice: hello"
                with pytest.raises(Exception, match="401"), connect(url):
                    pass
    finally:
        server.shutdown()
        thread.join()
