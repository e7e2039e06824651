"""Requests: single ones, and lists in which no two are alike, as from many real clients."""

import json
from itertools import cycle, islice
from random import Random

SECRET = "a-secret-for-the-benchmark-of-32-bytes"

#: The same in each run, for each peer.
_SEED = 15
#: A GET with the same fields each time has this path, and the backend's response to it has the same fields each time.
SAME = "/users/item/same"


def request(path="/users/1", *fields, method="GET", body=b""):
    """Return the bytes of a request."""
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"{method} {path} HTTP/1.1\r\nHost: bench.test\r\n{lines}\r\n".encode() + body


def token(subject="u1"):
    """Return a token that is valid for longer than any run."""
    import time

    import jwt

    return jwt.encode({"sub": subject, "role": "admin", "exp": int(time.time()) + 86400}, SECRET, "HS256")


def gets(count, tokens=0):
    """Return GETs of which no two are alike; with `tokens`, they bring so many different ones in turn."""
    random = Random(_SEED)
    credentials = cycle([[f"Authorization: Bearer {token(f'user-{number}')}"] for number in range(tokens)] or [[]])
    return [_get(random, *fields) for fields in islice(credentials, count)]


def paths(count):
    """Return paths with a query of which no two are alike."""
    random = Random(_SEED)
    return [f"/users/item/{_word(random, 8)}?page={random.randint(1, 99)}" for _ in range(count)]


def posts(count):
    """Return POSTs of about 2 kB of which no two are alike, in the head or in the body."""
    random = Random(_SEED)
    return [_post(random) for _ in range(count)]


def same():
    """Return one request of `gets`, alone, to be sent again and again."""
    return [request(SAME, *_fields(Random(_SEED)))]


def mix(turns):
    """Return six kinds of requests, each once in a turn, in changing order. One of them gets the status 404."""
    random = Random(_SEED)
    requests = []
    for _ in range(turns):
        turn = [
            request("/users/1"),
            request("/users/list.json", "Accept-Encoding: gzip"),
            request("/users/100k"),
            request("/nowhere"),
            _get(random),
            _post(random),
        ]
        random.shuffle(turn)
        requests += turn
    return requests


def _get(random, *fields):
    return request(f"/users/item/{_word(random, 8)}?page={random.randint(1, 99)}", *_fields(random), *fields)


def _post(random):
    order = {"id": _word(random, 32), "lines": [_word(random, 40) for _ in range(random.randint(38, 46))]}
    body = json.dumps(order).encode()
    content = "Content-Type: application/json", f"Content-Length: {len(body)}"
    path = f"/users/orders/{_word(random, 8)}"
    return request(path, *_fields(random), *content, method="POST", body=body)


def _fields(random):
    """Fourteen fields with Host: three are new each time, User-Agent has 40 values, ten are always the same."""
    return [
        f"User-Agent: client/{random.randint(1, 40)}.0 (Linux; x86_64)",
        "Accept: application/json",
        "Accept-Language: en",
        "Accept-Encoding: identity",
        f"Referer: https://www.example.com/{_word(random, 8)}",
        "Origin: https://www.example.com",
        f"Cookie: session={_word(random, 32)}; theme=dark; visits={random.randint(1, 999)}",
        f"X-Correlation-ID: {_word(random, 32)}",
        "Sec-Fetch-Dest: empty",
        "Sec-Fetch-Mode: cors",
        "Sec-Fetch-Site: same-site",
        "Cache-Control: no-cache",
        "Pragma: no-cache",
    ]


def _word(random, digits):
    return f"{random.getrandbits(4 * digits):0{digits}x}"
