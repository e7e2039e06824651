"""Addresses, networks and backends."""

from dataclasses import asdict
from ipaddress import ip_network

import pytest

from gproxy.config.types.addresses import Address, BackendURL, parse_network


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0:8080", Address("tcp", "0.0.0.0", 8080)),
        ("[::1]:80", Address("tcp", "::1", 80)),
        (":8080", Address("tcp", "", 8080)),
        ("localhost:0", Address("tcp", "localhost", 0)),
        ("h:65535", Address("tcp", "h", 65535)),
        ("unix:/run/g.sock", Address("unix", path="/run/g.sock")),
        ("fd:3", Address("fd", fd=3)),
    ],
)
def test_address(text, expected):
    assert Address.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tls", {"tls": ""}),
        ("tls=api", {"tls": "api"}),
        ("proxy", {"proxy": True}),
        ("proxy  tls", {"tls": "", "proxy": True}),
        ("redirect", {"redirect": 443}),
        ("redirect=8443 proxy", {"redirect": 8443, "proxy": True}),
    ],
)
def test_words_behind_an_address(words, expected):
    for place in ("[::1]:80", "unix:/a", "fd:3"):
        found = Address.parse(f"{place} {words}")
        assert asdict(found) == asdict(Address.parse(place)) | expected
        assert found == Address.parse(place)
        assert str(found) == place


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8080", "the port is missing; write :8080 for a port on all interfaces"),
        ("", "the port is missing"),
        ("[::1]", "the port is missing"),
        ("a:", "the port is missing"),
        ("a:65536", "the port must be a number up to 65535"),
        ("a:x", "the port must be a number up to 65535"),
        ("a:٣", "the port must be a number up to 65535"),
        ("a:-1", "the port must be a number up to 65535"),
        ("::1:80", "an IPv6 address needs brackets, as in [::1]:8080"),
        ("[::g]:80", "'::g' is not an IPv6 address"),
        ("1.2.3:80", "'1.2.3' is not an IPv4 address"),
        ("a b:80", "'b:80' is not tls, tls=NAME, proxy, h2c, redirect, redirect=PORT or except=PATH"),
        ("a$:80", "'a$' is not a host name"),
        (
            "a:80 tsl",
            "'tsl' is not tls, tls=NAME, proxy, h2c, redirect, redirect=PORT or except=PATH; did you mean 'tls'?",
        ),
        ("a:80 tls=", "'tls=' is not tls, tls=NAME, proxy, h2c, redirect, redirect=PORT or except=PATH"),
        ("a:80 proxy=v2", "'proxy=v2' is not tls, tls=NAME, proxy, h2c, redirect, redirect=PORT or except=PATH"),
        ("a:80 redirect=0", "'redirect=0' is not tls, tls=NAME, proxy, h2c, redirect, redirect=PORT or except=PATH"),
        (
            "a:80 redirect=70000",
            "'redirect=70000' is not tls, tls=NAME, proxy, h2c, redirect, redirect=PORT or except=PATH",
        ),
        ("a:80 tls tls=b", "tls is given twice"),
        ("a:80 tls h2c", "h2c is for plain addresses: with tls, [server] http2 offers HTTP/2"),
        ("a:80 tls redirect", "redirect cannot be combined with tls"),
        ("unix:", "unix: needs a path"),
        ("unix:/" + "x" * 107, "a unix socket's path has at most 107 bytes"),
        ("fd:x", "fd: needs a number"),
        ("fd:-1", "fd: needs a number"),
    ],
)
def test_not_an_address(text, message):
    with pytest.raises(ValueError) as error:
        Address.parse(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"), ("10.1.2.3/8", "10.0.0.0/8"), ("1.2.3.4", "1.2.3.4/32"), ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"), ("::ffff:1.2.3.4", "1.2.3.4/32"), ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:0:0/95", "::fffe:0:0/95"), ("::/0", "::/0"),
    ],
)  # fmt: skip
def test_network(text, expected):
    assert parse_network(text) == ip_network(expected)


@pytest.mark.parametrize("text", ["", "x", "10.0.0.0/33", "1.2.3"])
def test_not_a_network(text):
    with pytest.raises(ValueError):
        parse_network(text)


