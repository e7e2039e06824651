"""The table of the admin API: every operation. It makes the OpenAPI document, docs/admin.md and the commands."""

from typing import Final

from gproxy.monitor.answers import schemas
from gproxy.monitor.answers.config import config
from gproxy.monitor.answers.control import reload, reopen, rollback, scale, set_log_level
from gproxy.monitor.answers.debug import INPUT as TYPED
from gproxy.monitor.answers.debug import RULE, debug, type_input
from gproxy.monitor.answers.jobs import jobs, run_job
from gproxy.monitor.answers.login import FIELDS, form, log_in, log_out
from gproxy.monitor.answers.logs import PARAMETERS as PARAMETERS_OF_LOGS
from gproxy.monitor.answers.logs import logs
from gproxy.monitor.answers.metrics import metrics
from gproxy.monitor.answers.recent import FILTERS as FILTERS_OF_RECENT
from gproxy.monitor.answers.recent import recent
from gproxy.monitor.answers.recordings import MEDIA_TYPE as JSON_LINES
from gproxy.monitor.answers.recordings import PARAMETERS as PARAMETERS_OF_RECORDINGS
from gproxy.monitor.answers.recordings import end_recording
from gproxy.monitor.answers.recordings import record as record_exchanges
from gproxy.monitor.answers.requests import DEPTH, FILTERS, cut, request, requests
from gproxy.monitor.answers.status import status
from gproxy.monitor.answers.upstreams import change, reset, upstreams
from gproxy.monitor.api.openapi import openapi
from gproxy.monitor.api.operation import Operation, Parameter
from gproxy.monitor.page.operations import PAGE

LEVELS: Final = ("debug", "info", "warning", "error")
STATES: Final = ("drain", "up", "down")
_FORCE: Final = Parameter("force", "boolean", "drain the last available backend too")

OPERATIONS: Final = (
    Operation("GET", "/openapi.json", "openapi", "this API as OpenAPI 3.1", openapi, result=schemas.OPENAPI),
    Operation("GET", "/login", "login_form", "form for browsers", form, media_types=("text/html",), is_public=True),
    Operation(
        "POST",
        "/login",
        "log_in",
        "session of the page, for a token",
        log_in,
        body=FIELDS,
        status=303,
        media_types=(),
        is_public=True,
        is_form=True,
    ),
    Operation(
        "POST",
        "/logout",
        "log_out",
        "end of the session",
        log_out,
        status=303,
        media_types=(),
        is_public=True,
        is_form=True,
    ),
    Operation(
        "GET",
        "/v1/upstreams",
        "upstreams",
        "upstreams with the state of each backend",
        upstreams,
        result=schemas.UPSTREAMS,
    ),
    Operation(
        "PATCH",
        "/v1/upstreams/{upstream}/backends/{backend}",
        "change_backend",
        "change state or weight of a backend, in place of what the file says",
        change,
        body=(
            Parameter("state", "text", "drain: no new clients; down: no requests; up: as usual", STATES),
            Parameter("weight", "number", "share of requests; 0: none"),
            Parameter("for", "seconds", "time after which the change ends; default: it lasts until a restart"),
            _FORCE,
        ),
        result=schemas.CHANGED_BACKEND,
    ),
    Operation(
        "DELETE",
        "/v1/upstreams/{upstream}/backends/{backend}",
        "reset_backend",
        "return to what the file says of the backend",
        reset,
        result=schemas.CHANGED_BACKEND,
    ),
    Operation(
        "GET",
        "/v1/status",
        "status",
        "version, generation, reloads and workers of the gateway",
        status,
        result=schemas.STATUS,
    ),
    Operation(
        "GET",
        "/v1/requests",
        "requests",
        "requests in flight, oldest first",
        requests,
        FILTERS,
        result=schemas.REQUESTS,
    ),
    Operation(
        "GET",
        "/v1/requests/{id}",
        "request",
        "one request: in flight, with its stack; or failed or slow lately, with its time account",
        request,
        DEPTH,
        result=schemas.ONE_REQUEST,
    ),
    Operation(
        "DELETE",
        "/v1/requests/{id}",
        "cut",
        "end a request: 503, or its response is broken off",
        cut,
        result=schemas.CUT,
    ),
    Operation("GET", "/v1/jobs", "jobs", "jobs with their next runs and last outcomes", jobs, result=schemas.JOBS),
    Operation(
        "POST", "/v1/jobs/{job}/run", "run_job", "run a job now in one worker", run_job, result=schemas.BEGUN_JOB
    ),
    Operation(
        "GET", "/v1/recent", "recent", "failed and slow requests", recent, FILTERS_OF_RECENT, result=schemas.RECENT
    ),
    Operation("GET", "/v1/config", "config", "settings in effect, with their places", config, result=schemas.CONFIG),
    Operation(
        "GET",
        "/v1/logs",
        "logs",
        "end of a log",
        logs,
        PARAMETERS_OF_LOGS,
        result=schemas.LOGS,
        media_types=("application/json", "text/event-stream"),
    ),
    Operation(
        "GET",
        "/metrics",
        "metrics",
        "metrics for Prometheus",
        metrics,
        media_types=("text/plain", "application/openmetrics-text"),
    ),
    Operation(
        "POST",
        "/v1/reload",
        "reload",
        "read the settings again, as HUP does, and wait for the outcome",
        reload,
        body=(Parameter("dry", "boolean", "build and open the new generation, and discard it"),),
        result=schemas.GENERATION,
    ),
    Operation(
        "POST",
        "/v1/rollback",
        "rollback",
        "return to settings and code of the generation before this one",
        rollback,
        result=schemas.GENERATION,
    ),
    Operation(
        "POST", "/v1/reopen", "reopen", "open the access logs anew, as USR1 does", reopen, result=schemas.NOTHING
    ),
    Operation(
        "POST",
        "/v1/workers",
        "scale",
        "run another number of workers until the next reload, as TTIN and TTOU do",
        scale,
        body=(Parameter("count", "number", "number of workers", is_required=True),),
        result=schemas.WORKERS,
    ),
    Operation(
        "PUT",
        "/v1/log-level",
        "set_log_level",
        "give a logger another level for a time; then that of the file returns",
        set_log_level,
        body=(
            Parameter("level", "text", "lowest level in the error log", LEVELS, is_required=True),
            Parameter("logger", "text", "name of the logger, such as urllib3 or root; default: gproxy"),
            Parameter("for", "seconds", "time after which the level of the file returns; 0s: now; default: 10m"),
        ),
        result=schemas.LOG_LEVEL,
    ),
    Operation(
        "POST",
        "/v1/recordings",
        "record",
        "record exchanges while the client reads; a JSON object a line, as gproxy record uses them",
        record_exchanges,
        body=PARAMETERS_OF_RECORDINGS,
        media_types=(JSON_LINES,),
    ),
    Operation(
        "DELETE",
        "/v1/recordings/{recording}",
        "end_recording",
        "end a recording; its client gets the rest",
        end_recording,
        result=schemas.RECORDING,
    ),
    Operation(
        "POST",
        "/v1/debug",
        "debug",
        "stop one request in pdb, over a unix socket with debug = yes; the stream is the terminal",
        debug,
        body=RULE,
        media_types=("text/event-stream",),
    ),
    Operation(
        "POST",
        "/v1/debug/{session}",
        "debug_input",
        "type at the terminal of a debugger, whose name the first event of its stream has",
        type_input,
        body=TYPED,
        result=schemas.NOTHING,
    ),
    *PAGE,
)
