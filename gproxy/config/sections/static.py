"""The options of a route that serves files."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Literal, Self

from gproxy.config.ini.build import doc
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types.units import Seconds, parse_seconds, write_seconds

_EVERY: Final = "*"
_RULE: Final = re.compile(r"(?:(\S+?)\s*:\s*)?([^\s:]+)(\s+immutable)?")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CacheRule(Record):
    """The time for which caches may keep the files that match a pattern; `*` in it stands for any characters."""

    noun: ClassVar[str] = "TIME, or PATTERN: TIME [immutable]"
    example: ClassVar[str] = "/assets/*: 365d immutable"

    pattern: str
    max_age: Seconds
    is_immutable: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule. Raise ValueError for another form; a time alone is for all files."""
        match = _RULE.fullmatch(text)
        if not match:
            raise ValueError
        return cls(match[1] or _EVERY, parse_seconds(match[2]), match[3] is not None)

    def matches(self, path: str) -> bool:
        """Return whether the rule is for the file with this path below `root`, which begins with a slash."""
        pattern = self.pattern if self.pattern.startswith(("/", "*")) else f"/{self.pattern}"
        return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), path, re.DOTALL) is not None

    def __str__(self) -> str:
        about = "" if self.pattern == _EVERY else f"{self.pattern}: "
        return f"{about}{write_seconds(self.max_age)}{' immutable' if self.is_immutable else ''}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StaticOptions(Record):
    """The files of a route."""

    root: Path | None = field(default=None, metadata=doc("folder of the files to serve, in place of an upstream"))
    index: str = field(default="index.html", metadata=doc("file that is served for a folder"))
    fallback: str | None = field(
        default=None,
        metadata=doc("file below root for unknown paths without a dot, for single-page apps; none: they get a 404"),
    )
    precompressed: tuple[Literal["br", "zstd", "gzip"], ...] = field(
        default=("br", "zstd", "gzip"),
        metadata=doc("codings of the siblings .br, .zst and .gz that are served in a file's place, the best one first"),
    )
    cache: tuple[CacheRule, ...] = field(
        default=(CacheRule(_EVERY, Seconds(0)),),
        metadata=doc("max-age of the files in Cache-Control; of several rules the first that matches counts"),
    )
    hidden: bool = field(default=False, metadata=doc("whether names that begin with a dot are served"))

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.only_with(self, "root", "index", "fallback", "precompressed", "cache", "hidden"),
            rules.require(self.root is None or self.root.is_dir(), "root", f"{self.root} is not a folder"),
            rules.require(_is_name(self.index), "index", "expected the name of a file, such as index.html"),
            rules.require(
                self.fallback is None or all(map(_is_name, self.fallback.removeprefix("/").split("/"))),
                "fallback",
                "expected a file below root, such as index.html",
            ),
            rules.distinct(self, "precompressed"),
        )

    @property
    def folder(self) -> Path:
        """The folder of the files, if there is one; else the current one."""
        return self.root or Path()

    def cache_control(self, path: str) -> str:
        """Return the Cache-Control of the file with this path below `root`, which begins with a slash."""
        rule = next((one for one in self.cache if one.matches(path)), None)
        if rule is None:
            return "max-age=0"
        return f"max-age={int(rule.max_age)}{', immutable' if rule.is_immutable else ''}"


def _is_name(text: str) -> bool:
    """Return whether the text can be the name of a file in a folder."""
    return text not in ("", ".", "..") and not re.search(r"[/\\\0]", text)
