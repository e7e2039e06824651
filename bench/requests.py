"""Requests and the tokens that they bring."""

from functools import cache

SECRET = "a-secret-for-the-benchmark-of-32-bytes"


def request(path="/users/1", *fields, method="GET", body=b""):
    """Bytes of a request."""
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"{method} {path} HTTP/1.1\r\nHost: bench.test\r\n{lines}\r\n".encode() + body


@cache
def token():
    """One that is good for longer than any run."""
    import time

    import jwt

    return jwt.encode({"sub": "u1", "role": "admin", "exp": int(time.time()) + 86400}, SECRET, "HS256")
