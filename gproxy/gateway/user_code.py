"""User code: imported by MODULE:NAME; its mistakes are reported with the file and line in the user's module."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from gproxy.config.problems import nearest
from gproxy.runtime.user_files import is_users

T = TypeVar("T")
#: A function that reports a problem.
Report = Callable[[str], None]


def make_importable(path: Path) -> None:
    """Add the folder of the settings file and the working directory, if it still exists, to the module search path."""
    for resolve in (Path.cwd, lambda: path.resolve().parent):
        with suppress(FileNotFoundError):
            folder = str(resolve())
            if folder not in sys.path:
                sys.path.insert(0, folder)


def find(module_name: str, attribute: str, report: Report) -> object:
    """Return the module's attribute. Report a problem and return None if there is none."""
    try:
        found: object = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 user code may raise anything
        report(f"cannot import {module_name}: {_where(error)}{_places(module_name, error)}")
        return None
    place = module_name
    for name in attribute.split("."):
        inner = getattr(found, name, None)
        if inner is None:
            hint = nearest(name, [candidate for candidate in dir(found) if not candidate.startswith("_")])
            did_you_mean = f"; did you mean '{hint}'?" if hint else ""
            report(f"{place}{_shadowed_by(found)} has no '{name}'{did_you_mean}")
            return None
        found, place = inner, f"{place}.{name}"
    return found


def _places(module_name: str, error: BaseException) -> str:
    """Return where modules are searched for, if the user's module is in none of these places."""
    module, dot, ending = module_name.rpartition(".")
    if dot and ending == "py" and isinstance(error, ModuleNotFoundError):
        return f"; write {module}, without .py"
    if not isinstance(error, ModuleNotFoundError) or error.name != module_name.partition(".")[0]:
        return ""
    return "; modules are searched for beside the settings file, in the working directory and on PYTHONPATH"


def _shadowed_by(found: object) -> str:
    """Return the file of a library module as ` (FILE)`: it may shadow the user's module of the same name."""
    file = getattr(found, "__file__", None) or ""
    return f" ({file})" if inspect.ismodule(found) and file and not is_users(file) else ""


def instance(cls: type[T], report: Report) -> T | None:
    """Return an instance made without arguments. Report a problem and return None on failure."""
    return made(cls, cls, report)


def made(found: object, make: Callable[[], T], report: Report) -> T | None:
    """Return what `make` returns for the user's object. Report a problem and return None on failure."""
    try:
        return make()
    except (Exception, SystemExit) as error:  # noqa: BLE001 user code may raise anything
        report(f"cannot create {getattr(found, '__name__', found)}: {_where(error)}")
        return None


def signature_problem(function: Callable[..., Any], *arguments: str) -> str:
    """Return why the function cannot be called with these arguments, as far as its signature shows; else empty."""
    inner = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    if not _takes(inner, *arguments):
        return f"cannot be called with ({', '.join(arguments)})"
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        return "is asynchronous; expected an ordinary function, which may block"
    if inspect.isgeneratorfunction(inner):
        return "is a generator; expected a function that returns its result"
    return ""


def _takes(function: Callable[..., Any], *arguments: str) -> bool:
    """Return whether the function takes these arguments, as far as its signature shows."""
    try:
        inspect.signature(function, follow_wrapped=False).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # some functions written in C have no signature
        return True
    return True


def _where(error: BaseException) -> str:
    """Return the exception as text, with its place in the user's module."""
    text = error.msg if isinstance(error, SyntaxError) else error  # whose text has the line, and no folder
    return f"{type(error).__name__}: {text}{place(error)}"


def place(error: BaseException) -> str:
    """Return the line of the user's module that raised, as ` (FILE:LINE)`; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename and is_users(error.filename):
        return f" ({error.filename}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def described(handler: object) -> str:
    """Return MODULE:NAME of a handler, with the file and line of its definition."""
    named = handler if hasattr(handler, "__qualname__") else type(handler)
    code = getattr(handler if inspect.isroutine(handler) else type(handler).__call__, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{named.__module__}:{named.__qualname__}{where}"
