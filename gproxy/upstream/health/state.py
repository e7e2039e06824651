"""The health state of one backend, from probes (active) and from requests (passive).

A value without clock, log or socket. The caller of a method that changes it calls `Rotation.refresh` afterwards.
"""

from typing import Literal

from gproxy.http.request import Request

State = Literal["healthy", "trial", "unhealthy"]


class BackendHealth:
    """The health of one backend; the initial states `up` and, until the first probe, `unknown` are healthy.

    Times are on the monotonic clock.
    """

    __slots__ = (
        "announced_until",
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
        #: Whether probes pass, and whether a probe has decided yet: the first one decides alone.
        self.passes = initial != "down"
        self.is_probed = initial == "up"
        #: When the next probe is due; 0 without probes.
        self.next_probe = 0.0
        #: The end of the ejection, or of a trial's claim; 0 if the backend is not ejected.
        self.ejected_until = 0.0
        #: The end of the ejection that was logged: a last resort that fails meanwhile ejects again. 0: none.
        self.announced_until = 0.0
        #: How often the backend was ejected in close succession.
        self.ejections = 0
        #: True after an ejection, until a trial decides: one request at a time is the trial.
        self.is_half_open = False
        self.trial: Request | None = None
        #: True if the backend fails often enough for an ejection, but too few others are healthy.
        self.is_failing = False
        #: PERF: True if a successful request must look at the fields above.
        self.doubtful = False
        #: Why the backend is not healthy, in a word or two.
        self.why = "" if self.passes else "not probed yet"

    @property
    def is_good(self) -> bool:
        """True if probes pass and the backend is not ejected; a half-open one without a trial is good too."""
        return self.passes and not self.ejected_until

    @property
    def needs_probe(self) -> bool:
        """True if the initial state is `down` and no probe has passed: such a backend is not even a last resort."""
        return not (self.passes or self.is_probed)

    @property
    def is_open_to_trial(self) -> bool:
        """True if the next request is the trial of an ejected or half-open backend."""
        return (self.is_half_open or self.ejected_until > 0) and self.trial is None

    @property
    def state(self) -> State:
        if self.is_half_open and self.passes:
            return "trial"
        return "unhealthy" if self.is_failing or not self.is_good else "healthy"

    @property
    def next_try(self) -> float:
        """The time of the next trial or probe; 0 if there is none."""
        return self.ejected_until or (0.0 if self.passes else self.next_probe)

    def eject(self, until: float, why: str) -> None:
        """Eject the backend until that time."""
        self.ejected_until = until
        self.ejections += 1
        self.is_failing = self.is_half_open = False
        self.trial = None
        self.doubtful = True
        self.why = why

    def mark_failing(self, why: str) -> None:
        """Mark the backend as failing but keep it in rotation: ejecting it would leave too few."""
        self.restore()
        self.is_failing = self.doubtful = True
        self.why = why

    def half_open(self) -> None:
        """End the ejection, or a trial that has not ended in time: the next request is the trial."""
        self.ejected_until = self.announced_until = 0.0
        self.is_half_open = True
        self.trial = None

    def try_with(self, request: Request, until: float) -> None:
        """Make the request the trial; until its end, or `until`, the backend is ejected for all others."""
        self.is_half_open = True
        self.trial = request
        self.ejected_until = until

    def restore(self) -> None:
        """Restore the backend to rotation; `ejections` stays, and decays with time."""
        self.ejected_until = self.announced_until = 0.0
        self.is_failing = self.is_half_open = self.doubtful = False
        self.trial = None
        if self.passes:
            self.why = ""

    def mark_probe(self, passes: bool, why: str = "") -> None:
        """Record a decision of the probes."""
        self.is_probed = self.is_probed or self.passes or passes
        self.passes = passes
        if not passes or not self.doubtful:
            self.why = why
