"""The options of a route that serves files."""

from dataclasses import dataclass, field
from pathlib import Path

from gproxy.config.ini.build import doc
from gproxy.config.sections import rules


@dataclass(frozen=True, slots=True)
class StaticOptions:
    """The files of a route."""

    root: Path | None = field(default=None, metadata=doc("folder of the files to serve, in place of an upstream"))
    index: str = field(default="index.html", metadata=doc("file that is served for a folder"))

    def __post_init__(self) -> None:
        rules.raise_problems(rules.only_with(self, "root", "index"))
