"""`gproxy config`: the settings in effect, as a settings file, each option with its place or `default`."""

import argparse

from gproxy.commands.check import built
from gproxy.config.effective import describe


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add no option: the command has none of its own."""


def run(options: argparse.Namespace) -> int:
    """Print the settings in effect. Raises ConfigError."""
    settings, _ = built(options.config)
    print(describe(settings), end="")
    return 0
