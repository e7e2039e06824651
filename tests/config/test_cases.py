"""Every cases/NAME.ini gives exactly the text in NAME.expected: its problems, or its warnings if it loads.

cases/identity is loaded with its handlers, as `gproxy check` does it.
cases/mistakes has the typical mistakes of a first file, one in each, also those of writers who know other proxies.

Paths in the texts are relative to cases/. After a wanted change of wording, look at the difference and then run
`GPROXY_WRITE_EXPECTED=1 pytest tests/config`.
"""

import os
from pathlib import Path

import pytest

from gproxy.config import ConfigError, load
from gproxy.gateway import build
from gproxy.upstream.balance import POLICIES

CASES = Path(__file__).parent / "cases"
BUILTINS = {"compress", "cors", "headers", "health", "jwt", "rate_limit"}


def outcome(path):
    try:
        if path.startswith("identity/"):
            settings = build.load(path)
        else:
            settings = load(path, builtins=BUILTINS, policies=POLICIES, environ={"SET": "value", "EMPTY": ""})
    except ConfigError as error:
        return f"{error}\n"
    return "".join(f"warning: {warning}\n" for warning in settings.warnings) + "loads\n"


def names(ending):
    return {str(path.relative_to(CASES).with_suffix("")) for path in CASES.rglob(f"*{ending}")}


@pytest.mark.parametrize("name", sorted(names(".ini")))
def test_case(name, monkeypatch):
    monkeypatch.chdir(CASES)
    expected = CASES / f"{name}.expected"
    found = outcome(f"{name}.ini")
    if "GPROXY_WRITE_EXPECTED" in os.environ:
        expected.write_text(found, "utf-8")
    assert found == expected.read_text("utf-8")


def test_every_expected_text_has_its_file():
    assert names(".expected") == names(".ini")
