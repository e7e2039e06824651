"""Entries of the inspector, as the monitor keeps them, and settings for them."""

from gproxy.config.load import load

INI = """
[gateway]
handlers = jwt
[handler:jwt]
algorithms = HS256
secret = 0123456789abcdef0123456789abcdef0123
[route:users]
path = /users
upstream = users
[upstream:users]
backends = http://10.0.0.1:81
"""
CLAIMS = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSIsInJvbGUiOiJhZG1pbiIsImV4cCI6MX0.c2ln"


def settings_of(folder, text=INI, name="gproxy.ini"):
    (folder / name).write_text(text)
    return load(folder / name, builtins=["jwt"], environ={})


def body(data, *, is_whole=True):
    return {"data": data, "size": len(data), "is_whole": is_whole}


def entry(**changes):
    """An exchange of GET /users/1 with a backend that answers JSON; `bodies` has that answer at 0."""
    answered = {"status": 200, "phrase": "", "headers": [["Content-Type", "application/json"]], "body": 0}
    sent = {"line": "GET /users/1 HTTP/1.1", "headers": [["Host", "10.0.0.1"]], "body": None}
    return {
        "number": 1, "id": "an-id", "time": "2026-11-29T16:40:00.000Z", "client": "127.0.0.1", "peer": "127.0.0.1",
        "scheme": "http", "user": "", "auth": "", "method": "GET", "target": "/users/1", "protocol": "HTTP/1.1",
        "host": "localhost:8080", "route": "users", "upstream": "users", "backend": "10.0.0.1:81", "tries": 1,
        "status": 200, "reason": "", "report": "", "duration": 0.01, "received": 0, "sent": 2, "worker": 1,
        "generation": 1, "account": {"backend": 0.01}, "entry": [], "steps": [], "omitted_attempts": 0, "log": [],
        "request": {"line": "GET /users/1 HTTP/1.1", "headers": [["Host", "localhost:8080"]], "body": None},
        "response": answered, "bodies": [body(b"{}")],
        "attempts": [{"upstream": "users", "backend": "10.0.0.1:81", "error": "", "seconds": 0.01, "of_handler": False,
                      "shared": False, "request": sent, "response": answered}],
        **changes,
    }  # fmt: skip
