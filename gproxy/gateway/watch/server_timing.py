"""The field Server-Timing (W3C Server Timing): how long the parts of a request took until the response's head."""

from typing import Final

from gproxy.gateway.watch.time_account import OTHER, TimeAccount
from gproxy.http.request import Request
from gproxy.http.response import Response

_NAME: Final = "Server-Timing"


def add_server_timing(response: Response, request: Request, account: TimeAccount) -> None:
    """Add the field, before the lines of the backend: milliseconds, the outermost handler first."""
    parts = account.until_now()
    total = sum(parts.values())
    parts[OTHER] = parts.pop(OTHER, 0.0)  # it began first, and is read last
    items = [f"total;dur={_milliseconds(total)}"]
    for part, seconds in parts.items():
        description = f';desc="{_described(request)}"' if part == "backend" else ""
        items.append(f"{part.removeprefix('handler.')};dur={_milliseconds(seconds)}{description}")
    theirs = response.headers.pop(_NAME)
    response.headers[_NAME] = ", ".join([*items, *([theirs] if theirs else [])])


def _described(request: Request) -> str:
    """Return the upstream's name and the number of the last attempt; no address of a backend."""
    return f"{request.upstream}, attempt {request.tries}" if request.tries > 1 else request.upstream


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}".rstrip("0").rstrip(".")
