"""The code objects of the handlers, by which a frame of a stack is assigned to the handler that runs there."""

import functools
import inspect
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType
from typing import NamedTuple


class _Owner(NamedTuple):
    """A handler that code belongs to."""

    name: str
    handler: object


class HandlerCode:
    """The handlers of a gateway by their code objects: functions, methods, what they wrap, and functions inside them.

    Several handlers may have the same code, as instances of one class do. Then the frame's values decide.
    """

    def __init__(self, handlers: Mapping[str, object]) -> None:
        self._owners: dict[CodeType, list[_Owner]] = {}
        for name, handler in handlers.items():
            for code in dict.fromkeys(_code_of(handler)):
                self._owners.setdefault(code, []).append(_Owner(name, handler))

    def __contains__(self, frame: FrameType) -> bool:
        return frame.f_code in self._owners

    def name(self, frame: FrameType) -> str:
        """Return the name of the handler that the frame's code belongs to; empty if it is no handler's."""
        owners = self._owners.get(frame.f_code)
        if owners is None:
            return ""
        return owners[0].name if len(owners) == 1 else _owner(owners, frame).name

    def innermost(self, frame: FrameType | None) -> FrameType | None:
        """Return the innermost frame of a handler, beginning with this frame and going outwards; None without one."""
        while frame is not None and frame.f_code not in self._owners:
            frame = frame.f_back
        return frame


def _owner(owners: list[_Owner], frame: FrameType) -> _Owner:
    """Return the owner that is a value of the frame, as `self` is, or whose closure the frame has; else the first."""
    values = set(map(id, frame.f_locals.values()))
    own = (owner for owner in owners if id(owner.handler) in values or values.issuperset(_closure_of(owner.handler)))
    return next(own, owners[0])


def _closure_of(handler: object) -> set[int]:
    """Return the ids of the values that a decorator has put into a function; for others an id that no value has."""
    cells = getattr(handler, "__closure__", None) or ()
    return {id(cell.cell_contents) for cell in cells} or {0}


def _code_of(handler: object) -> Iterator[CodeType]:
    """Yield the code objects of a handler, which is a function or an object."""
    if isinstance(handler, functools.partial):
        yield from _code_of(handler.func)
    elif inspect.isroutine(handler):
        yield from _code_of_function(handler)
    else:
        for cls in type(handler).__mro__:
            if cls.__module__.partition(".")[0] in sys.stdlib_module_names:
                continue  # its code runs for everything else too
            for value in vars(cls).values():
                yield from _code_of_attribute(value)


def _code_of_attribute(value: object) -> Iterator[CodeType]:
    """Yield the code objects of one attribute of a class."""
    if isinstance(value, property):
        for function in filter(None, (value.fget, value.fset)):
            yield from _code_of_function(function)
    else:
        found = value.func if isinstance(value, functools.cached_property | functools.partial) else value
        yield from _code_of_function(found)


def _code_of_function(function: object) -> Iterator[CodeType]:
    """Yield the code of a function, or of what its decorators wrap, and of all functions inside."""
    while function is not None:
        function = getattr(function, "__func__", function)  # of a method
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            yield from _nested(code)
        function = getattr(function, "__wrapped__", None)


def _nested(code: CodeType) -> Iterator[CodeType]:
    """Yield the code, and that of the functions, classes and generators inside."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
