"""The values of all secrets in the settings, which the error log masks."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from gproxy.config.types import Secret

#: Shorter texts are not masked: they are part of usual words, as `auto` is, and what is masked would show them.
SHORTEST_MASKED: Final = 6


def secret_values(settings: object) -> frozenset[str]:
    """Return the texts of the secrets in the settings and in their handlers, and the passwords within URLs."""
    texts = (text for secret in _secrets(settings, set()) for text in _texts(secret.reveal()))
    return frozenset(text for text in texts if len(text) >= SHORTEST_MASKED)


def _secrets(thing: Any, seen: set[int]) -> Iterator[Secret]:  # noqa: ANN401 an option may be anything
    if isinstance(thing, Secret):
        yield thing
    elif id(thing) not in seen and not isinstance(thing, str | bytes | type):
        seen.add(id(thing))
        for part in _parts(thing):
            yield from _secrets(part, seen)


def _parts(thing: Any) -> Collection[Any]:  # noqa: ANN401 an option may be anything
    if is_dataclass(thing):
        return [getattr(thing, field.name, None) for field in fields(thing)]
    if isinstance(thing, Mapping):
        return list(thing.values())
    return thing if isinstance(thing, list | tuple | frozenset | set) else ()


def _texts(value: str) -> Iterator[str]:
    yield value
    yield value.strip()
    if "://" in value:
        try:
            password = urlsplit(value).password or ""
        except ValueError:
            return
        yield password
        yield unquote(password)
