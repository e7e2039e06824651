"""`gproxy reload`: lets the running gateway read its settings and code again, and waits for the outcome."""

import argparse
import json
import sys
from collections.abc import Mapping
from functools import partial
from typing import Final

from gproxy.commands.live.admin_client import AdminClient, AdminError, add_admin_options, ask_monitor

#: What an order has done, by its name.
_DONE: Final[Mapping[str, str]] = {
    "reload": "reloaded: generation {generation} serves",
    "rollback": "rolled back: generation {generation} serves",
    "dry reload": "a reload would succeed; generation {generation} keeps serving",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option of a dry run."""
    add_admin_options(parser)
    text = "build and open the new generation, then discard it: exits 0 or 1 as a reload would"
    parser.add_argument("--dry", action="store_true", help=text)


def run(options: argparse.Namespace) -> int:
    """Reload. Return 0 once the new generation serves, 1 if the generation before keeps serving."""
    return start_generation("dry reload" if options.dry else "reload", options)


def start_generation(name: str, options: argparse.Namespace) -> int:
    """Give the order `reload`, `dry reload` or `rollback`, and wait. Return 0, or 1 with one reason a line."""
    return ask_monitor(options, partial(_start, name))


def _start(name: str, client: AdminClient, options: argparse.Namespace) -> int:
    is_dry, order = name.startswith("dry "), name.removeprefix("dry ")
    try:
        answer = client.send("POST", f"/v1/{order}", {"dry": True} if is_dry else None)
    except AdminError as error:
        if not error.reasons:
            raise
        if options.json:
            print(json.dumps({"reasons": error.reasons}))
        print(f"{name} failed; the current generation keeps serving:", *error.reasons, sep="\n", file=sys.stderr)
        return 1
    done = _DONE[name].format_map(answer)
    print(json.dumps(answer) if options.json else f"{done}{_probation(client, answer['generation'])}")
    return 0


def _probation(client: AdminClient, generation: int) -> str:
    """Return until when the generation is on probation, for the line that says that it serves; empty without one.

    Empty too if nothing answers: the new generation may have another admin listener.
    """
    try:
        found = client.get("/v1/status")["probation"]
    except AdminError:
        return ""
    return f", on probation until {found['until']}" if found and found["generation"] == generation else ""
