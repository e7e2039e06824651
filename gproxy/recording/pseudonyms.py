"""Pseudonyms: what stands in a recording in place of values that may be secret. Equal values have equal pseudonyms."""

import hashlib
from typing import Final

#: The form of a pseudonym, a regular expression. Its characters may stand in a URL, a cookie, a token and a field.
FORM: Final = "~[0-9a-f]{16}"
#: The bytes of a key: one for each recording, which no file keeps.
KEY_BYTES: Final = 32


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
