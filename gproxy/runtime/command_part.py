"""The base class of what a command adds to the gateway of each worker, such as `gproxy dev`.

The command names the class as MODULE:NAME in the override `config.sections.settings.PARTS`, which no settings file can
give. So a gateway that is started in another way does not import it.
"""

from typing import Any, Protocol

from gproxy.config.sections.settings import Settings
from gproxy.http.errors import HTTPError
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.runtime import Runtime


class Captures(Protocol):
    """The captures of exchanges that a gateway makes by rules, as `gateway.watch.capture_rules` describes them."""

    def add(self, rule: Any, /) -> None:  # noqa: ANN401 the type of a rule is not known here
        """Capture by this rule, too."""


class CommandPart:
    """A part that surrounds the gateway of a worker; a subclass overrides what it needs."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self.settings = settings
        self.runtime = runtime

    def watch(self, captures: Captures) -> None:
        """Add rules for captures, if the part wants some."""

    def admit(self, request: Request) -> None:
        """Look at a request before its route is known. Raises HTTPError to reject it."""

    def mark(self, response: Response, peer: str, request: Request | None) -> None:
        """Change the head of any response to this peer. What is rejected before it is a request has none."""

    def error(self, error: BaseException, found: HTTPError, request: Request) -> Response | None:  # noqa: ARG002
        """Return the response to a mistake of a handler or an app, which would be `found`; None to leave it so."""
        return None
