"""The access logs of a worker: one for each target of `[log] access`, which all record the same exchanges."""

from collections.abc import Sequence

import gevent

from gproxy.config.sections.settings import LogSettings
from gproxy.config.types.access_log import LogTarget
from gproxy.http.exchange import Observer
from gproxy.observe.access_line import FORMATS
from gproxy.observe.access_log import AccessLog
from gproxy.observe.buffered_log import BufferedLog
from gproxy.observe.syslog import Syslog


class AccessLogs:
    """The access logs, one for each target."""

    def __init__(self, logs: Sequence[BufferedLog]) -> None:
        self._logs = logs

    @classmethod
    def of(cls, settings: LogSettings) -> "AccessLogs":
        """Return the access logs of these settings; none if the log is off."""
        return cls([_log(target, settings) for target in settings.access if not target.is_off])

    @property
    def observers(self) -> Sequence[Observer]:
        """The parts that record the exchanges; none if the log is off."""
        return self._logs

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
    line = FORMATS[settings.format]
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
