import pytest

from gproxy.config import hints


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10r/s", "; write 10/s"),
        ("[::1:80", ""),
        ("[::1]:80 tls", ""),
        ("[a, b", "; a list is written without brackets"),
        ("b]", "; a list is written without brackets"),
        ("$HOME/x", "; a variable of the environment is written ${HOME}"),
        ("'$request_id'", "; a value is written without quotes; $request_id is written {id}"),
        ("503 busy", "; write respond = 503 and body = busy"),
        ("308 /new", "; write redirect = /new and status = 308"),
        ("3 apples", ""),
    ],
)
def test_an_invalid_value(text, hint):
    assert hints.value(text) == hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10.*", "write 10.0.0.0/8"),
        ("10.1.2.*", "write 10.1.2.0/24"),
        ("10.1.2.3.*", ""),
        ("all", "write 0.0.0.0/0, ::/0"),
        ("nonsense", ""),
    ],
)
def test_an_invalid_network(text, hint):
    assert hints.network(text) == hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("servers:", "; write backends = http://HOST:PORT in [upstream:NAME]"),
        ("upstreams:", "; write [upstream:NAME]"),
        ("server:", "; write [server]"),
        ("- grace: 3s", "; write grace = VALUE, with an equals sign"),
        ("secret", ""),
    ],
)
def test_a_line_without_an_equals_sign(text, hint):
    assert hints.line(text) == hint
