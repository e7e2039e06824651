"""What backends of HTTP/2 may send, and what they must not: frames for a request, by what is odd about them.

A piece is bytes, or a function of the link and the stream that returns them.
"""

import struct

from http2_raw_backend import OK, data, literals

from gproxy.http.h2 import frames
from gproxy.http.h2.frames import END_HEADERS, END_STREAM, PADDED, PRIORITY_FLAG, frame, ping, settings

BLOCK = literals((":status", "200"), ("x-a", "1"), ("x-b", "2" * 50))
PRIORITY = struct.pack(">LB", 0, 5)


def head(fields=OK, *, end=False):
    return lambda link, stream_id: link.head(stream_id, fields, end=end)


def block(raw, flags=END_HEADERS, kind=frames.HEADERS):
    return lambda link, stream_id: frame(kind, flags, stream_id, raw)


def status(text):
    return block(literals((":status", text)))


def field(name, value="1"):
    return block(literals((":status", "200"), (name, value)))


def content(body=b"fine", *, end=True, padding=None):
    return lambda link, stream_id: data(stream_id, body, end=end, padding=padding)


def split(raw, *cuts, flags=0):
    """HEADERS and CONTINUATION frames."""
    ends = [*cuts, len(raw)]
    pieces = [raw[begin:end] for begin, end in zip([0, *cuts], ends, strict=True)]
    kinds = [frames.HEADERS, *[frames.CONTINUATION] * len(cuts)]
    made = [
        block(piece, (END_HEADERS if at == len(cuts) else 0) | (0 if at else flags), kind)
        for at, (kind, piece) in enumerate(zip(kinds, pieces, strict=True))
    ]
    return lambda link, stream_id: b"".join(one(link, stream_id) for one in made)


def on(kind, payload=b"", flags=0, stream=None):
    """A frame on the request's stream, or on another one."""
    return lambda link, stream_id: frame(kind, flags, stream_id if stream is None else stream, payload)


def window(size, stream=None):
    return on(frames.WINDOW_UPDATE, struct.pack(">L", size), stream=stream)


def reset(code):
    return on(frames.RST_STREAM, struct.pack(">L", code))


