"""The page of operators in a browser: Chromium, on a desktop and on a phone, in the light and in the dark."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest
from admin_listener import TOKEN, Admin
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from gproxy.monitor.views.look import VIEWS
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import eventually

SHOP = """
[gateway]
handlers = health
[route:users]
path = /users
upstream = users
[route:held]
path = /held
upstream = held
[upstream:users]
backends = http://127.0.0.1:{users}, http://127.0.0.1:1
[upstream:held]
backends = http://127.0.0.1:{held}
"""
#: The names of the program, in Debian and elsewhere.
CHROMIUM = ("chromium-headless-shell", "chromium", "google-chrome")
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
)  # fmt: skip
#: What axe checks: WCAG 2.2, levels A and AA.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
MARKUP = "/held/<img src=x onerror=document.title='broken'>"

pytestmark = pytest.mark.timeout(120)


def holding(peer, backend):
    """Answer nothing until the gateway leaves."""
    peer.read_request()
    peer.is_closed()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A gateway with an admin listener, with a backend that answers, one that refuses, and one that holds requests."""
    with Backend(answering()) as users, Backend(holding) as held:
        ini = SHOP.format(users=users.port, held=held.port)
        with Admin(tmp_path_factory.mktemp("shop"), ini) as admin:
            for number in range(6):
                admin.gateway.get(f"/users/{number}")
            yield admin


def chromium():
    """The path of the program."""
    program = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    assert program, "there is no Chromium; scripts/install test installs it"
    return program


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(OPTIONS))
        yield browser
        browser.close()


