"""Problems of a settings file, each with its place, and suggestions for mistyped names."""

from collections.abc import Iterable
from dataclasses import dataclass

from gproxy.config.record import Record


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Problem(Record):
    """A problem of a settings file: its place, and what is expected there.

    `line` counts from 1; 0 means no line (an unreadable file, the command line). `section` has the file's form
    without brackets (`route:users`). `section` and `option` may be empty.
    """

    file: str
    line: int
    section: str
    option: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:" if self.line else f"{self.file}:"
        section = f"[{_visible(self.section)}]" if self.section else ""
        option = f"{_visible(self.option)}:" if self.option else ""
        return " ".join(part for part in (place, section, option, self.message) if part)


class ConfigError(Exception):
    """The error for unusable settings; `problems` has all problems in file order, `str` has one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line)))
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


#: A problem of a dataclass with options: the names of the options that it concerns, and the text.
OptionProblem = tuple[tuple[str, ...], str]


class OptionErrors(ValueError):
    """The error of a dataclass whose options have invalid values; `problems` has all of them, `str` has one a line."""

    def __init__(self, problems: Iterable[OptionProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(f"{', '.join(names)}: {text}" if names else text for names, text in self.problems)


def _visible(name: str) -> str:
    """Escape characters that a terminal would hide or interpret, because they may be the problem."""
    shown = (sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in name)
    return name if name.isprintable() else "".join(shown)


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the member of `words` closest to `word`, by its letters if not by their case; None if none is close."""
    import difflib  # late: an arbiter whose settings are right needs no memory for it

    known = sorted(words)
    if close := difflib.get_close_matches(word, known, n=1):
        return close[0]
    folded = {one.lower(): one for one in known}
    return folded.get(next(iter(difflib.get_close_matches(word.lower(), folded, n=1)), ""))


def suggest(word: str, words: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the closest known name, or all known names."""
    known = sorted(words)
    if meant := nearest(word, known):
        return f"; did you mean {meant!r}?"
    return f"; known: {', '.join(known)}" if known else ""
