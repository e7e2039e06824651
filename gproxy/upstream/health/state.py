"""What is known of one backend's health: by probes (active) and by what requests meet (passive).

A value without clock, log or socket. Its few changes can be made from outside; `Upstream.refresh` comes after each.
"""

from typing import Literal

from gproxy.http.request import Request

State = Literal["healthy", "trial", "unhealthy"]


class BackendHealth:
    """Healthy until proven otherwise, by the initial state `up` and, until the first probe, by `unknown`.

    Times are on the monotonic clock.
    """

    __slots__ = (
        "doubtful",
        "ejected_until",
        "ejections",
        "is_failing",
        "is_half_open",
        "is_probed",
        "next_probe",
        "passes",
        "trial",
        "why",
    )  # fmt: skip

    def __init__(self, initial: Literal["unknown", "up", "down"] = "up") -> None:
        #: What probes say, and whether one has said anything yet: the first one decides alone.
        self.passes = initial != "down"
        self.is_probed = initial == "up"
        #: When the next probe is due; 0 if there are none.
        self.next_probe = 0.0
        #: Until when it is left out after failing; 0 if it is not.
        self.ejected_until = 0.0
        #: How often in close succession.
        self.ejections = 0
        #: Its time is over: one request at a time is let through, now or already, until one has gone well.
        self.is_half_open = False
        self.trial: Request | None = None
        #: Fails as often as others are left out for, but somebody must stay.
        self.is_failing = False
        #: PERF: is any of the above to be looked at when a request has gone well?
        self.doubtful = False
        #: Why it is not healthy, in a word or two.
        self.why = "" if self.passes else "not probed yet"

    @property
    def is_good(self) -> bool:
        """Probes and failures fine, or due for a trial."""
        return self.passes and not self.ejected_until

    @property
    def needs_probe(self) -> bool:
        """Down from the start, and no probe was good yet: not even a last resort."""
        return not (self.passes or self.is_probed)

    @property
    def is_open_to_trial(self) -> bool:
        """Would a request that is sent there now decide?"""
        return (self.is_half_open or self.ejected_until > 0) and self.trial is None

    @property
    def state(self) -> State:
        if self.is_half_open and self.passes:
            return "trial"
        return "unhealthy" if self.is_failing or not self.is_good else "healthy"

    @property
    def next_try(self) -> float:
        """When it is tried again, by a request or by a probe; 0 if nobody knows."""
        return self.ejected_until or (0.0 if self.passes else self.next_probe)

    def eject(self, until: float, why: str) -> None:
        """Leave it out until then."""
        self.ejected_until = until
        self.ejections += 1
        self.is_failing = self.is_half_open = False
        self.trial = None
        self.doubtful = True
        self.why = why

    def mark_failing(self, why: str) -> None:
        """It ought to be left out, and cannot be."""
        self.restore()
        self.is_failing = self.doubtful = True
        self.why = why

    def half_open(self) -> None:
        """Its time is over, or that of a trial that came to no end: the next request is a trial."""
        self.ejected_until = 0.0
        self.is_half_open = True
        self.trial = None

    def try_with(self, request: Request, until: float) -> None:
        """Left out for all others until this request has come to an end, or until then."""
        self.is_half_open = True
        self.trial = request
        self.ejected_until = until

    def restore(self) -> None:
        """Back as before; `ejections` is not forgotten at once."""
        self.ejected_until = 0.0
        self.is_failing = self.is_half_open = self.doubtful = False
        self.trial = None
        if self.passes:
            self.why = ""

    def mark_probe(self, passes: bool, why: str = "") -> None:
        """Probes have come to that opinion."""
        self.is_probed = self.is_probed or self.passes or passes
        self.passes = passes
        if not passes or not self.doubtful:
            self.why = why
