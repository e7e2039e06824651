"""The ways in which a credential is not accepted: it is bad, it cannot be judged now, or another party has answered."""

from gproxy.http.response import Response


class Untrusted(Exception):
    """A rejected credential; the text is the reason as clients read it, and has nothing of the credential.

    `lasting` is False if time, another connection or a new key can change the verdict, so that no cache keeps it.
    `expired` is True if the credential was good before its end.
    """

    def __init__(self, reason: str = "", *, lasting: bool = True, expired: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting
        self.expired = expired


class Unavailable(Exception):
    """A credential that cannot be judged now: keys or an endpoint are unavailable; the text is for the log.

    The client gets 503 and never 401, because clients throw good credentials away on 401.
    """


class Answered(Exception):
    """A request that is not admitted, and the response for its client, which an authorizer or a login has made."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response
