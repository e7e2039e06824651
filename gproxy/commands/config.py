"""`gproxy config`: the settings in effect, as a settings file, each option with its place or `default`."""

import argparse
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gproxy.commands.check import built
from gproxy.config.checks import SINGLE
from gproxy.config.ini.build import option_hints, options
from gproxy.config.ini.convert import convert, is_secret, masked
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.ini.value_types import DICTS, container
from gproxy.config.sections.policy import PolicySettings, option_prefix
from gproxy.config.sections.settings import SECTIONS, HandlerSettings, Settings
from gproxy.http.header_names import is_likely_secret
from gproxy.upstream.balance import POLICIES, UserPolicy

_MASK: Final = "***"
_DEFAULT: Final = "default"
_WIDTH: Final = 44
#: Options of user code that are secrets by their name, if not by their type.
_SECRET_NAME: Final = re.compile(r"(?:.*_)?(?:secret|password|passwd|token|api_?key)")
#: The option of handlers and [tls:NAME] whose pairs are a claim, or the like, and the name of a header.
_HEADER_NAMES: Final = "forward"
#: The options of a section, each with its type and its default; None without one.
_Options = Mapping[str, tuple[object, str | None]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add no option: the command has none of its own."""


def run(options: argparse.Namespace) -> int:
    """Print the settings in effect. Raises ConfigError."""
    settings, _ = built(options.config)
    print(describe(settings), end="")
    return 0


def describe(settings: Settings) -> str:
    """Return the settings as one file, with all options that have a default and secrets as `***`."""
    return "\n\n".join("\n".join(_section(*one)) for one in _sections(settings)) + "\n"


def _sections(settings: Settings) -> Iterator[tuple[RawSection, _Options]]:
    for kind in SINGLE:
        yield settings.section(kind), _options(SECTIONS[f"[{kind}]"])
    for kind in ("route", "upstream", "tls"):
        for section in settings.sections:
            if section.kind == kind:
                policy = _policy_options(section, settings) if kind == "upstream" else {}
                yield section, {**_options(SECTIONS[f"[{kind}:NAME]"]), **policy}
    for handler in settings.handlers.values():
        yield handler.section, _handler_options(handler)


def _options(cls: type[Any], prefix: str = "") -> _Options:
    hints = option_hints(cls, prefix)
    documented = options(cls, prefix)
    return {name: (hints[name], one.default_text) for name, one in zip(hints, documented, strict=True)}


def _policy_options(section: RawSection, settings: Settings) -> _Options:
    policy = settings.upstreams[section.name].policy
    if isinstance(policy, UserPolicy):
        return _options(type(policy.origin), option_prefix(type(policy.origin)))
    built_in = PolicySettings.of(section, POLICIES).built_in
    return _options(built_in) if built_in else {}


def _handler_options(handler: HandlerSettings) -> _Options:
    return {"use": (str, handler.use), **_options(type(handler.handler))}


def _section(section: RawSection, known: _Options) -> Iterator[str]:
    place = f"{section.file}:{section.line}" if section.line else _DEFAULT
    yield _line(f"[{section.title}]", place)
    for name, (hint, default) in known.items():
        value = section.options.get(name)
        if value is not None:
            yield from _given(name, hint, value)
        elif default is not None:
            yield from _lines(name, default, _DEFAULT)
    for name, value in section.options.items():
        if name not in known:
            yield from _given(name, str, value)


def _given(name: str, hint: object, value: Value) -> Iterator[str]:
    place = f"{value.file}:{value.line}"
    if name == "include" and value.text:
        yield f"; the files of include ({place}) are part of this output"
    else:
        yield from _lines(name, _shown(name, hint, value.text), place)


def _shown(name: str, hint: object, text: str) -> str:
    """Return the text without secrets: those by type or name, passwords in URLs, values of headers and the like."""
    if text.lower() in {"", "none", "auto"} or text.startswith("file:"):
        return text  # no secret, or where it is
    if is_secret(hint) or (hint is str and _SECRET_NAME.fullmatch(name)):
        return _MASK
    if container(hint) in DICTS and name != _HEADER_NAMES:
        found: dict[str, object] = convert(hint, text, lambda _: None)
        if any(map(is_likely_secret, found)):
            return "\n".join(f"{key}: {_MASK if is_likely_secret(key) else one}" for key, one in found.items())
    return masked(text)


def _lines(name: str, text: str, place: str) -> Iterator[str]:
    first, *others = text.replace("$", "$$").split("\n")
    if not others:
        yield _line(f"{name} = {first}".rstrip(), place)
        return
    yield _line(f"{name} =", place)
    yield from (f"    {line}" for line in (first, *others))


def _line(text: str, place: str) -> str:
    return f"{text:{_WIDTH}} ; {place}"
