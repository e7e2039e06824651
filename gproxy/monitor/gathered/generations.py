"""The generations that have workers: how old each is, and how its requests went, to compare a new one with the old."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from gproxy.monitor.gathered.reading import added
from gproxy.monitor.processes.worker_lines import WorkerAnswer
from gproxy.observe.buckets import Buckets


@dataclass(frozen=True, slots=True)
class GenerationFigures:
    """The figures of one generation since its start, over those of its workers that answer."""

    generation: int
    workers: int
    #: Seconds since the start of its oldest worker.
    age: float
    #: Requests that were answered, and those of them with a status from 500.
    requests: int
    errors: int
    #: Seconds; None without a request.
    p99: float | None

    def describe(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return asdict(self)


def generations(answers: Iterable[WorkerAnswer]) -> list[GenerationFigures]:
    """Return the figures of all generations with a worker that answers, the oldest first."""
    answering = sorted((one for one in answers if one.parts), key=_generation)
    return [_added(number, [one.parts[0] for one in group]) for number, group in groupby(answering, _generation)]


def _generation(answer: WorkerAnswer) -> int:
    return answer.worker.generation


def _added(number: int, parts: Sequence[Mapping[str, Any]]) -> GenerationFigures:
    durations = [part["durations"] for part in parts if part["durations"]]
    p99 = Buckets(parts[0]["buckets"]).percentile(added(durations), 0.99) if durations else None
    return GenerationFigures(
        generation=number,
        workers=len(parts),
        age=max(part["uptime"] for part in parts),
        requests=sum(part["answered"] for part in parts),
        errors=sum(part["failed"] for part in parts),
        p99=None if p99 is None else round(p99, 6),
    )
