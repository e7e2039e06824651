"""ClientHellos as OpenSSL writes them, cut and bent."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.http.client_hello import MAX_RECORDS, ClientHelloReader


def read(data, size=0):
    """What a reader makes of it, whole or in pieces of that size."""
    reader = ClientHelloReader()
    pieces = [data[start : start + size] for start in range(0, len(data), size)] if size else [data]
    found = (reader.feed(piece) for piece in pieces)
    return next((one for one in found if one is not None), None)


def hello(name=None, protocols=(), **versions):
    context = ssl.create_default_context()
    context.check_hostname = False
    for option, version in versions.items():
        setattr(context, option, version)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def cut(data, size):
    """The same message in records of that size (RFC 8446 section 5.1)."""
    message = data[5:]
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(data[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


PLAIN = hello("a.example")


@pytest.mark.parametrize(
    ("data", "name", "protocols"),
    [
        (PLAIN, "a.example", ()),
        (hello("A.Example", ["h2", "http/1.1"]), "a.example", ("h2", "http/1.1")),
        (hello(), "", ()),
        (hello("192.0.2.1"), "", ()),
        (hello("a.example", maximum_version=ssl.TLSVersion.TLSv1_2), "a.example", ()),
        (cut(hello("a.example", ["http/1.1"]), 10), "a.example", ("http/1.1",)),
        (cut(PLAIN, 100), "a.example", ()),
        (cut(PLAIN, 4), "a.example", ()),
        (PLAIN + b"what follows", "a.example", ()),
    ],
)
def test_what_is_asked_for(data, name, protocols):
    assert read(data) == (name, protocols)
    assert read(data, 1) == read(data, 7) == (name, protocols)


@pytest.mark.parametrize("data", [PLAIN, cut(PLAIN, 50)])
def test_every_beginning_is_incomplete(data):
    assert {read(data[:size]) for size in range(len(data))} == {None}


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x80\x2e\x01\x03\x01",
        b"\x16\x02\x00\x00\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        cut(PLAIN[:5] + b"\1\0\x30\0" + bytes(MAX_RECORDS), 1),
        PLAIN.replace(b"a.example", b"\xffexample\0"[:9]),
    ],
)
def test_rejected(data):
    with pytest.raises(ValueError):
        read(data)
    with pytest.raises(ValueError):
        read(data, 1)


@given(st.integers(0, len(PLAIN) - 1), st.integers(1, 255))
def test_one_changed_byte(position, change):
    data = bytearray(PLAIN)
    data[position] ^= change
    try:
        read(bytes(data))
    except ValueError:
        pass


@given(st.binary(max_size=200))
def test_whatever_comes(data):
    try:
        read(b"\x16\x03\x01" + data)
    except ValueError:
        pass
