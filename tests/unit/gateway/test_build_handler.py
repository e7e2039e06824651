"""Live handlers with their options, and those of the chain."""

import pytest

from gproxy.config import ConfigError
from gproxy.config.sections.chain import ChainOptions
from gproxy.config.types import Rate, Seconds
from gproxy.gateway.build import load

OWN = """
from dataclasses import dataclass

def plain(request, next):
    return next(request)

@dataclass
class Moded:
    mode: str = "fast"
    limit: int = 1

    def __call__(self, request, next):
        return next(request)
"""
REST = """
[route:all]
path = /
respond = 204
handlers = one
"""


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Load a section of the handler `one`, and return it with its live handler and the warnings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "build_own.py").write_text(OWN)

    def run(options):
        (tmp_path / "g.ini").write_text(f"[handler:one]\n{options}\n{REST}")
        settings = load("g.ini")
        return settings.handlers["one"], list(map(str, settings.warnings))

    return run


def test_a_function_has_the_options_of_the_chain(loaded):
    options = "mode = report\non_error = skip\ntime_limit = 200ms\nerror_limit = 3/5s\nerror_pause = 1m"
    found, _ = loaded(f"use = build_own:plain\n{options}")
    expected = ChainOptions("report", "skip", Seconds(0.2), Rate(3, Seconds(5)), Seconds(60))
    assert found.chain == expected


def test_without_options_all_have_their_defaults(loaded):
    assert loaded("use = build_own:plain")[0].chain == ChainOptions()


def test_a_class_with_an_option_of_that_name_keeps_its_own(loaded):
    found, warnings = loaded("use = build_own:Moded\nmode = slow\nlimit = 2\ntime_limit = 1s")
    assert (found.handler.mode, found.handler.limit) == ("slow", 2)
    assert (found.chain.mode, found.chain.time_limit) == ("enforce", 1.0)
    (warning,) = warnings
    assert warning.startswith("g.ini:3: [handler:one] mode: is an option of build_own:Moded itself")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("use = build_own:plain\nmode = audit", "g.ini:3: [handler:one] mode: expected enforce, report or off"),
        ("use = build_own:plain\nlimit = 2", "is not a dataclass, so it has no options"),
        ("use = build_own:Moded\ntime_limitt = 2s", "g.ini:3: [handler:one] time_limitt: unknown option; did you mean"),
        ("use = build_own:plain\noffload = yes", "g.ini:3: [handler:one] offload: is reserved; expected no"),
    ],
)
def test_mistakes_have_their_lines(loaded, options, problem):
    with pytest.raises(ConfigError) as caught:
        loaded(options)
    assert problem in str(caught.value)
