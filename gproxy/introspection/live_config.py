"""The answer to the question about the settings in effect: only workers know the handlers of user code."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from gproxy.config.effective import effective
from gproxy.introspection.worker_view import WorkerView


def config(view: WorkerView) -> Iterator[Mapping[str, object]]:
    """Yield each section."""
    for section in effective(view.settings):
        yield asdict(section)
