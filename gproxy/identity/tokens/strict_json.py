"""JSON that all readers understand alike, from tokens, issuers and endpoints (RFC 8259, RFC 7493)."""

import json
from typing import Any, Final, NoReturn


def read_json(data: bytes) -> Any:  # noqa: ANN401 any value of JSON
    """Return the value in UTF-8 text.

    Raises ValueError for other texts, and for NaN, Infinity, a name that an object has twice, and deep nesting.
    """
    text = str(data, "utf-8").strip(" \t\r\n")
    try:
        value, end = _read(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if end != len(text):
        raise ValueError("it has text behind its end")
    return value


def read_object(data: bytes) -> dict[str, Any]:
    """Return the object in UTF-8 text. Raises ValueError for other texts and values."""
    value = read_json(data)
    if not isinstance(value, dict):
        raise ValueError("it is no object")  # noqa: TRY004 a wrong text, not a wrong argument
    return value


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        # RFC 7519 section 4: two readers of the text could take different ones.
        raise ValueError("an object has a name twice")
    return found


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no value of JSON")  # RFC 8259 section 6


_read: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_reject_constant).raw_decode
