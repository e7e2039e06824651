"""`[trace]`: the traces that the gateway records, and what a client may see of the path of its own requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Final, Literal, Self
from urllib.parse import unquote, urlsplit

from gproxy.config.ini.build import doc
from gproxy.config.record import Record
from gproxy.config.sections import rules
from gproxy.config.types import SHORTEST_SECRET, Percent, Rate, Seconds, Secret
from gproxy.http.header_names import is_field_value, is_token

#: The package of the extra `otel` that sends spans.
_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TraceSettings(Record):
    """`[trace]`: the traces that the gateway records, and what a client may see of the path of its own requests."""

    endpoint: str = field(
        default="",
        metadata=doc(
            "URL of a collector that takes OTLP over HTTP, such as http://localhost:4318/v1/traces; none: off"
        ),
    )
    sample: Percent = field(
        default=Percent(0.01), metadata=doc("share of the requests to record that bring no decision")
    )
    parent: Literal["trusted", "always", "never"] = field(
        default="trusted",
        metadata=doc(
            "whose sampled flag in traceparent counts: that of [gateway] trusted_proxies, of every client, of none; "
            "else a new trace starts, with a link to the client's"
        ),
    )
    errors: Literal["yes", "no", "full"] = field(
        default="yes",
        metadata=doc(
            "whether a request that fails with 5xx or is slow has a span, though it is not sampled; "
            "full: yes, and spans have the text of exceptions"
        ),
    )
    max_rate: Rate = field(
        default=Rate(100, Seconds(1.0)), metadata=doc("most sampled requests of each worker; further ones are not")
    )
    service: str = field(default="gproxy", metadata=doc("name of the service, the attribute service.name"))
    attributes: dict[str, str] = field(
        default_factory=dict, metadata=doc("further attributes of the resource, each as NAME: VALUE")
    )
    headers: Secret | None = field(
        default=None, metadata=doc("headers for the collector, as NAME=VALUE,NAME=VALUE with values as in a URL")
    )
    timeout: Seconds = field(default=Seconds(5), metadata=doc("longest time in which the collector takes a batch"))
    timing_token: Secret | None = field(
        default=None,
        metadata=doc("secret with which a client gets Server-Timing, in its header X-Gproxy-Timing; none: off"),
    )

    def __post_init__(self) -> None:
        token = self.timing_token.reveal() if self.timing_token is not None else None
        rules.raise_problems(
            rules.require(
                not self.endpoint or _is_url(self.endpoint),
                "endpoint",
                "expected a URL of http or https such as http://localhost:4318/v1/traces, without query or password; "
                "headers has room for both",
            ),
            rules.require(
                not self.endpoint or _has_exporter(),
                "endpoint",
                "needs the OpenTelemetry packages; pip install 'gproxy[otel]'",
            ),
            rules.require(
                self.headers is None or _are_headers(self.headers.reveal()),
                "headers",
                "expected NAME=VALUE,NAME=VALUE with names and values of headers",
            ),
            rules.positive(self, "timeout"),
            rules.require(
                token is None or len(token.encode("utf-8", "surrogatepass")) >= SHORTEST_SECRET,
                "timing_token",
                f"expected at least {SHORTEST_SECRET} bytes, such as the output of openssl rand -hex 32",
            ),
            rules.require(
                token is None or (token.isprintable() and token.isascii() and " " not in token),
                "timing_token",
                "expected printable ASCII without blanks, as a header carries it",
            ),
        )

    def with_environment(self, environ: Mapping[str, str], written: frozenset[str]) -> Self:
        """Return the settings with OpenTelemetry's variables for options that are not `written`.

        Raises ValueError with the names of the variables at fault.
        """
        if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return replace(self, endpoint="")
        found: dict[str, object] = {
            name: value for name, value in _from_environment(environ).items() if name not in written
        }
        try:
            return replace(self, **found) if found else self  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"{error} (of the environment: OTEL_…)") from None


def pairs(text: str) -> dict[str, str]:
    """Return the pairs of NAME=VALUE,NAME=VALUE; percent-encoded bytes of values are decoded."""
    items = (item.partition("=") for item in text.split(",") if item.strip())
    return {name.strip(): unquote(value.strip()) for name, _, value in items}


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """Return the options that OpenTelemetry's variables state; an empty variable states nothing."""
    found: dict[str, object] = {}
    if exact := environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        found["endpoint"] = exact
    elif base := environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        found["endpoint"] = f"{base.rstrip('/')}/v1/traces"
    headers = environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or environ.get("OTEL_EXPORTER_OTLP_HEADERS")
    if headers:
        found["headers"] = Secret(headers)
    attributes = pairs(environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    named = attributes.pop("service.name", "")
    if service := environ.get("OTEL_SERVICE_NAME") or named:
        found["service"] = service
    if attributes:
        found["attributes"] = attributes
    return found


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        has_secret = "@" in parts.netloc or parts.query  # the log and the page show the URL
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and not has_secret
    except ValueError:
        return False


def _are_headers(text: str) -> bool:
    items = [item for item in text.split(",") if item.strip()]
    found = pairs(text)
    return all("=" in item for item in items) and all(is_token(name) and is_field_value(found[name]) for name in found)


def _has_exporter() -> bool:
    try:
        return find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        return False
