"""The files of the settings: the named one, and those that its `[gateway] include` adds.

They are read once. The arbiter sends their content to all workers of a generation, so all build the same settings.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gproxy.config import hints
from gproxy.config.ini.convert import split
from gproxy.config.ini.parser import Parser, RawSection
from gproxy.config.problems import Problem
from gproxy.config.record import Record

#: The option of the first file that names the others.
_INCLUDE: Final = ("gateway", "include")
_FOREIGN: Final = (
    "expected an INI file, with sections such as [server], [route:NAME] and [upstream:NAME]; "
    "docs/getting-started.md has a first one, docs/migrating.md those of NGINX, Traefik, Kong and HAProxy rewritten"
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SourceFile(Record):
    """A file of the settings: its path as messages show it, and its content."""

    path: str
    data: bytes = field(default=b"", repr=False)
    #: The reason why the file cannot be read; empty if it was read.
    problem: str = ""


def read_files(path: str | os.PathLike[str], environ: Mapping[str, str]) -> list[SourceFile]:
    """Return the settings file, then the files that it includes, each once; those of a pattern by name.

    A file that cannot be read has a problem, which `parse_files` reports.
    """
    first = _read(os.fspath(path))
    found = [first]
    seen = {absolute(first.path, os.path.realpath)}
    for pattern in include_patterns(first, environ):
        for name in matching(pattern):
            if (real := absolute(name, os.path.realpath)) not in seen:
                seen.add(real)
                found.append(_read(name))
    return found


def absolute(path: str, resolve: Callable[[str], str] = os.path.abspath) -> str:
    """Return the absolute path; a relative one stays as it is once the working directory was removed."""
    try:
        return resolve(path)
    except OSError:
        return path


def matching(pattern: str) -> list[str]:
    """Return the paths that match the pattern, by name, or a path that is no pattern."""
    import glob  # late: an arbiter without such patterns needs no memory for it

    return sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207 sorted texts


def include_patterns(first: SourceFile, environ: Mapping[str, str]) -> list[str]:
    """Return the paths and patterns of the first file's `include`, each in relation to the folder of this file."""
    if b"include" not in first.data:
        return []
    parser = Parser(environ, [])
    _parse(parser, first)
    return [_beside(first.path, pattern) for _, pattern in _included(parser.sections)]


def _included(sections: Sequence[RawSection]) -> Iterator[tuple[int, str]]:
    """Yield each item of `include` with its number of lines below the first."""
    section = next((one for one in sections if one.title == _INCLUDE[0]), None)
    if section and _INCLUDE[1] in section.options and _INCLUDE[1] not in section.broken:
        yield from split(section.options[_INCLUDE[1]].text)


def _beside(path: str, name: str) -> str:
    return os.path.join(os.path.dirname(path), name)  # noqa: PTH118, PTH120 as the user writes it, without `./`


def _read(path: str) -> SourceFile:
    try:
        return SourceFile(path, Path(path).read_bytes())
    except OSError as error:
        return SourceFile(path, problem=f"cannot be read: {(error.strerror or str(error)).lower()}")


def parse_files(
    files: Sequence[SourceFile], environ: Mapping[str, str], problems: list[Problem], *, foreign: str = _FOREIGN
) -> list[RawSection] | None:
    """Return the sections of all files in order, or None, with the reason in `problems`, without the first file.

    `foreign` is the problem of a file that is no INI file.
    """
    parser = Parser(environ, problems)
    first, *others = files
    if not _parse(parser, first, foreign):
        return None
    for file in others:
        if file.problem:
            problems.append(_unreadable(parser.sections, first, file))
        else:
            _parse(parser, file, foreign, is_included=True)
    return parser.sections


def _unreadable(sections: Sequence[RawSection], first: SourceFile, file: SourceFile) -> Problem:
    section = next(one for one in sections if one.title == _INCLUDE[0])
    items = ((below, name) for below, name in _included(sections) if _beside(first.path, name) == file.path)
    below, name = next(items, (0, ""))
    hint = f"; write {name}/*.ini for the files in it" if name and file.problem.endswith("is a directory") else ""
    return section.problem(_INCLUDE[1], f"{file.path} {file.problem}{hint}", below=below)


def _parse(parser: Parser, file: SourceFile, foreign: str = _FOREIGN, *, is_included: bool = False) -> bool:
    """Parse the file; return whether it is readable text."""
    if file.problem:
        parser.problems.append(Problem(file.path, 0, "", "", file.problem))
        return False
    try:
        text = file.data.decode("utf-8-sig")
        wrong, message = file.data.find(b"\0"), "is not text: byte 0x00"
    except UnicodeDecodeError as error:
        text, wrong, message = "", error.start, f"is not UTF-8: byte 0x{file.data[error.start]:02x}; save it as UTF-8"
    if wrong >= 0:
        line = file.data.count(b"\n", 0, wrong) + 1
        parser.problems.append(Problem(file.path, line, "", "", message))
        return False
    if line := hints.foreign_line(text):
        parser.problems.append(Problem(file.path, line, "", "", foreign))
        return False
    parser.parse(text, file.path, is_included=is_included)
    return True


def pack(files: Sequence[SourceFile]) -> bytes:
    """Return the files as one text of bytes for `unpack`: a line of JSON, then the contents."""
    index = [[file.path, file.problem, len(file.data)] for file in files]
    return json.dumps(index).encode() + b"\n" + b"".join(file.data for file in files)


def unpack(packed: bytes) -> list[SourceFile]:
    """Return the files that `pack` was given."""
    index, _, rest = packed.partition(b"\n")
    files, start = [], 0
    for path, problem, size in json.loads(index):
        files.append(SourceFile(path, rest[start : start + size], problem))
        start += size
    return files
