"""`gproxy job run`: runs a job of the running gateway now, and waits for its end."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from gproxy.commands.live.admin_client import AdminClient, AdminError, add_admin_options, ask_monitor

#: Seconds between two looks at the run: the first pause, and the longest.
_FIRST: Final = 0.1
_LONGEST: Final = 0.5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the action and the name of the job."""
    parser.add_argument("action", metavar="run", choices=("run",), help="run the job now, and wait for its end")
    parser.add_argument("name", metavar="NAME", help="name of the job: NAME of [job:NAME]")
    add_admin_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run the job. Return 0 after a success, 1 with the reason if it fails or cannot run."""
    return ask_monitor(options, _run)


def _run(client: AdminClient, options: argparse.Namespace) -> int:
    begun = client.send("POST", f"/v1/jobs/{quote(options.name, '')}/run")
    last = _wait(client, begun)
    if options.json:
        print(json.dumps({**begun, **last}))
    elif last["result"] == "success":
        print(f"job {options.name}: success after {last['seconds']:.3g} s in worker {begun['worker']}")
    else:
        reason = last["reason"] or last["result"]
        print(f"job {options.name}: failed after {last['seconds']:.3g} s: {reason}", file=sys.stderr)
    return 0 if last["result"] == "success" else 1


def _wait(client: AdminClient, begun: Mapping[str, Any]) -> Mapping[str, Any]:
    """Wait for the end of the run and return its outcome. Raises AdminError if there will be none."""
    pause = _FIRST
    while True:
        runs = [run for job in client.get("/v1/jobs")["jobs"] if job["name"] == begun["job"] for run in job["runs"]]
        for found in runs:
            last: Mapping[str, Any] | None = found["last"]
            if last is not None and last["began"] == begun["began"]:
                return last
            if last is not None and last["began"] > begun["began"]:
                raise AdminError(
                    f"job {begun['job']}: a later run has ended too; the error log has a failure of this one"
                )
        if all(found["running_since"] != begun["began"] for found in runs):
            raise AdminError(f"job {begun['job']}: worker {begun['worker']} has ended before the job has")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST)
