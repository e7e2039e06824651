"""The difference between the received and the forwarded head of a request, line by line, with reasons."""

from collections.abc import Iterator

from gproxy.gateway.gateway import Gateway
from gproxy.http.forwarding import connection_options
from gproxy.http.header_names import HOP_BY_HOP, SECRET_FIELDS
from gproxy.http.request import Request
from gproxy.identity.sources import credentials


def difference(request: Request, head: str, gateway: Gateway) -> Iterator[str]:
    """Yield the lines of the forwarded head: `+` new, `~` changed; then `-` for each removed line."""
    line, *fields = head.rstrip("\r\n").split("\r\n")
    received_fields = request.received.headers
    sent = {field.partition(":")[0].lower() for field in fields}
    secret = {source.key for handler in gateway.handlers.values() for source in credentials(handler)}
    yield f"    {line}"
    for field in fields:
        name, _, value = field.partition(": ")
        before = received_fields.all(name)
        if value in before:
            yield f"    {_shown(name, value)}"
        elif before:
            yield f"  ~ {_shown(name, value)}    instead of {_shown('', ', '.join(before), secret=name)}"
        else:
            yield f"  + {_shown(name, value)}"
    for name, value in received_fields.items():
        if name.lower() not in sent:
            shown = _shown(name, value, is_secret=name.lower() in secret)
            yield f"  - {shown}    {_why(name.lower(), request, gateway)}"


def _shown(name: str, value: str, *, secret: str = "", is_secret: bool = False) -> str:
    shown = "***" if is_secret or (name or secret).lower() in SECRET_FIELDS else value
    return f"{name}: {shown}" if name else shown


def _why(name: str, request: Request, gateway: Gateway) -> str:
    plain = name.replace("_", "-").replace(".", "-")
    if name in HOP_BY_HOP or name in connection_options(request.received.headers):
        return "concerns only this connection"
    if plain in gateway.trust.identity:
        return "identifies the client, and only a handler may set it"
    if name in {"cookie", *(source.key for handler in gateway.handlers.values() for source in credentials(handler))}:
        return "is the credential of an identity handler"
    if name == "authorization":
        return "is removed without keep = Authorization"
    if name == "expect":
        return "is answered by the gateway"
    return "is not trusted from this peer, or in this spelling"
