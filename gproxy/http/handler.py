"""The call signature of all handlers in a chain."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from gproxy.http.request import Request
from gproxy.http.response import Response

#: The rest of the chain.
Next: TypeAlias = Callable[[Request], Response]


class Handler(Protocol):
    """A step of the chain: a function or a callable object."""

    def __call__(self, request: Request, next: Next, /) -> Response: ...
