"""What is known of a client whose connection is encrypted."""

import base64
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

_is_not_printable = re.compile(r"[^\x20-\x7e]")


class ClientCertificate:
    """The certificate that a client has shown and an authority in `client_ca` has vouched for."""

    def __init__(self, der: bytes) -> None:
        self.der = der

    @cached_property
    def subject(self) -> str:
        """Whose it is: a distinguished name as RFC 4514 writes it, in ASCII (`CN=alice,O=Example`)."""
        return _written(self._parsed.subject)

    @cached_property
    def issuer(self) -> str:
        """Who has signed it, likewise."""
        return _written(self._parsed.issuer)

    @cached_property
    def serial(self) -> str:
        """Its number at the issuer, in hexadecimal."""
        return f"{self._parsed.serial_number:x}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in hexadecimal."""
        import hashlib  # which brings OpenSSL, and megabytes that an arbiter does not need

        return hashlib.sha256(self.der).hexdigest()

    @cached_property
    def certificate(self) -> str:
        """All of it, as the Client-Cert field has it (RFC 9440 section 2.1)."""
        return f":{base64.b64encode(self.der).decode()}:"

    @cached_property
    def _parsed(self) -> "x509.Certificate":
        from cryptography import x509  # large, and most gateways never see such a certificate

        return x509.load_der_x509_certificate(self.der)

    def __repr__(self) -> str:
        return f"<ClientCertificate {self.subject}>"


@dataclass(frozen=True, slots=True)
class TLS:
    """What was agreed on: `version` as in TLSv1.3, the `cipher` suite, the host that the client asked for (or nothing).

    `client` is its certificate, if it was asked for one and has one.
    """

    version: str
    cipher: str
    server_name: str
    client: ClientCertificate | None = None


def _written(name: "x509.Name") -> str:
    """RFC 4514 section 2.4 has any character as its UTF-8 in hexadecimal: nothing else could end a header line."""
    return _is_not_printable.sub(_escaped, name.rfc4514_string())


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"\\{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
