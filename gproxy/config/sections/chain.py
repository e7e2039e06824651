"""The options that the chain gives to every handler, whatever its class."""

from dataclasses import dataclass, field
from typing import Final, Literal

from gproxy.config.ini.build import doc, option_names
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import Rate, Seconds

Mode = Literal["enforce", "report", "off"]
_LIMIT: Final = Rate(5, Seconds(10))
_PAUSE: Final = Seconds(30)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ChainOptions(Record):
    """The chain around a handler: whether its rejections count, and what becomes of its errors."""

    mode: Mode = field(
        default="enforce",
        metadata=doc("whether the handler decides; report: what it would reject is noted and goes on; off: not called"),
    )
    on_error: Literal["closed", "open", "skip"] = field(
        default="closed",
        metadata=doc(
            "what becomes of a request if the handler fails; open: it goes on; skip: as open, and after error_limit "
            "errors the handler is skipped for error_pause"
        ),
    )
    time_limit: Seconds | None = field(
        default=None, metadata=doc("longest own time of the handler for a request, without next; none: no limit")
    )
    error_limit: Rate = field(default=_LIMIT, metadata=doc("errors after which on_error = skip skips the handler"))
    error_pause: Seconds = field(
        default=_PAUSE, metadata=doc("time for which the handler is skipped, before one request tries it")
    )
    offload: bool = field(default=False, metadata=doc("reserved"))

    def __post_init__(self) -> None:
        skips = self.on_error == "skip"
        unused = "has no meaning without on_error = skip"
        rules.raise_problems(
            rules.positive(self, "time_limit", "error_pause"),
            rules.require(skips or self.error_limit == _LIMIT, "error_limit", unused),
            rules.require(skips or self.error_pause == _PAUSE, "error_pause", unused),
            rules.require(not self.offload, "offload", "is reserved; expected no"),
        )

    @property
    def goes_on(self) -> bool:
        """True if requests go on after errors of the handler."""
        return self.on_error != "closed"


#: The names of the options.
CHAIN_OPTIONS: Final = frozenset(option_names(ChainOptions))
