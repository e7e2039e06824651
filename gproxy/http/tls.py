"""The TLS properties of a client's connection."""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

_is_not_printable = re.compile(r"[^\x20-\x7e]")
#: What a name in a list must not have: all but visible ASCII, and commas, quotes and backslashes.
_is_delimiter = re.compile(r"[^\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]")
#: An escaped character in RFC 4514: a pair of hexadecimal digits, or the character itself.
_is_escape = re.compile(r"\\([0-9A-Fa-f]{2}|.)")


class ClientCertificate:
    """A client's certificate, verified against `client_ca` or by a trusted proxy.

    Its properties raise ValueError for bytes that are no certificate.
    """

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
        return self._digest.hex()

    @cached_property
    def thumbprint(self) -> str:
        """SHA-256 of the certificate in base64url, as tokens name it in `x5t#S256` (RFC 8705 section 3.1)."""
        return base64.urlsafe_b64encode(self._digest).rstrip(b"=").decode()

    @cached_property
    def certificate(self) -> str:
        """The whole certificate in the form of the Client-Cert field (RFC 9440 section 2.1)."""
        return f":{base64.b64encode(self.der).decode()}:"

    @cached_property
    def cn(self) -> tuple[str, ...]:
        """The common names of the subject, in their order."""
        from cryptography.x509.oid import NameOID

        return _texts(self._parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME))

    @cached_property
    def dns(self) -> tuple[str, ...]:
        """The host names for which the certificate was issued."""
        from cryptography import x509

        return self._alternatives(x509.DNSName)

    @cached_property
    def email(self) -> tuple[str, ...]:
        """The addresses for which the certificate was issued, then those of the subject."""
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        in_subject = _texts(self._parsed.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS))
        return tuple(dict.fromkeys((*self._alternatives(x509.RFC822Name), *in_subject)))

    @cached_property
    def uri(self) -> tuple[str, ...]:
        """The URIs for which the certificate was issued, such as a SPIFFE id."""
        from cryptography import x509

        return self._alternatives(x509.UniformResourceIdentifier)

    @cached_property
    def expires(self) -> float:
        """The end of the certificate's validity, in seconds since the epoch."""
        return self._parsed.not_valid_after_utc.timestamp()

    @cached_property
    def xfcc(self) -> str:
        """The facts as an element of Envoy's X-Forwarded-Client-Cert field."""
        subject = _is_escape.sub(_in_digits, self.subject)
        parts = [f"Hash={self.fingerprint}", f'Subject="{subject}"']
        parts += [f'URI="{uri}"' if ";" in uri or "=" in uri else f"URI={uri}" for uri in map(_listed, self.uri)]
        return ";".join([*parts, *(f"DNS={_listed(name)}" for name in self.dns)])

    def field(self, fact: str) -> str:
        """Return a property as the value of a header; empty if the certificate does not have the fact.

        A comma separates several names. In a common name it is escaped as in RFC 4514, in other names as in a URL.
        """
        if fact == "cn":
            from cryptography.x509.oid import NameOID

            names = self._parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            return ",".join(_is_not_printable.sub(_escaped, one.rfc4514_string().partition("=")[2]) for one in names)
        value = getattr(self, fact)
        return value if isinstance(value, str) else ",".join(map(_listed, value))

    @cached_property
    def _digest(self) -> bytes:
        import hashlib  # loads OpenSSL, megabytes that the arbiter does not need

        return hashlib.sha256(self.der).digest()

    @cached_property
    def _parsed(self) -> "x509.Certificate":
        from cryptography import x509  # large, and most gateways never see a client certificate

        try:
            return x509.load_der_x509_certificate(self.der)
        except x509.InvalidVersion as error:
            raise ValueError(str(error)) from None

    def _alternatives(
        self, kind: "type[x509.DNSName | x509.RFC822Name | x509.UniformResourceIdentifier]"
    ) -> tuple[str, ...]:
        """Return the alternative names of a kind; none if they cannot be read."""
        from cryptography import x509

        try:
            names = self._parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
            return ()
        return tuple(names.get_values_for_type(kind))

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


def _texts(attributes: "Iterable[x509.NameAttribute[str | bytes]]") -> tuple[str, ...]:
    return tuple(value for attribute in attributes if isinstance(value := attribute.value, str))


def _listed(name: str) -> str:
    return _is_delimiter.sub(_percent, name)


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def _in_digits(match: re.Match[str]) -> str:
    """Return an escape without the quotes and backslashes that end or continue a quoted text."""
    return f"\\{match[1]}" if len(match[1]) == 2 else f"\\{ord(match[1]):02X}"
