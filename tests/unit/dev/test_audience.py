"""Who sees the pages of `gproxy dev`."""

import pytest

from gproxy.config.sections.route import RouteSettings
from gproxy.dev.audience import Audience
from gproxy.testing import request


@pytest.mark.parametrize(
    ("client", "headers", "expected"),
    [
        ("127.0.0.1", {"Host": "localhost:8080"}, True),
        ("127.0.0.1", {"Host": "LOCALHOST"}, True),
        ("127.0.0.1", {"Host": "shop.localhost:1"}, True),
        ("127.0.0.1", {"Host": "127.0.0.1"}, True),
        ("::1", {"Host": "[::1]:8080"}, True),
        ("unix", {"Host": "localhost"}, True),
        ("127.0.0.1", {"Host": "localhost", "Sec-Fetch-Site": "same-site"}, True),
        ("192.0.2.1", {"Host": "localhost"}, False),
        ("127.0.0.1", {"Host": "evil.test:8080"}, False),
        ("127.0.0.1", {"Host": "localhost.evil.test"}, False),
        ("127.0.0.1", {"Host": "evil-localhost"}, False),
        ("127.0.0.1", {"Host": "192.0.2.1"}, False),
        ("127.0.0.1", {"Host": ""}, False),
        ("127.0.0.1", {"Host": "localhost", "Sec-Fetch-Site": "cross-site"}, False),
        *[("127.0.0.1", {"Host": "localhost", name: "127.0.0.1"}, False) for name in
          ("X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "Via", "X-Forwarded-Proto", "x-forwarded-server")],
        ("127.0.0.1", {"Host": "localhost", "X-Forwarded-For": ""}, False),
    ],
)  # fmt: skip
def test_who_sees_the_pages(client, headers, expected):
    assert Audience(()).includes(request("GET", "/", headers, client=client)) is expected


def test_a_host_of_the_settings_is_one_of_ours():
    audience = Audience([RouteSettings("shop", host=("shop.test",), respond=200), RouteSettings("all", respond=200)])
    one = request("GET", "/", {"Host": "shop.test"}, client="127.0.0.1")
    assert not audience.includes(one)
    one.route = RouteSettings("all", respond=200)
    assert not audience.includes(one)
    one.route = RouteSettings("shop", respond=200)
    assert audience.includes(one)
