"""A split that sets its own cookie, over real sockets: shares, attributes, errors."""

import re
from collections import Counter

BACKENDS = "one two"
INI = """
[gateway]
handlers = health
trusted_proxies = 127.0.0.0/8
[route:shop]
path = /shop
upstream = stable weight=3, canary
split_by = sticky
[route:named]
path = /named
upstream = stable, canary, empty weight=0
split_by = sticky:variant
[upstream:stable]
backends = {one}
[upstream:canary]
backends = {two}
retries = 0
[upstream:empty]
backends = {one}
"""


def cookie(answer):
    line = dict(answer.fields).get("set-cookie", "")
    return line.partition(";")[0]


def test_clients_without_a_cookie_take_exact_turns_and_then_stay(play):
    first = [play.gateway.get("/shop") for _ in range(40)]
    assert Counter(answer.body for answer in first) == {b"one": 30, b"two": 10}
    assert len({cookie(answer) for answer in first}) == 40
    for answer in first:
        again = play.gateway.get("/shop/cart", f"Cookie: a=b; {cookie(answer)}")
        assert (again.body, cookie(again)) == (answer.body, "")


def test_the_cookie_says_nothing_and_scripts_cannot_read_it(play):
    line = play.gateway.get("/shop")["set-cookie"]
    assert re.fullmatch("split_shop=[0-9a-f]{16}; Path=/; HttpOnly; SameSite=Lax", line)
    line = play.gateway.get("/named", "X-Forwarded-Proto: https")["set-cookie"]
    assert re.fullmatch("variant=[0-9a-f]{16}; Path=/; HttpOnly; SameSite=Lax; Secure", line)


def test_any_other_value_is_none(play):
    for value in ("", "x", "ffff", "0" * 17, "FFFFFFFFFFFFFFFF", "../../etc/passwd", "\xe9" * 16):
        answer = play.gateway.get("/named", f"Cookie: variant={value}")
        assert re.fullmatch("variant=[0-9a-f]{16}", cookie(answer))
    for value, body in (
        ("0" * 16, b"one"),
        ("7fffffffffffffff", b"one"),
        ("8000000000000000", b"two"),
        ("f" * 16, b"two"),
    ):
        answer = play.gateway.get("/named", f"Cookie: variant={value}")
        assert (answer.body, cookie(answer)) == (body, "")


def test_an_error_of_the_gateway_keeps_nobody_at_its_upstream(play):
    play.two.act = lambda peer, request: peer.reset()
    answers = [play.gateway.get("/named") for _ in range(4)]
    assert Counter((answer.status, bool(cookie(answer))) for answer in answers) == {(200, True): 2, (502, False): 2}
