"""Exchanges, and their lines as a gateway writes them."""

import random

from gproxy.config.types.access_log import DEFAULT_FIELDS
from gproxy.http.exchange import Exchange
from gproxy.observe.access_fields import line_format

#: 2026-11-28 12:00 in UTC.
NOON = 1_795_867_200.0


def exchange(started=NOON, **facts):
    one = Exchange(started, "192.0.2.1", "GET", "/users", "HTTP/1.1")
    one.id, one.status, one.duration, one.route, one.backend = "a" * 32, 200, 0.01, "users", "10.0.0.1:80"
    for name, value in facts.items():
        setattr(one, name, value)
    return one


def random_exchanges(count, seed=1, begin=NOON, seconds=3600.0):
    """Exchanges in the order of their ends: most are short, some last for minutes, texts are hostile."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        end = begin + seconds * number / count
        duration = chance.choice((0.001, 0.02, 0.5, 1.0, 400.0)) * (0.5 + chance.random())
        found.append(
            exchange(
                end - duration,
                id=f"{seed}-{number}",
                client=chance.choice(("10.1.2.3", "10.9.9.9", "192.0.2.7", "2001:db8::1", "unix")),
                method=chance.choice(("GET", "POST")),
                target=chance.choice(("/users/1", "/users/2/items", '/a"b', "/ä", "/other", "/status:500\\x")),
                status=chance.choice((200, 200, 200, 304, 404, 500, 503)),
                duration=duration,
                bytes_sent=chance.randrange(10_000),
                route=chance.choice(("users", "other", "")),
                backend=chance.choice(("10.0.0.1:80", "10.0.0.2:80", "")),
                reason=chance.choice(("", "", "timeout", "bad_gateway")),
                user=chance.choice(("", "alice", "bob smith", 'c"d', "e\\f")),
                user_agent=chance.choice(("curl", '"quoted", "time":"x"', "tab\there", "status:500")),
            )
        )
    return found


def written(exchanges, log_format="ltsv", fields=DEFAULT_FIELDS):
    line = line_format(log_format, fields)
    return "".join(f"{line(one)}\n" for one in exchanges).encode("utf-8", "backslashreplace")
