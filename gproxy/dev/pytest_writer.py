"""The copy of an inspected request as a test of the test kit, with scripted backends, that passes as it is.

The test asserts what is the same in each run: the status, the route, what handlers have set or removed, bodies. What
varies with the time, with random numbers or with ids is not compared.
"""

import json
import re
from collections.abc import Iterator, Mapping
from keyword import iskeyword
from typing import Any, Final

from gproxy.config.sections.settings import Settings
from gproxy.dev.asserted import Assertions
from gproxy.dev.python_text import bracketed, call, indented, json_value, literal
from gproxy.dev.sent_token import token_call
from gproxy.http.header_names import HOP_BY_HOP, is_likely_secret

Entry = Mapping[str, Any]
#: The answers of the kit for an attempt without a response, by the word for it, and the line of the error log.
_FAILED: Final[Mapping[str, tuple[str, str, str]]] = {
    "connect_refused": ("refused", "refused()", "refuses connections"),
    "backend_reset": ("reset", "reset()", "closed the connection"),
    "backend_timeout": ("slow", "slow(3600)", "did not respond in time"),
    "per_try_timeout": ("slow", "slow(3600)", "did not respond in time"),
    "first_byte_timeout": ("slow", "slow(3600)", "did not begin to respond in time"),
    "read_timeout": ("slow", "slow(3600)", "was silent for too long"),
}
#: The lines of the error log for reasons of the gateway itself.
_WARNINGS: Final = {"handler_error": "failed", "handler_timeout": "did not finish in time"}
#: Reasons that a single request through a new gateway does not have.
_STATEFUL: Final = frozenset(
    {
        "auth_throttled", "auth_unavailable", "balance_error", "breaker_open", "client_gone", "client_timeout",
        "concurrency_limited", "cut", "draining", "max_connections", "none_available", "not_local", "out_of_resources",
        "queue_full", "store_unavailable", "threads_busy",
    }
)  # fmt: skip
_RATE_LIMITED: Final = "rate_limited"
_NOTE: Final = """

The credential that was sent is in this test. It is a secret: keep the file to yourself, or use gproxy.token() or a
credential that is made for tests.
"""
#: A longer body is a constant of the module.
_SHORT: Final = 60
_NO_BODY: Final[Mapping[str, Any]] = {"data": b"", "is_whole": True, "size": 0}
#: The word for an attempt that a quicker one has ended.
_CANCELLED: Final = "cancelled"
#: The names that a variable must not have.
_TAKEN: Final = frozenset({"answer", "gproxy", "gzip", "pytest", "refused", "reset", "response", "sent", "slow"})


def pytest_test(entry: Entry, settings: Settings) -> str:
    """Return the module of the test. Raises ValueError, with the reason, for what a test cannot repeat."""
    return "".join(_Test(entry, settings).lines())


