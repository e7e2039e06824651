"""The options of `[tls:NAME]`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from gproxy.config.ini.build import NOT_AN_OPTION, doc
from gproxy.config.problems import OptionProblem
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import Seconds
from gproxy.http.header_names import NOT_IDENTITY

#: The facts of a client certificate that a header can carry.
FACTS: Final = (
    "subject", "issuer", "serial", "fingerprint", "certificate", "cn", "dns", "email", "uri", "xfcc",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TLSSettings(Record):
    """`[tls:NAME]`: a certificate, the host names that it serves, and the requirements for their clients."""

    name: str = field(metadata=NOT_AN_OPTION)
    certificate: Path = field(metadata=doc("PEM file of the certificate, followed by the chain to its authority"))
    key: Path | None = field(default=None, metadata=doc("PEM file of its private key; none: in the certificate's file"))
    hosts: tuple[str, ...] = field(
        default=(),
        metadata=doc("host names that the section serves, *.NAME for one level; none: the names in the certificate"),
    )
    min_version: Literal["TLSv1.2", "TLSv1.3"] = field(default="TLSv1.2", metadata=doc("lowest TLS version"))
    ciphers: str | None = field(
        default="ECDHE+AESGCM:ECDHE+CHACHA20",
        metadata=doc("ciphers of TLS 1.2, in OpenSSL's notation; none: Python's default, with CBC suites"),
    )
    client_ca: Path | None = field(
        default=None,
        metadata=doc("PEM file of the authorities that sign client certificates; none: no client certificates"),
    )
    client_crl: Path | None = field(
        default=None,
        metadata=doc(
            "PEM file of revocation lists, one for each authority in client_ca: the handshake rejects revoked client "
            "certificates; none: no check"
        ),
    )
    client_auth: Literal["off", "optional", "required"] = field(
        default="off", metadata=doc("whether a client certificate is requested (optional) or required")
    )
    forward: dict[str, str] = field(
        default_factory=dict,
        metadata=doc(
            f"facts of the client certificate that backends get: subject: X-Client-Subject; of {', '.join(FACTS)}"
        ),
    )
    hsts: Seconds = field(default=Seconds(0), metadata=doc("max-age of Strict-Transport-Security; 0s: off"))

    def __post_init__(self) -> None:
        rules.raise_problems(
            rules.hosts("hosts", self.hosts),
            rules.distinct(self, "hosts", fold=True),
            rules.at_least(0, self, "hsts"),
            rules.header_names("forward", self.forward.values()),
            self._client_certificates(),
            self._forwarded(),
        )

    def _client_certificates(self) -> Iterator[OptionProblem]:
        if self.client_auth != "off" and self.client_ca is None:
            yield ("client_ca",), f"is missing; client_auth = {self.client_auth} needs the authorities to trust"
        if self.client_auth == "off" and self.client_ca is not None:
            yield ("client_auth",), "is off, so client_ca has no effect; write optional or required"
        if self.client_ca is None and self.client_crl is not None:
            yield ("client_crl",), "has no effect without client_ca"
        if self.client_auth == "off" and self.forward:
            yield ("forward",), "has no effect without client_auth = optional or required"

    def _forwarded(self) -> Iterator[OptionProblem]:
        for fact, header in self.forward.items():
            if fact not in FACTS:
                yield ("forward",), f"{fact!r} is not one of {', '.join(FACTS)}"
            if header.lower() in NOT_IDENTITY:
                yield ("forward",), f"{header} is a reserved header"
        if len({header.lower() for header in self.forward.values()}) < len(self.forward):
            yield ("forward",), "two entries have the same header"
