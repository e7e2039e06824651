"""What the admin listener never shows: secrets of the settings, tokens, queries, cookies and bodies of clients.

Nor does it mistake text of clients for anything but text.
"""

import json

import pytest
from admin_listener import Admin

from gproxy.monitor.api.operations import OPERATIONS
from gproxy.testing.backends import Backend
from gproxy.testing.gateway import eventually

#: In every secret, and in nothing else.
MARK = "marked7secret"
HANDLERS = """
from dataclasses import dataclass

from gproxy.config.types import Secret


@dataclass
class Signs:
    api_key: str
    salt: Secret | None = None

    def __call__(self, request, next):
        token = request.headers.get("authorization")
        return next(request)


def fails(request, next):
    password = request.query
    raise RuntimeError("the handler failed")
"""
SETTINGS = """
slow = 1ms
[trace]
timing_token = {mark}-timing-token-0123456789
[handler:signs]
use = own:Signs
api_key = {mark}
salt = {mark}-salt
[handler:fails]
use = own:fails
[handler:sets]
use = headers
request =
    X-Api-Key: {mark}
    Authorization: Bearer {mark}
[handler:jwt]
secret = {mark}-jwt-secret-0123456789-0123456789
[route:users]
path = /users
handlers = signs, sets
upstream = users
timeout = 60s
[route:keys]
path = /keys
handlers = jwt
upstream = users
[route:down]
path = /down
upstream = down
[route:fails]
path = /fails
handlers = fails
respond = 200
[upstream:users]
backends = http://127.0.0.1:{port}
[upstream:down]
backends = http://127.0.0.1:1
"""
REQUEST = """\
POST {path}?key={mark} HTTP/1.1
Host: gateway.test
Authorization: Bearer {mark}
Cookie: session={mark}
X-Api-Key: {mark}
X-Auth-Token: {mark}
Content-Length: 13

{mark}""".replace("\n", "\r\n")


def holding(peer, backend):
    """Answer nothing to paths with `held`, and others at once with a cookie."""
    while (request := peer.read_request()) is not None:
        if "held" in request.line:
            peer.sock.settimeout(60)
            peer.is_closed()
            return
        peer.send(f"HTTP/1.1 200 OK\r\nSet-Cookie: s={MARK}\r\nContent-Length: 13\r\n\r\n{MARK}")


#: Paths of requests: a slow one, failed ones, one that is rejected.
PATHS = ("/users/1", "/down", "/fails", "/keys", "/nothing")
#: Operations that end what others are to show, or that are shown to those who know a secret anyway, or that
#: test_process_record.py calls.
NOT_CALLED = {"cut", "log_in", "log_out", "record", "end_recording"}


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "own.py").write_text(HANDLERS)
    with Backend(holding) as backend:
        settings = SETTINGS.format(mark=MARK, port=backend.port)
        with (
            Admin(folder, settings, token=f"{MARK}-token-0123456789", log="") as admin,
            admin.gateway.connect() as held,
        ):
            held.send(REQUEST.format(path="/users/held", mark=MARK))
            for path in PATHS:
                admin.gateway.ask(REQUEST.format(path=path, mark=MARK))
            yield admin


def shown(admin, path):
    return json.loads(admin.ask_unix(f"GET {path}").body)


def test_no_answer_of_any_operation_has_a_secret(admin):
    eventually(lambda: len(shown(admin, "/v1/recent")["requests"]) >= 3, "failed and slow requests")
    eventually(lambda: shown(admin, "/v1/requests")["requests"], "the request that the backend holds")
    (held,) = shown(admin, "/v1/requests")["requests"]
    values = {"id": held["id"], "upstream": "users", "backend": "127.0.0.1:1", "weight": 1, "stack": "all"}
    values |= {"session": "none", "input": MARK, "job": "none"}
    for operation in [one for one in OPERATIONS if one.name not in NOT_CALLED]:
        own = {parameter.name: parameter for parameter in (*operation.query, *operation.body)}
        given = {name: value for name, value in values.items() if name in own or f"{{{name}}}" in operation.path}
        for view in own["view"].choices if "view" in own else [None]:
            answer = admin.call(operation, given | ({"view": view} if view else {}))
            assert MARK.encode() not in answer.body + answer.head, (operation.name, view)
            assert answer.status < 500, (operation.name, answer.body)


def test_what_is_shown_names_paths_without_queries(admin):
    paths = {entry["path"] for entry in shown(admin, "/v1/recent")["requests"]}
    assert {"/down", "/fails"} <= paths
    assert [entry["path"] for entry in shown(admin, "/v1/requests")["requests"]] == ["/users/held"]


def test_failed_requests_are_found_by_status_and_reason(admin):
    path = "/v1/recent?status=5xx&route=down"
    eventually(lambda: shown(admin, path)["requests"], "the failed request")
    found = shown(admin, path)["requests"]
    assert {(entry["status"], entry["reason"], entry["kind"]) for entry in found} == {
        (502, "connect_refused", "failed")
    }
    assert shown(admin, "/v1/recent?status=404")["requests"] == []


def test_the_settings_in_effect_have_places_and_no_secrets(admin):
    sections = {section["title"]: section for section in shown(admin, "/v1/config")["sections"]}
    options = {option["name"]: option for option in sections["handler:signs"]["options"]}
    assert (options["api_key"]["value"], options["salt"]["value"]) == ("***", "***")
    assert options["salt"]["place"].endswith(f"gproxy.ini:{line_of(admin, 'salt = ')}")
    defaults = {option["name"]: option["place"] for option in sections["admin"]["options"]}
    assert (defaults["history"], defaults["slow"]) == ("default", f"{admin.gateway.config}:{line_of(admin, 'slow = ')}")


def line_of(admin, text):
    lines = admin.gateway.config.read_text().splitlines()
    return 1 + next(number for number, line in enumerate(lines) if line.startswith(text))


def test_the_error_log_has_no_secret(admin):
    admin.gateway.wait_for_line("the handler failed")
    assert admin.ask(f"GET /v1/{MARK}-token-0123456789", token="x" * 32).status == 401
    admin.gateway.wait_for_line("admin: rejected GET /v1/*** by 127.0.0.1: 401")
    assert MARK not in admin.gateway.errors
