"""What the documentation says holds: its code runs, its settings load, every option is in it."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gproxy.http.exchange import Exchange
from gproxy.observe.access_line import combined, json_line, ltsv

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(path):
    """Return the settings in the file, and their gateway."""
    from gproxy.gateway import build
    from gproxy.runtime import Runtime

    settings = build.load(path)
    return settings, build.build(settings, Runtime.of(settings))


def test_every_option_is_documented_as_it_is():
    assert (ROOT / "docs/config.md").read_text() == load(ROOT / "docs/generate.py").page(), "run docs/generate.py"


def test_every_metric_is_documented_as_it_is():
    assert (ROOT / "docs/metrics.md").read_text() == load(ROOT / "docs/generate.py").metrics_page(), (
        "run docs/generate.py"
    )


def test_every_operation_of_the_admin_api_is_documented_as_it_is():
    assert (ROOT / "docs/admin.md").read_text() == load(ROOT / "docs/generate.py").admin_page(), "run docs/generate.py"


def test_the_folder_table_is_that_of_the_house_tests():
    page = (ROOT / "docs/changing.md").read_text()
    generate = load(ROOT / "docs/generate.py")
    assert page.count(generate.BEGIN) == page.count(generate.END) == 1
    assert page == generate.changing_page(), "run docs/generate.py"
    assert "| `state/` |" in page


def test_every_field_of_the_access_line_is_documented():
    exchange = Exchange(0.0, "10.0.0.1", "GET", "/path", "HTTP/1.1")
    numbers = {"status": 207, "duration": 0.25, "bytes_sent": 1432, "bytes_received": 655, "tries": 888}
    texts = ("id", "route", "upstream", "backend", "reason", "host", "referer", "user_agent", "user", "auth")
    for name, value in (numbers | {name: f"a-{name}" for name in texts}).items():
        setattr(exchange, name, value)
    fields = json.loads(json_line(exchange))
    page = (ROOT / "docs/logs.md").read_text().partition("## The access line\n")[2]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (yes )?\|$", page, re.M)
    assert [name for name, _ in rows] == [*fields] == [part.partition(":")[0] for part in ltsv(exchange).split("\t")]
    line = combined(exchange)
    assert {name for name, yes in rows if yes} == {name for name in fields if str(fields[name]) in line} | {"time"}
    named = re.search(r"`json`, where (.*?) are numbers", page, re.S)[1]
    assert re.findall(r"`(\w+)`", named) == [name for name, value in fields.items() if not isinstance(value, str)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_the_docs_exist(page):
    if page.parent.name == "why":
        return
    for name in re.findall(
        r"`((?:server|gateway|handlers|upstream|http|runtime|config|observe|state)/[a-z_]+\.py)`", page.read_text()
    ):
        assert (ROOT / "gproxy" / name).exists(), name


def test_the_tests_in_handlers_md_run_as_printed(tmp_path):
    """Each block that begins with a file's name is that file; the others are the handlers."""
    handlers = ""
    for block in blocks(ROOT / "docs/handlers.md", "python"):
        if name := re.match(r"# (test_[a-z]+\.py)\n", block):
            (tmp_path / name[1]).write_text(block)
        else:
            handlers += block
    (tmp_path / "handlers.py").write_text(handlers)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_handlers.py", "test_gateway.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_the_project_in_testing_md_runs_as_printed(tmp_path):
    """Each block begins with the name of its file."""
    files = [block for language in ("ini", "python") for block in blocks(ROOT / "docs/testing.md", language)]
    for block in files:
        (tmp_path / re.match(r"# ([a-z_]+\.(?:py|ini))\n", block)[1]).write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "gproxy.testing.plugin"]
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environ)
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout


DEV_INI = """
[route:users]
path = /users
upstream = users
handlers = jwt, tenant
[upstream:users]
backends = http://10.0.0.1:81
[handler:jwt]
algorithms = HS256
secret = auto
forward = sub: X-User-ID
[handler:tenant]
use = handlers:tenant
"""


