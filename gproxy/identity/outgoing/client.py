"""Requests of the gateway itself: key sets, metadata of issuers, introspection.

One client serves a worker. A request runs in a greenlet of its own, so a client that leaves cancels nothing for others.
Its whole exchange is bounded: urllib3's limits count single reads, which a peer can repeat without end.
"""

import logging
import ssl
from collections.abc import Mapping
from http.client import HTTPException, RemoteDisconnected
from typing import Final, NamedTuple, cast

import gevent
from urllib3 import PoolManager, ProxyManager, Timeout, make_headers
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError
from urllib3.exceptions import TimeoutError as SlowError
from urllib3.response import BaseHTTPResponse
from urllib3.util import parse_url

from gproxy.config.sections.outgoing import OutgoingSettings, ProxyURL
from gproxy.http.exchange import without_query
from gproxy.identity.outgoing.connection import POOLS, PUBLIC_POOLS
from gproxy.identity.outgoing.urls import check_url, is_internal, is_loopback
from gproxy.runtime import Runtime

#: Idle connections to each host. Introspection needs several.
_IDLE: Final = 32
_NO_HEADERS: Final[Mapping[str, str]] = {}
#: The piece of a body that is read at once, in bytes.
_PIECE: Final = 16 * 1024
#: Results of OpenSSL's verification that mean an unknown authority: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
#: a self-signed certificate, and a chain that ends in one.
_UNKNOWN_AUTHORITY: Final = (18, 19, 20)

_log = logging.getLogger("gproxy")


class OutgoingError(Exception):
    """A failed request; the text is one line with the reason, without credentials."""


