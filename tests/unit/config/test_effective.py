"""The printed settings: every option with its place, no secret, and a file that has the same effect."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gproxy.config.effective import describe
from gproxy.config.ini.build import option_values
from gproxy.gateway.build import load

ROOT = Path(__file__).parents[3]
CASES = ROOT / "tests" / "config" / "cases"
RECIPES = re.findall(r"^```ini\n(.*?)^```", (ROOT / "docs" / "recipes.md").read_text(), re.M | re.S)
SECRET = "hunter2-hunter2-hunter2-hunter2-"
OWN = """
from dataclasses import dataclass

from gproxy.config.types import Secret

@dataclass
class Sign:
    api_key: str
    salt: Secret | None = None
    text: str = "a;b $x"

    def __call__(self, request, next):
        return next(request)

def plain(request, next):
    return next(request)

@dataclass
class Pick:
    salt: Secret
    least: int = 2

    def __call__(self, backends, request):
        return backends[0]
"""


@pytest.fixture
def printed(tmp_path, monkeypatch):
    """Load a text or a file, and return what is printed and the settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "config_own.py").write_text(OWN)

    def run(text):
        Path("g.ini").write_text(text)
        settings = load("g.ini")
        return describe(settings), settings

    return run


def effect(settings):
    """Return all settings, without their places."""
    plain = replace(settings.gateway, include=())
    return (
        replace(settings, path=None, sections=(), warnings=(), handlers={}, gateway=plain),
        {name: (one.use, option_values(one.handler)) for name, one in settings.handlers.items()},
        sorted(re.sub(r"line [0-9]+", "line N", warning.message) for warning in settings.warnings),
    )


def whole_files():
    yield (ROOT / "etc/gproxy.ini").read_text()
    yield from (text for text in RECIPES if "[route" in text)
    for path in sorted(CASES.glob("*.ini")):
        if "loads" in path.with_suffix(".expected").read_text():
            yield path.read_text("utf-8-sig")


#: Matches settings that need other files or the environment, or have a secret, so that the output lacks a part.
NEEDS_MORE = re.compile(
    r"\$\{|^(?:certificate|key|include|[45]\w\w) =|^(?:use|balance) = [\w.]+:"
    r"|^(?:sticky_)?secret = (?!auto)|^health_headers = Authorization",
    re.M,
)


@pytest.mark.parametrize("text", [text for text in whole_files() if not NEEDS_MORE.search(text)])
def test_the_output_has_the_same_effect(printed, text):
    output, settings = printed(text)
    again, same = printed(output)
    assert effect(same) == effect(settings)
    assert {line.partition(" ; ")[0].rstrip() for line in again.splitlines()} == {
        line.partition(" ; ")[0].rstrip() for line in output.splitlines()
    }


SECRETS = f"""
[gateway]
handlers = jwt, sign, headers, auto, file, function
[handler:jwt]
secret = {SECRET}
forward = session: X-Session, sub: X-User
[handler:auto]
use = jwt
secret = auto
[handler:file]
use = jwt
secret = file:secret.txt
[handler:sign]
use = config_own:Sign
api_key = {SECRET}
salt = {SECRET}
[handler:function]
use = config_own:plain
[handler:headers]
request = Authorization: Basic {SECRET}, X-Price: 5 $$, X-API-Key: {SECRET}
[state]
redis = redis://user:{SECRET}@localhost:1/0
[route:a]
upstream = a
headers = X-Beta: yes, not X-Auth-Token: {SECRET}
cookies = session: {SECRET}
query = token: {SECRET}
[upstream:a]
backends = http://localhost:1
health_path = /
health_headers = X-API-Key: {SECRET}
balance = config_own:Pick
balance_salt = {SECRET}
[upstream:b]
backends = http://localhost:1
balance = sticky
sticky_secret = ${{NAME:-{SECRET}}}
"""


def test_no_secret_is_printed(printed, tmp_path):
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "secret.txt").chmod(0o600)
    output, _ = printed(SECRETS)
    assert "hunter2" not in output
    lines = [" ".join(line.split()) for line in output.splitlines()]
    for line in (
        "secret = *** ; g.ini:5",
        "secret = auto ; g.ini:9",
        "secret = file:secret.txt ; g.ini:12",
        "api_key = *** ; g.ini:15",
        "salt = *** ; g.ini:16",
        "text = a;b $$x ; default",
        "use = config_own:plain ; g.ini:18",
        "request = ; g.ini:20",
        "Authorization: ***",
        "X-Price: 5 $$",
        "X-API-Key: ***",
        "X-Beta: yes",
        "not X-Auth-Token: ***",
        "redis = *** ; g.ini:22",
        "forward = session: X-Session, sub: X-User ; g.ini:6",
        "balance_salt = *** ; g.ini:33",
        "balance_least = 2 ; default",
        "sticky_secret = *** ; g.ini:37",
    ):
        assert line in lines
    assert not re.search(r"(?m)^.*\bnone\b.*g\.ini", output)