class _Test:
    """The test of one request."""

    def __init__(self, entry: Entry, settings: Settings) -> None:
        _check(entry)
        self._entry = entry
        self._settings = settings
        self._token = token_call(entry, settings)
        #: The names of `gproxy.testing` that the test uses.
        self._needed: set[str] = set()
        route = next((one for one in settings.routes if one.name == entry["route"]), None)
        #: The upstreams of the route: the same answers come from each, because the choice is random.
        self._shares = [share.name for share in route.upstream] if route is not None else []
        self._variables: dict[str, str] = {}
        #: The constants with long bodies, by their places in the entry.
        self._constants: dict[int, str] = {}

    def lines(self) -> Iterator[str]:
        """Yield the parts of the module."""
        body = [*self._backends(), *self._warnings(), *self._exchange()]
        variables = self._variables if len(self._shares) < 2 else {}
        assertions = Assertions(self._entry, self._settings, variables, self._constants)
        body += assertions.lines()
        is_secret = any(is_likely_secret(name) for name, _ in self._headers())
        yield f'"""{self._title()}.{_NOTE if is_secret else ""}"""\n\n'
        yield from assertions.imports()
        marker = self._marker(is_secret=is_secret)
        yield "import pytest\n\n" if marker else ""
        names = ", ".join(sorted(self._needed))
        yield f"from gproxy.testing import {names}\n\n" if names else ""
        for place, name in self._constants.items():
            yield f"{name} = {literal(self._entry['bodies'][place]['data'])}\n"
        blank = "\n\n" if self._constants else "\n"
        yield f"{blank}{marker}def test_{self._name()}(gproxy):\n"
        yield indented("\n".join(body))

    def _title(self) -> str:
        target = re.sub(r'[\\"\s]', "-", self._entry["target"].partition("?")[0][:60])
        when = self._entry["time"][:19].replace("T", " at ")
        return f"{self._entry['method']} {target}, as gproxy dev saw it on {when}"

    def _name(self) -> str:
        path = self._entry["target"].partition("?")[0]
        words = "_".join(re.findall(r"[a-z0-9]+", f"{self._entry['method']} {path}".lower()))
        return words[:60].rstrip("_") + ("" if self._entry["status"] == 200 else f"_is_{self._entry['status']}")

    def _marker(self, *, is_secret: bool) -> str:
        """Return the marker, if the settings are not in gproxy.ini, or a credential may be valid for a time only."""
        arguments = self._place_of_settings()
        arguments += [f"at={literal(self._entry['time'])}"] if is_secret else []
        return f"@{call('pytest.mark.gproxy', *arguments)}\n" if arguments else ""

    def _place_of_settings(self) -> list[str]:
        """Return what the marker says of the settings: nothing for gproxy.ini; all of them with `gproxy dev --app`."""
        app = self._settings.section("route", "app").options.get("app")
        if app is not None and not app.line:  # of the command line
            return [literal(f"[route:app]\npath = /\napp = {app.text}\n")]
        name = self._settings.path.name
        return [] if name == "gproxy.ini" else [f"file={literal(name)}"]

    def _backends(self) -> Iterator[str]:
        """Yield the lines that script the backends, in the order in which they were asked."""
        answers: dict[str, list[str]] = {}
        for one in self._entry["attempts"]:
            if one["error"] != _CANCELLED:
                answers.setdefault(one["upstream"], []).append(self._answer(one))
        mine = next((answers[one] for one in self._shares if one in answers), None)
        for name in self._shares if mine is not None else ():
            answers.setdefault(name, mine or [])
        for name, found in answers.items():
            variable = self._variables[name] = self._variable(name)
            yield f"{variable} = {call('gproxy.backend', literal(name), *found)}"

    def _variable(self, name: str) -> str:
        word = re.sub(r"\W", "_", name.lower(), flags=re.ASCII)
        while not word.isidentifier() or iskeyword(word) or word in _TAKEN or word in self._variables.values():
            word = f"{word}_" if word[:1].isalpha() else f"backend_{word}"
        return word

    def _answer(self, attempt: Mapping[str, Any]) -> str:
        """Return what a backend does in an attempt. Raises ValueError for what the kit cannot do."""
        response = attempt["response"]
        if response is None:
            is_running = attempt["shared"] and not attempt["error"]  # the look-up has outlasted the request
            return self._failure("backend_timeout" if is_running else attempt["error"])
        self._needed.add("answer")
        place = response["body"]
        body = self._entry["bodies"][place] if place is not None else _NO_BODY
        is_headless = body["data"] or not body["is_whole"]
        dropped = {*HOP_BY_HOP, "date", "server"} - (set() if is_headless else {"content-length"})
        pairs = [(name, value) for name, value in response["headers"] if name.lower() not in dropped]
        arguments = [self._source(place, body["data"])] if body["data"] or pairs else []
        return call("answer", str(response["status"]), *arguments, *([_fields(pairs)] if pairs else []))

    def _failure(self, error: str) -> str:
        if error not in _FAILED:
            raise ValueError(
                f"an attempt ended with {error or 'no response'}, which a backend of the test kit cannot do"
            )
        name, source, _ = _FAILED[error]
        self._needed.add(name)
        return source

    def _source(self, place: int | None, data: bytes) -> str:
        """Return the source of a body: a constant for a long one."""
        if place is None or len(data) <= _SHORT:
            return literal(data)
        if place not in self._constants:
            self._constants[place] = f"BODY_{len(self._constants) + 1}" if self._constants else "BODY"
        return self._constants[place]

    def _warnings(self) -> Iterator[str]:
        """Yield what makes the test expect the lines of the error log, and which handlers have raised what."""
        for one in self._entry["steps"]:
            if one["error"] and one["name"] and not one["error"].startswith("HTTPError"):
                yield f"# Handler {one['name']} raised {_in_one_line(one['error'])[:90]}"
        words = [_FAILED[one["error"]][2] for one in self._entry["attempts"] if one["error"] in _FAILED]
        words += [_WARNINGS[self._entry["reason"]]] if self._entry["reason"] in _WARNINGS else []
        words += ["the request goes on"] if any("the request goes on" in one for one in self._entry["log"]) else []
        for pattern in dict.fromkeys(words):
            yield f"gproxy.expect_warning({literal(pattern)})"

    def _exchange(self) -> Iterator[str]:
        """Yield the lines that send the request."""
        if self._token is not None:
            yield f"token = {self._token}"
        source = f"response = {self._call()}"
        if self._entry["reason"] != _RATE_LIMITED:
            yield source
            return
        yield "for _ in range(100_000):  # requests before this one have reached the limit"
        yield indented(source).rstrip("\n")
        yield "    if response.status == 429:"
        yield "        break"

    def _call(self) -> str:
        entry = self._entry
        method, target = entry["method"], literal(entry["target"])
        headers, body = _fields(self._headers(), has_token=self._token is not None), self._body()
        further = [f"client={literal(entry['peer'])}", *(['scheme="https"'] if entry["scheme"] == "https" else [])]
        if method == "GET" and not body:
            return call("gproxy.get", target, headers, *further)
        if method == "POST":
            return call("gproxy.post", target, body or 'b""', headers, *further)
        return call("gproxy.request", literal(method), target, headers, *([body] if body else []), *further)

    def _headers(self) -> list[tuple[str, str]]:
        """Return the fields that the test sends, without those of the connection, and without a token that it makes."""
        dropped = {*HOP_BY_HOP, "content-length", "expect", *(["authorization"] if self._token is not None else [])}
        return [(name, value) for name, value in self._entry["request"]["headers"] if name.lower() not in dropped]

    def _body(self) -> str:
        """Return the body that the test sends: as a JSON value, if the kit makes the same bytes of it."""
        place = self._entry["request"]["body"]
        data: bytes = self._entry["bodies"][place]["data"] if place is not None else b""
        if not data:
            return ""
        is_json = any(name.lower() == "content-type" for name, _ in self._headers()) and data[:1] in (b"{", b"[")
        value = json_value(data) if is_json else None
        is_same = value is not None and json.dumps(value).encode() == data
        return literal(value) if is_same else self._source(place, data)