class Answer(NamedTuple):
    """A response of any status but a redirect; the names of headers are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Request(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    limit: int
    timeout: float
    public: bool
    repeatable: bool


class Outgoing:
    """The HTTP client of a worker, with the settings of `[outgoing]`; `runtime.single(Outgoing)` returns it."""

    def __init__(self, runtime: Runtime) -> None:
        self._spawn = runtime.spawn
        self._settings = runtime.outgoing
        #: By whether the hosts must have public addresses, and whether the proxy is used.
        self._managers: dict[tuple[bool, bool], PoolManager] = {}
        self._context: ssl.SSLContext | None = None

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes = b"",
        limit: int,
        timeout: float | None = None,
        public: bool = False,
        repeatable: bool = False,
    ) -> Answer:
        """Return the answer, whose body has at most `limit` bytes, within `timeout` seconds (by default the option).

        `public` rejects addresses that are private, loopback or link-local. A GET, or a `repeatable` request, is sent
        once more if the server closes a connection before it answers. Raises OutgoingError.
        """
        request = _Request(
            method, url, headers, body, limit, timeout or self._settings.timeout, public, repeatable or method == "GET"
        )
        result: Answer | OutgoingError = self._spawn(self._settle, request).get()
        if isinstance(result, OutgoingError):
            raise result
        return result

    def close(self) -> None:
        """Close all idle connections."""
        for manager in self._managers.values():
            manager.clear()

    def _settle(self, request: _Request) -> Answer | OutgoingError:
        """Return the answer or the error; an exception of a greenlet would be printed."""
        timer = gevent.Timeout.start_new(request.timeout)
        try:
            return self._exchange(request)
        except gevent.Timeout:
            return OutgoingError(f"no answer within {request.timeout:g} s")
        except OutgoingError as error:
            return error
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            return OutgoingError(_reason(error))
        except Exception as error:  # noqa: BLE001 a fault of a library is no answer either: 503 and not 500
            _log.debug("request to %s failed", without_query(request.url), exc_info=True)
            return OutgoingError(f"{type(error).__name__}: {_reason(error)}")
        finally:
            timer.close()

    def _exchange(self, request: _Request) -> Answer:
        try:
            host = check_url(request.url, insecure=self._settings.insecure).hostname or ""
        except ValueError as error:
            raise OutgoingError(f"its URL cannot be asked: {error}") from None
        if request.public and is_internal(host):
            raise OutgoingError("its host is an internal address, unlike its issuer's")
        manager = self._manager(request.public, is_direct=is_loopback(host) or self._settings.proxy is None)
        try:
            return _ask(manager, request)
        except ProtocolError as error:
            if not request.repeatable or not _was_closed(error):
                raise
        return _ask(manager, request)

    def _manager(self, public: bool, *, is_direct: bool) -> PoolManager:
        manager = self._managers.get((public, is_direct))
        if manager is None:
            self._context = self._context or _context(self._settings)
            proxy = None if is_direct else self._settings.proxy
            made = _through(proxy, self._context) if proxy else PoolManager(maxsize=_IDLE, ssl_context=self._context)
            made.pool_classes_by_scheme = PUBLIC_POOLS if public else POOLS
            manager = self._managers[public, is_direct] = made
        return manager


def _through(proxy: ProxyURL, context: ssl.SSLContext) -> PoolManager:
    url = parse_url(proxy.reveal())
    credentials = make_headers(proxy_basic_auth=url.auth) if url.auth else {}
    return ProxyManager(
        url._replace(auth=None).url,
        proxy_headers=credentials,
        proxy_ssl_context=context,
        maxsize=_IDLE,
        ssl_context=context,
    )


def _ask(manager: PoolManager, request: _Request) -> Answer:
    # Half of the time for each address: the first one may be silent.
    limits = Timeout(connect=request.timeout / 2, read=request.timeout)
    headers = {"Accept": "application/json", "User-Agent": "gproxy", "Accept-Encoding": "identity", **request.headers}
    response = manager.urlopen(
        request.method, request.url, body=request.body or None, headers=headers, timeout=limits, retries=False,
        redirect=False, preload_content=False, decode_content=False,
    )  # fmt: skip
    try:
        body = _body(response, request.limit)
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return Answer(response.status, cast(Mapping[str, str], response.headers), body)


def _body(response: BaseHTTPResponse, limit: int) -> bytes:
    if 300 <= response.status < 400:
        raise OutgoingError(f"status {response.status}: redirects are not followed")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit:
        raise OutgoingError(f"the body exceeds {limit} bytes")
    body = bytearray()  # grows without copies: each piece may be one byte
    for piece in response.stream(_PIECE, decode_content=False):
        body += piece
        if len(body) > limit:
            raise OutgoingError(f"the body exceeds {limit} bytes")
    return bytes(body)


def _context(settings: OutgoingSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs()
    if settings.tls_ca is not None:
        context.load_verify_locations(settings.tls_ca)
    return context


def _was_closed(error: ProtocolError) -> bool:
    """Return whether the server closed the connection before the answer: an idle one may end at any time."""
    cause = error.args[-1] if error.args else None
    return isinstance(cause, RemoteDisconnected | ConnectionResetError | BrokenPipeError)


def _reason(error: Exception) -> str:
    """Return the error in one line of at most 200 characters."""
    if isinstance(error, NewConnectionError):  # urllib3 puts the connection before the text
        text = str(error).partition("): ")[2]
    elif isinstance(error, SlowError):
        text = "no answer in time"
    else:
        cause = next((one for one in reversed(error.args) if isinstance(one, Exception)), error)
        verified = getattr(cause, "verify_message", "")
        text = f"its certificate is rejected: {verified}{_authority_hint(cause)}" if verified else str(cause)
    return " ".join(text.split())[:200] or type(error).__name__


def _authority_hint(error: Exception) -> str:
    """Return what to do about an authority that is not trusted; nothing for another fault of a certificate."""
    is_unknown = getattr(error, "verify_code", 0) in _UNKNOWN_AUTHORITY
    return "; tls_ca in [outgoing] names further authorities" if is_unknown else ""
