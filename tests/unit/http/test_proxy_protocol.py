"""PROXY headers: exactly what the specification has, and not one byte beyond it."""

import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gproxy.http.proxy_protocol import MAX_LINE, MAX_REST, read_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.1") + b"\x1f\x90\x00\x50"
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(15) + b"\1" + b"\x1f\x90\x00\x50"
MAPPED = socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.1") + V6[16:]


def binary(command, family, rest, length=None):
    return SIGNATURE + bytes([command, family]) + (len(rest) if length is None else length).to_bytes(2, "big") + rest


GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", "192.0.2.1"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP4 1.1.1.1 1.1.1.1 0 0\r\n", "1.1.1.1"),
    (b"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n", "2001:db8::1"),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1"),
    (b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n", "ffff:" * 7 + "ffff"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n", None),
    (binary(0x21, 0x11, V4), "192.0.2.1"),
    (binary(0x21, 0x21, V6), "2001:db8::1"),
    (binary(0x21, 0x21, MAPPED), "192.0.2.1"),
    (binary(0x21, 0x11, V4 + b"\x04\x00\x03abc"), "192.0.2.1"),
    (binary(0x21, 0x11, V4 + bytes(MAX_REST - 12)), "192.0.2.1"),
    (binary(0x20, 0x00, b""), None),
    (binary(0x20, 0x11, V4), None),
    (binary(0x20, 0xFF, b"ignored"), None),
    (binary(0x21, 0x00, b""), None),
    (binary(0x21, 0x31, bytes(216)), None),
    (binary(0x21, 0x12, V4), None),
    (binary(0x21, 0x99, b""), None),
]


@pytest.mark.parametrize(("header", "client"), GOOD)
@pytest.mark.parametrize("following", [b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"PROXY UNKNOWN\r\n", b"\x16\x03\x01"])
def test_good(header, client, following):
    assert read_proxy_header(header + following) == (len(header), client)


@pytest.mark.parametrize("header", [header for header, _ in GOOD[:12]])
def test_every_beginning_is_incomplete(header):
    assert [read_proxy_header(header[:size]) for size in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"proxy TCP4 192.0.2.1 192.0.2.1 1 2\r\n",
        b"PROXY  TCP4 192.0.2.1 192.0.2.1 1 2\r\n",
        b"PROXY TCP4  192.0.2.1 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2 \r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.1 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2 3\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.1 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.1 -1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.1 65536 2\r\n",
        b"PROXY TCP4 192.0.2.256 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 192.0.2 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.01 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 x 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP5 192.0.2.1 192.0.2.1 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY UNKNOWN" + b" " * 100 + b"\r\n",
        b"PROXY TCP4 " + b"1" * 200,
        b"PROXY \xff\xfe\r\n",
        b"\r\n\r\n\0\r\nQUIX\n!!!!",
        binary(0x11, 0x11, V4),
        binary(0x22, 0x11, V4),
        binary(0x31, 0x11, V4),
        binary(0x21, 0x11, V4[:11]),
        binary(0x21, 0x21, V4),
        binary(0x21, 0x31, V4),
        binary(0x21, 0x11, V4, length=MAX_REST + 1),
        binary(0x20, 0x00, b"", length=65535),
    ],
)
def test_bad(data):
    with pytest.raises(ValueError):
        read_proxy_header(data)


beginnings = st.sampled_from(
    [
        b"",
        b"PROXY ",
        b"PROXY TCP4 ",
        b"PROXY TCP6 ::1 ",
        SIGNATURE,
        SIGNATURE + b"\x21\x11",
        *(header for header, _ in GOOD),
    ]
)


@given(beginnings, st.binary(max_size=300))
@example(b"", b"\r\n")
def test_whatever_comes(beginning, rest):
    """It is refused, or asks for more within its limit, or has a size that more bytes do not change."""
    data = beginning + rest
    try:
        header = read_proxy_header(data)
    except ValueError:
        with pytest.raises(ValueError):
            read_proxy_header(data + b"more")
        return
    if header is None:
        assert len(data) < (16 + MAX_REST if data.startswith(SIGNATURE) else MAX_LINE)
    else:
        assert read_proxy_header(data + b"more") == read_proxy_header(data[: header.size]) == header
        assert all(read_proxy_header(data[:size]) is None for size in range(header.size))