def logged_in(browser, port):
    """The cookies of a session, from the login form."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        return context.storage_state()


@pytest.fixture(scope="module")
def session(shop, browser):
    return logged_in(browser, shop.port)


@pytest.fixture
def problems():
    """What went wrong in the browser: errors of scripts, and requests to other origins."""
    return []


@pytest.fixture
def opened(shop, browser, session, problems):
    """A function that opens the page, and closes it at the end of the test."""
    with ExitStack() as stack:

        def open_page(view="overview", width=1440, scheme="light", **options):
            size = {"width": width, "height": 900}
            context = stack.enter_context(
                browser.new_context(
                    storage_state=session, viewport=size, color_scheme=scheme, reduced_motion="reduce", **options
                )
            )
            page = context.new_page()
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda one: problems.append(one.text) if one.type == "error" else None)
            page.on("request", lambda one: problems.append(one.url) if is_foreign(one.url, shop) else None)
            page.goto(f"http://127.0.0.1:{shop.port}/?view={view}")
            if options.get("java_script_enabled", True):
                expect(page.locator("#live")).to_have_text("live")
                expect(page.locator("th button, .graph").first).to_be_attached()  # the script's own content
            return page

        yield open_page


def is_foreign(url, shop):
    return not url.startswith((f"http://127.0.0.1:{shop.port}/", "data:"))


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_no_barrier_and_fits_on_a_phone(opened, shop, problems, view):
    """axe finds nothing, in the light on a desktop and in the dark on a phone, where nothing scrolls sideways."""
    with shop.gateway.connect() as client:
        client.send("GET /held/by HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        page = opened(view)
        if view == "settings":
            page.get_by_label("Filter: Defaults").fill("idle")  # axe needs seconds for hundreds of rows
        assert findings(page) == []
        page.emulate_media(color_scheme="dark")
        for width in (768, 360):
            page.set_viewport_size({"width": width, "height": 740})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert findings(page) == []
    assert problems == []


def findings(page):
    found = Axe().run(page, options=RULES)["violations"]
    return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]


def test_the_first_answer_is_complete_without_scripts(opened, shop):
    page = opened("upstreams", java_script_enabled=False)
    expect(page.get_by_role("cell", name="http://127.0.0.1:1", exact=True)).to_be_visible()
    page.get_by_role("link", name="Routes").click()
    expect(page.get_by_role("row", name="held")).to_be_visible()
    curl = ["curl", "-s", "--compressed", "--unix-socket", shop.socket, "http://localhost/"]
    text = subprocess.run(curl, capture_output=True, text=True, check=True).stdout
    assert '<h2 id="heading">Overview</h2>' in text
    assert "<dt>Requests/s</dt>" in text


def test_names_of_strangers_are_text(opened, shop):
    with shop.gateway.connect() as client:
        client.send(f"GET {MARKUP.replace(' ', '%20')} HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        page = opened("requests")
        expect(page.get_by_text("<img", exact=False).first).to_be_visible()
        assert "broken" not in page.title()
        assert page.locator("#view img").count() == 0
        text = shop.ask_unix("GET /?view=requests").body.decode()
    assert "<img" not in text
    assert "&lt;img" in text


def test_a_request_is_cut_by_keyboard_alone(opened, shop, problems):
    with shop.gateway.connect() as client:
        client.send("GET /held/keyboard HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        page = opened("requests")
        row = page.locator("tr:not(.detail)", has_text="/held/keyboard")
        expect(row).to_be_visible()
        press_tab_until(page, "document.activeElement.matches('.unfold')")
        page.keyboard.press("Enter")
        expect(page.locator(".detail")).to_contain_text("keyboard")
        press_tab_until(page, "document.activeElement.textContent === 'Cut'")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text("Cut GET /held/keyboard?")
        press_tab_until(page, "document.activeElement.matches('dialog .main')")
        page.keyboard.press("Enter")
        assert client.read_response().status == 503
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(row).to_be_hidden()
    assert "cut" in shop.gateway.wait_for_line("/held/keyboard by page")
    assert problems == []


def press_tab_until(page, condition):
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(condition):
            return
    raise AssertionError(f"the keyboard does not reach it: {condition}")


def test_a_backend_is_drained_with_its_command_beside_the_button(opened, problems):
    page = opened("upstreams", width=360)
    row = page.get_by_role("row", name="http://127.0.0.1:1", exact=False).filter(has_text="users").last
    row.get_by_role("button", name="Down").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("gproxy backend users 127.0.0.1:1 down --config /")
    dialog.get_by_label("End the change after").fill("10m")
    expect(dialog).to_contain_text("gproxy backend users 127.0.0.1:1 down --for 10m --config /")
    expect(dialog).to_contain_text('{"state":"down","for":"10m"}')
    dialog.get_by_role("button", name="Down", exact=True).click()
    expect(row).to_contain_text("down by page")
    row.get_by_role("button", name="Reset").click()
    dialog.get_by_role("button", name="Reset", exact=True).click()
    expect(row).not_to_contain_text("down by page")
    assert problems == []


def test_the_commands_that_the_page_shows_work_as_they_are(opened, shop):
    """They are run in another folder; `gproxy` is that of this interpreter."""
    page = opened("requests")
    page.get_by_text("As a command").click()
    commands = page.locator("details.copy code").all_inner_texts()
    page = opened("processes")
    page.get_by_role("button", name="Reopen logs").click()
    commands += page.locator("dialog .command code").all_inner_texts()
    assert [one.split(" ")[0] for one in commands] == ["gproxy", "curl", "gproxy", "curl"]
    for one in commands:
        shell = (
            f'gproxy() {{ "{sys.executable}" -m gproxy "$@"; }}\n{one.replace("curl ", "curl --fail-with-body -sS ")}'
        )
        done = subprocess.run(
            ["sh", "-c", shell], cwd="/", env={**os.environ, "TOKEN": TOKEN}, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, ""), (one, done)
    text = shop.ask_unix("GET /").body.decode()
    assert f'data-socket="{shop.socket}"' in text, "where no token is needed, curl asks the socket"


def test_a_table_is_sorted_and_filtered(opened):
    page = opened("settings")
    table = page.get_by_role("table", name="Defaults")
    heading = table.get_by_role("columnheader", name="Option")
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    page.get_by_label("Filter: Defaults").fill("idle timeout")
    expect(table.locator("tbody tr:visible").first).to_contain_text("idle_timeout")
    assert table.locator("tbody tr:visible").count() < 5


def test_the_theme_is_chosen_and_kept(opened):
    page = opened()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme").click(click_count=2)
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(ground) != light
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(ground) != light


def test_the_page_stays_open_over_a_reload_and_comes_back_after_the_end_of_the_monitor(opened, shop):
    page = opened()
    shop.gateway.reload()
    expect(page.locator("#t-changes")).to_contain_text("generation 2 serves")
    expect(page.locator("#announce")).to_contain_text("reload")
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator(".plot .mark").first).to_be_attached()
    for pid in monitors(shop.gateway):
        subprocess.run(["kill", f"-{signal.SIGKILL.value}", str(pid)], check=True)
    expect(page.locator("#live")).to_contain_text("disconnected since")
    eventually(lambda: shop.gateway.errors.count("monitor: serves on") == 2, "another monitor")
    page.wait_for_url("**/login", timeout=15_000)  # the sessions end with the monitor that gave them


def monitors(gateway):
    found = subprocess.run(
        ["pgrep", "-P", str(gateway.process.pid), "-f", "gproxy.monitor.monitor"], capture_output=True, text=True
    )
    return list(map(int, found.stdout.split()))
