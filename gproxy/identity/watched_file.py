"""A file that the settings name and that may change while the gateway serves: keys, passwords, revocations."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

import gevent

from gproxy.config.file_stamp import FileStamp
from gproxy.runtime import Runtime

T = TypeVar("T")

#: Longest pause between two looks, in seconds. Two equal looks follow a change within twice this time.
LOOK: Final = 1.0
#: Share of the pause that is random, so that the looks of workers and files spread.
_JITTER: Final = 0.2

_log = logging.getLogger("gproxy")


class WatchedFile(Generic[T]):
    """The content of a file, as `parse` returned it; `open` starts a greenlet that replaces it after a change.

    `parse` gets the path and the bytes of the file. Its ValueError has a line for each problem, with the place as
    `place` writes it. `apply` gets new content, after `content` has it. `failed` gets the reason, in one line, why a
    change cannot be taken. `option` names the option in messages. `maker` is the command that makes such a file, for
    the message about a missing one.
    """

    def __init__(
        self,
        option: str,
        path: Path,
        parse: Callable[[Path, bytes], T],
        apply: Callable[[T], None] | None = None,
        *,
        failed: Callable[[str], None] | None = None,
        maker: str = "",
        stamp: Callable[[Path], FileStamp | None] = FileStamp.of,
    ) -> None:
        """Read the file. Raises ValueError, with a line for each problem, each beginning with the option."""
        self.path = path
        self._option = option
        self._parse = parse
        self._apply = apply
        self._failed = failed
        self._stamp = stamp
        self._watch: gevent.Greenlet | None = None
        # The stamp comes before the content: a change between the two is noticed as a later change.
        self._read = self._seen = stamp(path)
        try:
            self.content = self._load()
        except ValueError as error:
            hint = f"; `{maker}` makes the file" if maker and not path.exists() else ""
            raise ValueError("\n".join(f"{option}: {line}" for line in f"{error}{hint}".splitlines())) from None

    def open(self, runtime: Runtime, owner: str) -> None:
        """Start to watch the file. `owner` names the section in log lines: `handler:keys`."""
        self._watch = runtime.spawn(self._run, runtime, owner)

    def close(self) -> None:
        """Stop to watch the file."""
        if self._watch is not None:
            self._watch.kill(block=False)
            self._watch = None

    def look(self, runtime: Runtime, owner: str) -> None:
        """Take the content if the file has changed and two looks agree. Bad content leaves the previous one in force.

        A writer may be in the middle of the file at the first look.
        """
        stamp = runtime.offload(self._stamp, self.path)
        was_seen, self._seen = self._seen, stamp
        if stamp == self._read or stamp != was_seen:
            return
        self._read = stamp
        content = runtime.offload(self._load_or_error)
        if isinstance(content, ValueError):
            reason = "; ".join(str(content).splitlines())
            _log.error("[%s] %s: %s; keeping the previous content", owner, self._option, reason)
            if self._failed is not None:
                self._failed(reason)
            return
        self.content = content
        if self._apply is not None:
            self._apply(self.content)
        _log.info("[%s] %s: %s reloaded", owner, self._option, self.path)

    def _run(self, runtime: Runtime, owner: str) -> None:
        while True:
            gevent.sleep(LOOK * (1 - _JITTER * runtime.random.random()))
            try:
                self.look(runtime, owner)
            except Exception:  # noqa: BLE001 the watch goes on: the next content may revoke a key
                _log.exception("[%s] %s: %s cannot be taken", owner, self._option, self.path)

    def _load(self) -> T:
        try:
            return self._parse(self.path, self.path.read_bytes())
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ValueError(f"{self.path} cannot be read: {reason}") from None

    def _load_or_error(self) -> T | ValueError:
        """Return the content, or the error: gevent prints the traceback of an exception in a thread."""
        try:
            return self._load()
        except ValueError as error:
            return error
        except Exception as error:  # noqa: BLE001 the watch goes on: the next content may revoke a key
            return ValueError(f"{self.path} cannot be read: {type(error).__name__}")


def place(path: Path, line: int, message: str) -> str:
    """Return a problem of a line as messages show it: `etc/keys.ini:7: message`."""
    return f"{path}:{line}: {message}"
