"""`GET /`: the page, with its style sheet and its script, compressed if the client accepts it."""

import zlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import Any, Final

from isal import isal_zlib

from gproxy import __version__
from gproxy.http.cookies import cookie
from gproxy.http.negotiate import preferred_coding
from gproxy.http.response import Response
from gproxy.http.trust import UNIX_PEER
from gproxy.monitor.api.operation import Call, Parameter
from gproxy.monitor.page.first_page import page
from gproxy.monitor.times import rfc3339
from gproxy.monitor.views.look import VIEWS, look_at, views_of
from gproxy.monitor.watched_gateway import WatchedGateway

VIEW: Final = (Parameter("view", "text", "the view that the page shows first", tuple(VIEWS)),)
#: The cookie in which the page keeps the choice of its reader: light or dark.
_THEME: Final = "gproxy_theme"
#: The shortest time that a graph shows, in seconds: the monitor may have just begun.
_SHORTEST: Final = 60.0
_GZIP: Final = 16 + zlib.MAX_WBITS


def first_page(call: Call) -> Response:
    """Return the page with the values of this moment."""
    gateway = call.gateway
    values = {
        "title": gateway.settings.admin.name,
        "version": __version__,
        "time": rfc3339(gateway.clock())[:19].replace("T", " ") + " UTC",
        "acts": "yes" if call.caller.may_act else "no",
        "config": quote(str(Path(gateway.config).absolute())),
        "socket": _socket(call),
        "theme": cookie(call.request.headers, _THEME) or "",
    }
    content = look_at(gateway, call.values.get("view", "overview"))
    titles = {name: title for name, (title, _) in views_of(gateway).items()}
    text = page(content, values, titles, _figures(gateway) if content["graphs"] else {})
    return _sent(call, text.encode("utf-8", "surrogatepass"), "text/html; charset=utf-8")


def _socket(call: Call) -> str:
    """Return the unix socket that commands have to name, for a shell; empty for a client on TCP."""
    if call.request.received.peer != UNIX_PEER:
        return ""
    paths = (one.path for one in call.gateway.settings.admin.bind if one.kind == "unix")
    return next((quote(str(Path(path).absolute())) for path in paths), "")


def style(call: Call) -> Response:
    """Return the style sheet."""
    return page_file(call, "page.css", "text/css; charset=utf-8")


def script(call: Call) -> Response:
    """Return the script."""
    return page_file(call, "page.js", "text/javascript; charset=utf-8")


def page_file(call: Call, name: str, media_type: str) -> Response:
    """Return a file of the page."""
    return _sent(call, _file(name), media_type)


def _figures(gateway: WatchedGateway) -> Mapping[str, Any]:
    """Return the history about the gateway, as the graphs take it."""
    now = gateway.clock()
    span = gateway.settings.admin.history
    times = gateway.figures.history.times(now - span)
    since = now - min(span, max(_SHORTEST, now - times[0] if times else 0.0))
    marks = [{"when": one.when, "kind": one.kind, "text": one.text} for one in gateway.changes.since(since)]
    series = {figure.name: values for figure, values in gateway.figures.history.read("gateway", now - span)}
    interval = gateway.figures.history.interval
    return {"interval": interval, "since": since, "until": now, "times": times, "series": series, "marks": marks}


@lru_cache(8)
def _file(name: str) -> bytes:
    return files("gproxy.monitor.page").joinpath(name).read_bytes()


def _sent(call: Call, body: bytes, media_type: str) -> Response:
    headers = {"Content-Type": media_type, "Vary": "Accept-Encoding"}
    if preferred_coding(call.request.headers.get("accept-encoding"), ("gzip",)) is None:
        return Response(200, body, headers)
    return Response(200, _compressed(body), {**headers, "Content-Encoding": "gzip"})


def _compressed(data: bytes) -> bytes:
    compressor = isal_zlib.compressobj(wbits=_GZIP)
    return bytes(compressor.compress(data) + compressor.flush())
