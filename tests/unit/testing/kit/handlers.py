"""Handlers that gateways of these tests have."""

from gproxy import HTTPError, Response
from gproxy.state.cached import cached


class Sleepy:
    """A handler that sleeps in virtual time."""

    def open(self, runtime):
        self.runtime = runtime

    def __call__(self, request, next):
        self.runtime.sleep(float(request.headers.get("X-Sleep", "0")))
        return next(request)


class Ticking:
    """A handler with a background task."""

    def __init__(self):
        self.ticks = 0

    def open(self, runtime):
        self.runtime = runtime
        runtime.spawn(self._tick)

    def _tick(self):
        while True:
            self.runtime.sleep(60)
            self.ticks += 1

    def __call__(self, request, next):
        return Response(200, str(self.ticks).encode())


def dropping(request, next):
    """Drop the response of the backend."""
    next(request)
    return Response(204)


def warning(request, next):
    """Log a warning."""
    import logging

    logging.getLogger("gproxy").warning("the cache of %s is cold", request.path)
    return next(request)


def failing(request, next):
    raise RuntimeError("no luck")


def rejecting(request, next):
    raise HTTPError(403, "not today", reason="not_today")


def side_by_side(request, next):
    """Ask twice at once."""
    import gevent

    both = [gevent.spawn(lambda: next(request).read()) for _ in range(2)]
    gevent.joinall(both, raise_error=True)
    return Response(200, b"+".join(one.value for one in both))


def threaded(request, next):
    """Wait in real time, in a thread."""
    import time

    import gevent

    gevent.get_hub().threadpool.apply(time.sleep, (0.02,))
    return next(request)


def app(environ, start_response):
    """A WSGI app."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {environ['wsgi.input'].read().decode()}".encode()]


class Looking:
    """Looks something up, which may take longer than the handler has."""

    def open(self, runtime):
        self._users = runtime.upstream("users")

    def __call__(self, request, next):
        request.headers["X-Found"] = self.look_up(request.query)
        return next(request)

    @cached(timeout=0.5)
    def look_up(self, name):
        return str(self._users.request("GET", f"/look?{name}", timeout=0.5).status)
