"""The options of `[tls:NAME]`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from gproxy.config.ini.build import NAME, doc
from gproxy.config.sections import rules
from gproxy.config.types import Seconds
from gproxy.http.header_names import NOT_IDENTITY

#: What a client's certificate has to tell.
FACTS: Final = ("subject", "issuer", "serial", "fingerprint", "certificate")


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """`[tls:NAME]`: a certificate, the names it serves, and what is asked of clients that come for them."""

    name: str = field(metadata=NAME)
    certificate: Path = field(metadata=doc("PEM file: the certificate, then those that lead to its authority"))
    key: Path | None = field(default=None, metadata=doc("PEM file of its private key; none: in the certificate's file"))
    hosts: tuple[str, ...] = field(
        default=(), metadata=doc("host names it is for, *.NAME for one level; none: those that the certificate names")
    )
    min_version: Literal["TLSv1.2", "TLSv1.3"] = field(default="TLSv1.2", metadata=doc("the oldest protocol spoken"))
    ciphers: str | None = field(
        default=None, metadata=doc("for TLS 1.2, as OpenSSL writes them; none: Python's choice")
    )
    client_ca: Path | None = field(default=None, metadata=doc("PEM file: whose client certificates are believed"))
    client_auth: Literal["off", "optional", "required"] = field(
        default="off", metadata=doc("is a client asked for a certificate, and refused without one?")
    )
    forward: dict[str, str] = field(
        default_factory=dict,
        metadata=doc(f"of the client's certificate, for the backend: subject: X-Client-Subject; of {', '.join(FACTS)}"),
    )
    hsts: Seconds = field(
        default=Seconds(0), metadata=doc("how long browsers are to insist on https (Strict-Transport-Security); 0: off")
    )

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.hosts("hosts", self.hosts),
            rules.distinct(self, "hosts", fold=True),
            rules.at_least(0, self, "hsts"),
            rules.header_names("forward", self.forward.values()),
            self._client_certificates(),
            self._forwarded(),
        )

    def _client_certificates(self) -> Iterator[str]:
        if self.client_auth != "off" and self.client_ca is None:
            yield f"client_ca: is missing; client_auth = {self.client_auth} needs to know whose certificates to believe"
        if self.client_auth == "off" and self.client_ca is not None:
            yield "client_auth: is off, so client_ca would not be used; write optional or required"
        if self.client_auth == "off" and self.forward:
            yield "forward: without client_auth there is no client certificate to tell of"

    def _forwarded(self) -> Iterator[str]:
        for fact, header in self.forward.items():
            if fact not in FACTS:
                yield f"forward: {fact!r} is not one of {', '.join(FACTS)}"
            if header.lower() in NOT_IDENTITY:
                yield f"forward: {header} has another meaning"
        if len({header.lower() for header in self.forward.values()}) < len(self.forward):
            yield "forward: two of them have the same header"
