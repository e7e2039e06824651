"""The server of git as a WSGI application: `git http-backend` is a CGI program. Pushes need a password."""

import os
import subprocess
from pathlib import Path

ALLOWED = "Basic YWxpY2U6d29uZGVy"  # alice:wonder
PIECE = 65536


def app(environ, start_response):
    is_push = "git-receive-pack" in environ["PATH_INFO"] + environ["QUERY_STRING"]
    if is_push and environ.get("HTTP_AUTHORIZATION") != ALLOWED:
        start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="git"'), ("Content-Length", "0")])
        return []
    variables = {key: value for key, value in environ.items() if isinstance(value, str)}
    variables |= {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": os.environ["APP_FOLDER"],
        "GIT_HTTP_EXPORT_ALL": "1",
        "REMOTE_USER": "alice" if is_push else "",
    }
    body = Path(os.environ["APP_FOLDER"], f"body-{os.getpid()}")  # a CGI program gets its input as a file
    with body.open("w+b") as file:
        while piece := environ["wsgi.input"].read(PIECE):
            file.write(piece)
        file.seek(0)
        process = subprocess.Popen(["git", "http-backend"], stdin=file, stdout=subprocess.PIPE, env=variables)
    headers = []
    while line := process.stdout.readline().strip().decode():
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    status = next((value for name, value in headers if name == "Status"), "200 OK")
    start_response(status, [(name, value) for name, value in headers if name != "Status"])
    return pieces(process)


def pieces(process):
    while piece := process.stdout.read1(PIECE):
        yield piece
    process.wait()
