"""The settings in effect: each option of each section with its value and its place, without secrets.

`gproxy config` prints them as a settings file, and the admin API returns them as JSON.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Final

from gproxy.config.checks import SINGLE
from gproxy.config.ini.build import option_hints, options
from gproxy.config.ini.convert import convert, is_secret, masked
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.ini.value_types import DICTS, container
from gproxy.config.record import Record
from gproxy.config.sections.chain import ChainOptions
from gproxy.config.sections.policy import option_prefix
from gproxy.config.sections.settings import SECTIONS, HandlerSettings, Settings
from gproxy.http.header_names import is_likely_secret

_MASK: Final = "***"
_DEFAULT: Final = "default"
_WIDTH: Final = 44
#: Options of user code that are secrets by their name, if not by their type.
_SECRET_NAME: Final = re.compile(r"(?:.*_)?(?:secret|password|passwd|token|api_?key)")
#: The option of handlers and [tls:NAME] whose pairs are a claim, or the like, and the name of a header.
_HEADER_NAMES: Final = "forward"
#: The options of a section, each with its type and its default; None without one.
_Options = Mapping[str, tuple[object, str | None]]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EffectiveOption(Record):
    """An option: its text without secrets, and its place, FILE:LINE or `default`."""

    name: str
    value: str
    place: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EffectiveSection(Record):
    """A section with its options; its place is `default` if the file does not have it."""

    title: str
    place: str
    options: tuple[EffectiveOption, ...]


def effective(settings: Settings) -> Iterator[EffectiveSection]:
    """Yield all sections, with all options that have a default and secrets as `***`."""
    for section, known in _sections(settings):
        place = f"{section.file}:{section.line}" if section.line else _DEFAULT
        yield EffectiveSection(section.title, place, tuple(_options_of(section, known)))


def describe(settings: Settings) -> str:
    """Return the settings as one file."""
    return "\n\n".join("\n".join(_written(section)) for section in effective(settings)) + "\n"


def digest(settings: Settings) -> str:
    """Return a digest of the settings: equal for files that mean the same, apart from their secrets."""
    options = [[section.title, *((one.name, one.value) for one in section.options)] for section in effective(settings)]
    return f"sha256:{hashlib.sha256(json.dumps(options).encode()).hexdigest()}"


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
    origin = getattr(policy, "origin", None)
    if origin is not None:  # the user's
        return _options(type(origin), option_prefix(type(origin)))
    return _options(type(policy)) if is_dataclass(policy) else {}


def _handler_options(handler: HandlerSettings) -> _Options:
    own = _options(type(handler.handler))
    chain = {name: one for name, one in _options(ChainOptions).items() if name != "offload"}  # reserved
    return {"use": (str, handler.use), **chain, **own}


def _options_of(section: RawSection, known: _Options) -> Iterator[EffectiveOption]:
    for name, (hint, default) in known.items():
        value = section.options.get(name)
        if value is not None:
            yield _given(name, hint, value)
        elif default is not None:
            yield EffectiveOption(name, default, _DEFAULT)
    for name, value in section.options.items():
        if name not in known:
            yield _given(name, str, value)


def _given(name: str, hint: object, value: Value) -> EffectiveOption:
    return EffectiveOption(name, _shown(name, hint, value.text), f"{value.file}:{value.line}")


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


def _written(section: EffectiveSection) -> Iterator[str]:
    yield _line(f"[{section.title}]", section.place)
    for one in section.options:
        if one.name == "include" and one.value:
            yield f"; the files of include ({one.place}) are part of this output"
        else:
            yield from _lines(one.name, one.value, one.place)


def _lines(name: str, text: str, place: str) -> Iterator[str]:
    first, *others = text.replace("$", "$$").split("\n")
    if not others:
        yield _line(f"{name} = {first}".rstrip(), place)
        return
    yield _line(f"{name} =", place)
    yield from (f"    {line}" for line in (first, *others))


def _line(text: str, place: str) -> str:
    return f"{text:{_WIDTH}} ; {place}"
