"""Pseudonyms: what stands in a recording in place of values that may be secret. Equal values have equal pseudonyms."""

import hashlib
import re
from typing import Final

#: The form of a pseudonym, a regular expression. Its characters may stand in a URL, a cookie, a token and a field.
FORM: Final = "~[0-9a-f]{16}"
#: The forms that a file may name. Another expression could take very long to match.
_FORMS: Final = re.compile(r"~\[0-9a-f\]\{[1-9][0-9]?\}")


class Pseudonyms:
    """The pseudonyms of one recording. Without the key, the value behind one cannot be found by trial."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, value: str) -> str:
        """Return the pseudonym of a text; an empty text stays empty."""
        return self.of_bytes(value.encode("utf-8", "surrogatepass"))

    def of_field(self, value: str) -> str:
        """Return the pseudonym of a text in a head, whose characters are bytes."""
        return self.of_bytes(value.encode("latin-1", "replace"))

    def of_bytes(self, value: bytes) -> str:
        """Return the pseudonym of bytes."""
        return f"~{hashlib.blake2b(value, digest_size=8, key=self._key).hexdigest()}" if value else ""


def pattern(form: str) -> re.Pattern[str]:
    """Return the expression that finds the pseudonyms of a file. Raises ValueError for another form."""
    if not _FORMS.fullmatch(form):
        raise ValueError(f"pseudonyms: expected a form such as {FORM}; found {form!r}")
    return re.compile(form)
