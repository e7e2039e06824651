"""Names of header fields: their characters, and one row for each name that the gateway treats specially."""

import re
from enum import Flag, auto
from typing import Final

#: A character of a token (RFC 9110 section 5.6.2). Names of headers, methods, cookies and codings are tokens.
TOKEN_CHAR: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"  # noqa: S105 not a secret
#: A character of a field's value, with inner blanks and obs-text (RFC 9110 section 5.5).
FIELD_CHAR: Final = r"[\t\x20-\x7e\x80-\xff]"
#: Matches a text that is a token.
is_token: Final = re.compile(f"{TOKEN_CHAR}+").fullmatch
#: A protocol in Upgrade, perhaps with its version (RFC 9110 section 7.8).
is_protocol: Final = re.compile(f"{TOKEN_CHAR}+(?:/{TOKEN_CHAR}+)?").fullmatch
#: Matches a text that may be a field's value.
is_field_value: Final = re.compile(f"{FIELD_CHAR}*").fullmatch
_odd = re.compile("[^a-z0-9-]")


def plain_name(name: str) -> str:
    """Return a name in lower case as backends with WSGI or CGI read it: they take `x_user_id` for `x-user-id`."""
    return _odd.sub("-", name)


def carries_requests(protocol: str) -> bool:
    """Return whether requests in a tunnel with the protocol would bypass every handler: HTTP, h2c above all."""
    return protocol.partition("/")[0].lower() in {"h2c", "h2", "http"}


class HeaderUse(Flag):
    """The special treatment of a field by the gateway."""

    #: Belongs to one connection, or frames a message: no handler sees it (RFC 9110 section 7.6.1, RFC 9112 section 6).
    HOP_BY_HOP = auto()
    #: Hop-by-hop in requests only: for HEAD and 304, Content-Length describes a body that does not follow.
    KEPT_IN_RESPONSES = auto()
    #: Not allowed in trailers: it frames, routes, authenticates, or changes what was acted on already (RFC 9110 6.5.1).
    NO_TRAILER = auto()
    #: Says where a request comes from, or with which certificate. Removed unless a trusted proxy sends it.
    FORWARDING = auto()
    #: `Connection` cannot nominate it: without it the message means something else (RFC 9110 section 7.6.1).
    END_TO_END = auto()
    #: The gateway acts on it, so a spelling that only a backend takes for this field is removed.
    ACTED_ON = auto()
    #: Frames, routes or forwards a message, so it cannot carry the identity of a client's certificate.
    NO_IDENTITY = auto()
    #: Set anew by the gateway in each request to a backend, so an option cannot name it for something else.
    SET_BY_GATEWAY = auto()
    #: Set by the gateway in health probes.
    SET_BY_PROBE = auto()
    #: Carries a secret: shown as ***.
    SECRET = auto()


_H, _K, _N, _F, _E, _A, _I, _G, _P, _S = HeaderUse

#: Name in lower case -> uses.
HEADERS: Final[dict[str, HeaderUse]] = {
    "connection": _H | _N | _I | _G | _P,
    "keep-alive": _H | _N | _I,
    "proxy-connection": _H | _N,
    "te": _H | _N | _I | _G | _P,
    "transfer-encoding": _H | _N | _A | _I | _G | _P,
    "upgrade": _H | _N | _I | _G | _P,
    "http2-settings": _H | _N,
    "content-length": _H | _K | _N | _E | _A | _I | _G | _P,
    "proxy-authenticate": _H | _K | _N,
    "proxy-authorization": _H | _N | _S,
    "proxy-authentication-info": _H | _N,
    "host": _N | _E | _A | _I | _G | _P,
    "authorization": _N | _E | _A | _I | _G | _S,
    "cookie": _N | _S,
    "set-cookie": _N | _S,
    "expect": _N | _I | _G,
    "trailer": _N | _I,
    "via": _N | _I | _G,
    "forwarded": _N | _F | _E | _I,
    "x-real-ip": _N | _F | _E | _I | _G,
    "x-request-id": _N | _E | _I | _G,
    "client-cert": _N | _F | _E,
    "client-cert-chain": _N | _F | _E,
    "x-forwarded-client-cert": _N | _F | _E,
    "x-forwarded-for": _I | _G,
    "x-forwarded-proto": _I | _G,
    "x-forwarded-host": _I | _G,
    **dict.fromkeys(
        (
            "age", "authentication-info", "cache-control", "content-encoding", "content-range", "content-type", "date",
            "expires", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "location",
            "max-forwards", "pragma", "range", "retry-after", "vary", "warning", "www-authenticate",
        ),
        _N,
    ),
}  # fmt: skip


def names(use: HeaderUse, *, but: HeaderUse | None = None) -> frozenset[str]:
    """Return the names with this use, without those with a use in `but`."""
    return frozenset(name for name, uses in HEADERS.items() if use in uses and not (but and but in uses))


HOP_BY_HOP: Final = names(HeaderUse.HOP_BY_HOP)
RESPONSE_HOP_BY_HOP: Final = names(HeaderUse.HOP_BY_HOP, but=HeaderUse.KEPT_IN_RESPONSES)
FORBIDDEN_TRAILERS: Final = names(HeaderUse.NO_TRAILER)
FORWARDING: Final = names(HeaderUse.FORWARDING)
END_TO_END: Final = names(HeaderUse.END_TO_END)
ACTED_ON: Final = names(HeaderUse.ACTED_ON)
NOT_IDENTITY: Final = names(HeaderUse.NO_IDENTITY)
SET_BY_GATEWAY: Final = names(HeaderUse.SET_BY_GATEWAY)
SET_BY_PROBE: Final = names(HeaderUse.SET_BY_PROBE)
SECRET_FIELDS: Final = names(HeaderUse.SECRET)
#: Matches the name of a field that is likely to carry a secret: those of SECRET_FIELDS, X-API-Key, X-CSRF-Token.
is_likely_secret: Final = re.compile(
    r"assertion|auth|bearer|cookie|credential|jwt|key|pass|secret|session|signature|token", re.IGNORECASE
).search
