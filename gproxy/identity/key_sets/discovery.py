"""Metadata of issuers: OpenID Connect Discovery 1.0, and RFC 8414 for OAuth."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from gproxy.identity.outgoing.urls import check_url
from gproxy.identity.tokens.strict_json import read_object

#: Bound of a document, in bytes.
LARGEST: Final = 256 * 1024
_OPENID: Final = "/.well-known/openid-configuration"
_OAUTH: Final = "/.well-known/oauth-authorization-server"


class Endpoint(NamedTuple):
    """A URL from an issuer's metadata. `public` is True if the host must have a public address."""

    url: str
    public: bool


def check_issuer(issuer: str, *, insecure: bool = False) -> None:
    """Raise ValueError unless metadata of the issuer can be found: a URL without a query (RFC 8414 section 2)."""
    check_url(issuer, insecure=insecure)
    if "?" in issuer:
        raise ValueError("it has a query; expected a URL such as https://id.example.com")


def metadata_urls(issuer: str) -> tuple[str, str]:
    """Return where the metadata may be: behind the issuer's path, or between host and path (RFC 8414 section 3.1)."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    host = f"{parts.scheme}://{parts.netloc}"
    return f"{host}{path}{_OPENID}", f"{host}{_OAUTH}{path}"


def parse_metadata(issuer: str, data: bytes) -> Mapping[str, Any]:
    """Return the document, which must name the same issuer to the byte (RFC 8414 section 3.3). Raises ValueError.

    Otherwise one issuer could publish the keys of another.
    """
    try:
        document = read_object(data)
    except ValueError as error:
        raise ValueError(f"the metadata is not strict JSON: {error}") from None
    found = document.get("issuer")
    if found != issuer:
        slash = isinstance(found, str) and found.rstrip("/") == issuer.rstrip("/")
        hint = ", which differs by a slash at the end" if slash else ""
        raise ValueError(f"the metadata is of issuer {ascii(found)[:200]}{hint}; expected {issuer!r}")
    return document


def endpoint(issuer: str, document: Mapping[str, Any], name: str, *, insecure: bool = False) -> Endpoint:
    """Return the URL with this name in the metadata. Raises ValueError if it is missing or not acceptable.

    A host that is not the issuer's must be public: metadata cannot let the gateway ask internal services.
    """
    url = document.get(name)
    if not isinstance(url, str):
        raise ValueError(f"the metadata has no {name}")  # noqa: TRY004 a wrong text, not a wrong argument
    try:
        host = check_url(url, insecure=insecure).hostname
    except ValueError as error:
        raise ValueError(f"{name} of the metadata cannot be asked: {error}") from None
    return Endpoint(url, host != urlsplit(issuer).hostname)
