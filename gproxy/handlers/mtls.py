"""Authentication by client certificates (RFC 8446 section 4.4.2; RFC 9440)."""

from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from gproxy.http.handler import Next
from gproxy.http.identity import Claims, Identity
from gproxy.http.request import Request
from gproxy.http.response import Response
from gproxy.identity.client_certificates import read_facts
from gproxy.identity.credential_identifier import CredentialIdentifier
from gproxy.identity.errors import Untrusted
from gproxy.identity.sources import TLS, Source

#: The facts that are distinguished names (RFC 4514).
_DISTINGUISHED: Final = ("subject", "issuer")
_SOURCES: Final = ("tls", "client_cert", "xfcc")


@dataclass
class MTLS(CredentialIdentifier):
    """Authentication by client certificates: admits requests on whose connection one was verified.

    The certificate is that of the connection, verified by `[tls:NAME]`, or one that a trusted proxy passes on in a
    header. Its facts are the claims. Raises HTTPError 403 without a certificate, or for one that has expired.
    """

    kind: ClassVar[str] = "mtls"
    scheme: ClassVar[str] = ""
    wanted: ClassVar[str] = "a client certificate"
    given: ClassVar[str] = "the client certificate"

    sources: tuple[Source, ...] = field(
        default=(TLS,),
        metadata={
            "doc": "where the certificate is: tls: of the connection; from trusted proxies only: client_cert, xfcc"
        },
    )
    user: Literal["subject", "cn", "dns", "email", "uri", "fingerprint"] = field(
        default="subject", metadata={"doc": "fact of the certificate that names the user; of several names the first"}
    )

    def __post_init__(self) -> None:
        """Check the options. Raises ValueError."""
        super().__post_init__()
        if other := next((source for source in self.sources if str(source) not in _SOURCES), None):
            raise ValueError(f"sources: {other} has no certificate; expected {', '.join(_SOURCES)}")
        self._is_direct = self.sources == (TLS,)

    def __call__(self, request: Request, next: Next) -> Response:
        tls = request.received.tls
        if self._is_direct and tls is not None and tls.client is not None:
            # PERF: one look-up for each request, as for a token in a header.
            judged = self._recent.get(tls.client.certificate)
            if judged is not None and judged.recent_until > self._clock():
                return self.admit(request, judged, next)
        return super().__call__(request, next)

    def verify(self, credential: str, request: Request) -> Identity:  # noqa: ARG002
        """Return the identity that the certificate proves. Raises Untrusted."""
        facts = read_facts(credential)
        if facts.expires <= self._clock():
            raise Untrusted("it has expired", expired=True)
        issuer = facts.claims.get("issuer", "")
        return Identity(facts.name(self.user), facts.claims, issuer=issuer, expires=facts.expires)

    def field_of(self, claims: Claims, name: str) -> str | None:
        """Return a fact as a header value. A distinguished name has commas, and escapes those in its values."""
        value = claims.get(name)
        if name in _DISTINGUISHED and isinstance(value, str) and value.isascii() and value.isprintable():
            return value.strip()
        return super().field_of(claims, name)

    def user_of(self, identity: Identity) -> str:
        """Return the fact that names the user."""
        return identity.user
