"""Serving, the command without a name: its options, and the start of the first worker and the arbiter."""

import argparse
import os
import sys

from gproxy import __version__
from gproxy.arbiter.spawn import CannotStartError, spawn


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of serving, which `gproxy dev` has too."""
    where = "address to listen on: HOST:PORT, [::1]:PORT, unix:PATH or fd:N; repeatable; replaces the file's"
    parser.add_argument("--bind", action="append", metavar="ADDRESS", help=where)
    parser.add_argument(
        "--workers", metavar="N|auto", help="number of worker processes; auto: one per core; replaces the file's"
    )
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error; replaces the file's")
    parser.add_argument("--version", action="version", version=f"gproxy {__version__}", help="print the version")


def run(options: argparse.Namespace) -> int:
    """Serve until a signal. Return the exit code."""
    _open_standard_streams()
    try:
        first = spawn(generation=1, number=1)  # the worker imports while the arbiter imports
        from gproxy.arbiter.arbiter import Arbiter

        arbiter = Arbiter(options.config, overrides(options), first)
    except CannotStartError as error:
        print(error, file=sys.stderr)
        return 1
    return arbiter.run()


def overrides(options: argparse.Namespace) -> dict[tuple[str, str], str]:
    """Return what the options replace in the file: the text by section and option."""
    given = {
        ("server", "bind"): "\n".join(options.bind) if options.bind else None,
        ("server", "workers"): options.workers,
        ("log", "level"): options.log_level,
    }
    return {place: text for place, text in given.items() if text is not None}


def _open_standard_streams() -> None:
    """Reopen closed standard streams, so that sockets do not get descriptors 0-2 and receive our output."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
