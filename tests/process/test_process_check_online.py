"""`gproxy check --online` asks issuers and endpoints, with a line for each and a status."""

import sys

import forked
import pytest

from gproxy.testing.gateway import free_port
from gproxy.testing.issuer import Issuer

INI = """\
[gateway]
handlers = who
[handler:who]
use = any_of
of = jwt, opaque
[handler:jwt]
issuer = {issuer.url}
audience = api
[handler:opaque]
use = introspect
endpoint = {issuer.introspection_url}
client_id = gateway
client_secret = ${{SECRET}}
audience = api
[route:users]
path = /users
upstream = users
[upstream:users]
backends = http://127.0.0.1:5001
[outgoing]
timeout = 2s
"""
SECRET = "the-secret-of-the-gateway-as-a-client"


@pytest.fixture
def issuer():
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
def check(tmp_path, issuer):
    (tmp_path / "gproxy.ini").write_text(INI.format(issuer=issuer))

    def run(*arguments, code=0):
        command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini", *arguments]
        environ = {"PATH": "/usr/bin:/bin", "SECRET": SECRET}
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environ)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert done.stderr == ""
        assert SECRET not in done.stdout
        assert [path.name for path in tmp_path.iterdir()] == ["gproxy.ini"]
        return done.stdout.splitlines()

    return run


def test_without_online_nobody_is_asked(check, issuer):
    assert check() == ["gproxy.ini: 1 route, 1 upstream, all fine"]
    assert not issuer.requests


def test_each_place_has_its_line(check, issuer):
    assert check("--online")[1:] == [
        f"metadata of {issuer.url}: ok: keys are at {issuer.keys_url}",
        f"keys of {issuer.url}: ok: {issuer.kid}",
        "introspection of [handler:opaque]: ok: a nonsense token is not active",
    ]


@pytest.mark.parametrize(
    ("failure", "endpoint", "line"),
    [
        ("status", "metadata", "metadata of {url}: FAILED: "),
        ("garbage", "keys", "keys of {url}: FAILED: "),
        ("redirect", "keys", "keys of {url}: FAILED: "),
        ("hang", "keys", "keys of {url}: FAILED: "),
        ("status", "introspection", "introspection of [handler:opaque]: FAILED: "),
    ],
)
def test_a_failure_is_named_and_the_other_places_are_asked_all_the_same(check, issuer, failure, endpoint, line):
    issuer.fail(failure, endpoint)
    lines = check("--online", code=1)[1:]
    assert [one for one in lines if "FAILED" in one] == [
        one for one in lines if one.startswith(line.format(url=issuer.url))
    ]
    assert sum("FAILED" in one for one in lines) == 1
    assert lines[-1].startswith("introspection")


def test_an_issuer_that_is_down_is_named(tmp_path, check, issuer):
    text = (tmp_path / "gproxy.ini").read_text().replace(issuer.url, f"http://127.0.0.1:{free_port()}")
    (tmp_path / "gproxy.ini").write_text(text)
    lines = check("--online", code=1)[1:]
    assert all("FAILED" in line for line in lines)
    assert len(lines) == 2
