"""What is wrong with a settings file, said so that the reader can go to the place and mend it."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands and what was expected there.

    `line` counts from 1 and is 0 where there is none (a file that cannot be read, the command line);
    `section` is written as in the file without brackets (`route:users`), and it and `option` may be empty.
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
    """The settings cannot be used; `problems` has every reason, in the order of the file, and `str` one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line)))
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def _visible(name: str) -> str:
    """With what a terminal would not show, or obey, as an escape: it may be the very mistake."""
    shown = (sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in name)
    return name if name.isprintable() else "".join(shown)


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of `words` that `word` was most likely meant to be, or None if nothing comes close."""
    return next(iter(difflib.get_close_matches(word, sorted(words), n=1)), None)


def suggest(word: str, words: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or else all of them."""
    known = sorted(words)
    if meant := nearest(word, known):
        return f"; did you mean {meant!r}?"
    return f"; known: {', '.join(known)}" if known else ""
