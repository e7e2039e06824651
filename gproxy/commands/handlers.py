"""`gproxy handlers`: lists what settings may use in a chain, or documents one handler with its options."""

import argparse
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gproxy import __version__
from gproxy.config.checks import is_reference
from gproxy.config.ini.build import Option, option_names, options
from gproxy.config.problems import suggest
from gproxy.config.sections.chain import ChainOptions
from gproxy.config.sections.policy import option_prefix
from gproxy.gateway.build_handler import find_code
from gproxy.gateway.packages import InstalledNames, Offer, balancer_names, handler_names
from gproxy.gateway.user_code import make_importable
from gproxy.handlers import BUILT_IN

#: The options of the chain; a class may have one of these names for itself.
_CHAIN: Final = [name for name in option_names(ChainOptions) if name != "offload"]  # reserved


@dataclass(frozen=True, slots=True)
class _Entry:
    """A handler or a policy: what a file writes to use it, where it comes from, and its code or the reason without."""

    offer: Offer
    installed: InstalledNames
    #: The value of `use` or `balance`.
    written: str
    is_policy: bool

    def code(self) -> object:
        """Return the object. Raises ValueError with the reason if it cannot be imported."""
        problems: list[str] = []
        found = find_code(self.offer.reference, self.installed, problems.append)
        if found is None:
            raise ValueError(problems[0])
        return found


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the name of the handler."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="handler to document: NAME, PACKAGE:NAME or MODULE:NAME"
    )


def run(options: argparse.Namespace) -> int:
    """Print the list, or the documentation of one. Return 1 if there is no such handler, or it cannot be imported."""
    settings = Path(options.config) if options.config else Path("gproxy.ini")
    make_importable(settings)
    handlers, balancers = handler_names(settings), balancer_names(settings)
    entries = [*_entries(handlers, balancers)]
    if options.name is None:
        print("\n".join(_list(entries)))
        return 0
    try:
        print("\n".join(_documentation(_chosen(options.name, entries, handlers))))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _entries(handlers: InstalledNames, balancers: InstalledNames) -> Iterator[_Entry]:
    """Yield what is built in, then what packages offer."""
    for name, reference in BUILT_IN.items():
        yield _Entry(Offer(name, "gproxy", __version__, reference), handlers, name, is_policy=False)
    for installed, is_policy in ((handlers, False), (balancers, True)):
        for offer in installed.offers:
            is_alone = len(installed.find(offer.name)) == 1
            yield _Entry(offer, installed, offer.name if is_alone else offer.full_name, is_policy)


def _chosen(name: str, entries: list[_Entry], handlers: InstalledNames) -> _Entry:
    """Return what NAME, PACKAGE:NAME or MODULE:NAME is. Raises ValueError if it is nothing, or several."""
    found = [one for one in entries if name == one.written]
    found = found or [one for one in entries if name in {one.offer.name, one.offer.full_name}]
    if len(found) > 1:
        raise ValueError(f"{name!r} is several: {', '.join(one.offer.full_name for one in found)}")
    if found:
        return found[0]
    if is_reference(name):
        return _Entry(Offer(name, "", "", name), handlers, name, is_policy=False)
    raise ValueError(f"unknown handler {name!r}{suggest(name, [one.written for one in entries])}")


def _list(entries: list[_Entry]) -> Iterator[str]:
    """Yield a line for each: the name, the package, the first line of the documentation."""
    width = max(len(_shown(one)) for one in entries)
    packages = max(len(_origin(one)) for one in entries)
    for one in entries:
        yield f"{_shown(one):{width}}  {_origin(one):{packages}}  {_first_line(one)}".rstrip()


def _shown(entry: _Entry) -> str:
    return f"balance = {entry.written}" if entry.is_policy else entry.written


def _origin(entry: _Entry) -> str:
    return f"{entry.offer.package} {entry.offer.version}".strip()


def _first_line(entry: _Entry) -> str:
    try:
        return _doc(entry.code()).partition("\n")[0]
    except ValueError as error:
        return str(error)


def _doc(code: object) -> str:
    """Return the docstring; "" without one: a dataclass gets one by itself, which only repeats its fields."""
    text = inspect.cleandoc(getattr(code, "__doc__", None) or "")
    return "" if text.startswith(f"{getattr(code, '__name__', '')}(") else text


def _documentation(entry: _Entry) -> Iterator[str]:
    """Yield the lines about one: its origin, its documentation, its options, and a section as an example."""
    code = entry.code()
    origin = f", of {_origin(entry)}" if entry.offer.package else ""
    yield f"{_shown(entry)}{origin} ({entry.offer.reference})"
    if text := _doc(code):
        yield from ("", text)
    known: list[Option] = []
    if isinstance(code, type):
        known = options(code, option_prefix(code)) if entry.is_policy else options(code)
    yield ""
    if known:
        yield "options:"
        yield from (f"  {line}" for one in known for line in _option(one))
    else:
        yield "It has no options of its own."
    if not entry.is_policy:
        yield f"Every handler has those of the chain too: {', '.join(_CHAIN)}."
    yield from ("", "example:", *(f"  {line}" for line in _example(entry, known)))


def _option(option: Option) -> Iterator[str]:
    default = "required" if option.default_text is None else f"default: {option.default_text or 'empty'}"
    yield f"{option.name}  {option.type_text}; {default}"
    if option.doc:
        yield f"    {option.doc}"


def _example(entry: _Entry, known: list[Option]) -> Iterator[str]:
    """Yield a section: what is required with a place for the value, all else as a comment with its default."""
    if entry.is_policy:
        yield from ("[upstream:NAME]", "backends = http://localhost:5001", f"balance = {entry.written}")
    else:
        name = entry.offer.name.rpartition(":")[2].lower()
        yield f"[handler:{name}]"
        if entry.written != name:
            yield f"use = {entry.written}"
    for option in known:
        if option.default_text is None:
            yield f"{option.name} = …                 ; {option.type_text}"
        else:
            yield f"; {option.name} = {option.default_text}".rstrip()
