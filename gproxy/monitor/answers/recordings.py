"""`POST /v1/recordings`: records exchanges for as long as the client reads; `DELETE` ends it before."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from gproxy.config.types.units import parse_bytes, parse_percent, write_seconds
from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.monitor.access import audit
from gproxy.monitor.api.operation import Call, Parameter
from gproxy.monitor.processes.worker_lines import WorkerAnswer
from gproxy.monitor.streams.recordings import MOST, Recording

#: The media type of JSON lines.
MEDIA_TYPE: Final = "application/x-ndjson"
_LIMIT: Final = 1000
_MOST_RECORDED: Final = 1_000_000
_SECONDS: Final = 300.0
#: The most bytes of each body, as workers have it.
_MOST_BODY: Final = 1024 * 1024

PARAMETERS: Final = (
    Parameter("route", "text", "name of the route; default: all, and requests that no route takes"),
    Parameter("path", "text", "pattern of the path; * stands for any characters"),
    Parameter("client", "text", "address or network of the client, or unix"),
    Parameter("status", "text", "statuses of the response, such as 5xx,404"),
    Parameter("slower", "seconds", "least time that a request takes"),
    Parameter("sample", "text", "share of the requests that match, such as 10%"),
    Parameter("limit", "number", f"most exchanges, up to {_MOST_RECORDED}; default: {_LIMIT}"),
    Parameter("for", "seconds", "time after which the recording ends; default: 5m"),
    Parameter("bodies", "text", "most bytes that are kept of each body, up to 1MiB; default: no bodies"),
    Parameter("keep", "text", "fields, parameters and cookies whose values stay, by comma; user: the names of users"),
    Parameter("redact", "text", "what to hide besides, by line: json:$.NAME, path:/PATH/*"),
)


def record(call: Call) -> Response:
    """Record, and return the stream of the exchanges. Raises HTTPError."""
    recordings, values = call.gateway.recordings, call.values
    if recordings.is_full:
        raise HTTPError(503, f"{MOST} recordings are under way", {"Retry-After": "10"})
    options, limit, seconds = _options(values), values.get("limit", _LIMIT), values.get("for", _SECONDS)
    if not 0 < limit <= _MOST_RECORDED:
        raise HTTPError(400, f"limit: expected a number from 1 to {_MOST_RECORDED}")
    if seconds <= 0:
        raise HTTPError(400, "for: expected a time above 0s")
    recording, answers = recordings.begin({**options, "limit": limit}, limit, seconds)
    begun = [part for one in answers for part in one.parts]
    if not begun:
        recordings.forget(recording)
        raise _refusal(answers)
    audit.record(call, "recording", None, _described(values, seconds))
    response = Response(200, _streamed(call, recording, begun[-1]["settings"]), {"Content-Type": MEDIA_TYPE})
    response.on_close(partial(recordings.forget, recording))
    return response


def end_recording(call: Call) -> dict[str, Any]:
    """End a recording; its stream gets the rest. Raises HTTPError 404."""
    recording = call.gateway.recordings.find(call.values["recording"])
    if recording is None:
        raise HTTPError(404, "there is no such recording")
    recording.end("request")
    return recording.progress


def _streamed(call: Call, recording: Recording, settings: str) -> Iterator[bytes]:
    try:
        yield from recording.stream(settings)
    finally:
        count = recording.progress
        audit.record(call, f"recording ended, {count['recorded']} recorded, {count['dropped']} dropped")


def _options(values: Any) -> dict[str, Any]:  # noqa: ANN401 the values of a call
    """Return the options as workers take them. Raises HTTPError 400."""
    options = {name: values[name] for name in ("route", "path", "client", "status", "slower") if name in values}
    try:
        if "sample" in values:
            options["sample"] = parse_percent(values["sample"])
        if "bodies" in values:
            options["bodies"] = parse_bytes(values["bodies"])
    except ValueError as error:
        name = "bodies" if "sample" in options else "sample"
        raise HTTPError(400, f"{name}: {error or 'expected a size such as 64KiB'}") from None
    if options.get("bodies", 0) > _MOST_BODY:
        raise HTTPError(400, "bodies: expected a size up to 1MiB")
    options["keep"] = [one.strip() for one in values.get("keep", "").split(",") if one.strip()]
    options["redact"] = [one.strip() for one in values.get("redact", "").split("\n") if one.strip()]
    return options


def _refusal(answers: list[WorkerAnswer]) -> HTTPError:
    """Return the error if no worker records: that of a worker, or that none answers."""
    reasons = [one.error for one in answers if one.error and not one.silent_since]
    return HTTPError(400, reasons[0]) if reasons else HTTPError(503, "no worker answers", {"Retry-After": "1"})


def _described(values: Any, seconds: float) -> str:  # noqa: ANN401 the values of a call
    words = [f"{name}={values[name]}" for name in values if name not in {"for", "redact"}]
    return " ".join([*words, f"for={write_seconds(seconds)}", *values.get("redact", "").split()])
