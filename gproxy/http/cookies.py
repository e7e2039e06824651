"""Cookies as a client sends them (RFC 6265 section 4.2)."""

from gproxy.http.headers import Headers


def cookie(headers: Headers, name: str) -> str | None:
    """Return the value of the first cookie with that name, unchanged; None if there is none."""
    return cookie_in(headers.get("cookie") or "", name)


def cookie_in(header: str, name: str) -> str | None:
    """Return the value of the first such cookie in the value of a Cookie field; None if there is none."""
    for pair in header.split(";"):
        key, equals, value = pair.partition("=")
        if equals and key.strip(" \t") == name:
            return value.strip(" \t")
    return None
