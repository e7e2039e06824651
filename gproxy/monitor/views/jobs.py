"""The table of the jobs, in the view of the processes: when each runs next, and what came of its last run."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gproxy.monitor.answers.jobs import found_jobs
from gproxy.monitor.views import cells
from gproxy.monitor.views.model import Cell, State, Table, action
from gproxy.monitor.watched_gateway import WatchedGateway

_COLUMNS: Final = (
    ("Job", "text"), ("Runs in", "text"), ("Next run", "text"), ("State", "text"), ("Last run", "text"),
    ("Took", "number"), ("Reason", "wide"), ("", "text"),
)  # fmt: skip
_STATES: Final[Mapping[str, State]] = {"success": "ok", "cut": "warn"}


def tables(gateway: WatchedGateway) -> Iterator[Table]:
    """Yield the table, if the settings have a job."""
    if gateway.settings.jobs:
        jobs = found_jobs(gateway)
        rows = [(f"{job['name']} {run['worker'] or ''}", _cells(job, run)) for job in jobs for run in job["runs"]]
        yield Table("jobs", "Jobs", _COLUMNS, rows, "No worker answers.", ("/v1/jobs",))


def notes(gateway: WatchedGateway) -> Iterator[tuple[State, str]]:
    """Yield which jobs have failed at their last run."""
    for job in found_jobs(gateway) if gateway.settings.jobs else ():
        for run in job["runs"]:
            last = run["last"]
            if last is not None and last["result"] in {"error", "timeout"}:
                yield "warn", f"job {job['name']} has failed at its last run: {last['reason']}"


def _cells(job: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[Cell, ...]:
    last: Mapping[str, Any] = run["last"] or {}
    result = "running" if run["running_since"] is not None else last.get("result", "")
    name = job["name"]
    run_now = action(
        "run", "POST", f"/v1/jobs/{name}/run", ask=f"Run job {name} now?", command=f"gproxy job run {name}"
    )
    return (
        name,
        "one worker" if run["worker"] is None else f"worker {run['worker']}",
        _clock(job["next"]),
        cells.state(result, kind="none" if result == "running" else _STATES.get(result, "bad"))
        if result
        else cells.NONE,
        _clock(last.get("began")),
        cells.duration(last.get("seconds")),
        cells.text(last.get("reason")),
        cells.doing([run_now]),
    )


def _clock(text: str | None) -> Cell:
    """Return a time of the API as the page has it."""
    return cells.NONE if text is None else text[:19].replace("T", " ")
