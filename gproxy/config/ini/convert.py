"""The text of an option to a value of the type its field has."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from gproxy.config.ini.value_types import DICTS, LISTS, container, describe, form, items, members
from gproxy.config.types import Secret

Warn = Callable[[str], None]

# A comma starts a new pair only where a `NAME:` follows, so that `Cache-Control: no-cache, no-store` is one.
_PAIRS = re.compile(r",(?=\s*[^\s:,]+\s*:)")
_PASSWORD = re.compile(r"//[^/\s]*@")  # that of a URL, which is not to end up in a log for a mistake elsewhere
_LONGEST_QUOTE = 60


class Mistake(ValueError):
    """Why a text is not a value of its type: for each bad piece how many lines down it stands, and a message.

    `reason` is what the type itself said about it, without what was expected and found.
    """

    def __init__(self, pieces: Iterable[tuple[int, str]], reason: str = "") -> None:
        self.pieces = tuple(pieces)
        self.reason = reason
        super().__init__("; ".join(message for _, message in self.pieces))


def convert(hint: Any, text: str, warn: Warn) -> Any:
    """The value that `text` has as a `hint`; raises Mistake. `warn` hears of what is no mistake but unwise."""
    if (single := form(hint)) is not None:
        try:
            return single.parse(_revealed(text, warn) if _is_secret(hint) else text)
        except ValueError as error:
            raise _mistake(hint, text, str(error)) from error
    kind = container(hint)
    if kind in DICTS:
        return dict(_pairs(hint, text, warn))
    if kind:
        return LISTS[kind](list(_each(items(hint), split(text), warn)))
    if len(members(hint)) > 1:
        return _first(hint, text, warn)
    raise Mistake([(0, "cannot be set in a file")])


def split(text: str) -> Iterator[tuple[int, str]]:
    """The items of a list written by comma or by line, each with how many lines down it stands."""
    for below, line in enumerate(text.split("\n")):
        for item in line.split(","):
            if item.strip():
                yield below, item.strip()


def _each(hint: Any, pieces: Iterable[tuple[int, str]], warn: Warn) -> list[Any]:
    values, wrong = [], []
    for below, piece in pieces:
        try:
            values.append(convert(hint, piece, warn))
        except Mistake as mistake:
            wrong += [(below + further, message) for further, message in mistake.pieces]
    if wrong:
        raise Mistake(wrong)
    return values


def _pairs(hint: Any, text: str, warn: Warn) -> dict[str, Any]:
    names: dict[str, None] = {}
    values, wrong = [], []
    for below, line in enumerate(text.split("\n")):
        for pair in filter(None, (piece.strip(" \t,") for piece in _PAIRS.split(line))):
            name, colon, value = (part.strip() for part in pair.partition(":"))
            if not colon or not name:
                wrong.append((below, f"expected NAME: VALUE{_found(hint, pair)}"))
            elif name in names:
                wrong.append((below, f"{name!r} is given twice"))
            names[name] = None
            values.append((below, value))
    if wrong:
        raise Mistake(wrong)
    return dict(zip(names, _each(items(hint), values, warn), strict=True))


def _first(hint: Any, text: str, warn: Warn) -> Any:
    """The first type of a union that takes the text; `none` or nothing is None where that is allowed.

    A secret that is empty is none that was left out: `Secret.parse` says so.
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


def _mistake(hint: Any, text: str, reason: str) -> Mistake:
    message = f"expected {describe(hint)}{_found(hint, text)}"
    comment = "a comment behind a value begins with ';'" if re.search(r"\s#", text) else ""
    return Mistake([(0, "; ".join(filter(None, (message, reason, comment))))], reason)


def _found(hint: Any, text: str) -> str:
    if "Secret" in repr(hint) or _is_secret(hint):
        return ""
    shown = _PASSWORD.sub("//***@", text)[:_LONGEST_QUOTE]
    return f"; found {shown!r}" if text else "; found nothing"


def _is_secret(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Secret)


def _revealed(text: str, warn: Warn) -> str:
    """A secret as written, or what is in the file of a `file:PATH`, without one newline at its end."""
    if not text.startswith("file:"):
        return text
    path = Path(text.removeprefix("file:").strip())
    try:
        content = path.read_text("utf-8")
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise ValueError(f"{path} cannot be read: {why}") from None
    if mode & 0o077:
        warn(f"{path} can be read by others than its owner (mode {mode & 0o777:04o}); chmod 600 it")
    return content.removesuffix("\n").removesuffix("\r")
