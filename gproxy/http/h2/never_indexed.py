"""Fields that no peer may put into a table: secrets, and what their sender has marked (RFC 7541 section 7.1.3)."""

from typing import Final

#: The names of secrets of one client. They are never indexed, so nothing has to be noted of one that came so.
SECRETS: Final = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})


class NeverIndexed(str):
    """The name of a trailer that came as never indexed: handlers and HTTP/1.1 take it for any other name.

    This file is not compiled: mypyc cannot compile a subclass of str.
    """

    __slots__ = ()
