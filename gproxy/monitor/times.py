"""Times as the API writes them: RFC 3339 in UTC, with milliseconds."""

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Return a Unix time as text, such as `2026-11-29T09:15:00.250Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
