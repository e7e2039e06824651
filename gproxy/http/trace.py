"""The trace of a request, as handlers and the parts of the gateway use it; and the one of requests that have none."""

from types import TracebackType
from typing import Final, Protocol

#: The trace id, the id of the request's own span, and that of its parent; an empty text for none.
TraceIDs = tuple[str, str, str]
NO_IDS: Final[TraceIDs] = ("", "", "")

#: What an attribute of a span may be.
AttributeValue = str | bool | int | float


class Span(Protocol):
    """A span that is open within a `with` block."""

    @property
    def traceparent(self) -> str:
        """The field that makes what gets it a child of this span."""

    def set(self, name: str, value: AttributeValue, /) -> None:
        """Set an attribute."""

    def event(self, name: str, /) -> None:
        """Add an event, which happens now."""

    def fail(self, kind: str, /) -> None:
        """Mark the span as failed, with the kind of the error."""

    def __enter__(self) -> "Span": ...  # noqa: PYI034 a protocol
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Trace(Protocol):
    """The trace of a request. Its `set` and `event` concern the innermost span that is open."""

    @property
    def trace_id(self) -> str:
        """The id of the trace, 32 hexadecimal digits; empty for a request that is not sampled."""

    @property
    def sampled(self) -> bool:
        """True if the spans of the request are recorded."""

    def set(self, name: str, value: AttributeValue, /) -> None:
        """Set an attribute of the span."""

    def event(self, name: str, /) -> None:
        """Add an event to the span, which happens now."""

    def span(self, name: str, /) -> Span:
        """Return a span within the present one; it lasts as long as its `with` block."""

    def attempt(self, backend: str, resend: int, /) -> Span:
        """Return the span of an attempt at a backend, HOST:PORT; `resend` is the number of earlier attempts."""

    def record(self, error: BaseException, /) -> None:
        """Note an exception in the span."""

    def enter(self) -> None:
        """Make the request's own span the present one of this greenlet, until `leave`."""

    def leave(self) -> None:
        """Undo `enter`."""


class _NoSpan:
    """A span of a request that is not sampled."""

    __slots__ = ()
    traceparent = ""

    def set(self, name: str, value: AttributeValue, /) -> None:
        pass

    def event(self, name: str, /) -> None:
        pass

    def fail(self, kind: str, /) -> None:
        pass

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        pass


class _NoTrace:
    """The trace of all requests that are not sampled: it does nothing."""

    __slots__ = ()
    trace_id = ""
    sampled = False

    def set(self, name: str, value: AttributeValue, /) -> None:
        pass

    def event(self, name: str, /) -> None:
        pass

    def span(self, _: str, /) -> Span:
        return _NO_SPAN

    def attempt(self, _: str, __: int, /) -> Span:
        return _NO_SPAN

    def record(self, error: BaseException, /) -> None:
        pass

    def enter(self) -> None:
        pass

    def leave(self) -> None:
        pass


_NO_SPAN: Final = _NoSpan()
NO_TRACE: Final[Trace] = _NoTrace()