def test_the_copied_test_in_dev_md_runs_as_printed(tmp_path):
    (block,) = [one for one in blocks(ROOT / "docs/dev.md", "python") if "def test_" in one]
    (tmp_path / "test_copied.py").write_text(block)
    (tmp_path / "gproxy.ini").write_text(DEV_INI)
    (handlers,) = (one for one in blocks(ROOT / "docs/testing.md", "python") if one.startswith("# handlers.py"))
    (tmp_path / "handlers.py").write_text(handlers)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "gproxy.testing.plugin"]
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environ)
    assert "1 passed" in done.stdout, done.stdout


def test_the_project_in_jobs_md_runs_as_printed(tmp_path):
    """Each block begins with the name of its file."""
    page = ROOT / "docs/jobs.md"
    for block in (block for language in ("ini", "python") for block in blocks(page, language)):
        (tmp_path / re.match(r"# ([a-z_]+\.(?:py|ini))\n", block)[1]).write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "gproxy.testing.plugin"]
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environ)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


PAGES = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("handlers", "chain-options", "routing", "headers", "balancing", "health", "retries")
    ),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_settings_in_the_docs_load(page, tmp_path):
    own = (ROOT / "etc/handlers.py").read_text()
    if page.name in ("handlers.md", "chain-options.md"):
        own = "\n".join(block for block in blocks(page, "python") if not block.startswith("# test_"))
    (tmp_path / "handlers.py").write_text(own)
    for block in blocks(page, "python"):
        if name := re.match(r"# (policies\.py)\n", block):
            (tmp_path / name[1]).write_text(block)
    sys.modules.pop("handlers", None)
    for number, block in enumerate(block for block in blocks(page, "ini") if "[route" in block):
        file = tmp_path / f"{number}.ini"
        file.write_text(block)
        built(file)
    sys.modules.pop("handlers", None)


def test_the_settings_in_static_md_load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "www").mkdir()
    for block in blocks(ROOT / "docs/static.md", "ini"):
        (tmp_path / "gproxy.ini").write_text(block)
        built("gproxy.ini")


def test_the_settings_for_tls_load(tmp_path, monkeypatch):
    from gproxy.testing.authority import Authority

    monkeypatch.chdir(tmp_path)
    (tmp_path / "tls").mkdir()
    staff = Authority(tmp_path / "tls", "staff-ca")
    staff.path.rename("tls/staff-ca.crt")
    for name in ("shop", "admin"):
        staff.issue(f"{name}.example.com", file=name)
    first, *others = blocks(ROOT / "docs/tls.md", "ini")
    assert len(others) == 2
    (tmp_path / "1.ini").write_text(first)
    for number, block in enumerate(others, 2):
        (tmp_path / f"{number}.ini").write_text(
            first[: first.index("[tls:shop]")] * ("[server]" not in block) + block + first[first.index("[tls:shop]") :]
        )
    for number in (1, 2, 3):
        settings, _ = built(tmp_path / f"{number}.ini")
        assert settings.warnings == ()


def test_the_settings_in_backends_md_load(tmp_path, monkeypatch):
    from gproxy.testing.authority import Authority

    Authority(tmp_path, "ca").issue("gateway")
    monkeypatch.chdir(tmp_path)
    for block in blocks(ROOT / "docs/backends.md", "ini"):
        (tmp_path / "gproxy.ini").write_text(block)
        settings, _ = built("gproxy.ini")
        assert settings.warnings == ()


def test_the_shipped_settings_are_those_of_the_readme(monkeypatch):
    monkeypatch.chdir(ROOT)
    settings, gateway = built("etc/gproxy.ini")
    assert [route.name for route in gateway.router.routes] == ["users", "orders"]
    assert settings.warnings == ()
    assert os.access("scripts/demo", os.X_OK)
