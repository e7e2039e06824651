"""The one shape of everything that can stand in a chain."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from gproxy.http.request import Request
from gproxy.http.response import Response

#: The rest of the chain.
Next: TypeAlias = Callable[[Request], Response]


class Handler(Protocol):
    """A step of the chain: a plain function is one, and so is an object that can be called."""

    def __call__(self, request: Request, next: Next, /) -> Response: ...  # noqa: A002
