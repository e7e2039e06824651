"""What users wrote themselves: found by MODULE:NAME, and what is wrong with it said in terms of their own lines."""

import importlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gproxy.config.problems import nearest

#: Notes what is wrong.
Complain = Callable[[str], None]


def make_importable(path: Path) -> None:
    """The file's folder and the working directory: where a user keeps modules beside the settings."""
    for folder in (str(Path.cwd()), str(path.resolve().parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)


def find(module_name: str, attribute: str, complain: Complain) -> Any:
    """What the module has under that name; None with a complaint if there is nothing to be had."""
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        complain(f"cannot import {module_name}: {_where(error)}")
        return None
    found = getattr(module, attribute, None)
    if found is None:
        hint = nearest(attribute, [name for name in vars(module) if not name.startswith("_")])
        did_you_mean = f"; did you mean '{hint}'?" if hint else ""
        complain(f"{module_name} has no '{attribute}'{did_you_mean}")
    return found


def instance(cls: type[Any], complain: Complain) -> Any:
    """One made without arguments; None with a complaint."""
    try:
        return cls()
    except Exception as error:
        complain(f"cannot make a {cls.__name__}: {_where(error)}")
        return None


def takes(function: Callable[..., Any], *arguments: str) -> bool:
    """Can it be called with so many, as far as one can see?"""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # some that are written in C do not say
        return True
    return True


def _where(error: Exception) -> str:
    """What went wrong in the user's module, and on which line of it."""
    said = f"{type(error).__name__}: {error}"
    ours, *frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename != ours.filename and not _is_library(frame.filename)]
    return f"{said} ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else said


def _is_library(filename: str) -> bool:
    return filename.startswith(("<frozen", sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")))
