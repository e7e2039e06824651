"""`gproxy rollback`: returns the running gateway to the generation before, and waits for the outcome."""

import argparse

from gproxy.commands.live.admin_client import add_admin_options
from gproxy.commands.live.reload import start_generation


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of each command that asks a monitor."""
    add_admin_options(parser)


def run(options: argparse.Namespace) -> int:
    """Roll back. Return 0 once the generation serves, 1 if there is none before, or it cannot serve."""
    return start_generation("rollback", options)
