"""The assertions of a copied test: what the client gets, what the backend got, and the route."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gproxy.config.sections.settings import Settings
from gproxy.dev.python_text import json_value, literal
from gproxy.dev.stable_values import Stable

#: The most bytes of a body that is compared.
_LONGEST: Final = 4096
_HEADER: Final = "header "
#: The reasons for which `gproxy dev` answers with a traceback in place of the response that others would get.
_MISTAKES: Final = frozenset({"handler_error", "handler_timeout"})


class Assertions:
    """The assertions about one exchange.

    `variables` are the names of the backends' variables, by upstream; `constants` those of long bodies, by place.
    """

    def __init__(
        self,
        entry: Mapping[str, Any],
        settings: Settings,
        variables: Mapping[str, str],
        constants: Mapping[int, str],
    ) -> None:
        self._entry = entry
        self._fields = settings.log.field_names
        self._variables = variables
        self._constants = constants
        self._stable = Stable(entry["id"], settings.gateway.id_header)
        self._uses_gzip = False

    def lines(self) -> list[str]:
        """Return the lines."""
        return [*self._of_response(), *self._of_line(), *self._of_backend()]

    def imports(self) -> Iterator[str]:
        """Yield the imports that the lines need, once they are made."""
        if self._uses_gzip:
            yield "import gzip\n\n"

    def _of_response(self) -> Iterator[str]:
        yield f"assert response.status == {self._entry['status']}"
        if self._entry["reason"] in _MISTAKES:
            return
        headers = _joined(self._entry["response"]["headers"])
        changed = self._changed("up")
        for key in dict.fromkeys(["content-type", *changed]):
            yield from self._field("response", key, headers, is_removed=key in changed)
        yield from self._of_body()

    def _of_line(self) -> Iterator[str]:
        for field in ("route", "reason"):
            if field in self._fields and self._entry[field]:
                yield f'assert gproxy.line["{field}"] == {literal(self._entry[field])}'

    def _of_backend(self) -> Iterator[str]:
        """Yield what the backend got of the client's request: what handlers have set or removed."""
        mine = [one for one in self._entry["attempts"] if not one["of_handler"] and one["request"] is not None]
        if not mine or mine[-1]["upstream"] not in self._variables or mine[-1]["response"] is None:
            return
        request, headers = mine[-1]["request"], _joined(mine[-1]["request"]["headers"])
        found: list[str] = []
        method, target = request["line"].split(" ")[:2]
        if method != self._entry["method"]:
            found.append(f"assert sent.method == {literal(method)}")
        if target != self._entry["target"] and self._stable.is_text(target):
            found.append(f"assert sent.target == {literal(target)}")
        for key in self._changed("down"):
            found += self._field("sent", key, headers, is_removed=True)
        if found:
            yield f"sent = {self._variables[mine[-1]['upstream']]}.requests[-1]"
            yield from found

    def _changed(self, way: str) -> dict[str, None]:
        """Return the names of the fields that steps have changed, in lower case."""
        changes = (change for step in self._entry["steps"] if step["name"] for change in step[way])
        return {part.removeprefix(_HEADER).lower(): None for part, _, _ in changes if part.startswith(_HEADER)}

    def _field(self, name: str, key: str, headers: Mapping[str, tuple[str, str]], *, is_removed: bool) -> Iterator[str]:
        if not self._stable.is_field(key):
            return
        if key in headers:
            spelled, value = headers[key]
            if self._stable.is_text(value):
                yield f"assert {name}.headers[{literal(spelled)}] == {literal(value)}"
        elif is_removed:
            yield f"assert {literal(key.title())} not in {name}.headers"

    def _of_body(self) -> Iterator[str]:
        """Yield what the body must be, if it is whole and the same in each run."""
        response = self._entry["response"]
        place = response["body"]
        if place is None or self._entry["method"] == "HEAD" or self._entry["status"] in (204, 304):
            return
        body, coding = self._entry["bodies"][place], _joined(response["headers"]).get("content-encoding", ("", ""))[1]
        if not body["is_whole"] or coding not in ("", "gzip"):
            return
        data = body["data"]
        scripted = self._scripted(data)
        named = [self._constants[one] for one in scripted if one in self._constants]
        if named:
            yield f"assert response.body == {named[0]}"
        elif coding == "gzip" and not scripted:
            yield from self._of_gzip(data)
        else:
            yield from self._of_bytes(data, is_scripted=bool(scripted))

    def _scripted(self, data: bytes) -> list[int]:
        """Return the places of the backends' bodies that are the same."""
        places = [one["response"]["body"] for one in self._entry["attempts"] if one["response"] is not None]
        return [one for one in places if one is not None and self._entry["bodies"][one]["data"] == data]

    def _of_gzip(self, data: bytes) -> Iterator[str]:
        """Yield the content of what the gateway has compressed, by the name of an answer's constant if it is one."""
        try:
            content = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data, _LONGEST + 1)
        except zlib.error:  # a handler has set the field without compressing
            yield from self._of_bytes(data, is_scripted=False)
            return
        bodies = self._entry["bodies"]
        name = next((name for place, name in self._constants.items() if bodies[place]["data"] == content), None)
        if name is not None or (len(content) <= _LONGEST and self._stable.is_text(content.decode("latin-1"))):
            self._uses_gzip = True
            yield f"assert gzip.decompress(response.body) == {name or literal(content)}"

    def _of_bytes(self, data: bytes, *, is_scripted: bool) -> Iterator[str]:
        value = json_value(data)
        if isinstance(value, dict | list) and len(data) <= _LONGEST:
            yield from self._of_json(value, is_scripted=is_scripted)
        elif len(data) <= _LONGEST and (is_scripted or self._stable.is_text(data.decode("latin-1"))):
            yield f"assert response.body == {literal(data)}"
        elif is_scripted:
            yield f"assert len(response.body) == {len(data)}"

    def _of_json(self, value: dict[str, Any] | list[Any], *, is_scripted: bool) -> Iterator[str]:
        if is_scripted or self._stable.is_value(value):
            yield f"assert response.json() == {literal(value)}"
        elif isinstance(value, dict):
            for name, item in value.items():
                if self._stable.is_value({name: item}):
                    yield f"assert response.json()[{literal(name)}] == {literal(item)}"


def _joined(pairs: list[list[str]]) -> dict[str, tuple[str, str]]:
    """Return the fields by their names in lower case: the name and the value, the lines of a repeated one joined."""
    found: dict[str, tuple[str, str]] = {}
    for name, value in pairs:
        key = name.lower()
        found[key] = (found[key][0], f"{found[key][1]}, {value}") if key in found else (name, value)
    return found
