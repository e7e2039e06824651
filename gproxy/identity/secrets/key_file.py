"""The file of API keys: an INI file in the format of the settings, with a section for each user."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import ClassVar, Final, Self

from gproxy.config.ini.build import build, option_names
from gproxy.config.ini.files import SourceFile, parse_files
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem
from gproxy.config.types import Network, Secret
from gproxy.identity.secrets.api_keys import APIKey, parse_hash, parse_moment

#: The most hashes of a key: while it is rotated, the old key and the new one are good.
MOST_HASHES: Final = 2
#: A claim whose name resembles that of an option so much is a mistyped option: its key would never expire.
_RESEMBLES: Final = 0.8


class KeyHash(Secret):
    """The hash of a key. A secret, because a wrong value may be the key itself, which no message may show."""

    noun: ClassVar[str] = "a hash"
    example: ClassVar[str] = "sha256:…"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the hash. Raises ValueError."""
        return cls(parse_hash(text))


class Moment(float):
    """A date or time, in epoch seconds."""

    noun: ClassVar[str] = "a date or time"
    example: ClassVar[str] = "2027-01-31 or 2027-01-31T12:00:00Z"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the moment. Raises ValueError."""
        try:
            return cls(parse_moment(text))
        except ValueError:
            raise ValueError from None


@dataclass(frozen=True)
class _Options:
    """The options of a key; each further one is a claim."""

    hash: tuple[KeyHash, ...] = field(metadata={"doc": "SHA-256 of the key; two while it is rotated"})
    expires: Moment | None = None
    disabled: bool = False
    networks: tuple[Network, ...] = ()
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.hash) <= MOST_HASHES:
            raise ValueError(f"hash: expected one, or two while the key is rotated; found {len(self.hash)}")


_FOREIGN: Final = "expected an INI file, with a section and a hash for each user; `gproxy key new USER` writes one"
_KNOWN: Final = tuple(option_names(_Options))
#: The keys of a file by their hash.
Keys = Mapping[str, APIKey]


def parse_keys(path: Path, data: bytes) -> Keys:
    """Return the keys of a file. Raises ValueError with a line for each problem, each with its place."""
    problems: list[Problem] = []
    sections = sections_of(path, data, problems)
    places: dict[str, str] = {}
    keys: dict[str, APIKey] = {}
    for section in sections:
        options = _options(section, problems)
        if options is None:
            continue
        key = _key(section, options)
        for text in map(KeyHash.reveal, options.hash):
            if text in places:
                problems.append(section.problem("hash", f"occurs twice; the first is at {places[text]}"))
            places[text] = f"line {section.options['hash'].line}"
            keys[text] = key
    raise_problems(problems)
    return keys


def sections_of(path: Path, data: bytes, problems: list[Problem]) -> list[RawSection]:
    """Return the sections of a file; add its problems."""
    return parse_files([SourceFile(str(path), data)], os.environ, problems, foreign=_FOREIGN) or []


def raise_problems(problems: list[Problem]) -> None:
    """Raise ValueError with a line for each problem, if there are any."""
    if problems:
        raise ValueError("\n".join(map(str, sorted(problems, key=lambda problem: problem.line))))


def _options(section: RawSection, problems: list[Problem]) -> _Options | None:
    if not section.title.isprintable():
        problems.append(section.problem("", "the name of a user is a text of printable characters"))
    problems.extend(
        section.problem(name, f"did you mean {meant!r}? A claim needs a name that resembles it less")
        for name in section.options
        if (meant := _meant(name))
    )
    given = {name: value for name, value in section.options.items() if name in _KNOWN}
    return build(_Options, given, section, problems, [])


@lru_cache(1024)
def _meant(name: str) -> str:
    """Return the option that a claim of this name resembles too much; "" if there is none."""
    if name in {*_KNOWN, "role", "scope"}:
        return ""
    likeness, meant = max((SequenceMatcher(None, option, name).ratio(), option) for option in _KNOWN)
    return meant if likeness >= _RESEMBLES else ""


def _key(section: RawSection, options: _Options) -> APIKey:
    further = {name: value.text for name, value in section.options.items() if name not in _KNOWN}
    return APIKey(
        section.title,
        inf if options.expires is None else float(options.expires),
        disabled=options.disabled,
        networks=options.networks,
        scopes=options.scopes,
        roles=options.roles,
        claims={name: text.split("\n") if "\n" in text else text for name, text in further.items()},
        place=f"{section.file}:{section.line}",
    )
