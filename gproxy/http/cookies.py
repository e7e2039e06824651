"""Cookies as a client sends them (RFC 6265 section 4.2)."""

from gproxy.http.headers import Headers


def cookie(headers: Headers, name: str) -> str | None:
    """The value of the first cookie with that name, as it stands there; None if there is none."""
    return cookie_in(headers.get("cookie") or "", name)


def cookie_in(header: str, name: str) -> str | None:
    """Return the same from the field's value."""
    for pair in header.split(";"):
        key, equals, value = pair.partition("=")
        if equals and key.strip(" \t") == name:
            return value.strip(" \t")
    return None
