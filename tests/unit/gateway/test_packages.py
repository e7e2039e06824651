"""Handlers and policies of installed packages: found by name, by package and name, and only if nothing else has it."""

import importlib.metadata

import pytest

from gproxy.config import ConfigError
from gproxy.config.load import load as load_settings
from gproxy.gateway.build import load
from gproxy.gateway.packages import Offer, balancer_names, handler_names
from gproxy.upstream.balance import POLICIES

CODE = """
from dataclasses import dataclass

@dataclass
class Tenant:
    header: str = "X-Tenant"
    size: int = 1

    def __call__(self, request, next):
        return next(request)

def nearest(backends, request):
    return backends[0]
"""
INI = "[handler:{name}]\n{options}\n[route:all]\npath = /\nrespond = 204\nhandlers = {name}\n"
BALANCED = "[route:all]\nupstream = one\n[upstream:one]\nbackends = http://127.0.0.1:1\nbalance = {}\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package with these entry points."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/packaged_code.py").write_text(CODE)

    def run(name, version="1.0", handlers="", balancers="", folder="lib"):
        place = tmp_path / folder / f"{name.replace('-', '_')}-{version}.dist-info"
        place.mkdir(parents=True)
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (place / "entry_points.txt").write_text(
            f"[gproxy.handlers]\n{handlers}\n[gproxy.balancers]\n{balancers}\n[console_scripts]\nx = x:y\n"
        )

    return run


def loaded(tmp_path, text):
    (tmp_path / "g.ini").write_text(text)
    return load("g.ini")


def problems(tmp_path, text):
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text)
    return str(error.value)


TENANT = "tenant = packaged_code:Tenant"


@pytest.mark.parametrize("options", ["", "use = tenant", "use = acme-gproxy:tenant", "use = Acme.gproxy:tenant"])
def test_a_handler_of_a_package_by_its_name_with_its_options(install, tmp_path, options):
    install("acme-gproxy", handlers=TENANT)
    found = loaded(tmp_path, INI.format(name="tenant", options=f"{options}\nsize = 3")).handlers["tenant"]
    assert (type(found.handler).__name__, found.handler.size) == ("Tenant", 3)
    assert found.is_user_code


def test_a_handler_without_options_needs_no_section(install, tmp_path):
    install("acme-gproxy", handlers=TENANT)
    settings = loaded(tmp_path, "[route:all]\npath = /\nrespond = 204\nhandlers = tenant\n")
    assert settings.handlers["tenant"].handler.header == "X-Tenant"


def test_a_package_may_have_the_name_of_a_module(install, tmp_path):
    install("packaged_code", handlers=TENANT)
    found = loaded(tmp_path, INI.format(name="other", options="use = packaged_code:tenant"))
    assert found.handlers["other"].handler.size == 1


def test_a_package_beside_the_settings_is_found(install, tmp_path):
    install("acme-gproxy", handlers=TENANT, folder=".")
    assert loaded(tmp_path, INI.format(name="tenant", options="")).handlers["tenant"].handler.size == 1


def test_two_packages_with_one_name_are_an_error_that_names_both(install, tmp_path):
    install("acme-gproxy", handlers=TENANT)
    install("other-gproxy", "2.1", handlers=TENANT)
    assert problems(tmp_path, INI.format(name="tenant", options="size = 3")) == (
        "g.ini:1: [handler:tenant] use: the handler 'tenant' is offered by several packages: acme-gproxy 1.0 and "
        "other-gproxy 2.1; write use = acme-gproxy:tenant or use = other-gproxy:tenant"
    )
    assert loaded(tmp_path, INI.format(name="tenant", options="use = other-gproxy:tenant")).handlers["tenant"].handler


