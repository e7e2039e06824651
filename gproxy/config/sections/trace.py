"""`[trace]`: what a client may see of the path of its own requests."""

from dataclasses import dataclass, field

from gproxy.config.ini.build import doc
from gproxy.config.sections import rules
from gproxy.config.types import SHORTEST_SECRET, Secret


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """`[trace]`: what a client may see of the path of its own requests."""

    timing_token: Secret | None = field(
        default=None,
        metadata=doc("secret with which a client gets Server-Timing, in its header X-Gproxy-Timing; none: off"),
    )

    def __post_init__(self) -> None:
        token = self.timing_token.reveal() if self.timing_token is not None else None
        rules.raise_problems(
            rules.require(
                token is None or len(token.encode("utf-8", "surrogatepass")) >= SHORTEST_SECRET,
                "timing_token",
                f"expected at least {SHORTEST_SECRET} bytes, such as the output of openssl rand -hex 32",
            ),
            rules.require(
                token is None or (token.isprintable() and token.isascii() and " " not in token),
                "timing_token",
                "expected printable ASCII without blanks, as a header carries it",
            ),
        )
