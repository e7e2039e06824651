"""The options of `[errors]`: the pages by status, and the statuses of backends that are replaced."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gproxy.config.ini.build import NOT_AN_OPTION, build, doc, option_names
from gproxy.config.ini.convert import Mistake, convert
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import OptionProblem, Problem
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types.error_page import ErrorPage
from gproxy.config.types.matchers import Statuses

#: Matches the name of an option that has pages: a status, or all statuses with this first digit.
_is_status: Final = re.compile(r"[45](?:[0-9]{2}|xx)").fullmatch
#: The text of these options for docs/config.md.
PAGES_DOC: Final = "pages for this status, or for all others that begin with this digit; one file of each kind"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ErrorsSettings(Record):
    """`[errors]`: error pages by status, `404` or `5xx`, and the statuses of backends that get them too."""

    pages: dict[str, tuple[ErrorPage, ...]] = field(default_factory=dict, metadata=NOT_AN_OPTION)
    replace: tuple[Statuses, ...] = field(
        default=(), metadata=doc("statuses of backends whose responses the gateway's own error response replaces")
    )

    def __post_init__(self) -> None:
        rules.raise_problems(_errors_only(self.replace), _one_of_a_kind(self.pages))

    @property
    def files(self) -> list[str]:
        """The absolute paths of all pages."""
        return sorted({os.path.abspath(page.file) for files in self.pages.values() for page in files})  # noqa: PTH100

    @classmethod
    def of(cls, section: RawSection, problems: list[Problem], warnings: list[Problem]) -> "ErrorsSettings | None":
        """Return the settings in the section, with the content of their files; None if one has a problem."""
        before, known = len(problems), option_names(cls)
        pages, given = {}, {name: value for name, value in section.options.items() if name in known}
        for name in section.options.keys() - given.keys() - section.broken:
            try:
                pages[name] = _pages(name, section.options[name].text)
            except Mistake as mistake:
                problems += (section.problem(name, message, below=below) for below, message in mistake.pieces)
        built = build(cls, given, section, problems, warnings, pages=pages)
        return built if len(problems) == before else None


def _pages(name: str, text: str) -> tuple[ErrorPage, ...]:
    """Read the pages of the option. Raise Mistake for an unknown option, and for files that are no pages."""
    if not _is_status(name):
        raise Mistake([(0, "unknown option; expected one status from 400 to 599, 4xx, 5xx, or replace")])
    pages: tuple[ErrorPage, ...] = convert(tuple[ErrorPage, ...], text, lambda _: None)
    if not pages:
        raise Mistake([(0, f"expected {ErrorPage.noun} such as {ErrorPage.example}; found nothing")])
    return pages


def _errors_only(statuses: tuple[Statuses, ...]) -> Iterator[OptionProblem]:
    for one in statuses:
        if one.first < 400 or one.last > 599:
            yield ("replace",), f"expected statuses from 400 to 599; found {one}"


def _one_of_a_kind(pages: dict[str, tuple[ErrorPage, ...]]) -> Iterator[OptionProblem]:
    for name, files in pages.items():
        kinds = [page.kind for page in files]
        for kind in {kind for kind in kinds if kinds.count(kind) > 1}:
            yield (name,), f"has several pages in {kind}; expected one of each kind"
