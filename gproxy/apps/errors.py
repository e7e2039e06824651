"""The stream `wsgi.errors`: what an app writes to it goes into the error log, under the id of the request."""

import logging
from collections.abc import Iterable
from typing import Final

from gproxy.http.request import Request

_log = logging.getLogger("gproxy.app")
#: The longest text of one line of the log, in characters.
_LONGEST: Final = 64 * 1024


class AppErrors:
    """A text stream whose every write is one record of the error log."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def write(self, text: str) -> int:
        """Log the text unless it is blank. Return its length."""
        if shown := text[:_LONGEST].strip():
            request = self._request
            _log.error("%s %s %s: %s", request.id, request.method, request.path, shown)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Log the lines together."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Do nothing: nothing is kept."""
