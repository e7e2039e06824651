"""Backends of unit tests, with the connections that they have in a worker."""

from gproxy.http.headers import Headers
from gproxy.http.response import ResponseHead
from gproxy.upstream.backend import Backend
from gproxy.upstream.http1.pool import IdleConnections


def backend_of(url, *, keepalive=1, connect_timeout=1.0, addresses=(), **options):
    """A backend whose connections nothing else has."""
    connections = IdleConnections(url, keepalive=keepalive, connect_timeout=connect_timeout, addresses=addresses)
    return Backend(url, connections, connect_timeout=connect_timeout, addresses=addresses, **options)


def send(connection, head, asked):
    """Send a request with this head, and return the head of the response."""
    return connection.send_request(lambda *_: head, asked, "10.0.0.1:80")


def pool_of(backend):
    """The pool of urllib3 that a backend's connections are of."""
    return backend.connections.pool


def head(status, fields=()):
    """The head of a response with this status."""
    return ResponseHead(status, "", Headers(fields), 0)