def test_a_built_in_name_cannot_be_taken(install, tmp_path):
    install("acme-gproxy", handlers="health = packaged_code:Tenant")
    found = loaded(tmp_path, INI.format(name="health", options="")).handlers["health"]
    assert type(found.handler).__module__ == "gproxy.handlers.health"
    assert not found.is_user_code


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (INI.format(name="tenant", options="sise = 3"), "g.ini:2: [handler:tenant] sise: unknown option; did you mean 'size'?"),
        (INI.format(name="tenant", options="size = x"), "g.ini:2: [handler:tenant] size: expected a whole number such as 3"),
        (INI.format(name="one", options="use = tennant"), "did you mean 'tenant'?"),
        ("[route:all]\npath = /\nrespond = 204\nhandlers = tennant\n", "unknown handler 'tennant'; did you mean 'tenant'?"),
        ("[route:all]\npath = /\nrespond = 204\nhandlers = acme-gproxy:tenant\n", "g.ini:4: [route:all] handlers: unknown handler"),
        (INI.format(name="broken", options=""), "g.ini:1: [handler:broken] use: cannot import nowhere_at_all"),
        (INI.format(name="vague", options=""), "g.ini:1: [handler:vague] use: "),
        (BALANCED.format("nearst"), "g.ini:5: [upstream:one] balance: unknown policy 'nearst'; did you mean 'nearest'?"),
        (BALANCED.format("least_con"), "did you mean 'least_conn'?"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_line(install, tmp_path, text, problem):
    install(
        "acme-gproxy",
        handlers=f"{TENANT}\nbroken = nowhere_at_all:X\nvague = packaged_code",
        balancers="nearest = packaged_code:nearest",
    )
    assert problem in problems(tmp_path, text)


def test_a_policy_of_a_package_by_its_name(install, tmp_path):
    install("acme-gproxy", balancers="nearest = packaged_code:nearest")
    upstream = loaded(tmp_path, BALANCED.format("nearest")).upstreams["one"]
    assert upstream.policy.origin.__name__ == "nearest"
    assert str(upstream.balance) == "packaged_code:nearest"
    assert loaded(tmp_path, BALANCED.format("acme-gproxy:nearest")).upstreams["one"].policy.origin


def test_two_packages_with_one_policy_are_an_error_that_names_both(install, tmp_path):
    install("acme-gproxy", balancers="nearest = packaged_code:nearest")
    install("other-gproxy", balancers="nearest = packaged_code:nearest")
    found = problems(tmp_path, BALANCED.format("nearest"))
    assert "write balance = acme-gproxy:nearest or balance = other-gproxy:nearest" in found
    assert found.startswith("g.ini:5: [upstream:one] balance: the balancing policy 'nearest' is offered by several")


def test_known_names_cause_no_scan(install, tmp_path, monkeypatch):
    def scan(**_):
        raise AssertionError("scanned")

    monkeypatch.setattr(importlib.metadata, "distributions", scan)
    text = f"{INI}[upstream:one]\nbackends = http://127.0.0.1:1\nbalance = {{balance}}\n"
    for balance in ("first", "sticky", "packaged_code:nearest"):
        given = text.format(name="mine", options="use = packaged_code:Tenant\nsize = 2", balance=balance)
        assert loaded(tmp_path, f"[gateway]\nhandlers = health\n{given}").handlers.keys() == {"mine", "health"}


def test_the_names_are_those_of_packages_and_the_built_in_ones(install):
    install("acme-gproxy", handlers=TENANT, balancers="nearest = packaged_code:nearest")
    names = handler_names()
    assert {"tenant", "jwt"} <= {*names}
    assert "acme-gproxy:tenant" in names
    assert 3 not in names
    assert len(names) == len({*names})
    assert names.find("tenant") == [Offer("tenant", "acme-gproxy", "1.0", "packaged_code:Tenant")]
    assert "nearest" in balancer_names()


def test_a_process_without_live_parts_takes_the_options_of_a_policy_as_they_are(install, tmp_path):
    install("acme-gproxy", balancers="nearest = packaged_code:nearest")
    for balance in ("nearest", "mine:Policy"):
        (tmp_path / "g.ini").write_text(f"{BALANCED.format(balance)}balance_zone = a\n")
        settings = load_settings("g.ini", builtins=handler_names(), policies=POLICIES, balancers=balancer_names())
        assert settings.upstreams["one"].policy is None


@pytest.mark.parametrize("point", ["bad = acme-code:Tenant", "bad = packaged_code", "bad"])
def test_a_malformed_entry_point_is_ignored_and_said(install, tmp_path, caplog, point):
    install("acme-gproxy", handlers=TENANT)
    install("bad-gproxy", handlers=point)
    assert "tenant" in loaded(tmp_path, INI.format(name="tenant", options="")).handlers
    assert any("bad" in one and "ignored" in one for one in caplog.messages)


def test_a_package_without_a_name_is_ignored_and_said(install, tmp_path, caplog):
    install("acme-gproxy", handlers=TENANT)
    install("nameless", handlers=TENANT)
    (tmp_path / "lib/nameless-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\n")
    assert "tenant" in loaded(tmp_path, INI.format(name="tenant", options="")).handlers
    assert any("nameless" in one and "ignored" in one for one in caplog.messages)
