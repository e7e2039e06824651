"""TLS towards backends: from options and files to an SSL context. `ssl` is imported late: gevent patches it first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gproxy.config.ini.build import doc
from gproxy.config.problems import OptionErrors, OptionProblem
from gproxy.config.record import Record
from gproxy.config.sections import rules

if TYPE_CHECKING:
    import ssl

TLSVersion = Literal["1.2", "1.3"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class UpstreamTLSOptions(Record):
    """The options for connections to https:// backends."""

    ca: Path | None = field(
        default=None,
        metadata=doc("PEM file of the authorities that must sign https:// backends' certificates; none: the system's"),
    )
    name: str | None = field(
        default=None, metadata=doc("server name to send (SNI) and to verify; none: the host of the URL")
    )
    cert: Path | None = field(
        default=None,
        metadata=doc("PEM file of the gateway's certificate, for backends that require one; none: no certificate"),
    )
    key: Path | None = field(default=None, metadata=doc("PEM file of its private key; none: in the certificate's file"))
    verify: bool = field(default=True, metadata=doc("whether backends' certificates are verified; no is dangerous"))
    min_version: TLSVersion = field(default="1.2", metadata=doc("lowest TLS version"))

    def __post_init__(self) -> None:
        rules.raise_problems(rules.tls_name("name", self.name))


def problems(options: UpstreamTLSOptions, *, is_used: bool) -> Iterator[OptionProblem]:
    """Yield the problems of the options and their files; `is_used` is True if a backend is https://."""
    given = [one for one in fields(options) if getattr(options, one.name) != one.default]
    if given and not is_used:
        yield from (((f"tls_{one.name}",), "no backend of this upstream is https://") for one in given)
    elif options.key and not options.cert:
        yield ("tls_key",), "has no effect without tls_cert"
    elif options.ca or options.cert:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for load in (_load_ca, _load_certificate):
            try:
                load(context, options)
            except OptionErrors as error:
                yield from error.problems


def prepare(context: ssl.SSLContext, options: UpstreamTLSOptions) -> None:
    """Configure the SSL context of an upstream's connections. Raise OptionErrors if a file is no longer usable."""
    import ssl

    context.minimum_version = ssl.TLSVersion.TLSv1_2 if options.min_version == "1.2" else ssl.TLSVersion.TLSv1_3
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif not options.ca:
        context.load_default_certs()
    _load_ca(context, options)
    _load_certificate(context, options)


def _load_ca(context: ssl.SSLContext, options: UpstreamTLSOptions) -> None:
    import ssl

    path = options.ca
    if path is None:
        return
    content("tls_ca", path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise OptionErrors([(("tls_ca",), f"{path} holds no certificates in PEM form")]) from None


def _load_certificate(context: ssl.SSLContext, options: UpstreamTLSOptions) -> None:
    import ssl

    path, key = options.cert, options.key
    if path is None:
        return
    content("tls_cert", path)
    if key is not None:
        content("tls_key", key)
    try:
        context.load_cert_chain(path, key, password="")  # without a password, OpenSSL would ask on the terminal
    except ssl.SSLError as error:
        raise OptionErrors([_certificate_problem(error, path, key)]) from None


def _certificate_problem(error: ssl.SSLError, path: Path, key: Path | None) -> OptionProblem:
    import ssl

    option, file = ("tls_key", key) if key else ("tls_cert", path)
    if error.reason == "KEY_VALUES_MISMATCH":
        return (option,), f"the key in {file} does not match the certificate in {path}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return ("tls_cert",), f"{path} holds no certificate in PEM form"
    return (option,), f"{file} holds no private key in PEM form, or an encrypted one, which is not supported"


def content(option: str, path: Path) -> bytes:
    """Return the content of an option's file. Raise OptionErrors if the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OptionErrors([((option,), f"{path} cannot be read: {reason}")]) from None
