"""The announcement of an identity: to the access line, to the rest of the chain, and to the backend."""

from collections.abc import Mapping, Sequence

from gproxy.http.identity import Identity
from gproxy.http.request import Request


def announce_identity(
    request: Request,
    identity: Identity,
    by_name: Mapping[str, Identity],
    fields: Sequence[tuple[str, str, str | None]],
) -> None:
    """Set what the access line, later handlers and the backend learn of the request's identity.

    `by_name` is the identity by the name of its handler, which joins those of earlier handlers. `fields` are the name,
    key and value of each header for the backend; one whose value is None is removed.
    """
    request.identity = identity
    exchange = request.exchange
    exchange.user = identity.user
    exchange.auth = identity.handler
    context = request.context
    context["claims"] = identity.claims
    others = context.get("identities")
    context["identities"] = by_name if others is None else {**others, **by_name}
    headers = request.headers
    for name, key, value in fields:
        if value is None:
            headers.discard(key)
        else:
            headers.put(name, key, value)
