"""Webhooks: their signatures, and each of them once."""

import logging
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest, new

from gproxy import HTTPError, Next, Request, Response
from gproxy.config.types import Secret, Seconds
from gproxy.runtime import Runtime

_log = logging.getLogger("webhooks")


@dataclass
class Signature:
    """Admits requests with `Signature: t=TIME,v1=MAC`, the HMAC-SHA256 of `TIME.BODY`, if TIME is recent."""

    secret: Secret
    tolerance: Seconds = Seconds(300)

    def open(self, runtime: Runtime) -> None:
        self._clock = runtime.clock

    def __call__(self, request: Request, next: Next) -> Response:
        sent, mac = _parts(request.headers.get("Signature", ""))
        if abs(self._clock() - sent) > self.tolerance:
            raise HTTPError(401, "the signature is too old", reason="old_signature")
        signed = b"%d.%s" % (sent, request.body.buffer(65_536))
        expected = new(self.secret.reveal().encode(), signed, sha256).hexdigest()
        if not compare_digest(expected.encode(), mac.encode()):
            raise HTTPError(401, "the signature is wrong", reason="wrong_signature")
        return next(request)


def _parts(text: str) -> tuple[int, str]:
    """Return the time and the MAC of a signature. Raises HTTPError 401."""
    parts = dict(part.partition("=")[::2] for part in text.split(",", 3))
    if not parts.get("t", "").isdecimal() or len(parts["t"]) > 12:
        raise HTTPError(401, "a signature is required: t=TIME,v1=MAC", reason="no_signature")
    return int(parts["t"]), parts.get("v1", "")


class Once:
    """Forwards each event once, by the `id` in its body: all workers share the table of ids."""

    def open(self, runtime: Runtime) -> None:
        self._seen = runtime.table("webhooks", max_keys=50_000, ttl="1d")
        self._counts = runtime.table("webhook_counts", max_keys=10, ttl="1d")

    def __call__(self, request: Request, next: Next) -> Response:
        content = request.json(limit=65_536)
        event = str(content.get("id", "")) if isinstance(content, dict) else ""
        if not 0 < len(event) <= 64:  # a key of a table has up to 256 bytes
            raise HTTPError(400, "the event has no id of up to 64 characters", reason="no_event_id")
        if not self._seen.add(event, "taken"):
            self._counts.incr("repeated")
            return Response.from_json({"status": "known"})
        response = None
        try:
            response = next(request)
        finally:  # a failed one may come again
            if response is None or response.status >= 500:
                self._seen.pop(event)
        self._counts.incr("forwarded")
        return response


def report(runtime: Runtime) -> None:
    """Log how many events came; [job:report] calls it."""
    counts = runtime.table("webhook_counts", max_keys=10, ttl="1d")
    _log.info("forwarded %s, repeated %s", counts.get("forwarded", 0), counts.get("repeated", 0))