@pytest.mark.parametrize(
    ("text", "expected", "written", "authority"),
    [
        ("http://localhost:5001", BackendURL("http", "localhost", 5001), "http://localhost:5001", "localhost:5001"),
        ("http://A.example/", BackendURL("http", "a.example", 80), "http://a.example:80", "a.example"),
        ("https://a", BackendURL("https", "a", 443), "https://a:443", "a"),
        ("https://a:80", BackendURL("https", "a", 80), "https://a:80", "a:80"),
        ("http://[0::1]:81", BackendURL("http", "::1", 81), "http://[::1]:81", "[::1]:81"),
        ("http://[::1]", BackendURL("http", "::1", 80), "http://[::1]:80", "[::1]"),
        ("unix:/run/a.sock", BackendURL("http", "localhost", 80, path="/run/a.sock"), "unix:/run/a.sock", "localhost"),
        (
            "unix:a.sock weight=2 backup",
            BackendURL("http", "localhost", 80, 2, backup=True, path="a.sock"),
            "unix:a.sock",
            "localhost",
        ),
        ("http://a:1  weight=3", BackendURL("http", "a", 1, weight=3), "http://a:1", "a:1"),
        (
            "http://a:1 weight=0 max_connections=10 backup down",
            BackendURL("http", "a", 1, 0, 10, backup=True, down=True),
            "http://a:1",
            "a:1",
        ),
    ],
)
def test_backend(text, expected, written, authority):
    assert BackendURL.parse(text) == expected
    assert str(expected) == written
    assert expected.authority == authority


@pytest.mark.parametrize(
    ("text", "place", "addresses"),
    [
        ("http://localhost:1", "localhost:1", ("127.0.0.1", "::1")),
        ("http://10.0.0.1", "10.0.0.1:80", ("10.0.0.1",)),
        ("https://[::1]", "[::1]:443", ("::1",)),
        ("http://app.internal:8000", "app.internal:8000", None),
        ("http://app", "app:80", None),
        ("unix:/run/a.sock", "unix:/run/a.sock", ()),
    ],
)
def test_where_a_backend_is(text, place, addresses):
    backend = BackendURL.parse(text)
    assert (backend.place, backend.is_name, backend.addresses) == (place, addresses is None, addresses or ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a backend's URL starts with http://, https:// or unix:"),
        ("localhost:5001", "a backend's URL starts with http://, https:// or unix:; write http://localhost:5001"),
        ("unix:", "unix: needs a path"),
        ("unix:/" + "x" * 107, "a unix socket's path has at most 107 bytes"),
        (
            "unix:/a.sock wieght=3",
            "'wieght=3' is not weight=N, max_connections=N, backup, down or drain; did you mean 'weight'?",
        ),
        ("ftp://a", "only http:// and https:// are supported"),
        ("://a", "only http:// and https:// are supported"),
        ("http://", "the host is missing"),
        ("http://:80", "the host is missing"),
        ("http://u:p@a", "a user or password in the URL is not supported"),
        ("http://a/x", "a path in the URL is not supported; add_prefix = in the route adds one"),
        ("http://a?x=1", "a query in the URL is not supported"),
        ("http://a/#x", "a fragment in the URL is not supported"),
        ("http://a:", "the port is missing"),
        ("http://a:0", "the port must be a number from 1 to 65535"),
        ("http://a:99999", "the port must be a number up to 65535"),
        ("http://a:b", "the port must be a number up to 65535"),
        ("http://::1:80", "an IPv6 address needs brackets, as in [::1]:8080"),
        (
            "http://a:1 weigth=3",
            "'weigth=3' is not weight=N, max_connections=N, backup, down or drain; did you mean 'weight'?",
        ),
        ("http://a:1 weight", "'weight' is not weight=N, max_connections=N, backup, down or drain"),
        ("http://a:1 backup=1", "'backup=1' is not weight=N, max_connections=N, backup, down or drain"),
        ("http://a:1 weight=-1", "weight must be a whole number of at least 0"),
        ("http://a:1 weight=1 weight=2", "weight is given twice"),
    ],
)
def test_not_a_backend(text, message):
    with pytest.raises(ValueError) as error:
        BackendURL.parse(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "words", ["", "tls", "tls=name", "tls=name proxy", "proxy redirect=8443", "redirect=443 except=/a except=/b/c"]
)
def test_the_words_of_a_listener_are_as_they_were_written(words):
    assert Address.parse(f":80 {words}").words == words
