"""What an import of user code may change in the process, and the gateway restores."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: The loggers of the gateway: those of these names, and below them.
_OURS: Final = ("gproxy", "py.warnings")


@contextmanager
def kept_loggers() -> Iterator[None]:
    """Restore the gateway's loggers at the end of the block: `logging.config.dictConfig` disables all that exist."""
    saved = [(one, one.level, one.propagate, one.disabled, one.handlers[:], one.filters[:]) for one in _our_loggers()]
    shielded = {handler for *_, handlers, _ in saved for handler in handlers}
    for handler in shielded:
        handler.close = _nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        for handler in shielded:
            del handler.close
        for logger, level, propagate, disabled, handlers, filters in saved:
            logger.setLevel(level)
            logger.propagate, logger.disabled = propagate, disabled
            logger.handlers[:], logger.filters[:] = handlers, filters


def _nothing() -> None:
    """Take the place of a handler's `close`: `dictConfig` closes all handlers that exist."""


def _our_loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.items()
    return [one for name, one in known if isinstance(one, logging.Logger) and _is_ours(name)]


def _is_ours(name: str) -> bool:
    return any(name == ours or name.startswith(f"{ours}.") for ours in _OURS)
