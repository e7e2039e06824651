"""The recordings of one worker: the monitor begins them, and keeps them going; without a word of it they end."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Protocol

import gevent

from gproxy.config.effective import digest
from gproxy.config.sections.settings import Settings
from gproxy.config.types.units import write_bytes
from gproxy.recording.pseudonyms import Pseudonyms
from gproxy.recording.redaction import Redaction
from gproxy.recording.rule import MOST_BODY, MOST_SEARCHED, RecordRule, Selection
from gproxy.runtime import Runtime

#: The kind of the records that are fed.
KIND: Final = "record"
#: Seconds between two looks at the clock.
_LOOK: Final = 0.5


class View(Protocol):
    """A worker, as far as recordings need it."""

    @property
    def settings(self) -> Settings: ...
    @property
    def runtime(self) -> Runtime: ...
    @property
    def gateway(self) -> Any: ...  # noqa: ANN401 as above


class _Running:
    """A recording that goes on until a time of the monotonic clock."""

    def __init__(self, rule: RecordRule, until: float) -> None:
        self.rule = rule
        self.until = until


class Recorder:
    """The recordings of a worker, by their names."""

    def __init__(self, _: Runtime) -> None:
        self._running: dict[str, _Running] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._running

    def rule(self, name: str) -> RecordRule:
        """Return the rule of a recording. Raises KeyError."""
        return self._running[name].rule

    def begin(self, name: str, rule: RecordRule, captures: Any, seconds: float) -> None:  # noqa: ANN401 as above
        """Record by this rule for so many seconds. Raises ValueError for an unknown route."""
        captures.add(rule)
        self._running[name] = _Running(rule, time.monotonic() + seconds)
        gevent.spawn(self._keep, name, captures)

    def renew(self, name: str, seconds: float) -> None:
        """Let the recording go on for so many seconds from now on."""
        self._running[name].until = time.monotonic() + seconds

    def _keep(self, name: str, captures: Any) -> None:  # noqa: ANN401 as above
        running = self._running[name]
        while (left := running.until - time.monotonic()) > 0:
            gevent.sleep(min(left, _LOOK))
        captures.remove(running.rule)
        del self._running[name]


def record(
    view: View, name: str, key: str, options: Mapping[str, Any], seconds: float
) -> Iterator[Mapping[str, object]]:
    """Record for so many seconds, or for so many more; 0 ends the recording. Yield what it has done so far.

    Raises ValueError for wrong options, and for a route that this generation lacks.
    """
    recorder = view.runtime.single(Recorder)
    facts = {}
    if name in recorder:
        recorder.renew(name, seconds)
    elif seconds > 0:
        rule = rule_of(options, bytes.fromhex(key), partial(_put, view.runtime, name), view.runtime)
        recorder.begin(name, rule, view.gateway.parts.captures, seconds)
        facts["settings"] = digest(view.settings)
    else:
        return
    rule = recorder.rule(name)
    has_failed = rule not in view.gateway.parts.captures  # a fault in the rule ends it
    yield {"recorded": rule.recorded, "dropped": rule.dropped, "failed": has_failed, **facts}


def rule_of(
    options: Mapping[str, Any], key: bytes, put: Callable[[bytes], bool], runtime: Runtime | None = None
) -> RecordRule:
    """Return the rule of options as the command has them. Raises ValueError."""
    bodies = int(options.get("bodies", 0))
    is_searched = any(one.startswith("json:") for one in options.get("redact", ()))
    most = MOST_SEARCHED if is_searched else MOST_BODY
    if bodies > most:
        raise ValueError(f"bodies: expected a size up to {write_bytes(most)}{' with json:' if is_searched else ''}")
    return RecordRule(
        Selection.of(options),
        redaction_of(options, key),
        put,
        body_limit=bodies,
        limit=int(options.get("limit", 1000)),
        place=(0, 0) if runtime is None else (runtime.worker, runtime.generation),
    )


def redaction_of(options: Mapping[str, Any], key: bytes) -> Redaction:
    """Return the redaction of the options. Raises ValueError."""
    return Redaction(Pseudonyms(key), options.get("keep", ()), options.get("redact", ()))


def _put(runtime: Runtime, name: str, line: bytes) -> bool:
    feed = runtime.feed
    return feed is not None and feed.put_long(KIND, {"recording": name, "line": line}, len(line))
