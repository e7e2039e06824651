"""An app of plain WSGI for the tests of apps as routes: each path is one behaviour."""

import contextlib
import ctypes
import hashlib
import logging.config
import os
import sys
import time

END = []


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/").partition("/")[0]
    return ROUTES.get(name, missing)(environ, start_response)


def plain(start_response, text, status="200 OK", *fields):
    data = text if isinstance(text, bytes) else text.encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(data))), *fields])
    return [data]


def missing(environ, start_response):
    environ["wsgi.input"].read()
    return plain(start_response, "not here", "404 Not Found")


def seen(environ, start_response):
    text = "\n".join(f"{name}={value}" for name, value in sorted(environ.items()) if isinstance(value, str))
    body = environ["wsgi.input"].read()
    return plain(start_response, f"{text}\nbody={hashlib.sha256(body).hexdigest()}")


def size(environ, start_response):
    total, source = 0, environ["wsgi.input"]
    while piece := source.read(65536):
        total += len(piece)
    return plain(start_response, str(total))


def down(environ, start_response):
    count = int(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", str(count * 65536))])
    return (b"x" * 65536 for _ in range(count))


def file(environ, start_response):
    path = os.path.join(os.path.dirname(__file__), "large")
    start_response("200 OK", [("Content-Length", str(os.path.getsize(path)))])
    return environ["wsgi.file_wrapper"](open(path, "rb"), 8192)


def events(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    try:
        for number in range(1000):
            yield b"data: %d\n\n" % number
            time.sleep(float(environ["QUERY_STRING"] or 1))
    finally:
        END.append("events")


def ends(environ, start_response):
    return plain(start_response, " ".join(END))


def slow(environ, start_response):
    try:
        time.sleep(60)
    except Exception:  # noqa: BLE001 as a framework does
        return plain(start_response, "a catch-all")
    finally:
        END.append("slow")
    return plain(start_response, "late")


class Pausing:
    def __iter__(self):
        yield b"one"
        time.sleep(60)

    def close(self):
        END.append("pausing")


def pausing(environ, start_response):
    start_response("200 OK", [])
    return Pausing()


def boom(environ, start_response):
    raise KeyError("before the head")


def late_boom(environ, start_response):
    start_response("200 OK", [])
    yield b"one"
    raise KeyError("after the head")


def short(environ, start_response):
    start_response("200 OK", [("Content-Length", "10")])
    yield b"one"


def long(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    yield b"one"
    time.sleep(60)


def leave(environ, start_response):
    sys.exit(3)


def cookies(environ, start_response):
    return plain(start_response, "two", "200 OK", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))


def block(environ, start_response):
    """Wait in C, so that nothing else runs in this thread."""
    ctypes.CDLL(None).usleep(int(float(environ["QUERY_STRING"]) * 1e6))
    return plain(start_response, "done")


def catch(environ, start_response):
    try:
        environ["wsgi.input"].read()
    except Exception:  # noqa: BLE001 as a framework does
        return plain(start_response, "internal error", "500 Internal Server Error")
    return plain(start_response, "fine")


def swallow(environ, start_response):
    with contextlib.suppress(Exception):
        environ["wsgi.input"].read()
    return plain(start_response, "not here", "404 Not Found")


ROUTES = {name: found for name, found in globals().items() if callable(found)} | {"": seen}


def spoil():
    """Do to the process what frameworks do when they are set up; return the app."""
    logging.config.dictConfig({"version": 1})
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    return application
