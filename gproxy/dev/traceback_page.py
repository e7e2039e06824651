"""The response to an exception in `gproxy dev`, as the client prefers it: a page, text, or problem details in JSON."""

import json
from collections.abc import Callable, Iterable, Iterator
from html import escape
from typing import Any, Final

from gproxy.dev.failure import Failure, Frame, RaisedError
from gproxy.http.errors import HTTPError
from gproxy.http.negotiate import error_kind
from gproxy.http.request import Request
from gproxy.http.response import PHRASES, Response

_STYLE: Final = """\
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; white-space: pre-wrap; } h2 { font-size: 1.1rem; margin-top: 2rem; }
pre { overflow-x: auto; padding: .5rem; border: 1px solid #8886; border-radius: .3rem; line-height: 1.4; }
pre b { display: inline-block; min-width: 100%; background: #f803; }
table { border-collapse: collapse; } th, td { text-align: left; vertical-align: top; padding: .1rem 1rem .1rem 0; }
th { font-weight: normal; white-space: nowrap; } .changes td { white-space: pre-wrap; }
.banner { border: 2px solid #d33; padding: .5rem 1rem; }
"""
#: The page loads and runs nothing, whatever an exception has put into it.
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}


class Report:
    """A failure with the status of its response; `reload_failure` is the text on top, or empty."""

    def __init__(self, failure: Failure, found: HTTPError, request_id: str, reload_failure: str) -> None:
        self.failure = failure
        self.status = found.status
        self.title = PHRASES.get(found.status, "Error")
        self.detail = found.detail
        self.request_id = request_id
        self.reload_failure = reload_failure


def response(report: Report, request: Request) -> Response:
    """Return the response with the report."""
    media_type, write = _KINDS[error_kind(request.received.field("accept"))]
    made = Response(report.status, write(report).encode("utf-8", "replace"), {"Content-Type": media_type})
    made.headers.update(_HEADERS)
    return made


def _json(report: Report) -> str:
    """Return problem details with further members (RFC 9457 section 3.2)."""
    failure = report.failure
    first, *causes = failure.errors
    content: dict[str, Any] = {
        "status": report.status,
        "title": report.title,
        "detail": report.detail,
        "request_id": report.request_id,
        "exception": first.text,
        "traceback": [_as_dict(frame) for frame in _users_first(first)],
        "causes": [
            {"link": one.link, "exception": one.text, "traceback": [_as_dict(frame) for frame in _users_first(one)]}
            for one in causes
        ],
        "request": {"line": failure.line, "route": failure.route, "client": failure.client, "fields": failure.fields},
    }
    if failure.steps:
        content["changes"] = dict(failure.steps)
    if report.reload_failure:
        content["reload_failure"] = report.reload_failure
    return json.dumps(content, indent=1)


def _as_dict(frame: Frame) -> dict[str, object]:
    return {
        "file": frame.file,
        "line": frame.line,
        "function": frame.function,
        "code": frame.code,
        "is_user_code": frame.is_users,
    }


def _users_first(error: RaisedError) -> list[Frame]:
    return [*error.own, *(frame for frame in error.frames if not frame.is_users)]


def _text(report: Report) -> str:
    failure = report.failure
    lines = [report.reload_failure, ""] if report.reload_failure else []
    lines += [f"{report.status} {report.title}: {report.detail} ({report.request_id})", failure.line]
    for error in failure.errors:
        lines += ["", f"{error.link}: {error.text}" if error.link else error.text]
        for frame in _users_first(error):
            lines += [
                f"  {frame.file}:{frame.line} in {frame.function}",
                *([f"    {frame.code}"] if frame.code else []),
            ]
    lines += ["", *(f"{name}: {value}" for name, value in failure.fields)]
    for name, changes in failure.steps:
        lines += ["", f"{name} has changed:", *(f"  {change}" for change in changes)]
    return "\n".join(lines) + "\n"


def _html(report: Report) -> str:
    return "".join(_pieces(report))


def _pieces(report: Report) -> Iterator[str]:
    failure = report.failure
    first = failure.errors[0]
    title = escape(f"{report.status} {first.text.splitlines()[0] if first.text else report.title}")
    yield f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
    yield f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>\n{_STYLE}</style>\n</head>\n'
    yield "<body>\n"
    if report.reload_failure:
        yield f'<p class="banner" role="alert">Earlier code still serves: {escape(report.reload_failure)}</p>\n'
    yield f"<h1>{escape(first.text)}</h1>\n"
    yield f"<p>{report.status} {escape(report.title)}: {escape(report.detail)}</p>\n"
    yield f"<p><code>{escape(failure.line)}</code></p>\n"
    for error in failure.errors:
        yield from _error(error)
    rows = [("route", failure.route or "none"), ("client", failure.client), ("id", report.request_id)]
    yield f"<h2>Request</h2>\n{_table([*rows, *failure.fields])}"
    if failure.steps:
        changed = [(name, "\n".join(changes)) for name, changes in failure.steps]
        yield f'<h2>What handlers have changed</h2>\n<div class="changes">{_table(changed)}</div>\n'
    yield "</body>\n</html>\n"


def _error(error: RaisedError) -> Iterator[str]:
    if error.link:
        yield f"<h2>{escape(error.link.capitalize())}: {escape(error.text)}</h2>\n"
    for frame in error.own:
        yield _frame(frame)
    others = [frame for frame in error.frames if not frame.is_users]
    if others:
        is_open = "" if error.own else " open"
        yield f"<details{is_open}><summary>{len(others)} frames of libraries</summary>\n"
        yield from map(_frame, others)
        yield "</details>\n"


def _frame(frame: Frame) -> str:
    lines = (_line(number, text, is_marked=number == frame.line) for number, text in frame.source)
    source = f"<pre>{''.join(lines)}</pre>\n" if frame.source else ""
    return f"<p><code>{escape(frame.file)}:{frame.line}</code> in <code>{escape(frame.function)}</code></p>\n{source}"


def _line(number: int, text: str, *, is_marked: bool) -> str:
    line = f"{number:5} {escape(text)}"
    return f"<b>{line}</b>\n" if is_marked else f"{line}\n"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (f"<tr><th>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>\n" for name, value in rows)
    return f"<table>\n{''.join(cells)}</table>\n"


_KINDS: Final[dict[str, tuple[str, Callable[[Report], str]]]] = {
    "html": ("text/html; charset=utf-8", _html),
    "text": ("text/plain; charset=utf-8", _text),
    "json": ("application/problem+json", _json),
}
