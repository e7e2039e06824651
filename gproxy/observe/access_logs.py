"""The access logs of a worker: one for each target of `[log] access`, which all record the same exchanges."""

from collections.abc import Sequence

import gevent

from gproxy.config.sections.settings import LogSettings
from gproxy.config.types.access_log import LogTarget, SkippedLines
from gproxy.http.errors import BadMessage
from gproxy.http.exchange import Exchange, Observer
from gproxy.http.target import readings
from gproxy.observe.access_fields import line_format
from gproxy.observe.access_log import AccessLog
from gproxy.observe.buffered_log import BufferedLog
from gproxy.observe.syslog import Syslog


class Unskipped:
    """An observer that passes an exchange on unless its line is skipped."""

    def __init__(self, skip: Sequence[SkippedLines], observers: Sequence[Observer]) -> None:
        #: The lowest status, the highest one, and what the path begins with, as written and as normalized.
        self._skip = [(one.first, one.last, _beginning(one.path), _beginning(_normalized(one.path))) for one in skip]
        self._observers = observers

    def record(self, exchange: Exchange) -> None:
        """Record the exchange unless it is skipped. The path counts as the client has sent it.

        No client can hide a request to another path: `/health/../admin` is not skipped with `/health`.
        """
        path = f"{exchange.target}/"
        for first, last, beginning, normal in self._skip:
            if first <= exchange.status <= last and path.startswith(beginning) and _is_below(exchange.target, normal):
                return
        for observer in self._observers:
            observer.record(exchange)


def _beginning(path: str) -> str:
    """Return what all paths below this one begin with, once they end with a slash; empty for every path."""
    return f"{path}/" if (path := path.rstrip("/")) else ""


def _normalized(path: str) -> str:
    try:
        return readings(path)[0]
    except BadMessage:  # no request with such a path is served
        return path


def _is_below(target: str, beginning: str) -> bool:
    """Return whether all readings of the target begin with this."""
    try:
        return not beginning or all(f"{reading}/".startswith(beginning) for reading in readings(target))
    except BadMessage:
        return False


class AccessLogs:
    """The access logs, one for each target. They get no exchange whose line is in `skip`."""

    def __init__(self, logs: Sequence[BufferedLog], skip: Sequence[SkippedLines] = ()) -> None:
        self._logs = logs
        self._skip = skip

    @classmethod
    def of(cls, settings: LogSettings) -> "AccessLogs":
        """Return the access logs of these settings; none if the log is off."""
        return cls([_log(target, settings) for target in settings.access if not target.is_off], settings.skip)

    @property
    def observers(self) -> Sequence[Observer]:
        """The parts that record the exchanges; none if the log is off."""
        return [Unskipped(self._skip, self._logs)] if self._skip and self._logs else self._logs

    @property
    def lost(self) -> int:
        """The number of lines lost since the start, of all targets."""
        return sum([log.lost for log in self._logs])

    def open(self) -> None:
        """Open all targets. Raises OSError with the path."""
        for log in self._logs:
            log.open()

    def flush(self) -> None:
        """Write the buffered lines as far as this needs no waiting."""
        for log in self._logs:
            log.flush()

    def look(self) -> None:
        """Look after all targets; to be called once a second."""
        for log in self._logs:
            log.look()

    def reopen(self) -> None:
        """Write the buffered lines and open all targets again, for SIGUSR1."""
        for log in self._logs:
            log.reopen()

    def close(self) -> None:
        """Write all lines and close all targets at the same time, since each may wait for a bounded time."""
        gevent.joinall([gevent.spawn(log.close) for log in self._logs])


def _log(target: LogTarget, settings: LogSettings) -> BufferedLog:
    line = line_format(settings.format, settings.field_names)
    if target.address is not None:
        return Syslog(target, line)
    return AccessLog(
        target.text,
        line=line,
        daily=settings.rotate.daily,
        size=settings.rotate.size,
        keep=settings.keep,
        compress=settings.compress,
    )
