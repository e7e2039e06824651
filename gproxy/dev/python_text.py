"""Values and calls as Python source, in lines of at most 100 characters where that is possible."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

_WIDTH: Final = 100
_INDENT: Final = "    "


def literal(value: object) -> str:
    """Return the source of a text, of bytes, or of what JSON has; long ones have a line for each item."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, Mapping):
        return bracketed("{", [f"{literal(name)}: {literal(item)}" for name, item in value.items()], "}")
    if isinstance(value, Sequence):
        return bracketed("[", [literal(item) for item in value], "]")
    return repr(value)


def call(name: str, *arguments: str) -> str:
    """Return the source of a call with these arguments, which are source already."""
    return bracketed(f"{name}(", arguments, ")")


def bracketed(begin: str, items: Sequence[str], end: str) -> str:
    """Return the items between brackets: in one line, or in a line each."""
    line = f"{begin}{', '.join(items)}{end}"
    if not items or (len(line) <= _WIDTH and "\n" not in line):
        return line
    return f"{begin}\n{indented(''.join(f'{item},{chr(10)}' for item in items))}{end}"


def indented(source: str) -> str:
    """Return source one level deeper; no literal of this module has a line break."""
    return "".join(f"{_INDENT}{line}\n" for line in source.splitlines())


def _text(value: str) -> str:
    """Return a text in double quotes if that needs no further escapes."""
    if value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    return repr(value) if value.isprintable() else json.dumps(value)


def _bytes(value: bytes) -> str:
    """Return bytes; long ones as pieces in parentheses, which Python joins: the lines of a text, if it has some."""
    whole = _piece(value)
    if len(whole) <= _WIDTH - len(_INDENT):
        return whole
    pieces = [piece for line in value.splitlines(keepends=True) for piece in _pieces(line)]
    return f"(\n{indented(''.join(f'{piece}{chr(10)}' for piece in pieces))})"


def _pieces(line: bytes) -> list[str]:
    is_binary = sum(not 32 <= one < 127 for one in line[:200]) > 20
    size = 20 if is_binary else _WIDTH - 12
    return [_piece(line[start : start + size]) for start in range(0, len(line), size)]


def _piece(value: bytes) -> str:
    source = repr(value)
    return f'b"{source[2:-1]}"' if source[1] == "'" and '"' not in source else source
