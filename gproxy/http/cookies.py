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


def all_cookies(headers: Headers, name: str) -> list[str]:
    """Return the values of all cookies with that name, unchanged, in their order."""
    header = headers.lookup("cookie")
    if header is None or name not in header:
        return []
    pairs = (pair.partition("=") for pair in header.split(";"))
    return [value.strip(" \t") for key, equals, value in pairs if equals and key.strip(" \t") == name]


def without_cookie(headers: Headers, name: str) -> None:
    """Remove the cookies with that name; the field goes with its last cookie."""
    header = headers.lookup("cookie")
    if header is None or name not in header:
        return
    pairs = header.split(";")
    kept = [pair.strip(" \t") for pair in pairs if pair.partition("=")[0].strip(" \t") != name]
    if not kept:
        headers.discard("cookie")
    elif len(kept) < len(pairs):
        headers.put("Cookie", "cookie", "; ".join(kept))
