"""Names of header fields, each judged once.

A head has a dozen fields, and most of their names come again with every head. So what the gateway has to do with a
field is found once for each spelling of its name. A head whose fields need nothing goes on as it came.
"""

import re
from collections.abc import Callable
from typing import Final

from gproxy.http.header_names import is_token, plain_name

_is_plain = re.compile("[a-z0-9-]+").fullmatch

#: Uses are bits. Such a field belongs to the connection or frames the message, so it is not forwarded.
HOP_BY_HOP: Final = 1
#: A client may spoof such a field: whether it is forwarded depends on the trust in the peer.
SPOOFABLE: Final = 2

#: The number of spellings that are kept, and the longest of them in characters.
_MOST: Final = 1024
_LONGEST: Final = 64


class FieldName:
    """A name in lower case, and the uses of its fields."""

    __slots__ = ("key", "uses")

    def __init__(self, key: str, uses: int) -> None:
        self.key = key
        self.uses = uses


class FieldNames:
    """A table of spellings. `judge` returns the uses of a name: in lower case, and as some backends read it.

    A full table is cleared. So clients cannot fill the memory, and each new name costs its sender more than it costs
    all others to have theirs judged again.
    """

    def __init__(self, judge: Callable[[str, str], int]) -> None:
        self._judge = judge
        #: Spelling -> name, for look-ups; only `learn` adds to it.
        self.known: dict[str, FieldName] = {}

    def learn(self, spelling: str) -> FieldName | None:
        """Return the name, judged now if it is new; None for a text that is no token."""
        found = self.known.get(spelling)
        if found is not None:
            return found
        key = plain = spelling.lower()
        if not _is_plain(key):
            if not is_token(key):
                return None
            plain = plain_name(key)
        found = FieldName(key, self._judge(key, plain))
        if len(spelling) <= _LONGEST:
            if len(self.known) >= _MOST:
                self.known.clear()
            self.known[spelling] = found
        return found
