"""The records of a worker's error log that it feeds the monitor: at most so many a second, and short ones."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from gproxy.config.types.units import shortened
from gproxy.runtime.feed import EachSecond, Feed

#: The most records a second. Further ones count as dropped by the feed: failed requests need its room, too.
MOST: Final = 100
#: The most characters of a text, and the most lines of a stack, the innermost ones.
_LONGEST: Final = 4096
_DEEPEST: Final = 30


class RecordFeed:
    """The feed of the error log, for `log.setup`."""

    def __init__(self, feed: Feed, clock: Callable[[], float]) -> None:
        self._feed = feed
        self._rate = EachSecond(MOST, clock)

    def __call__(self, fields: Mapping[str, Any]) -> None:
        """Feed the fields of a record, without empty ones."""
        if self._rate.take():
            self._feed.put("log", {name: _short(value) for name, value in fields.items() if value not in ("", None)})
        else:
            self._feed.dropped += 1


def _short(value: Any) -> Any:  # noqa: ANN401 texts, numbers, lists and dicts of them
    if isinstance(value, str):
        return shortened(value, _LONGEST)
    if isinstance(value, list):
        return [_short(one) for one in value[-_DEEPEST:]]
    return {name: _short(one) for name, one in value.items()} if isinstance(value, dict) else value
