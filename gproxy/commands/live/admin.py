"""`gproxy admin`: any operation of the admin API by its name. The running gateway describes those that it has."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from gproxy.commands.live.admin_client import AdminClient, add_admin_options, ask_monitor
from gproxy.config.problems import suggest

_JSON: Final = "application/json"
#: The media types that a terminal shows.
PRINTED: Final = frozenset({_JSON, "text/plain", "text/event-stream"})
_WORDS: Final = {"yes": True, "true": True, "no": False, "false": False}


class _Value(NamedTuple):
    """A value that an operation takes: in its path, its query or its body."""

    name: str
    place: str
    kind: str
    is_required: bool
    doc: str

    def read(self, text: str) -> object:
        """Return what the API expects for the text. Raises ArgumentError."""
        if self.place != "body":
            return text
        try:
            return int(text) if self.kind == "integer" else _WORDS[text] if self.kind == "boolean" else text
        except (ValueError, KeyError):
            expected = "a number" if self.kind == "integer" else "yes or no"
            raise argparse.ArgumentError(None, f"{self.name}: expected {expected}; found {text!r}") from None

    def __str__(self) -> str:
        return self.name.upper() if self.is_required else f"[{self.name}=]"


class _Operation(NamedTuple):
    """An operation, as /openapi.json describes it."""

    method: str
    path: str
    summary: str
    values: Sequence[_Value]
    #: Whether the answer is other than JSON.
    is_text: bool

    def read(self, words: Sequence[str]) -> dict[str, object]:
        """Return the values of the words: NAME=VALUE, or those that are required in their order.

        Raises ArgumentError.
        """
        found: dict[str, object] = {}
        for word in words:
            name, text = self._named(word, found)
            known = {one.name: one for one in self.values}
            if name not in known:
                hint = suggest(name, known) or "; it takes none"
                raise argparse.ArgumentError(None, f"unknown value {name!r}{hint}")
            found[name] = known[name].read(text)
        for one in self._lacking(found):
            raise argparse.ArgumentError(None, f"missing: {one.name.upper()}{one.doc and f', the {one.doc}'}")
        return found

    def _named(self, word: str, found: Mapping[str, object]) -> tuple[str, str]:
        """Return the name and the text of a value; a text alone is of the first value that is required and lacks."""
        name, has_name, text = word.partition("=")
        if has_name:
            return name, text
        return next((one.name for one in self._lacking(found)), word), word

    def _lacking(self, found: Mapping[str, object]) -> Iterator[_Value]:
        return (one for one in self.values if one.is_required and one.name not in found)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the operation and its values."""
    text = "name of the operation, such as reload, cut or set-log-level; without one: print those that there are"
    parser.add_argument("operation", metavar="OPERATION", nargs="?", help=text)
    text = "required values in their order, and further ones as NAME=VALUE"
    parser.add_argument("values", metavar="VALUE", nargs="*", help=text)
    add_admin_options(parser)


def run(options: argparse.Namespace) -> int:
    """Call the operation and print its answer, or print the operations. Raises ArgumentError."""
    return ask_monitor(options, _call if options.operation else _list)


def _list(client: AdminClient, options: argparse.Namespace) -> None:
    found = _operations(client)
    if options.json:
        rows = {name: {"summary": one.summary, "values": [*map(str, one.values)]} for name, one in found.items()}
        print(json.dumps(rows))
        return
    for name, one in found.items():
        print(f"{' '.join([name, *map(str, one.values)])}\n    {one.summary}")


def _call(client: AdminClient, options: argparse.Namespace) -> None:
    operations, name = _operations(client), options.operation.replace("_", "-")
    if name not in operations:
        raise argparse.ArgumentError(None, f"unknown operation {options.operation!r}{suggest(name, operations)}")
    operation = operations[name]
    given = operation.read(options.values)
    path = re.sub(r"\{(\w+)\}", lambda part: quote(str(given.pop(part[1])), safe=""), operation.path)
    if operation.method != "GET" and operation.is_text:
        _copy(client.pieces(path, operation.method, given))
    elif operation.method != "GET":
        _print(client.send(operation.method, path, given), options)
    elif operation.is_text or "follow" in given:
        _copy(client.pieces(f"{path}?{urlencode(given)}"))
    else:
        _print(client.get(path, {name: str(value) for name, value in given.items()}), options)


def _print(answer: object, options: argparse.Namespace) -> None:
    print(json.dumps(answer, indent=None if options.json else 2, ensure_ascii=False))


def _copy(pieces: Iterator[bytes]) -> None:
    with suppress(KeyboardInterrupt):
        for piece in pieces:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


def _operations(client: AdminClient) -> dict[str, _Operation]:
    """Return the operations by their names, without those of the page, which are for browsers."""
    document = client.get("/openapi.json")
    found = {
        one["operationId"].replace("_", "-"): (_operation(method.upper(), path, one), _media_types(one))
        for path, methods in document["paths"].items()
        for method, one in methods.items()
    }
    return {name: one for name, (one, media_types) in found.items() if media_types & PRINTED}


def _media_types(one: Mapping[str, Any]) -> set[str]:
    """Return the media types of the answer, which is described first."""
    return set(next(iter(one["responses"].values()))["content"])


def _operation(method: str, path: str, one: Mapping[str, Any]) -> _Operation:
    body = one.get("requestBody", {"content": {}})["content"].get("application/json", {}).get("schema", {})
    parameters = [
        _Value(each["name"], each["in"], "", each.get("required", False), each.get("description", ""))
        for each in one["parameters"]
    ]
    fields = [
        _Value(name, "body", f"{schema['type']}", name in body.get("required", ()), schema["description"])
        for name, schema in body.get("properties", {}).items()
    ]
    return _Operation(method, path, one["summary"], [*parameters, *fields], _JSON not in _media_types(one))
