"""The error log on standard error: one line per event, for every logger of `logging`, as text or as JSON."""

import logging
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, NamedTuple

from gproxy.observe.json_log import JSONFormatter
from gproxy.observe.local_time import local_tuple
from gproxy.observe.nonblocking import NonBlockingHandler

_LAYOUT = "%(asctime)s %(levelname)s %(name)s %(message)s"
#: Workers write to the same log: the process id distinguishes them, as in the arbiter's lines.
_WORKER_LAYOUT = "%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s"

_Failure = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Origin(NamedTuple):
    """The request and the handler that a record comes from; an empty text means that there is none."""

    request_id: str = ""
    method: str = ""
    path: str = ""
    route: str = ""
    handler: str = ""
    trace_id: str = ""


#: The origin of code that runs for no request.
NOWHERE: Final = Origin()


_NONE: Final[Mapping[str, object]] = MappingProxyType({})
#: The names in lines of a process that is no worker.
_NO_WORKER: Final = MappingProxyType({"worker": None, "generation": None})


def _unchanged(text: str) -> str:
    return text


def masking(secrets: Collection[str]) -> Callable[[str], str]:
    """Return a function that returns a text with each secret as `***`."""
    return partial(_hide, sorted(secrets, key=len, reverse=True)) if secrets else _unchanged


def _hide(secrets: Sequence[str], text: str) -> str:
    """Return the text with each secret as `***`; longer ones first, since one may be a part of another."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, "***")
    return text


def setup(
    level: str,
    errors: Literal["text", "json"] = "text",
    *,
    worker: bool = False,
    names: Mapping[str, object] = _NO_WORKER,
    locate: Callable[[], Origin] | None = None,
    hide: Callable[[str], str] = _unchanged,
    copy: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Send the log records of the gateway, user code and libraries, and Python's warnings, to standard error.

    Records below `level` are dropped, except Python's warnings. A root logger that already has another handler stays
    unchanged. Lines of text of a `worker` have its process id behind the logger's name; `names` are further fields of
    lines in JSON. `locate` returns the origin of the code that logs; `hide` masks secrets, see `masking`. `copy` gets
    the fields of each record, as JSON has them.
    A second call replaces all of this. Raises ValueError for an unknown level.
    """
    handler: logging.Handler = NonBlockingHandler(sys.stderr)
    layout = _WORKER_LAYOUT if worker else _LAYOUT
    handler.setFormatter(JSONFormatter(names, hide) if errors == "json" else _Formatter(layout, hide))
    handlers = [handler] if copy is None else [handler, _Copier(JSONFormatter(names, hide), copy)]
    if locate is not None:
        handler.addFilter(partial(_note_origin, locate))
    _held.suspend()
    _attach(handlers, "gproxy", level.upper())
    _attach(handlers, "py.warnings", "WARNING")
    _attach_to_root(handlers, level.upper())
    logging.captureWarnings(capture=True)
    # The pool closes surplus connections in normal operation, and peers send what urllib3 calls malformed: it would log
    # a line or a traceback for each, with bytes of the peer.
    for part in ("connection", "connectionpool", "response"):
        logging.getLogger(f"urllib3.{part}").setLevel(logging.ERROR)
    _held.resume()


class _HeldLevel:
    """The level that a logger has for a time, in place of that of the settings, over `setup` too."""

    def __init__(self) -> None:
        self._logger: logging.Logger | None = None
        self._level = ""
        self._before = logging.NOTSET

    def hold(self, name: str, level: str) -> None:
        """Give the logger this level, and the one that had one before its own; an empty level only does the latter."""
        self.suspend()
        self._logger, self._level = (logging.getLogger(name), level.upper()) if level else (None, "")
        self.resume()

    def suspend(self) -> None:
        if self._logger is not None:
            self._logger.setLevel(self._before)

    def resume(self) -> None:
        if self._logger is not None:
            self._before = self._logger.level
            self._logger.setLevel(self._level)


_held = _HeldLevel()

#: Gives a logger a level for a time; an empty level ends it: the level of the settings returns. Another logger that has
#: such a level loses it.
hold_level: Final = _held.hold


def _note_origin(locate: Callable[[], Origin], record: logging.LogRecord) -> bool:
    """Give the record its origin, unless it has one; admit the record."""
    if not hasattr(record, "origin"):
        try:
            record.origin = locate()
        except Exception:  # noqa: BLE001 the frames of user code may hold anything, and a record must not be lost
            record.origin = NOWHERE
    return True


class _Copier(logging.Handler):
    """A handler that gives the fields of each record to a function."""

    def __init__(self, formatter: JSONFormatter, take: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._fields = formatter.fields
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._take(self._fields(record))
        except Exception:  # noqa: BLE001 as in logging.StreamHandler
            self.handleError(record)


def _attach(handlers: Sequence[logging.Handler], name: str, level: str) -> None:
    logger = logging.getLogger(name)
    logger.setLevel(level)
    for old in logger.handlers:
        if isinstance(old, NonBlockingHandler):
            old.close()
    logger.handlers[:] = handlers
    logger.propagate = False


def _attach_to_root(handlers: Sequence[logging.Handler], level: str) -> None:
    """Attach the handlers to the root logger, so that records of user code have a level, a time and this format."""
    root = logging.getLogger()
    if all(isinstance(old, NonBlockingHandler | _Copier) for old in root.handlers):
        root.setLevel(level)
        root.handlers[:] = handlers


def log_with_stack(
    level: int, message: str, stack: Sequence[str], origin: Origin = NOWHERE, names: Mapping[str, object] = _NONE
) -> None:
    """Log a message with a stack that is not that of the caller, one text for each frame.

    `names` replace those of `setup`, if the message is about another process.
    """
    log = logging.getLogger("gproxy")
    sinfo, extra = "\n".join(stack), {"origin": origin, **names}
    log.handle(log.makeRecord(log.name, level, "", 0, "%s", (message,), None, extra=extra, sinfo=sinfo))


class _Formatter(logging.Formatter):
    """A formatter that writes a message as one line and indents the lines of a traceback, against forged log lines.

    The message begins with the id of its request. `hide` masks secrets in a text.
    """

    converter = staticmethod(local_tuple)

    def __init__(self, layout: str, hide: Callable[[str], str]) -> None:
        super().__init__(layout)
        self._hide = hide

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        request_id = getattr(record, "origin", NOWHERE).request_id
        message = record.message if record.message.startswith(request_id) else f"{request_id} {record.message}"
        record.message = self._hide(message)
        return escape(super().formatMessage(record).rstrip("\n"))

    def formatException(self, ei: _Failure) -> str:  # noqa: N802
        return _indented(self._hide(super().formatException(ei)))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return _indented(self._hide(stack_info))


def _indented(text: str) -> str:
    return "\n".join(f"  {escape(line)}" for line in text.split("\n"))


# Includes C1 controls, which a terminal obeys, and Unicode line ends, at which str.splitlines() splits. Surrogates have
# no UTF-8.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SPACE = re.compile(r"\s")


def escape(text: str) -> str:
    r"""Return `text` with control characters as `\xNN` (`\uNNNN` past Latin-1): one line that UTF-8 can encode."""
    return text if text.isprintable() else _UNSAFE.sub(_code, text)


def escape_word(text: str) -> str:
    """Return `text` like `escape`, with spaces escaped too, for formats without quotes and labels."""
    return _SPACE.sub(_code, escape(text))


def _code(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
