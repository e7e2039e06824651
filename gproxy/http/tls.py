"""The TLS properties of a client's connection."""

import base64
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

_is_not_printable = re.compile(r"[^\x20-\x7e]")


class ClientCertificate:
    """A client's certificate, verified against `client_ca`."""

    def __init__(self, der: bytes) -> None:
        self.der = der

    @cached_property
    def subject(self) -> str:
        """The distinguished name of the subject as in RFC 4514, in ASCII (`CN=alice,O=Example`)."""
        return _written(self._parsed.subject)

    @cached_property
    def issuer(self) -> str:
        """The distinguished name of the issuer, in the same form."""
        return _written(self._parsed.issuer)

    @cached_property
    def serial(self) -> str:
        """The serial number, in hexadecimal."""
        return f"{self._parsed.serial_number:x}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in hexadecimal."""
        import hashlib  # loads OpenSSL, megabytes that the arbiter does not need

        return hashlib.sha256(self.der).hexdigest()

    @cached_property
    def certificate(self) -> str:
        """The whole certificate in the form of the Client-Cert field (RFC 9440 section 2.1)."""
        return f":{base64.b64encode(self.der).decode()}:"

    @cached_property
    def _parsed(self) -> "x509.Certificate":
        from cryptography import x509  # large, and most gateways never see a client certificate

        return x509.load_der_x509_certificate(self.der)

    def __repr__(self) -> str:
        return f"<ClientCertificate {self.subject}>"


@dataclass(frozen=True, slots=True)
class TLS:
    """The result of a handshake: `version` (`TLSv1.3`), `cipher` suite, requested `server_name` or "".

    `client` is the client's certificate; None if the gateway requests none or the client has none.
    """

    version: str
    cipher: str
    server_name: str
    client: ClientCertificate | None = None


def _written(name: "x509.Name") -> str:
    """Return a name with all but printable ASCII escaped (RFC 4514 section 2.4): it cannot end a header line."""
    return _is_not_printable.sub(_escaped, name.rfc4514_string())


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"\\{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
