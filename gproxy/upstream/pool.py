"""urllib3's pools, with a queue of our own."""

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

from gproxy.upstream.idle import Idle
from gproxy.upstream.transport import PlainConnection, TLSConnection


class PlainPool(HTTPConnectionPool):
    """The connections to one http:// backend."""

    ConnectionCls = PlainConnection
    QueueCls = Idle  # type: ignore[assignment]


class TLSPool(HTTPSConnectionPool):
    """The connections to one https:// backend."""

    ConnectionCls = TLSConnection
    QueueCls = Idle  # type: ignore[assignment]
