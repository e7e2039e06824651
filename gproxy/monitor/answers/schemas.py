"""The schemas of the answers, for the OpenAPI document; tests/process/test_process_admin_api.py compares."""

from typing import Final

from gproxy.http.phase import PHASES
from gproxy.monitor.api.schema import (
    ANYTHING,
    COUNT,
    NUMBER,
    SECONDS,
    TEXT,
    TIME,
    YES_NO,
    by_name,
    listed,
    maybe,
    one_of,
    record,
)

_WORKER: Final = {"worker": COUNT, "generation": COUNT, "pid": COUNT}
#: A worker that has not answered.
_MISSING: Final = record(**_WORKER, error=TEXT)

_OVERRIDE: Final = record(state=maybe(TEXT), weight=maybe(NUMBER), until=maybe(TIME), author=TEXT, since=TIME)
_LEVEL: Final = record(level=TEXT, logger=TEXT, until=TIME, author=TEXT, since=TIME)
_RELOAD: Final = record(time=TIME, cause=TEXT, succeeded=YES_NO, generation=COUNT, reasons=listed(TEXT))
STATUS: Final = record(
    title=TEXT,
    version=TEXT,
    compiled=YES_NO,
    pid=COUNT,
    uptime=SECONDS,
    generation=COUNT,
    grace=SECONDS,
    worker_count=COUNT,
    reloading=maybe(TEXT),
    reloads=listed(_RELOAD),
    rollbacks=COUNT,
    probation=maybe(record(generation=COUNT, until=TIME)),
    overrides=listed(
        record(
            upstream=TEXT,
            backend=TEXT,
            state=maybe(TEXT),
            weight=maybe(NUMBER),
            until=maybe(TIME),
            author=TEXT,
            since=TIME,
        )
    ),
    log_level=maybe(_LEVEL),
    generations=listed(
        record(generation=COUNT, workers=COUNT, age=SECONDS, requests=COUNT, errors=COUNT, p99=maybe(SECONDS))
    ),
    workers=listed(
        record(
            {
                "state": one_of("starting", "built", "opening", "ready", "serving", "draining", "closed", "killed"),
                "state_since": TIME,
                "error": TEXT,
                "silent_since": maybe(TIME),
                "stack": listed(TEXT),
                "uptime": SECONDS,
                "cpu": SECONDS,
                "memory": COUNT,
                "descriptors": COUNT,
                "connections": COUNT,
                "requests": COUNT,
                "draining": YES_NO,
                "feed_dropped": COUNT,
                "answered": COUNT,
                "failed": COUNT,
            },
            **_WORKER,
            answers=YES_NO,
        )
    ),
)

_REQUEST: Final = {
    "id": TEXT,
    "trace_id": maybe(TEXT),
    "worker": COUNT,
    "generation": COUNT,
    "route": maybe(TEXT),
    "upstream": maybe(TEXT),
    "client": TEXT,
    "user": maybe(TEXT),
    "method": TEXT,
    "path": TEXT,
    "age": SECONDS,
    "phase": one_of(*PHASES),
    "handler": maybe(TEXT),
    "line": maybe(TEXT),
    "backend": maybe(TEXT),
    "tries": COUNT,
    "received": COUNT,
    "sent": COUNT,
    "remaining": maybe({"type": ["number", "string"]}),
    "stack": maybe(listed(TEXT)),
}
REQUESTS: Final = record(requests=listed(record(**_REQUEST)), missing=listed(_MISSING))
REQUEST: Final = record(**_REQUEST, greenlets=listed(listed(TEXT)), paused=SECONDS)
CUT: Final = record(cut=YES_NO, before=record(**_REQUEST))

_BACKEND: Final = record(
    {"name": TEXT, "override": _OVERRIDE, "why": TEXT, "next_try_in": SECONDS},
    backend=TEXT,
    state=one_of("healthy", "unhealthy", "trial", "draining", "down", "leaving"),
    active=COUNT,
    attempts=COUNT,
    failures=COUNT,
)
UPSTREAMS: Final = record(
    upstreams=listed(
        record(
            {
                "breaker": one_of("open", "closed", "half_open"),
                "next_try_in": SECONDS,
                "active": COUNT,
                "limit": maybe(COUNT),
                "queued": COUNT,
            },
            name=TEXT,
            backends=listed(_BACKEND),
        )
    )
)
CHANGED_BACKEND: Final = record(
    upstream=TEXT,
    backend=TEXT,
    override=maybe(_OVERRIDE),
    applied=COUNT,
    failed=listed(record(worker=COUNT, pid=COUNT, error=TEXT)),
)
_ATTEMPT: Final = record(backend=TEXT, outcome=TEXT, seconds=SECONDS)
_ENDED: Final = {
    "kind": one_of("failed", "slow"),
    "id": TEXT,
    "trace_id": maybe(TEXT),
    "time": TIME,
    "started": TIME,
    "worker": COUNT,
    "generation": COUNT,
    "client": TEXT,
    "user": TEXT,
    "method": TEXT,
    "path": TEXT,
    "host": TEXT,
    "route": TEXT,
    "upstream": TEXT,
    "backend": maybe(TEXT),
    "tries": COUNT,
    "status": COUNT,
    "reason": TEXT,
    "report": TEXT,
    "duration": SECONDS,
    "paused": SECONDS,
    "received": COUNT,
    "sent": COUNT,
    "account": maybe(by_name(SECONDS)),
    "attempts": maybe(listed(_ATTEMPT)),
}
ONE_REQUEST: Final = {"anyOf": [REQUEST, record(**_ENDED)]}
RECENT: Final = record(slow=SECONDS, requests=listed(record(**_ENDED)))
#: An entry of an access log is a line; one of the error log has the fields of a record.
LOGS: Final = record(
    source=one_of("access", "error"),
    file=maybe(TEXT),
    entries=listed(
        {
            "anyOf": [
                record(line=TEXT),
                {**record(time=TIME, level=TEXT, logger=TEXT, message=TEXT), "additionalProperties": True},
            ]
        }
    ),
)
CONFIG: Final = record(
    generation=COUNT,
    sections=listed(record(title=TEXT, place=TEXT, options=listed(record(name=TEXT, value=TEXT, place=TEXT)))),
)
JOBS: Final = record(
    jobs=listed(
        record(
            name=TEXT,
            on=one_of("one", "worker"),
            next=TIME,
            runs=listed(
                record(
                    worker=maybe(COUNT),
                    running_since=maybe(TIME),
                    last=maybe(
                        record(
                            began=TIME,
                            seconds=SECONDS,
                            result=one_of("success", "error", "timeout", "cut"),
                            reason=TEXT,
                        )
                    ),
                )
            ),
        )
    )
)
BEGUN_JOB: Final = record(job=TEXT, worker=COUNT, began=TIME)
GENERATION: Final = record(generation=COUNT)
NOTHING: Final = record()
WORKERS: Final = record(workers=COUNT)
LOG_LEVEL: Final = record(log_level=maybe(_LEVEL))
#: The OpenAPI document, which has a schema of its own.
OPENAPI: Final = record(
    openapi=TEXT,
    info=ANYTHING,
    servers=listed(ANYTHING),
    paths=by_name(ANYTHING),
    components=ANYTHING,
    security=listed(ANYTHING),
)
RECORDING: Final = record(recorded=COUNT, dropped=COUNT, failed=COUNT)
