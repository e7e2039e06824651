"""Error pages: files with placeholders, which are read while the settings are loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal, Self

from gproxy.config.record import Record
from gproxy.config.types.template import Template

#: The largest file, in bytes: each error response with the page has a copy.
_LARGEST: Final = 64 * 1024
#: The placeholders of a page; `gateway/error_responses.py` has their values.
PLACEHOLDERS: Final = ("status", "title", "detail", "id")

PageKind = Literal["html", "text", "json"]
_KINDS: Final[dict[str, PageKind]] = {".html": "html", ".htm": "html", ".txt": "text", ".json": "json"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ErrorPage(Record):
    """A page for error responses: its file, its kind by the name of the file, and its text with placeholders."""

    noun: ClassVar[str] = "a file in .html, .txt or .json"
    example: ClassVar[str] = "errors/404.html"

    file: str
    kind: PageKind
    text: Template

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the file. Raise ValueError for one that cannot be read, is too large, or has an unknown placeholder."""
        path = Path(text)
        kind = _KINDS.get(path.suffix.lower())
        if kind is None:
            raise ValueError("the end of the name says what the page is: .html, .txt or .json")
        content = _content(path)
        for number, line in enumerate(content.split("\n"), 1):
            try:
                Template.parse(line, PLACEHOLDERS)
            except ValueError as error:
                raise ValueError(f"{text}:{number}: {error}") from None
        return cls(text, kind, Template.parse(content, PLACEHOLDERS))

    def __str__(self) -> str:
        return self.file


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"{path} has more than {_LARGEST // 1024} KiB")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None
