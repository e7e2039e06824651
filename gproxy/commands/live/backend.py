"""`gproxy backend`: changes a backend of the running gateway, or returns to what the file says."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from gproxy.commands.live.admin_client import AdminClient, add_admin_options, ask_monitor
from gproxy.config.types.units import parse_seconds

_POLL_EVERY: Final = 0.2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the backend, the action and its options."""
    parser.add_argument("upstream", metavar="UPSTREAM", help="name of the upstream")
    parser.add_argument("backend", metavar="BACKEND", help="address of the backend, as /health shows it: HOST:PORT")
    parser.add_argument("action", metavar="ACTION", help="drain, up, down, weight=N, or reset: what the file says")
    parser.add_argument("--for", dest="seconds", metavar="TIME", help="time after which the change ends: 10m, 2h")
    parser.add_argument("--wait", action="store_true", help="wait until the backend has no active request")
    parser.add_argument("--force", action="store_true", help="stop the last available backend too")
    add_admin_options(parser)


def run(options: argparse.Namespace) -> int:
    """Change the backend. Return 0; with --wait 1 if requests are still active when the time is over."""
    options.content = _content(options)
    return ask_monitor(options, _change)


def _content(options: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the change. Raises ArgumentError."""
    action: str = options.action
    content: dict[str, Any] = {}
    if action.startswith("weight="):
        number = action.removeprefix("weight=")
        if not number.isdecimal():
            raise argparse.ArgumentError(None, f"weight: expected a number; found {number!r}")
        content["weight"] = int(number)
    elif action in {"drain", "up", "down"}:
        content["state"] = action
    elif action != "reset":
        raise argparse.ArgumentError(None, f"expected drain, up, down, weight=N or reset; found {action!r}")
    if options.seconds is not None:
        try:
            content["for"] = parse_seconds(options.seconds)
        except ValueError as error:
            raise argparse.ArgumentError(None, f"--for: {error or 'expected a time such as 10m'}") from None
    return content | ({"force": True} if options.force else {})


def _change(client: AdminClient, options: argparse.Namespace) -> int:
    content: dict[str, Any] = options.content
    path = f"/v1/upstreams/{quote(options.upstream, '')}/backends/{quote(options.backend, '')}"
    is_reset = options.action == "reset"
    answer = client.send("DELETE", path) if is_reset else client.send("PATCH", path, content)
    if options.json:
        print(json.dumps(answer))
    else:
        print(_line(options, answer))
    for one in answer["failed"]:
        print(f"worker {one['worker']} (pid {one['pid']}): {one['error']}", file=sys.stderr)
    is_idle = not options.wait or _wait(client, options, content.get("for"))
    return 0 if is_idle and not answer["failed"] else 1


def _line(options: argparse.Namespace, answer: Mapping[str, Any]) -> str:
    what = "as in the file" if options.action == "reset" else options.action
    until = (answer["override"] or {}).get("until")
    workers = f"{answer['applied']} worker{'' if answer['applied'] == 1 else 's'}"
    return f"{options.upstream} {options.backend}: {what}{f' until {until}' if until else ''}, in {workers}"


def _wait(client: AdminClient, options: argparse.Namespace, seconds: float | None) -> bool:
    """Wait until the backend has no active request, at most for the time of the change or `grace`."""
    limit = seconds if seconds is not None else client.get("/v1/status")["grace"]
    deadline = time.monotonic() + limit
    while (active := _active(client, options)) and time.monotonic() < deadline:
        time.sleep(_POLL_EVERY)
    if active:
        print(f"{options.backend}: {active} requests still active", file=sys.stderr)
    return not active


def _active(client: AdminClient, options: argparse.Namespace) -> int:
    """Return the number of active requests at the backend, over all workers."""
    found = (one for one in client.get("/v1/upstreams")["upstreams"] if one["name"] == options.upstream)
    backends = (backend for upstream in found for backend in upstream["backends"])
    name = options.backend.rpartition("://")[2]
    return sum(one["active"] for one in backends if one["backend"].rpartition("://")[2] == name)