BODY = content()
TRAILERS = head([("x-sum", "1")], end=True)
#: Legal, and the client gets "fine".
LEGAL = {
    "a block in nine frames": [split(BLOCK, *range(1, 9)), BODY],
    "empty frames of a block": [split(BLOCK, 0, 5, 5, len(BLOCK)), BODY],
    "a padded head": [block(b"\x14" + BLOCK + bytes(20), END_HEADERS | PADDED), BODY],
    "a head with a priority": [block(PRIORITY + BLOCK, END_HEADERS | PRIORITY_FLAG), BODY],
    "a padded head with a priority": [block(b"\3" + PRIORITY + BLOCK + b"abc", END_HEADERS | 0x28), BODY],
    "flags that nobody knows": [block(BLOCK, END_HEADERS | 0xC2), on(frames.DATA, b"fine", END_STREAM | 0xE6)],
    "a reserved bit": [on(frames.HEADERS, BLOCK, END_HEADERS), window(0x80000001), BODY],
    "padded content": [head(), content(padding=100)],
    "nothing but padding": [head(), *[content(b"", end=False, padding=255)] * 20, BODY],
    "empty content": [head(), *[content(b"", end=False)] * 50, content(end=False), content(b"")],
    "interim responses": [*[head([(":status", text)]) for text in ("100", "102", "103", "199") * 10], head(), BODY],
    "trailers": [head(), content(end=False), TRAILERS],
    "trailers without a field": [head(), content(end=False), block(b"", END_HEADERS | END_STREAM)],
    "trailers in pieces": [head(), content(end=False), split(literals(("x-sum", "1")), 3, flags=END_STREAM)],
    "trailers that are not passed on": [head(), content(end=False), head([("content-length", "9")], end=True)],
    "settings": [settings([(4, 7), (5, 99_999), (0xA0A, 1)]), head(), settings([(4, 65535)]), BODY],
    "no table": [settings([(1, 0)]), head(), BODY],
    "no table, and one again": [settings([(1, 0), (1, 4096)]), head(), BODY],
    "no streams, and some again": [settings([(3, 0)]), head(), BODY, settings([(3, 100)])],
    "SETTINGS without end": [*[settings([])] * 50, frames.SETTINGS_ACK, head(), BODY],
    "PINGs": [*[ping(b"12345678")] * 50, ping(b"12345678", ack=True), head(), BODY],
    "priorities": [on(frames.PRIORITY, PRIORITY), on(frames.PRIORITY, PRIORITY, stream=999), head(), BODY],
    "unknown frames": [*[on(0xFA, b"abc", 0xFF, one) for one in (0, None, 998)], head(), on(0xB), BODY],
    "a reset in place of the end": [field("content-length", "4"), content(end=False), reset(0)],
    "late frames": [head(), BODY, window(5), on(frames.PRIORITY, PRIORITY), reset(8)],
    # RFC 9113 section 5.1 lets us end the connection; the others on it would suffer.
    "content behind the end": [head(), BODY, content(b"late")],
    "a head behind the end": [head(), BODY, head([*OK, ("x-late", "1")], end=True)],
    "sizes of the sender's table": [block(b"\x20\x3f\xe1\x1f\x88\x40\x01a\x01b"), BODY],
    "a head of 60 KB": [lambda link, one: frames.headers_frames(one, BLOCK + literals(("x", "v" * 60_000)), end=False), BODY],
    "odd values": [block(BLOCK + literals(("x-c", b"caf\xe9\xff"), ("x-d", ""), ("x-e", "a\tb"))), BODY],
}  # fmt: skip
#: Malformed: the stream is reset with this code, its client gets 502, and the connection goes on.
MALFORMED = {
    "content before the head": (1, [BODY]),
    "an empty block": (1, [block(b""), BODY]),
    "two statuses": (1, [block(literals((":status", "200"), (":status", "200"))), BODY]),
    **{f"the status {text!r}": (1, [status(text), BODY]) for text in ("20", "2000", "+20", "099", "", "101")},
    "a pseudo-field behind others": (1, [head([("x", "1"), *OK]), BODY]),
    "an unknown pseudo-field": (1, [field(":x"), BODY]),
    "a pseudo-field of requests": (1, [field(":path", "/"), BODY]),
    **{f"the name {name!r}": (1, [field(name), BODY]) for name in (b"Upper", b"", b"a b", b"a:b", b"a\0", b"a\r\n")},
    **{
        f"the value {value!r}": (1, [field("x", value), BODY])
        for value in (b"a\0b", b"a\r\nx: y", b" a", b"a ", b"\x7f")
    },
    **{
        f"the field {name}": (1, [field(name, "x"), BODY])
        for name in ("connection", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection", "te")
    },
    **{
        f"the length {text!r}": (1, [field("content-length", text), BODY])
        for text in ("-4", "abc", "+4", "4, 4", "", "9" * 30)
    },
    "two lengths": (1, [head([*OK, ("content-length", "4"), ("content-length", "4")]), BODY]),
    "a length, and no content": (1, [head([*OK, ("content-length", "4")], end=True)]),
    "an interim response with the end": (1, [head([(":status", "103")], end=True)]),
    "an interim response with a bad field": (1, [head([(":status", "103"), ("connection", "x")]), head(), BODY]),
    "no window": (1, [window(0), head(), BODY]),
    "too large a window": (3, [window(2**31 - 1), head(), BODY]),
    "a short priority": (6, [on(frames.PRIORITY, b"1234"), head(), BODY]),
    "a head of 70 KB": (1, [lambda link, one: frames.headers_frames(one, BLOCK + literals(("x", "v" * 70_000)), end=False)]),
}  # fmt: skip
#: Malformed behind the head: the response breaks off.
BROKEN_OFF = {
    "two heads": (1, [head(), head(), BODY]),
    "trailers without the end": (1, [head(), content(end=False), head([("x", "1")]), BODY]),
    **{
        f"{name} in trailers": (1, [head(), content(end=False), head([(name, "1")], end=True)])
        for name in ("Upper", ":status", "connection")
    },
    "more than the length": (1, [field("content-length", "3"), BODY]),
    "less than the length": (1, [field("content-length", "5"), BODY]),
    "trailers before the length": (1, [field("content-length", "5"), content(end=False), TRAILERS]),
}
#: Faults of the connection: it ends with this code, before the response.
FATAL = {
    "a head on another stream": (1, [on(frames.HEADERS, BLOCK, END_HEADERS, 999)]),
    "a head on stream 0": (1, [on(frames.HEADERS, BLOCK, END_HEADERS, 0)]),
    "a pushed stream": (1, [on(frames.HEADERS, BLOCK, END_HEADERS, 2)]),
    "a push": (1, [on(frames.PUSH_PROMISE, b"\0\0\0\2" + BLOCK, END_HEADERS)]),
    "SETTINGS of 5 bytes": (6, [on(frames.SETTINGS, b"12345", stream=0)]),
    "SETTINGS on a stream": (1, [on(frames.SETTINGS)]),
    "an ACK with settings": (6, [on(frames.SETTINGS, b"123456", 1, 0)]),
    "push": (1, [settings([(2, 1)])]),
    "a window of 2^31": (3, [settings([(4, 2**31)])]),
    "a window that becomes too large": (3, [window(2**31 - 65536), settings([(4, 65536)])]),
    "frames of 16383": (1, [settings([(5, 16383)])]),
    "CONNECT withdrawn": (1, [settings([(8, 1)]), settings([(8, 0)])]),
    "a short PING": (6, [on(frames.PING, b"1234567", stream=0)]),
    "a PING on a stream": (1, [on(frames.PING, b"12345678")]),
    "a short GOAWAY": (6, [on(frames.GOAWAY, b"1234567", stream=0)]),
    "no window for all": (1, [window(0, 0)]),
    "too large a window for all": (3, [window(2**31 - 1, 0)]),
    "a window of an idle stream": (1, [window(1, 999)]),
    "a reset of an idle stream": (1, [on(frames.RST_STREAM, b"\0\0\0\1", stream=999)]),
    "PRIORITY_UPDATE": (1, [on(frames.PRIORITY_UPDATE, b"\0\0\0\1u=1", stream=0)]),
    "CONTINUATION alone": (1, [on(frames.CONTINUATION, b"", END_HEADERS)]),
    "content within a block": (1, [block(BLOCK, 0), BODY]),
    "a PING within a block": (1, [block(BLOCK, 0), ping(b"12345678")]),
    "ten frames of a block": (11, [split(BLOCK, *range(1, 11))]),
    "a head of 160 KB": (11, [lambda link, one: frames.headers_frames(one, BLOCK * 3000, end=False)]),
    "padding longer than the head": (1, [block(b"\xff" + BLOCK, END_HEADERS | PADDED)]),
    **{
        f"the block {raw!r}": (9, [block(raw)])
        for raw in (
            b"\x80", b"\x88\xff\x80\x01", b"\x88\xff\xff\xff\xff\xff\xff\x7f", b"\x88\x00\x05abc",
            b"\x88\x00\x81\x00\x01a", b"\x88\x00\x84\xff\xff\xff\xff\x01a", b"\x3f\xff\xff\x03\x88", b"\x88\x20",
        )
    },
    "PINGs without end": (11, [ping(b"12345678") * 2000]),
    "SETTINGS without end": (11, [settings([]) * 2000]),
    "windows without end": (11, [lambda link, one: frames.window_update(one, 1) * 2000]),
    "priorities without end": (11, [on(frames.PRIORITY, PRIORITY)] * 2000),
    "unknown frames without end": (11, [frame(0xFA, 0, 0, b"") * 2000]),
}  # fmt: skip
