"""Warnings about options of identity handlers that accept more than they seem to."""

from types import SimpleNamespace

import pytest

from gproxy.config.identity_advice import own_warnings, weak_options
from gproxy.config.ini.parser import RawSection


def handler(name, **attributes):
    return SimpleNamespace(handler=SimpleNamespace(**attributes), section=RawSection("handler", name, "a.ini", 1))


def warned(*handlers, **attributes):
    one = handler("one", **({"identity_headers": frozenset()} | attributes))
    return [problem.option for problem in weak_options(dict(enumerate((one, *handlers))))]


COOKIE = SimpleNamespace(is_ambient=True)
TENANTS = SimpleNamespace(places=("tid",))
ONE = SimpleNamespace(places=())


@pytest.mark.parametrize(
    ("options", "warnings"),
    [
        ({"audience": ("*",)}, ["audience"]),
        ({"audience": ("api",)}, []),
        ({"cross_site": "allow", "sources": (COOKIE,)}, ["cross_site"]),
        ({"cross_site": "refuse", "sources": (COOKIE,)}, []),
        ({"on_failure": "open"}, ["on_failure"]),
        ({"on_failure": "closed"}, []),
        ({"jwks": "file:etc/ci.jwks", "issuer": ()}, ["jwks"]),
        ({"jwks": "file:etc/ci.jwks", "issuer": (ONE,)}, []),
        ({"jwks": None, "issuer": ()}, []),
        ({"issuer": (ONE, TENANTS)}, ["issuer"]),
        ({"issuer": (TENANTS,), "claims": {"tid": "x"}}, []),
        ({"issuer": (TENANTS,), "claims": {"org": "x"}}, ["issuer"]),
        ({"issuer": "https://id.example"}, []),
        ({"issuer": None, "audience": (), "sources": (), "claims": {}}, []),
    ],
)
def test_weak_options(options, warnings):
    assert warned(**options) == warnings


def test_a_rule_on_the_claim_of_a_tenant_suffices():
    assert warned(handler("allow", rule_claims=frozenset({"tid"})), issuer=(TENANTS,)) == []
    assert warned(handler("allow", rule_claims=frozenset({"org"})), issuer=(TENANTS,)) == ["issuer"]


def test_other_handlers_have_options_of_the_same_names():
    assert list(weak_options({"mine": handler("mine", audience="*", on_failure="open")})) == []


def test_what_a_handler_has_found_itself_is_reported_at_its_option():
    keys = handler("keys", identity_headers=(), warnings=[("keys", "etc/keys.ini:7: the key of [acme] has expired")])
    (problem,) = own_warnings([handler("other", warnings=7), keys])
    assert str(problem) == "a.ini:1: [handler:keys] keys: etc/keys.ini:7: the key of [acme] has expired"
