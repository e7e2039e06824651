"""Fields of access lines that no client of the monitor sees: queries, credentials, cookies.

`[log] fields` may name them, so the file has them. The rules do not depend on the settings, because a file also has the
lines of earlier ones.
"""

import json
import re
from typing import Final

from gproxy.http.header_names import is_likely_secret

_MASK: Final = "***"
#: What a line with such a field contains.
_SUSPECTS: Final = ("query", "request.", "response.")
_NAME: Final = re.compile(r"(?:request|response)\.(.+)")


def hidden(line: str) -> str:
    """Return the line with `***` in place of the values of such fields."""
    if not any(suspect in line for suspect in _SUSPECTS):
        return line
    return _hidden_json(line) if line.startswith("{") else "\t".join(map(_hidden_pair, line.split("\t")))


def _hidden_json(line: str) -> str:
    try:
        fields = json.loads(line)
    except ValueError:
        return _MASK  # a broken line may have anything
    if not isinstance(fields, dict) or not any(map(_is_hidden, fields)):
        return line
    return json.dumps({name: _MASK if _is_hidden(name) else value for name, value in fields.items()})


def _hidden_pair(pair: str) -> str:
    name, separator, _ = pair.partition(":")
    return f"{name}:{_MASK}" if separator and _is_hidden(name) else pair


def _is_hidden(name: str) -> bool:
    header = _NAME.fullmatch(name)
    return name == "query" or (header is not None and bool(is_likely_secret(header[1])))
