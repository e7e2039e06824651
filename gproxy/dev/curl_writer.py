"""The copy of an inspected request as a command of curl, for any POSIX shell."""

from collections.abc import Mapping
from shlex import quote
from typing import Any, Final

from gproxy.config.sections.settings import Settings
from gproxy.http.header_names import HOP_BY_HOP

#: The fields that curl sets itself.
_OWN: Final = HOP_BY_HOP | {"expect", "host", "content-length"}
#: The fields that curl sends unless it is given others.
_USUAL: Final = ("user-agent", "accept")

#: The hosts of a listener on every interface.
_EVERY: Final = ("", "0.0.0.0", "[::]", "::")  # noqa: S104 no listener is opened


def curl(entry: Mapping[str, Any], settings: Settings) -> str:
    """Return the command. Raises ValueError if the body is longer than what is kept, or has a NUL."""
    method, target, authority = entry["method"], entry["target"], _authority(entry, settings)
    words = ["curl", "--path-as-is"]
    words += ["--http1.0"] if entry["protocol"] == "HTTP/1.0" else []
    words += [quote(f"{entry['scheme']}://{authority}{target if target != '*' else '/'}")]
    words += ["--request-target", quote("*")] if target == "*" else []
    words += ["--globoff"] if set("[]{}") & set(target) else []
    words += ["--insecure"] if entry["scheme"] == "https" else []
    body = _body(entry)
    words += ["--head"] if method == "HEAD" else [] if method == ("POST" if body else "GET") else ["-X", quote(method)]
    host = _host(entry)
    lines = [
        " ".join(words),
        *([f"-H {quote(f'Host: {host}')}"] if host != authority else []),
        *_headers(entry),
        *([f"--data-raw {_quoted(body)}"] if body else []),
    ]
    socket = _socket(settings)
    return " \\\n  ".join([*lines, *([f"--unix-socket {quote(socket)}"] if socket else [])]) + "\n"


def _authority(entry: Mapping[str, Any], settings: Settings) -> str:
    """Return host and port of the gateway: as the client has named them, if that is a name of this machine."""
    tcp = [one for one in settings.server.bind if one.kind == "tcp" and not one.redirect]
    if not tcp:
        return "localhost"
    address = next((one for one in tcp if (one.tls is not None) == (entry["scheme"] == "https")), tcp[0])
    names = ("localhost", "127.0.0.1", "[::1]")
    own = f"{address.host}:{address.port}"
    known = [own, *(f"{name}:{address.port}" for name in names)]
    host = _host(entry)
    return host if host in known else own if address.host not in _EVERY else f"localhost:{address.port}"


def _host(entry: Mapping[str, Any]) -> str:
    return next((str(value) for name, value in entry["request"]["headers"] if name.lower() == "host"), "")


def _headers(entry: Mapping[str, Any]) -> list[str]:
    """Return the options of the fields; what curl adds by itself, and the request did not have, is removed."""
    pairs = [(name, value) for name, value in entry["request"]["headers"] if name.lower() not in _OWN]
    given = {name.lower() for name, _ in pairs}
    added = [*_USUAL, *(["content-type"] if _place(entry) is not None else [])]
    removed = [f"-H {quote(f'{name.title()}:')}" for name in added if name not in given]
    return [f"-H {quote(f'{name}: {value}' if value else f'{name};')}" for name, value in pairs] + removed


def _place(entry: Mapping[str, Any]) -> int | None:
    place: int | None = entry["request"]["body"]
    return place


def _body(entry: Mapping[str, Any]) -> bytes:
    place = _place(entry)
    if place is None:
        return b""
    body = entry["bodies"][place]
    if not body["is_whole"]:
        raise ValueError("the body of the request is longer than what is kept, so a command cannot send it")
    data: bytes = body["data"]
    return data


def _quoted(body: bytes) -> str:
    """Return the body as a word of a shell. Raises ValueError for what no word can have."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError("the body of the request is no text, so a command cannot have it")
    return quote(text)


def _socket(settings: Settings) -> str:
    """Return the unix socket of the gateway, if it has no other listener."""
    if any(one.kind != "unix" for one in settings.server.bind):
        return ""
    return str(settings.server.bind[0].path)
