"""Cookies as a client sends them (RFC 6265 section 4.2)."""

from gproxy.http.headers import Headers


def cookie(headers: Headers, name: str) -> str | None:
    """Return the value of the first cookie with that name, unchanged; None if there is none."""
    return cookie_in(headers.get("cookie") or "", name)


def cookie_in(header: str, name: str) -> str | None:
    """Return the value of the first such cookie in the value of a Cookie field; None if there is none.

    PERF: most of a long field is only searched for the name; splitting it costs ten times as much.
    """
    at = header.find(name)
    while at >= 0:
        begin, end = header.rfind(";", 0, at) + 1, header.find(";", at)
        key, equals, value = header[begin : end if end >= 0 else None].partition("=")
        if equals and (key == name or key.strip(" \t") == name):  # PERF: most names have no blanks around them
            return value.strip(" \t")
        at = header.find(name, end + 1) if end >= 0 else -1
    return None
