"""What `gproxy dev` adds to each worker: it serves this machine only, and shows why requests and reloads fail."""

import re
from typing import Final

from gproxy.config.secret_values import secret_values
from gproxy.config.sections.settings import Settings
from gproxy.dev.audience import Audience
from gproxy.dev.failure import Failure, secrets_of, short_path
from gproxy.dev.traceback_page import Report, response
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.http.trust import is_local
from gproxy.observe.log import masking
from gproxy.runtime import Runtime
from gproxy.runtime.command_part import CommandPart

#: The header of all responses after a failed reload.
HEADER: Final = "X-Gproxy-Dev"
_LONGEST: Final = 200
_unsafe = re.compile(r"[^\x20-\x7e]+")
#: A reason that ends with the place in user code: a text, then ` (FILE:LINE)`.
_with_place = re.compile(r"(.*) \((/[^()]*):(\d+)\)", re.DOTALL).fullmatch


def failure_text(reason: str) -> str:
    """Return the reason of a failed reload in one line of ASCII, bounded, with the place in user code in front."""
    found = _with_place(reason)
    text = f"{short_path(found[2])}:{found[3]} {found[1]}" if found else reason
    return f"reload failed: {_unsafe.sub(' ', text)}"[:_LONGEST].rstrip()


class DevPart(CommandPart):
    """The part of `gproxy dev`: it rejects clients of other machines."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        super().__init__(settings, runtime)
        self._audience = Audience(settings.routes)
        self._secrets = secret_values(settings)

    def admit(self, request: Request) -> None:
        """Raise HTTPError 403 for a client that is not on this machine: the connection decides, no field does."""
        if not is_local(request.received.peer):
            detail = "gproxy dev serves only clients on its own machine; start it with --expose to serve others"
            raise HTTPError(403, detail, reason="not_local")

    def mark(self, response: Response, peer: str, request: Request | None) -> None:
        """Show a client on this machine why the last reload has failed."""
        failure = self.runtime.reload_failure
        if failure and (is_local(peer) if request is None else self._audience.includes(request)):
            response.headers[HEADER] = failure_text(failure)

    def error(self, error: BaseException, found: HTTPError, request: Request) -> Response | None:
        """Return the page with the traceback, for a client on this machine."""
        if request.is_subrequest or not self._audience.includes(request):
            return None
        try:
            failure = Failure.of(error, request, masking(self._secrets | secrets_of(request)))
        except Exception:
            self.runtime.log.exception("%s: the traceback cannot be shown", request.id)
            return None
        reason = self.runtime.reload_failure
        return response(Report(failure, found, request.id, failure_text(reason) if reason else ""), request)


class ExposedDevPart(DevPart):
    """The part of `gproxy dev --expose`: clients of other machines are served, and see nothing of dev."""

    def admit(self, request: Request) -> None:
        """Admit every request."""
