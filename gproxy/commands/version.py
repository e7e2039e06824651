"""`gproxy version`: the version, as `gproxy --version` prints it."""

import argparse

from gproxy import __version__


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add no option: the command has none."""


def run(_: argparse.Namespace) -> int:
    """Print the version."""
    print(f"gproxy {__version__}")
    return 0
