"""Introspection (RFC 7662): what the gateway sends to an endpoint about a token, and what the answer says."""

import base64
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Literal, NamedTuple
from urllib.parse import quote_plus, urlencode

from cachetools import LRUCache

from gproxy.config.types import Secret
from gproxy.http.exchange import without_query
from gproxy.http.identity import Claims
from gproxy.identity.credential_cache import BYTES
from gproxy.identity.credential_identifier import Verified
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.key_sets.discovery import Endpoint as Place
from gproxy.identity.key_sets.key_sets import KeySets
from gproxy.identity.outgoing.client import Outgoing, OutgoingError
from gproxy.identity.tokens.strict_json import read_object
from gproxy.runtime import Runtime

#: The largest answer in bytes.
LONGEST_ANSWER: Final = 64 * 1024
#: Bytes of a kept verdict besides those of its claims.
_OVERHEAD: Final = 500
#: How the gateway authenticates itself at the endpoint.
Method = Literal["basic", "post", "bearer"]


class Asking(NamedTuple):
    """A request about one token: its fields and its body."""

    headers: Mapping[str, str]
    body: bytes


class Client:
    """The gateway as a client of the endpoint, with its id and secret."""

    def __init__(self, method: Method, client_id: str, secret: Secret) -> None:
        self._method = method
        self._id = client_id
        self._secret = secret

    def asking(self, token: str) -> Asking:
        """Return the request about a token (RFC 7662 section 2.1)."""
        fields = {"token": token, "token_type_hint": "access_token"}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        secret = self._secret.reveal()
        if self._method == "post":
            fields |= {"client_id": self._id, "client_secret": secret}
        elif self._method == "bearer":
            headers["Authorization"] = f"Bearer {secret}"
        else:
            # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
            pair = f"{quote_plus(self._id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return Asking(headers, urlencode(fields).encode())


def read_answer(status: int, body: bytes) -> Claims:
    """Return the members of a good answer. Raises Untrusted for a token that is not active.

    Raises Unavailable for any other answer: it says nothing about the token, only that the endpoint cannot judge it or
    does not know the gateway.
    """
    if status == 401:
        raise Unavailable("the endpoint rejects the gateway's own credentials (401)")
    if status != 200:
        raise Unavailable(f"the endpoint answers {status}")
    try:
        answer = read_object(body)
    except ValueError as error:
        raise Unavailable(f"the endpoint's answer is not JSON as expected: {error}") from None
    if "active" not in answer:
        raise Unavailable("the endpoint's answer has no member active")
    if answer["active"] is not True:
        raise Untrusted("it is not active")
    return answer


class Endpoint:
    """The introspection endpoint: at `url`, or where the metadata of the issuer say."""

    def __init__(self, runtime: Runtime, client: Client, *, url: str | None, issuer: str | None) -> None:
        self._client = client
        self._outgoing = runtime.single(Outgoing)
        self._place: Callable[[], Place] = partial(Place, url or "", public=False)
        if url is None and issuer is not None:
            self._place = partial(runtime.single(KeySets).metadata(issuer).url, "introspection_endpoint")

    def ask(self, token: str, seconds: float) -> Claims:
        """Return the members of the answer about an active token; wait for it for so many seconds.

        Raises Untrusted for a token that is not active, and Unavailable without an answer about it.
        """
        place = self._place()
        asking = self._client.asking(token)
        try:
            answer = self._outgoing.fetch(
                place.url,
                method="POST",
                headers=asking.headers,
                body=asking.body,
                limit=LONGEST_ANSWER,
                timeout=seconds,
                public=place.public,
                repeatable=True,
            )
        except OutgoingError as error:
            raise Unavailable(f"{without_query(place.url)}: {error}") from None
        return read_answer(answer.status, answer.body)


class LastGood:
    """The last good verdicts on tokens, for the time in which the endpoint does not answer; bounded by bytes."""

    def __init__(self) -> None:
        self._kept: LRUCache[bytes, tuple[Verified, float]] = LRUCache(BYTES, _size)

    def find(self, digest: bytes, now: float) -> tuple[Verified, float] | None:
        """Return the verdict on the token with this digest, and until when it counts, in epoch seconds."""
        found = self._kept.get(digest)
        return found if found is not None and now < found[1] else None

    def keep(self, digest: bytes, verified: Verified, until: float) -> None:
        """Keep a verdict until this time."""
        self._kept[digest] = verified, until

    def forget(self, digest: bytes) -> None:
        """Drop the verdict on a token that is no longer good."""
        self._kept.pop(digest, None)


def _size(kept: tuple[Verified, float]) -> int:
    return _OVERHEAD + len(str(kept[0].identity.claims))
