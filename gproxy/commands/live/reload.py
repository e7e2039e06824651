"""`gproxy reload`: lets the running gateway read its settings and code again, and waits for the outcome."""

import argparse
import json
import sys
from collections.abc import Mapping
from functools import partial
from typing import Final

from gproxy.commands.live.admin_client import AdminClient, AdminError, add_admin_options, ask_monitor

#: What an order has done, by the order.
_DONE: Final[Mapping[str, str]] = {"reload": "reloaded", "rollback": "rolled back"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of each command that asks a monitor."""
    add_admin_options(parser)


def run(options: argparse.Namespace) -> int:
    """Reload. Return 0 once the new generation serves, 1 if the generation before keeps serving."""
    return start_generation("reload", options)


def start_generation(order: str, options: argparse.Namespace) -> int:
    """Give the order `reload` or `rollback`, and wait. Return 0, or 1 with one reason a line."""
    return ask_monitor(options, partial(_start, order))


def _start(order: str, client: AdminClient, options: argparse.Namespace) -> int:
    try:
        answer = client.send("POST", f"/v1/{order}")
    except AdminError as error:
        if not error.reasons:
            raise
        print(f"{order} failed; the current generation keeps serving:", *error.reasons, sep="\n", file=sys.stderr)
        return 1
    print(json.dumps(answer) if options.json else f"{_DONE[order]}: generation {answer['generation']} serves")
    return 0
