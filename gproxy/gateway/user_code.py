"""What users wrote themselves: found by MODULE:NAME, and what is wrong with it said in terms of their own lines."""

import importlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from gproxy.config.problems import nearest

T = TypeVar("T")
#: Notes what is wrong.
Report = Callable[[str], None]


def make_importable(path: Path) -> None:
    """The file's folder and the working directory: where a user keeps modules beside the settings."""
    for folder in (str(Path.cwd()), str(path.resolve().parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)


def find(module_name: str, attribute: str, report: Report) -> Any:
    """What the module has under that name; None with a complaint if there is nothing to be had."""
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        report(f"cannot import {module_name}: {_where(error)}")
        return None
    place = module_name
    for name in attribute.split("."):
        inner = getattr(found, name, None)
        if inner is None:
            hint = nearest(name, [known for known in dir(found) if not known.startswith("_")])
            did_you_mean = f"; did you mean '{hint}'?" if hint else ""
            report(f"{place}{_taken_by(found)} has no '{name}'{did_you_mean}")
            return None
        found, place = inner, f"{place}.{name}"
    return found


def _taken_by(found: Any) -> str:
    """Which file it is, if a module of Python's or a library has the name of the one that was meant."""
    file = getattr(found, "__file__", None) or ""
    return f" ({file})" if inspect.ismodule(found) and file and _is_library(file) else ""


def instance(cls: type[Any], report: Report) -> Any:
    """One made without arguments; None with a complaint."""
    return made(cls, cls, report)


def made(cls: type[Any], make: Callable[[], T], report: Report) -> T | None:
    """What `make` makes of the user's class; None with a complaint."""
    try:
        return make()
    except (Exception, SystemExit) as error:
        report(f"cannot make a {cls.__name__}: {_where(error)}")
        return None


def signature_problem(function: Callable[..., Any], *arguments: str) -> str:
    """Why it cannot do what it is for, as far as one can see; empty if it can."""
    inner = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    if not _takes(inner, *arguments):
        return f"cannot be called with ({', '.join(arguments)})"
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        return "is asynchronous; an ordinary function is expected, which may block"
    if inspect.isgeneratorfunction(inner):
        return "is a generator; it has to return its answer, not to yield it"
    return ""


def _takes(function: Callable[..., Any], *arguments: str) -> bool:
    """Can it be called with so many, as far as one can see?"""
    try:
        inspect.signature(function, follow_wrapped=False).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # some that are written in C do not say
        return True
    return True


def _where(error: BaseException) -> str:
    """What went wrong in the user's module, and on which line of it."""
    return f"{type(error).__name__}: {error}{place(error)}"


def place(error: BaseException) -> str:
    """On which line of a user's module it happened, as ` (FILE:LINE)`; empty if on none."""
    theirs = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame.filename)]
    return f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""


def described(handler: Any) -> str:
    """A handler as its author knows it: MODULE:NAME, and where that is written."""
    named = handler if hasattr(handler, "__qualname__") else type(handler)
    code = getattr(handler if inspect.isroutine(handler) else type(handler).__call__, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{named.__module__}:{named.__qualname__}{where}"


def _is_library(filename: str) -> bool:
    ours = (str(Path(__file__).parents[1]), "gproxy/", "src/gevent/")  # the last two are of what is compiled
    return filename.startswith(("<", *ours, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")))
