"""Handlers of installed packages, and new projects: a wheel is installed, then commands and a gateway use it by name."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import forked
import pytest

from gproxy.testing.backends import Actor
from gproxy.testing.gateway import RunningGateway, eventually

ROOT = Path(__file__).resolve().parents[2]
CODE = '''
from dataclasses import dataclass, field

@dataclass
class Tenant:
    """Tenants by host: names the tenant to the backend."""

    domain: str = field(metadata={"doc": "domain of the tenants"})
    header: str = field(default="X-Tenant", metadata={"doc": "header with the tenant"})

    def __call__(self, request, next):
        request.headers[self.header] = request.host.partition(".")[0]
        return next(request)

def nearest(backends, request):
    """The first backend."""
    return backends[0]
'''
POINTS = "[gproxy.handlers]\ntenant = {0}:Tenant\n[gproxy.balancers]\nnearest = {0}:nearest\n"
SETTINGS = """
[admin]
bind = unix:{tmp}/admin.sock
[log]
access = off
[handler:tenant]
domain = example.com
[route:all]
path = /
upstream = app
handlers = tenant
[upstream:app]
backends = http://127.0.0.1:BACKEND
balance = nearest
"""


def wheel(folder, package, version="1.0"):
    """Build a wheel with a handler and a policy, and return its path."""
    module = package.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": CODE,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": POINTS.format(module),
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def install(folder, *wheels):
    """Install the wheels with pip, and return the environment of a process that finds them."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", folder / "lib"]
    subprocess.run([*pip, *wheels], check=True, capture_output=True, timeout=50)
    places = [str(folder / "lib"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, places))}


def gproxy(*arguments, folder, **environ):
    return forked.run(
        [sys.executable, "-m", "gproxy", *arguments],
        cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_handler_and_a_policy_of_a_wheel_serve_by_name(tmp_path):
    environ = install(tmp_path, wheel(tmp_path, "acme-gproxy"))
    with Actor() as backend:
        settings = SETTINGS.replace("BACKEND", str(backend.port))
        with RunningGateway(settings, tmp_path, environ=environ) as gateway:
            assert gateway.get("/").status == 200  # with Host: gateway.test
            assert backend.requests[0]["X-Tenant"] == "gateway"
            # The monitor reads the settings too, without the code of packages.
            eventually((tmp_path / "admin.sock").exists, "the admin listener")
            live = gproxy("routes", "--live", "--config", str(gateway.config), folder=tmp_path, **environ)
            assert "tenant" in live.stdout, live.stderr


def test_a_handler_of_a_wheel_is_listed_and_documented(tmp_path):
    environ = install(tmp_path, wheel(tmp_path, "acme-gproxy"))
    listed = gproxy("handlers", folder=tmp_path, **environ).stdout
    assert "\ntenant             acme-gproxy 1.0  Tenants by host: names the tenant to the backend.\n" in listed
    assert "\nbalance = nearest  acme-gproxy 1.0  The first backend.\n" in listed
    assert "\nrate_limit " in listed
    assert gproxy("handlers", "tenant", folder=tmp_path, **environ).stdout == (
        "tenant, of acme-gproxy 1.0 (acme_gproxy:Tenant)\n\n"
        "Tenants by host: names the tenant to the backend.\n\n"
        "options:\n"
        "  domain  text; required\n"
        "      domain of the tenants\n"
        "  header  text; default: X-Tenant\n"
        "      header with the tenant\n"
        "Every handler has those of the chain too: mode, on_error, time_limit, error_limit, error_pause.\n\n"
        "example:\n"
        "  [handler:tenant]\n"
        "  domain = …                 ; text\n"
        "  ; header = X-Tenant\n"
    )
    unknown = gproxy("handlers", "tennant", folder=tmp_path, **environ)
    assert (unknown.returncode, unknown.stderr) == (1, "unknown handler 'tennant'; did you mean 'tenant'?\n")


def test_wrong_options_have_their_line_and_two_packages_clash_clearly(tmp_path):
    first, second = wheel(tmp_path, "acme-gproxy"), wheel(tmp_path, "other-gproxy", "2.1")
    route = "[route:all]\npath = /\nrespond = 204\nhandlers = tenant\n[handler:tenant]\n"
    (tmp_path / "gproxy.ini").write_text(f"{route}domian = example.com\n")
    environ = install(tmp_path, first)
    wrong = gproxy("check", "--config", "gproxy.ini", folder=tmp_path, **environ)
    assert wrong.returncode == 2
    assert "gproxy.ini:6: [handler:tenant] domian: unknown option; did you mean 'domain'?\n" in wrong.stderr

    environ = install(tmp_path, second)
    clash = gproxy("check", "--config", "gproxy.ini", folder=tmp_path, **environ)
    assert clash.stderr == (
        "gproxy.ini:5: [handler:tenant] use: the handler 'tenant' is offered by several packages: acme-gproxy 1.0 and "
        "other-gproxy 2.1; write use = acme-gproxy:tenant or use = other-gproxy:tenant\n"
    )
    (tmp_path / "gproxy.ini").write_text(f"{route}use = other-gproxy:tenant\ndomain = example.com\n")
    assert gproxy("check", "--config", "gproxy.ini", folder=tmp_path, **environ).returncode == 0


@pytest.mark.parametrize("options", [[], ["--package"]], ids=["project", "package"])
def test_a_new_project_passes_its_tests_and_the_check_at_once(tmp_path, options):
    made = gproxy("new", "shop", *options, folder=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    environ = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    plugin = ["-p", "gproxy.testing.plugin", "-p", "no:cacheprovider"]
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin],
        cwd=tmp_path / "shop", env={**os.environ, **environ, "PYTEST_ADDOPTS": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout
    assert "5 passed" in tests.stdout
    checked = gproxy("check", "--config", "gproxy.ini", folder=tmp_path / "shop", **environ)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_a_new_project_touches_no_existing_file(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/README.md").write_text("mine")
    made = gproxy("new", "shop", folder=tmp_path)
    assert (made.returncode, made.stdout) == (1, "")
    assert made.stderr == "shop has README.md already; nothing was written\n"
    assert [path.name for path in (tmp_path / "shop").iterdir()] == ["README.md"]
    assert (tmp_path / "shop/README.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["gevent", "urllib3"])
def test_a_new_package_hides_no_installed_module(tmp_path, name):
    made = gproxy("new", name, "--package", folder=tmp_path, PYTHONPATH=str(ROOT))
    assert (made.returncode, made.stdout) == (2, "")
    assert f"{name!r} is the name of an installed module; choose another DIR" in made.stderr
    assert not (tmp_path / name).exists()
    assert gproxy("new", name, folder=tmp_path, PYTHONPATH=str(ROOT)).returncode == 0
