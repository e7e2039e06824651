"""Each derived set of header names is what the gateway has always done: a difference would be a change on the wire."""

import pytest

from gproxy.http import header_names

HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "content-length",
    "proxy-authenticate", "proxy-authorization", "proxy-authentication-info", "http2-settings",
}  # fmt: skip
FORWARDING = {"forwarded", "x-real-ip", "client-cert", "client-cert-chain", "x-forwarded-client-cert"}
SETS = {
    "HOP_BY_HOP": HOP_BY_HOP,
    "RESPONSE_HOP_BY_HOP": HOP_BY_HOP - {"content-length", "proxy-authenticate"},
    "FORBIDDEN_TRAILERS": HOP_BY_HOP | FORWARDING | {
        "host", "authorization", "cookie", "set-cookie", "www-authenticate", "authentication-info", "content-encoding",
        "content-type", "content-range", "trailer", "cache-control", "expect", "max-forwards", "pragma", "range", "age",
        "date", "expires", "location", "retry-after", "vary", "warning", "if-match", "if-none-match",
        "if-modified-since", "if-unmodified-since", "if-range", "via",
        "x-request-id",
    },
    "FORWARDING": FORWARDING,
    "END_TO_END": {"host", "content-length", "authorization", "x-request-id"} | FORWARDING,
    "ACTED_ON": {"host", "content-length", "transfer-encoding", "authorization"},
    "NOT_IDENTITY": {
        "host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "keep-alive", "expect",
        "authorization", "via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id",
        "x-real-ip",
    },
    "SET_BY_GATEWAY": {
        "host", "authorization", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "via",
        "x-real-ip", "expect", "content-length", "transfer-encoding", "connection", "te", "upgrade",
    },
    "SET_BY_PROBE": {"host", "connection", "content-length", "transfer-encoding", "upgrade", "te"},
    "SECRET_FIELDS": {"authorization", "proxy-authorization", "cookie", "set-cookie"},
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_a_derived_set(name):
    assert getattr(header_names, name) == SETS[name]


#: The characters of a token (RFC 9110 section 5.6.2), and those of a value (section 5.5).
TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VALUE = "\t" + "".join(map(chr, [*range(0x20, 0x7F), *range(0x80, 0x100)]))


@pytest.mark.parametrize("code", [*range(0x101), 0x130, 0x3B1, 0xDC80])
def test_the_characters_of_names_and_values(code):
    text = chr(code)
    assert bool(header_names.is_token(text)) == bool(header_names.is_token(f"x{text}y")) == (text in TOKEN)
    assert bool(header_names.is_field_value(text)) == (text in VALUE)


def test_a_name_is_not_empty_and_a_value_may_be():
    assert not header_names.is_token("") and header_names.is_field_value("")
    assert not header_names.is_token("x\n") and not header_names.is_field_value("x\n")


def test_every_use_has_a_set():
    assert len(header_names.HeaderUse) == len(SETS)  # KEPT_IN_RESPONSES has RESPONSE_HOP_BY_HOP
