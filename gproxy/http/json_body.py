"""Bodies in JSON (RFC 8259): strict, bounded in depth, always UTF-8 when written."""

import json
from typing import Any, Final, NoReturn

from gproxy.http.errors import HTTPError

#: The longest body of a request that `request.json` reads by default, in bytes.
LIMIT: Final = 1024 * 1024
#: The field of what `dumped` returns.
MEDIA_TYPE: Final = "application/json"


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def parsed(data: bytes) -> Any:  # noqa: ANN401 any JSON
    """Return the value. Raises ValueError for what is no JSON, NaN and Infinity included, or is nested too deep."""
    try:
        return json.loads(data, parse_constant=_reject)
    except RecursionError:
        raise ValueError("the JSON is nested too deep") from None


def of_request(data: bytes) -> Any:  # noqa: ANN401 any JSON
    """Return the value of a request's body. Raises HTTPError 400, which does not repeat the body."""
    try:
        return parsed(data)
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise HTTPError(400, f"the body is no valid JSON{where}") from None


def dumped(value: Any) -> bytes:  # noqa: ANN401 any JSON
    """Return the value as JSON. Raises TypeError or ValueError for what JSON does not have."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
