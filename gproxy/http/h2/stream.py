"""A stream: one exchange on an HTTP/2 connection, its state and its place in the order of sending."""

from typing import Final

from gproxy.http.h2.windows import Windows

#: The states of a stream (RFC 9113 section 5.1). Idle streams have no object; nothing is reserved, because push is off.
OPEN: Final = 0
HALF_CLOSED_LOCAL: Final = 1
HALF_CLOSED_REMOTE: Final = 2
CLOSED: Final = 3

#: What changes a state.
SENT_END: Final = 0
RECEIVED_END: Final = 1
RESET: Final = 2

#: State → the next state after SENT_END, RECEIVED_END and RESET (RST_STREAM either way).
TRANSITIONS: Final[tuple[tuple[int, int, int], ...]] = (
    (HALF_CLOSED_LOCAL, HALF_CLOSED_REMOTE, CLOSED),  # OPEN
    (HALF_CLOSED_LOCAL, CLOSED, CLOSED),  # HALF_CLOSED_LOCAL
    (CLOSED, HALF_CLOSED_REMOTE, CLOSED),  # HALF_CLOSED_REMOTE
    (CLOSED, CLOSED, CLOSED),  # CLOSED
)  # fmt: skip

#: The urgency of a stream without a signal (RFC 9218 section 4.1), and the least urgent one.
DEFAULT_URGENCY: Final = 3
LEAST_URGENCY: Final = 7
#: The longest priority that is parsed, and the number of parsed ones that are kept: clients have few.
_LONGEST_PRIORITY: Final = 128
_PRIORITIES: Final = 64


class Stream(Windows):
    """An exchange. The session changes it; its user sets `owner`, and reads the rest."""

    __slots__ = (
        "has_head", "has_sent_head", "held", "id", "incremental", "is_connect", "is_counted", "is_without_body", "owed",
        "owner", "state", "urgency",
    )  # fmt: skip

    def __init__(self, stream_id: int, state: int, send_window: int, size: int) -> None:
        super().__init__(send_window, size)
        self.id = stream_id
        self.state = state
        #: What the user attaches: the object that gets the stream's events.
        self.owner: object = None
        #: Bytes of the content that Content-Length still promises; -1 if the length is unknown.
        self.owed = -1
        #: The piece that completes the content, kept until END_STREAM proves the length right.
        self.held = b""
        #: True once a request's head, or the final head of a response, was received; and once one was sent.
        self.has_head = False
        self.has_sent_head = False
        #: True for the response to a HEAD request: its Content-Length promises nothing.
        self.is_without_body = False
        #: True for an extended CONNECT of ours: a Content-Length of its success means nothing (RFC 9110 section 9.3.6).
        self.is_connect = False
        #: True while the stream counts as under way.
        self.is_counted = False
        #: The order of sending (RFC 9218): 0 is sent first; incremental streams of one urgency take turns.
        self.urgency = DEFAULT_URGENCY
        self.incremental = False

    @property
    def is_closed(self) -> bool:
        """True once both sides have ended, or one has reset the stream."""
        return self.state == CLOSED

    @property
    def may_send(self) -> bool:
        """True until we have sent END_STREAM or the stream was reset."""
        return self.state in (OPEN, HALF_CLOSED_REMOTE)

    @property
    def may_receive(self) -> bool:
        """True until the peer has sent END_STREAM or the stream was reset."""
        return self.state in (OPEN, HALF_CLOSED_LOCAL)

    def move(self, change: int) -> None:
        """Change the state by the table."""
        self.state = TRANSITIONS[self.state][change]

    def prioritize(self, value: str) -> None:
        """Take urgency and `incremental` from a priority field or frame; what is malformed changes nothing."""
        self.urgency, self.incremental = parse_priority(value)


_priorities: Final[dict[str, tuple[int, bool]]] = {}


def parse_priority(value: str) -> tuple[int, bool]:
    """Return urgency and `incremental` of a priority (RFC 9218 section 4); the defaults if it is malformed.

    The value is a dictionary of RFC 8941. Its other members, and parameters, mean nothing to us.
    """
    found = _priorities.get(value)
    if found is None:
        found = _parsed_priority(value[:_LONGEST_PRIORITY])
        if len(_priorities) >= _PRIORITIES:
            _priorities.clear()
        if len(value) <= _LONGEST_PRIORITY:
            _priorities[value] = found
    return found


def _parsed_priority(value: str) -> tuple[int, bool]:
    urgency, incremental = DEFAULT_URGENCY, False
    for member in value.split(","):
        key, _, rest = member.partition(";")[0].strip(" \t").partition("=")
        if key == "u":
            is_level = len(rest) == 1 and "0" <= rest <= str(LEAST_URGENCY)
            urgency = int(rest) if is_level else DEFAULT_URGENCY
        elif key == "i":
            incremental = rest in {"", "?1"}
    return urgency, incremental
