"""What the error log says of responses that were broken off, however many of them there are."""

import logging
from time import monotonic
from typing import Final

from gproxy.http.request import Request
from gproxy.observe.throttle import Throttle

_log = logging.getLogger("gproxy")
#: By backend and reason.
_throttle: Final[Throttle[tuple[str, str]]] = Throttle()


def tell(request: Request, error: BaseException) -> None:
    """Each reason once for each backend, and the others counted; but by name whatever the end of a drain cut."""
    kind = request.backend or "", request.reason or ""
    if request.reason == "draining" or _throttle.is_first(kind, monotonic()):
        detail = f"response broken off: {str(error) or request.reason}"
        _log.warning("%s %s %s: %s%s", request.id, request.method, request.path, _by(request.backend), detail)


def summarize() -> None:
    """Say what was not said; to be called once a second."""
    for (backend, reason), more in _throttle.summaries(monotonic()):
        _log.warning("%sresponse broken off: %s: %d more within %g s", _by(backend), reason, more, _throttle.period)


def _by(backend: str | None) -> str:
    return f"backend {backend}: " if backend else ""
