"""TLS towards backends: from options and files to an SSL context. `ssl` is imported late: gevent patches it first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import ssl

    from gproxy.config.types.addresses import BackendURL

TLSVersion = Literal["1.2", "1.3"]


class ClientTLS(Protocol):
    """The options for connections to https:// backends."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def backends(self) -> tuple[BackendURL, ...]: ...
    @property
    def tls_ca(self) -> Path | None: ...
    @property
    def tls_name(self) -> str | None: ...
    @property
    def tls_cert(self) -> Path | None: ...
    @property
    def tls_key(self) -> Path | None: ...
    @property
    def tls_verify(self) -> bool: ...
    @property
    def tls_min_version(self) -> TLSVersion: ...


def is_used(settings: ClientTLS) -> bool:
    """Return whether any backend uses TLS."""
    return any(backend.scheme == "https" for backend in settings.backends)


def problems(settings: ClientTLS) -> Iterator[str]:
    """Yield the problems of the options and their files, each as `option: problem`."""
    tls = [one for one in fields(settings) if one.name.startswith("tls_")]
    given = [one.name for one in tls if getattr(settings, one.name) != one.default]
    if given and settings.backends and not is_used(settings):
        yield from (f"{option}: no backend of this upstream is https://" for option in given)
    elif settings.tls_key and not settings.tls_cert:
        yield "tls_key: has no effect without tls_cert"
    elif settings.tls_ca or settings.tls_cert:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for load in (_load_ca, _load_certificate):
            try:
                load(context, settings)
            except ValueError as error:
                yield str(error)


def prepare(context: ssl.SSLContext, settings: ClientTLS) -> None:
    """Configure the SSL context of an upstream's connections. Raise ValueError if a file is no longer usable."""
    import ssl

    context.minimum_version = ssl.TLSVersion.TLSv1_2 if settings.tls_min_version == "1.2" else ssl.TLSVersion.TLSv1_3
    if not settings.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif not settings.tls_ca:
        context.load_default_certs()
    _load_ca(context, settings)
    _load_certificate(context, settings)


def _load_ca(context: ssl.SSLContext, settings: ClientTLS) -> None:
    import ssl

    path = settings.tls_ca
    if path is None:
        return
    content("tls_ca", path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError(f"tls_ca: {path} holds no certificates in PEM form") from None


def _load_certificate(context: ssl.SSLContext, settings: ClientTLS) -> None:
    import ssl

    path, key = settings.tls_cert, settings.tls_key
    if path is None:
        return
    content("tls_cert", path)
    if key is not None:
        content("tls_key", key)
    try:
        context.load_cert_chain(path, key, password="")  # without a password, OpenSSL would ask on the terminal
    except ssl.SSLError as error:
        raise ValueError(_certificate_problem(error, path, key)) from None


def _certificate_problem(error: ssl.SSLError, path: Path, key: Path | None) -> str:
    import ssl

    option, file = ("tls_key", key) if key else ("tls_cert", path)
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{option}: the key in {file} does not match the certificate in {path}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return f"tls_cert: {path} holds no certificate in PEM form"
    return f"{option}: {file} holds no private key in PEM form, or an encrypted one, which is not supported"


def content(option: str, path: Path) -> bytes:
    """Return the content of an option's file. Raise ValueError if the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{option}: {path} cannot be read: {(error.strerror or str(error)).lower()}") from None
