"""Conversion of an option's text to a value of its field's type."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from gproxy.config import hints
from gproxy.config.ini.value_types import DICTS, LISTS, container, describe, form, items, members
from gproxy.config.types import Secret

Warn = Callable[[str], None]

# A comma starts a new pair only where a `NAME:` follows, so that `Cache-Control: no-cache, no-store` is one. A name may
# be a URL or have a colon, as names of claims do: `https://example.com/roles: X-Roles, cognito:groups: X-Groups`. A
# name with a colon ends at a colon before a blank.
_PAIRS = re.compile(r",(?=\s*[^\s:,]+(?:://[^\s:,]+)?\s*:(?!//))")
_PAIR = re.compile(r"(?:([^\s:]+(?::[^\s:]+)+):\s|(.*?):(?!//))(.*)", re.DOTALL)
_COMMA = re.compile(",")
_PASSWORD = re.compile(r"//[^/\s]*@")  # in a URL: an error message must not reveal it
_LONGEST_QUOTE = 60


class Mistake(ValueError):
    """The error for a text that is not a value of its type: lines below and message for each invalid piece.

    `reason` is the message of the type's parser, without the expected and the found value.
    """

    def __init__(self, pieces: Iterable[tuple[int, str]], reason: str = "") -> None:
        self.pieces = tuple(pieces)
        self.reason = reason
        super().__init__("; ".join(message for _, message in self.pieces))


def convert(hint: object, text: str, warn: Warn) -> Any:  # noqa: ANN401 an option may be anything
    """Return the value of `text` as a `hint`. Raise Mistake if `text` is invalid. `warn` gets each warning."""
    if (single := form(hint)) is not None:
        try:
            return single.parse(_revealed(text, warn) if is_secret(hint) else text)
        except ValueError as error:
            raise _mistake(hint, text, str(error)) from error
    kind = container(hint)
    if kind in DICTS:
        return dict(_pairs(hint, text, warn))
    if kind:
        return LISTS[kind](list(_each(items(hint), split(text, _separator(hint, _COMMA)), warn)))
    if len(members(hint)) > 1:
        return _first(hint, text, warn)
    raise Mistake([(0, "cannot be set in a file")])


def split(text: str, separator: re.Pattern[str] = _COMMA) -> Iterator[tuple[int, str]]:
    """Yield the items of a list, separated by commas or lines, each with its number of lines below the first."""
    for below, line in enumerate(text.split("\n")):
        for item in separator.split(line):
            if item.strip():
                yield below, item.strip()


def places(hint: object, text: str) -> list[int]:
    """Return the number of lines below the first one for each item of a list of this type."""
    return [below for below, _ in split(text, _separator(hint, _COMMA))]


def _separator(hint: object, usual: re.Pattern[str]) -> re.Pattern[str]:
    """Return the separator of the list's items: that of their type, if the type has one."""
    found: re.Pattern[str] = getattr(items(hint), "separator", usual)
    return found


def _each(hint: object, pieces: Iterable[tuple[int, str]], warn: Warn) -> list[Any]:
    values, wrong = [], []
    for below, piece in pieces:
        try:
            values.append(convert(hint, piece, warn))
        except Mistake as mistake:
            end = _separators(hint, piece)
            wrong += [(below + further, f"{message}{end}") for further, message in mistake.pieces]
    if wrong:
        raise Mistake(wrong)
    return values


def _separators(hint: object, piece: str) -> str:
    """Return the hint for an invalid item that is several valid ones, without commas between them."""
    several = hints.pieces(piece)
    if len(several) < 2 or any(sign in one for one in several for sign in "=%"):
        return ""
    try:
        for one in several:
            convert(hint, one, lambda _: None)
    except Mistake:
        return ""
    return "; the items of a list are separated by commas"


def _pairs(hint: object, text: str, warn: Warn) -> dict[str, Any]:
    names: dict[str, None] = {}
    values, wrong = [], []
    for below, line in enumerate(text.split("\n")):
        for pair in filter(None, (piece.strip(" \t,") for piece in _separator(hint, _PAIRS).split(line))):
            match = _PAIR.fullmatch(pair)
            name, value = ((match[1] or match[2]).strip(), match[3].strip()) if match else ("", "")
            if not name:
                wrong.append((below, f"expected NAME: VALUE{_found(hint, pair)}{_colon(hint, pair)}"))
            elif name in names:
                wrong.append((below, f"{name!r} is given twice"))
            names[name] = None
            values.append((below, value))
    if wrong:
        raise Mistake(wrong)
    return dict(zip(names, _each(items(hint), values, warn), strict=True))


def _colon(hint: object, pair: str) -> str:
    """Return the hint for a pair with an equals sign in place of its colon."""
    match = re.fullmatch(r"([\w-]+)\s*=\s*(.+)", pair)
    return f"; write {match[1]}: {match[2]}" if match and not is_secret(hint) else ""


def _first(hint: object, text: str, warn: Warn) -> object:
    """Return the value by the first type of a union that accepts the text; `none` or no text is None if allowed.

    An empty secret is not None: `Secret.parse` rejects it.
    """
    if type(None) in members(hint) and (text.lower() == "none" or not (text or Secret in members(hint))):
        return None
    kinds = [member for member in members(hint) if member is not type(None)]
    if len(kinds) == 1:
        return convert(kinds[0], text, warn)
    reasons: dict[str, None] = {}
    for kind in kinds:
        try:
            return convert(kind, text, warn)
        except Mistake as mistake:
            reasons[mistake.reason] = None
    raise _mistake(hint, text, "; ".join(filter(None, reasons)))


def _mistake(hint: object, text: str, reason: str) -> Mistake:
    message = f"expected {describe(hint)}{_found(hint, text)}"
    reason_of_text = "" if is_secret(hint) else hints.value(text)
    return Mistake([(0, "; ".join(filter(None, (message, reason))) + reason_of_text)], reason)


def _found(hint: object, text: str) -> str:
    if is_secret(hint):
        return ""
    shown = masked(text)[:_LONGEST_QUOTE]
    return f"; found {shown!r}" if text else "; found nothing"


def masked(text: str) -> str:
    """Return the text with `***` in place of the user and password of each URL."""
    return _PASSWORD.sub("//***@", text)


def is_secret(hint: object) -> bool:
    """Return whether the type is Secret, or a union or a list with it."""
    if container(hint):
        return is_secret(items(hint))
    return any(isinstance(member, type) and issubclass(member, Secret) for member in members(hint))


def _revealed(text: str, warn: Warn) -> str:
    """Return the secret itself, or the content of the file of `file:PATH` without a final newline."""
    if not text.startswith("file:"):
        return text
    path = Path(text.removeprefix("file:").strip())
    try:
        content = path.read_text("utf-8")
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = (
            error.strerror.lower() if isinstance(error, OSError) and error.strerror else "the content is not UTF-8 text"
        )
        raise ValueError(f"{path} cannot be read: {reason}") from None
    if mode & 0o077:
        warn(f"{path} is readable by users other than its owner (mode {mode & 0o777:04o}); run chmod 600")
    return content.removesuffix("\n").removesuffix("\r")