def _in_one_line(text: str) -> str:
    """Return the text for a comment: Python reads no NUL in its source, and no lone surrogate."""
    return "".join(one if one.isprintable() else "?" for one in " ".join(text.split()))


def _check(entry: Entry) -> None:
    """Raise ValueError for what no test repeats."""
    reason = entry["reason"]
    if reason in _STATEFUL:
        raise ValueError(f"the response depended on the state of the gateway ({reason}), which a new gateway lacks")
    if entry["response"] is None:
        raise ValueError("the request had no response, so there is nothing to test")
    if entry["status"] == 101:
        raise ValueError("the request has become a tunnel, which the test kit does not have")
    place = entry["request"]["body"]
    if place is not None and not entry["bodies"][place]["is_whole"]:
        raise ValueError("the body of the request is longer than what is kept, so a test cannot send it")
    if entry["omitted_attempts"]:
        raise ValueError("the request had more attempts than are kept, so a test cannot script them")


def _fields(pairs: list[tuple[str, str]], *, has_token: bool = False) -> str:
    """Return fields as a dict, or as a list of pairs if a name is repeated; `has_token` adds the variable token."""
    items = [(literal(name), literal(value)) for name, value in pairs]
    items += [('"Authorization"', 'f"Bearer {token}"')] if has_token else []
    if len({name.lower() for name, _ in pairs}) == len(pairs):
        return bracketed("{", [f"{name}: {value}" for name, value in items], "}")
    return bracketed("[", [f"({name}, {value})" for name, value in items], "]")
