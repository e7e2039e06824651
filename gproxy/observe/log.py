"""The error log: standard error, one line per event, whoever has something to say through `logging`."""

import logging
import re
import sys
from types import TracebackType

from gproxy.observe.nonblocking import NonBlockingHandler

_LAYOUT = "%(asctime)s %(levelname)s %(name)s %(message)s"
#: Several write to one log, often the same: the number tells them apart, and is the one the arbiter calls them by.
_OF_A_WORKER = "%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s"

_Failure = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def setup(level: str, *, worker: bool = False) -> None:
    """Send what `gproxy`, users' handlers, libraries and Python's warnings have to say to standard error.

    From `level` up; of warnings all. Who has given the root logger a handler already wants it otherwise. Lines of a
    `worker` have its process id behind the logger's name.
    May be called again, which replaces the earlier level and stream. Raises ValueError for an unknown level.
    """
    handler = NonBlockingHandler(sys.stderr)
    handler.setFormatter(_Formatter(_OF_A_WORKER if worker else _LAYOUT))
    _attach(handler, "gproxy", level.upper())
    _attach(handler, "py.warnings", "WARNING")
    _attach_to_root(handler, level.upper())
    logging.captureWarnings(capture=True)
    # A full pool is our ordinary business: surplus connections are closed, and nobody needs a line for each.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def _attach(handler: logging.Handler, name: str, level: str) -> None:
    logger = logging.getLogger(name)
    logger.setLevel(level)
    for old in logger.handlers:
        if isinstance(old, NonBlockingHandler):
            old.close()
    logger.handlers[:] = [handler]
    logger.propagate = False


def _attach_to_root(handler: logging.Handler, level: str) -> None:
    """For the loggers of users' modules: without it their infos were lost, and warnings bare lines without a time."""
    root = logging.getLogger()
    if all(isinstance(old, NonBlockingHandler) for old in root.handlers):
        root.setLevel(level)
        root.handlers[:] = [handler]


class _Formatter(logging.Formatter):
    """A message is one line. A traceback keeps its lines, indented, so that none of them can pass for one of ours."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return escape(super().formatMessage(record).rstrip("\n"))

    def formatException(self, ei: _Failure) -> str:  # noqa: N802
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return _indented(stack_info)


def _indented(text: str) -> str:
    return "\n".join(f"  {escape(line)}" for line in text.split("\n"))


# C1 controls and the Unicode line ends too: a terminal obeys the first, str.splitlines() splits at the second.
# Surrogates have no UTF-8.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SPACE = re.compile(r"\s")


def escape(text: str) -> str:
    r"""`text` with every control character as `\xNN` (`\uNNNN` past Latin-1): one line that UTF-8 can encode."""
    return text if text.isprintable() else _UNSAFE.sub(_code, text)


def escape_word(text: str) -> str:
    """`text` as `escape` writes it and without any space, for formats that have neither quotes nor labels."""
    return _SPACE.sub(_code, escape(text))


def _code(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
