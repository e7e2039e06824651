"""The environ of a request (PEP 3333): the fields that a backend would get, and the client as the gateway knows it."""

from typing import Any, Final
from urllib.parse import unquote_to_bytes

from gproxy import __version__
from gproxy.apps.errors import AppErrors
from gproxy.apps.input import AppInput
from gproxy.http.body import NO_BODY
from gproxy.http.header_names import HOP_BY_HOP
from gproxy.http.placeholders import client_scheme
from gproxy.http.request import Request
from gproxy.http.trust import UNIX_PEER
from gproxy.runtime import Runtime
from gproxy.runtime.route_parts import RequestFields

_PORTS: Final = {"http": "80", "https": "443"}
#: The most names of fields that are remembered: clients choose the names.
_MOST_NAMES: Final = 1000
#: The fields that belong to a connection. Proxy would be HTTP_PROXY, which libraries obey.
_DROPPED: Final = (HOP_BY_HOP - {"transfer-encoding", "content-length"}) | {"expect", "proxy"}
_WITHOUT_PREFIX: Final = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
#: Name of a field, as it was spelled, -> its key in the environ; empty if the field is dropped.
_keys: Final[dict[str, str]] = {}


class EnvironBuilder:
    """The builder of the environs of one route. `prefix` is what `strip_prefix` takes off, percent-encoded."""

    def __init__(self, head: RequestFields, runtime: Runtime, *, prefix: str, is_multiprocess: bool) -> None:
        self._head = head
        self._base: dict[str, Any] = {
            "SCRIPT_NAME": _decoded(prefix),
            "SERVER_SOFTWARE": f"gproxy/{__version__}",
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": is_multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "gproxy.runtime": runtime,
        }

    def __call__(self, request: Request, body: AppInput, file_wrapper: object) -> dict[str, Any]:
        """Return the environ of the request. Raise HTTPError for a request that has passed this gateway before."""
        environ = self._base.copy()
        for line in self._head.lines(request, ""):
            name, _, value = line.partition(": ")
            key = _keys.get(name)
            if key is None:
                key = _key(name)
            if key in environ:
                environ[key] += f"{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
            elif key:
                environ[key] = value
        path, _, query = self._head.target(request).partition("?")
        scheme = client_scheme(request)
        host = request.host  # by which the route was chosen; what proxies pass on may be the client's own word
        name, port = _name_and_port(host, scheme)
        if host:
            environ["HTTP_HOST"] = host
        environ |= {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": _decoded(path) if "%" in path else path,
            "QUERY_STRING": query,
            "RAW_URI": request.received.target,
            "REMOTE_ADDR": "" if request.client == UNIX_PEER else request.client,
            "SERVER_NAME": name,
            "SERVER_PORT": port,
            "SERVER_PROTOCOL": request.received.protocol,
            "wsgi.url_scheme": scheme,
            "wsgi.input": body,
            "wsgi.errors": AppErrors(request),
            "wsgi.file_wrapper": file_wrapper,
            "gproxy.request": request,
        }
        if request.body is not NO_BODY and request.body.length is not None:
            environ["CONTENT_LENGTH"] = str(request.body.length)
        return environ


def _key(name: str) -> str:
    """Return the key of a field in the environ; empty for one that is dropped."""
    lower = name.lower()
    if "_" in name or lower in _DROPPED:
        key = ""
    else:
        key = _WITHOUT_PREFIX.get(lower) or f"HTTP_{name.upper().replace('-', '_')}"
    if len(_keys) < _MOST_NAMES:
        _keys[name] = key
    return key


def _decoded(path: str) -> str:
    """Return a percent-encoded path as PEP 3333 wants it: its bytes as characters of Latin-1."""
    return unquote_to_bytes(path.encode("latin-1")).decode("latin-1")


def _name_and_port(host: str, scheme: str) -> tuple[str, str]:
    """Return SERVER_NAME and SERVER_PORT, which are never empty."""
    end = host.rfind("]") + 1
    name, _, port = host[end:].partition(":")
    return host[:end] + name or "localhost", port or _PORTS[scheme]
