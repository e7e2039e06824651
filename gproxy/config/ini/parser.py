"""The parser: from the text of an INI file to raw sections, with file and line of every option.

configparser reads the same format, but does not keep the lines of options and stops at the first problem. This parser
reports all problems, each with its line.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gproxy.config import hints
from gproxy.config.problems import Problem
from gproxy.config.record import Record

_COMMENT = re.compile(r"^\s*[;#].*|\s;.*")
_HEADER = re.compile(r"\[\s*([^\]:]*?)\s*(?::\s*([^\]]*?)\s*)?\](?:\s*[#;].*)?")
_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")
_NEWLINE = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Value(Record):
    """The value of one option, with environment variables replaced; `line` is its first line."""

    text: str = field(repr=False)  # a secret must not appear in logs and tracebacks
    file: str
    line: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RawSection(Record):
    """A section `[kind:name]` (name is empty for `[kind]`) and its options by name, lower case with `_` for `-`.

    `broken` names the options whose text has a problem (a variable that is not set). They are not missing, and get
    no further problem.
    """

    kind: str
    name: str
    file: str
    line: int
    options: dict[str, Value] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    @property
    def title(self) -> str:
        """The text between the brackets."""
        return f"{self.kind}:{self.name}" if self.name else self.kind

    def problem(self, option: str, message: str, *, below: int = 0) -> Problem:
        """Return a problem at the option's line (plus `below`), or at the section's if the option is not given."""
        value = self.options.get(option)
        if value is None:
            return Problem(self.file, self.line, self.title, option, message)
        return Problem(value.file, value.line + (below if value.line else 0), self.title, option, message)


class SectionTable:
    """The sections of a file, with their texts and lines."""

    def __init__(self, sections: list[RawSection], file: str) -> None:
        self.all = sections
        self._file = file
        self._by_name = {(section.kind, section.name): section for section in sections}

    def __contains__(self, place: tuple[str, str]) -> bool:
        return place in self._by_name

    def of(self, kind: str) -> list[RawSection]:
        """Return the sections of this kind that have a name."""
        return [section for section in self.all if section.kind == kind and section.name]

    def section(self, kind: str, name: str = "") -> RawSection:
        """Return the section, or an empty one at the beginning of the file."""
        return self._by_name.get((kind, name)) or RawSection(kind, name, self._file, 0)


def parse(text: str, file: str, environ: Mapping[str, str], problems: list[Problem]) -> list[RawSection]:
    """Return the sections in `text`. Skip each invalid line, and add its problem to `problems`."""
    parser = Parser(environ, problems)
    parser.parse(text, file)
    return parser.sections


@dataclass(slots=True)
class _Draft:
    """An option with the lines read so far; `is_repeated` if its section is a duplicate, which is reported alone."""

    section: RawSection
    name: str
    line: int
    indent: int
    lines: list[str]
    is_repeated: bool


class Parser:
    """A parser of one or several files, which sorts lines into sections and options.

    A section or an option that a second file repeats is a problem, as within one file.
    """

    def __init__(self, environ: Mapping[str, str], problems: list[Problem]) -> None:
        self.problems = problems
        self._environ = environ
        self._by_title: dict[str, RawSection] = {}

    @property
    def sections(self) -> list[RawSection]:
        """The sections in order."""
        return list(self._by_title.values())

    def parse(self, text: str, file: str, *, is_included: bool = False) -> None:
        """Add the sections in `text`. Skip each invalid line, and add its problem."""
        lines = _Lines(file, self.problems, self._by_title, is_included=is_included)
        for number, line in enumerate(_NEWLINE.split(text), 1):
            lines.add(number, _COMMENT.sub("", line).rstrip())
        for draft in lines.drafts:
            _finish(draft, file, self._environ, self.problems)


class _Lines:
    """A collector of the lines of one file without comments; it sorts them into the sections of all files."""

    def __init__(
        self, file: str, problems: list[Problem], by_title: dict[str, RawSection], *, is_included: bool
    ) -> None:
        self.file = file
        self.problems = problems
        self.drafts: list[_Draft] = []
        self._by_title = by_title
        self._is_included = is_included
        self._section: RawSection | None = None
        self._is_repeated = False
        self._open: _Draft | None = None  # the option that an indented line continues

    def add(self, number: int, line: str) -> None:
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if self._open and (not text or indent > self._open.indent):
            self._open.lines.append(text)  # empty lines too, so that line n of a value is n lines below
        elif text.startswith("["):
            self._header(number, text)
        elif text:
            self._option(number, indent, text)

    def _header(self, number: int, text: str) -> None:
        self._open = None
        match = _HEADER.fullmatch(text)
        kind, name = (match[1], match[2] or "") if match else ("", "")
        self._section = section = RawSection(kind, name, self.file, number)
        first = self._by_title.get(section.title)
        self._is_repeated = first is not None
        if not kind:
            hint = hints.title(text)
            self._report(number, "", f"expected a section such as [server] or [route:users]{hint}")
        elif first:
            self._report(number, "", f"duplicate section; the first is at {place_from(first, self.file)}")
            self._section = first
        else:
            self._by_title[section.title] = section

    def _option(self, number: int, indent: int, text: str) -> None:
        self._open = None
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:  # do not quote the line: it may be part of a secret
            message = "expected 'option = value', '[section]', a comment, or an indented continuation"
            self._report(number, "", f"{message}{hints.line(text)}")
        elif self._is_included and self._section and (self._section.title, name.lower()) == ("gateway", "include"):
            self._report(number, name, "an included file cannot include others; name them in the first file's include")
        elif self._section is None:
            self._report(number, name, f"is before the first section; expected [section] first{hints.word_hint(name)}")
        else:
            self._open = _Draft(
                self._section, name.lower().replace("-", "_"), number, indent, [value], self._is_repeated
            )
            self.drafts.append(self._open)

    def _report(self, number: int, option: str, message: str) -> None:
        title = self._section.title if self._section else ""
        self.problems.append(Problem(self.file, number, title, option, message))


def place_from(first: RawSection | Value, file: str) -> str:
    """Return the place of a section or option, as a message about `file` shows it."""
    return f"line {first.line}" if first.file == file else f"{first.file}:{first.line}"


def _finish(draft: _Draft, file: str, environ: Mapping[str, str], problems: list[Problem]) -> None:
    section, name = draft.section, draft.name
    first = section.options.get(name)
    if first and draft.is_repeated:
        return
    if first:
        message = f"duplicate option; the first is at {place_from(first, file)}{hints.duplicate(name)}"
        problems.append(Problem(file, draft.line, section.title, name, message))
        return
    raw = "\n".join(draft.lines)
    skipped = len(raw) - len(raw.lstrip("\n")) if raw.strip() else 0
    text, faults = _fill(raw.strip(), environ)
    section.options[name] = Value(text, file, draft.line + skipped)
    if faults:
        section.broken.add(name)
        problems.extend(section.problem(name, message, below=below) for below, message in faults)


def _fill(text: str, environ: Mapping[str, str]) -> tuple[str, list[tuple[int, str]]]:
    """Return `text` with its variables replaced, and their problems: lines below, and message."""
    faults: list[tuple[int, str]] = []

    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        if match[0] == "$$":
            return "$"
        if name is None:
            faults.append((text.count("\n", 0, match.start()), "expected ${NAME} or ${NAME:-default} after '$'"))
            return ""
        if default is not None and "${" in default:
            faults.append((text.count("\n", 0, match.start()), "a default is plain text: no ${...} within ${...}"))
            return default
        if default is not None:
            return environ.get(name) or default  # as in a shell, `:-` replaces an empty variable too
        if name not in environ:
            message = f"${{{name}}} is not set in the environment; set it, or write ${{{name}:-default}}"
            faults.append((text.count("\n", 0, match.start()), message))
        return environ.get(name, "")

    return _VARIABLE.sub(value, text), faults
