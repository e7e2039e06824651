"""Response fields about a rate limit: RateLimit (draft-ietf-httpapi-ratelimit-headers) or X-RateLimit-*."""

from gproxy.http.headers import Headers


class QuotaFields:
    """The fields of one limit: `limit` requests in a window of `window` seconds, under a name."""

    def __init__(self, name: str, limit: int, window: int, *, ietf: bool, legacy: bool) -> None:
        self._ietf = ietf
        self._legacy = legacy
        self._limit = str(limit)
        self._policy = f'"{name}";q={limit};w={window}'
        self._left = f'"{name}";r='

    def put(self, headers: Headers, remaining: int, seconds: float) -> None:
        """Set the fields: remaining requests, and seconds until no request counts any more."""
        reset = -int(-seconds // 1)  # rounded up
        if self._ietf:
            headers.put("RateLimit-Policy", "ratelimit-policy", self._policy)
            headers.put("RateLimit", "ratelimit", f"{self._left}{remaining};t={reset}")
        if self._legacy:
            headers.put("X-RateLimit-Limit", "x-ratelimit-limit", self._limit)
            headers.put("X-RateLimit-Remaining", "x-ratelimit-remaining", str(remaining))
            headers.put("X-RateLimit-Reset", "x-ratelimit-reset", str(reset))
