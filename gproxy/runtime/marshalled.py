"""Records as bytes, whatever values handlers have put into a request or a response."""

import marshal
from collections.abc import Callable, Mapping
from typing import Any, Final

#: How a value of a subclass becomes one of the type itself, without a method of the subclass.
_PLAIN: Final[Mapping[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: bytes,
    bytearray: bytes,
    memoryview: bytes,
}


def marshalled(records: Any) -> bytes:  # noqa: ANN401 as `_plain`
    """Return the records as `marshal` writes them.

    It writes no subclasses, such as `HTTPStatus.OK` for a status or the texts of a template engine. They become plain.
    """
    try:
        return marshal.dumps(records)
    except ValueError:
        return marshal.dumps(_plain(records))


def _plain(value: Any) -> Any:  # noqa: ANN401 a handler may set a field to anything
    """Return the value in types that `marshal` writes; for one of another type, the name of that type."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return {_plain(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    for kind, plain in _PLAIN.items():
        if isinstance(value, kind):
            return plain(value)
    return f"({type(value).__name__})"
