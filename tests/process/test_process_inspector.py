"""The inspector of `gproxy dev`: requests through a running gateway, its API, the copies that it makes, and its view."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import jsonschema
import pytest
from admin_listener import READ_TOKEN, Admin
from playwright.sync_api import expect
from test_process_page import browser, findings, logged_in, press_tab_until  # noqa: F401 a fixture

from gproxy.monitor.api.operations import OPERATIONS
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import eventually

ROOT = Path(__file__).parents[2]
HANDLERS = """
from http import HTTPStatus


def tenant(request, next):
    request.headers["X-Tenant"] = request.host.partition(".")[0]
    request.headers["X-Trace"] = None
    if request.path == "/users/broken":
        raise ValueError("no <b>such</b> tenant")
    response = next(request)
    response.headers["X-Served-By"] = "tenant"
    if request.path == "/raw/accepted":
        response.status = HTTPStatus.ACCEPTED
    return response
"""
INI = """
[handler:tenant]
use = handlers:tenant
[handler:jwt]
algorithms = HS256
secret = auto
forward = sub: X-User-ID
[route:users]
path = /users
upstream = users
handlers = jwt, tenant
[route:files]
path = /files
upstream = files
[route:raw]
path = /raw
upstream = users
handlers = tenant
[upstream:users]
backends = http://127.0.0.1:{users}
[upstream:files]
backends = http://127.0.0.1:{files}
"""
MARKUP = "/raw/<img src=x onerror=document.title='broken'>"

pytestmark = pytest.mark.timeout(120)


class Dev(Admin):
    """A `gproxy dev` with its admin listener."""

    def __init__(self, folder, ini):
        super().__init__(folder, ini)
        command = self.gateway._command
        command.insert(command.index("gproxy") + 1, "dev")

    def inspected(self, path=""):
        """An answer of the inspector, from the unix socket."""
        answer = self.ask_unix(f"GET /v1/inspector{path}")
        assert answer.status == 200, answer.body
        return answer.body.decode() if "/copy" in path else json.loads(answer.body)

    def latest(self, target):
        """The newest request with this target in full, once the monitor has it."""
        found = []

        def is_there():
            found[:] = [one for one in self.inspected()["requests"] if one["target"] == target]
            return found

        eventually(is_there, f"{target} in the inspector")
        return self.inspected(f"/{found[0]['number']}")

    def act(self, line, **values):
        answer = self.ask_unix(line, "Content-Type: application/json", body=json.dumps(values))
        return answer.status, json.loads(answer.body)

    def token(self):
        """A token of alice, as `gproxy token` makes it."""
        command = [
            sys.executable,
            "-m",
            "gproxy",
            "token",
            "--config",
            "gproxy.ini",
            "--sub",
            "alice",
            "--role",
            "admin",
        ]
        done = subprocess.run(command, cwd=self.gateway.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dev")
    (folder / "handlers.py").write_text(HANDLERS)
    users = Backend(answering(body=b'{"id": 1, "name": "Ada"}', headers="Content-Type: application/json\r\n"))
    files = Backend(answering(body=b"x" * 100_000))
    with users, files, Dev(folder, INI.format(users=users.port, files=files.port)) as dev:
        dev.users = users
        yield dev


def run_pytest(folder):
    """pytest in a project of its own: its exit code and its output."""
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "gproxy.testing.plugin",
        "-p",
        "no:cacheprovider",
        str(folder),
    ]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(dev, tmp_path):
    """A project with the settings and the handlers, for copied tests."""
    for name in ("gproxy.ini", "handlers.py"):
        (tmp_path / name).write_text((dev.gateway.folder / name).read_text())
    return tmp_path


def test_a_copied_test_passes_as_it_is_and_fails_when_the_handler_is_broken(dev, project):
    token = dev.token()
    dev.gateway.get("/users/1?q=a%20b", f"Authorization: Bearer {token}", "X-Trace: 1", "X-User-ID: forged")
    copied = dev.inspected(f"/{dev.latest('/users/1?q=a%20b')['number']}/copy?as=pytest")
    assert token not in copied, "the kit makes a token of its own"
    (project / "test_copied.py").write_text(copied)
    code, output = run_pytest(project)
    assert (code, "1 passed" in output) == (0, True), output
    for right, wrong in (
        ('headers["X-Tenant"] = request.host', 'headers["X-Tenant"] = "no" + request.host'),
        ('headers["X-Trace"] = None', 'headers["X-Trace2"] = None'),
        ('headers["X-Served-By"] = "tenant"', 'headers["X-Served-By"] = "nobody"'),
        ("response = next(request)", "response = next(request)\n    response.status = 201"),
    ):
        (project / "handlers.py").write_text(HANDLERS.replace(right, wrong))
        code, output = run_pytest(project)
        assert (code, "1 failed" in output) == (1, True), output


@pytest.mark.parametrize(
    ("line", "fields", "status"),
    [
        ("GET /users/broken", ["Authorization"], 500),
        ("GET /users/2", [], 401),
        ("GET /other", [], 200),
        ("GET /raw/1", ["Cookie: a=b", "Accept-Encoding: gzip"], 200),
        ("POST /raw/form?a=1", ['X-Quote: it\'s "$HOME" `id` \\'], 200),
        ("GET /files/long", [], 200),
    ],
)
def test_copies_of_all_kinds_pass(dev, project, line, fields, status):
    method, _, target = line.partition(" ")
    given = [f"Authorization: Bearer {dev.token()}" if one == "Authorization" else one for one in fields]
    body = "name=it's&x=%00\n" if method == "POST" else ""
    head = "".join(f"{one}\r\n" for one in ["Host: gateway.test", *given, f"Content-Length: {len(body)}"])
    assert dev.gateway.ask(f"{line} HTTP/1.1\r\n{head}\r\n{body}").status == status
    found = dev.latest(target)
    (project / "test_copied.py").write_text(dev.inspected(f"/{found['number']}/copy?as=pytest"))
    code, output = run_pytest(project)
    assert (code, "1 passed" in output) == (0, True), output


def test_a_copied_command_sends_the_same_request(dev, tmp_path):
    body = 'it\'s "$HOME" `id` \\ \n@x'
    fields = 'Host: shop.example.com\r\nX-Quote: it\'s "$(id)" \\\r\nX-Empty:\r\nX-Twice: 1\r\nX-Twice: 2\r\n'
    dev.gateway.ask(f"PUT /raw/curl?a='b'&c=[1] HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n{body}")
    first = dev.latest("/raw/curl?a='b'&c=[1]")
    command = dev.inspected(f"/{first['number']}/copy?as=curl")
    done = subprocess.run(["sh", "-c", f"{command.rstrip()} -sS"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr, json.loads(done.stdout)["name"]) == (0, "", "Ada")
    eventually(lambda: dev.latest(first["target"])["number"] > first["number"], "the request of curl")
    second = dev.latest(first["target"])
    assert (second["request"]["line"], second["request"]["body"]) == (
        first["request"]["line"],
        first["request"]["body"],
    )
    assert sorted(second["request"]["headers"]) == sorted(first["request"]["headers"])


def test_each_step_has_what_it_changed_and_the_backend_what_it_got(dev):
    dev.gateway.get("/raw/steps", "X-Trace: 1", "X-Real-IP: 10.9.9.9")
    found = dev.latest("/raw/steps")
    steps = {one["name"]: one for one in found["steps"]}
    assert {"part": "header X-Tenant", "before": None, "after": "gateway"} in steps["tenant"]["down"]
    assert {"part": "header X-Trace", "before": "1", "after": None} in steps["tenant"]["down"]
    assert steps["tenant"]["up"] == [{"part": "header X-Served-By", "before": None, "after": "tenant"}]
    assert "header X-Forwarded-For" in [one["part"] for one in steps[""]["down"]]
    assert found["entry"] == [{"part": "header X-Real-IP", "before": "10.9.9.9", "after": None}]
    assert sum(found["account"].values()) == pytest.approx(found["duration"], rel=0.05)
    (attempt,) = found["attempts"]
    assert ["X-Tenant", "gateway"] in attempt["request"]["headers"]
    assert json.loads(attempt["response"]["body"]["text"]) == {"id": 1, "name": "Ada"}
    assert found["response"]["body"]["size"] == found["sent"]


def test_a_status_that_is_no_plain_number_stops_nothing(dev):
    assert dev.gateway.get("/raw/accepted").status == 202
    assert dev.latest("/raw/accepted")["steps"][0]["status"] == 202
    dev.gateway.get("/raw/next")
    assert dev.latest("/raw/next")["status"] == 200


def test_bodies_are_bounded(dev):
    body = "y" * 150_000
    dev.gateway.ask(f"POST /files/up HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    found = dev.latest("/files/up")
    for message, size in ((found["request"], 150_000), (found["response"], 100_000)):
        kept = message["body"]
        assert (kept["size"], kept["kept"], kept["is_whole"]) == (size, 65_536, False)
    for operation in ("GET /v1/inspector/{}/copy?as=curl", "GET /v1/inspector/{}/copy?as=pytest"):
        answer = dev.ask_unix(operation.format(found["number"]))
        assert (answer.status, "longer than what is kept" in answer.body.decode()) == (409, True)
    status, problem = dev.act(f"POST /v1/inspector/{found['number']}/send")
    assert (status, "longer than what is kept" in problem["detail"]) == (409, True)


def test_a_request_is_sent_again_and_with_changes(dev):
    body = '{"a": 1}'
    dev.gateway.ask(f"POST /raw/again HTTP/1.1\r\nHost: a.test\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    first = dev.latest("/raw/again")
    status, sent = dev.act(f"POST /v1/inspector/{first['number']}/send")
    assert (status, sent["status"]) == (200, 200)
    second = dev.inspected(f"/{sent['number']}")
    assert second["request"]["line"] == first["request"]["line"]
    assert second["request"]["body"] == first["request"]["body"]
    changes = {"method": "PUT", "target": "/raw/edited", "headers": "Host: b.test\nX-New: 1", "body": "new"}
    status, sent = dev.act(f"POST /v1/inspector/{first['number']}/send", **changes)
    third = dev.inspected(f"/{sent['number']}")
    assert (third["request"]["line"], third["request"]["body"]["text"]) == ("PUT /raw/edited HTTP/1.1", "new")
    assert ["X-New", "1"] in third["request"]["headers"]
    assert "request sent again: PUT /raw/edited by" in dev.gateway.errors
    status, problem = dev.act(f"POST /v1/inspector/{first['number']}/send", headers="A: b\nno colon")
    assert (status, "is no header" in problem["detail"]) == (400, True)
    status, problem = dev.act(f"POST /v1/inspector/{first['number']}/send", target="body")
    assert (status, "is no target" in problem["detail"]) == (400, True)


def test_requests_stay_over_a_reload(dev):
    dev.gateway.get("/raw/before")
    number = dev.latest("/raw/before")["number"]
    (dev.gateway.folder / "handlers.py").write_text(f"{HANDLERS}\n# saved\n")
    eventually(lambda: "reloaded: generation" in dev.gateway.errors, "a reload")
    dev.gateway.get("/raw/after")
    assert dev.latest("/raw/after")["generation"] > dev.inspected(f"/{number}")["generation"]


def test_the_operations_need_rights_and_answer_as_they_are_described(dev):
    dev.gateway.get("/raw/rights")
    number = dev.latest("/raw/rights")["number"]
    assert dev.ask("GET /v1/inspector", token="").status == 401
    assert dev.ask("GET /v1/inspector", token=READ_TOKEN).status == 200
    for line in (f"POST /v1/inspector/{number}/send", "DELETE /v1/inspector"):
        assert dev.ask(line, "Content-Type: application/json", token=READ_TOKEN, body="{}").status == 403
        assert dev.ask(line, "Content-Type: text/plain", body="{}").status == 415
        origin = dev.ask(line, "Content-Type: application/json", "Origin: http://evil.test", body="{}")
        assert origin.status == 403
    for path, why in (
        ("99999", "no request 99999 yet; the newest is "),
        ("x/copy", "no request x; it keeps the last 200"),
    ):
        answer = dev.ask(f"GET /v1/inspector/{path}")
        assert (answer.status, why in json.loads(answer.body)["detail"]) == (404, True), answer.body
    for path in ("/v1/inspector", f"/v1/inspector/{number}"):
        schema = described(dev, path)
        jsonschema.validate(json.loads(dev.ask(f"GET {path}").body), schema)


def described(dev, path):
    document = json.loads(dev.ask_unix("GET /openapi.json").body)
    key = "/v1/inspector" + ("/{number}" if path.count("/") > 2 else "")
    content = document["paths"][key]["get"]["responses"]["200"]["content"]
    return {**content["application/json"]["schema"], "components": document["components"]}


def test_another_gateway_has_none_of_it(tmp_path):
    with Admin(tmp_path, "") as admin:
        for line in ("GET /v1/inspector", "GET /v1/inspector/1", "GET /inspector.js", "GET /inspector.css"):
            assert admin.ask_unix(line).status == 404
        assert admin.ask_unix("GET /?view=inspector").status == 400
        assert b"nspector" not in admin.ask_unix("GET /").body
        assert b"nspector" not in admin.ask_unix("GET /openapi.json").body
    assert all("inspect" not in one.path for one in OPERATIONS)
    program = "import gproxy.server.worker, gproxy.monitor.monitor, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    own = [name for name in loaded if name.startswith("gproxy.")]
    assert [name for name in own if name.startswith("gproxy.dev") or "inspect" in name] == []


# The view.


@pytest.fixture(scope="module")
def session(dev, browser):  # noqa: F811
    return logged_in(browser, dev.port)


@pytest.fixture
def view(dev, browser, session):  # noqa: F811
    """The view in a page, whose mistakes fail the test."""
    problems = []
    with ExitStack() as stack:
        context = stack.enter_context(
            browser.new_context(storage_state=session, viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
        )
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda one: problems.append(one.text) if one.type == "error" else None)
        page.goto(f"http://127.0.0.1:{dev.port}/?view=inspector")
        expect(page.locator("#live")).to_have_text("live")
        expect(page.locator("th button").first).to_be_attached()
        yield page
        assert problems == []


def test_a_request_is_opened_beside_the_list_without_a_barrier(dev, view):
    dev.gateway.get("/users/broken", f"Authorization: Bearer {dev.token()}", "X-Trace: 1")
    view.locator("#t-inspected .unfold", has_text="/users/broken").first.click()
    panel = view.locator("#inspected")
    expect(panel).to_contain_text("ValueError: no <b>such</b> tenant")
    expect(panel.get_by_role("row", name="tenant")).to_contain_text("X-Tenant: gateway")
    expect(panel).to_contain_text("500 handler_error")
    assert findings(view) == []
    view.emulate_media(color_scheme="dark")
    for width in (768, 360):
        view.set_viewport_size({"width": width, "height": 740})
        assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert findings(view) == []
    panel.get_by_role("button", name="Close").click()
    expect(panel).to_be_hidden()
    assert findings(view) == []


def test_new_requests_come_in_while_one_is_open_and_names_are_text(dev, view):
    dev.gateway.get("/raw/first")
    view.locator("#t-inspected .unfold", has_text="/raw/first").first.click()
    expect(view.locator("#inspected h3")).to_have_text("GET /raw/first")
    dev.gateway.ask(f"GET {MARKUP.replace(' ', '%20')} HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
    first = view.locator("#t-inspected tbody tr").first
    expect(first).to_contain_text("<img")
    expect(view.locator("#inspected h3")).to_have_text("GET /raw/first")
    first.locator(".unfold").click()
    expect(view.locator("#inspected h3")).to_contain_text("<img")
    assert view.locator("#main img").count() == 0
    assert "broken" not in view.title()


def test_a_request_is_opened_copied_and_sent_again_by_keyboard_alone(dev, view):
    dev.gateway.get("/raw/older")
    dev.gateway.get("/raw/keyboard")
    expect(view.locator("#t-inspected tbody tr").first).to_contain_text("/raw/keyboard")
    press_tab_until(view, "document.activeElement.matches('#t-inspected .unfold')")
    view.keyboard.press("Enter")
    title = view.locator("#inspected h3")
    expect(title).to_have_text("GET /raw/keyboard")
    view.keyboard.press("ArrowDown")
    expect(title).to_have_text("GET /raw/older")
    view.keyboard.press("ArrowUp")
    expect(title).to_have_text("GET /raw/keyboard")
    press_tab_until(view, "document.activeElement.textContent === 'Copy as pytest test'")
    view.keyboard.press("Enter")
    expect(view.locator("#inspected .copied pre")).to_contain_text("def test_get_raw_keyboard(gproxy):")
    count = len(dev.inspected()["requests"])
    view.keyboard.press("Shift+Tab")
    view.keyboard.press("Shift+Tab")
    view.keyboard.press("Enter")
    dialog = view.get_by_role("dialog")
    expect(dialog).to_contain_text("Edit and send")
    view.get_by_label("Path and query").fill("/raw/by-keyboard")
    view.get_by_label("Path and query").press("Enter")
    expect(title).to_have_text("GET /raw/by-keyboard")
    expect(dialog).to_be_hidden()
    assert len(dev.inspected()["requests"]) == count + 1
    view.keyboard.press("Escape")


def test_the_list_is_complete_without_scripts(dev, browser, session):  # noqa: F811
    dev.gateway.get("/raw/plain")
    dev.latest("/raw/plain")
    with browser.new_context(storage_state=session, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{dev.port}/?view=inspector")
        expect(page.get_by_role("row", name="/raw/plain").first).to_be_visible()


def test_all_requests_are_forgotten_on_demand(dev):
    dev.gateway.get("/raw/gone")
    dev.latest("/raw/gone")
    status, answer = dev.act("DELETE /v1/inspector")
    assert (status, answer["forgotten"] > 0) == (200, True)
    assert dev.inspected()["requests"] == []
