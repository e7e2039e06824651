"""A probe by the health service of gRPC, grpc.health.v1, in HTTP/2; its two messages need no protobuf."""

from typing import Final

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.http.body import Body
from gproxy.http.errors import BadMessage
from gproxy.http.framing import Reader
from gproxy.http.grpc import OK, STATUS_FIELD, TIMEOUT_FIELD, is_grpc, status_in, written_timeout
from gproxy.http.headers import Headers
from gproxy.http.request import Received, Request
from gproxy.runtime import Bounded, silent_timeout
from gproxy.upstream.backend import Backend
from gproxy.upstream.connection import BackendConnection
from gproxy.upstream.health.probe import Probe, ProbeHead

_CHECK: Final = "/grpc.health.v1.Health/Check"
#: The name of the service in the request, and the status in the response: the field 1 of the one message, as bytes
#: with their length, and of the other, as a number.
_SERVICE: Final = 0x0A
_STATUS: Final = 0x08
#: The statuses of a service; any other number is one of a later version.
_STATUSES: Final = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING: Final = 1
#: What gRPC statuses of the call mean: NOT_FOUND and UNIMPLEMENTED.
_REASONS: Final = {
    "5": ": the backend does not know the service of health_service",
    "12": ": the backend has no health service (grpc.health.v1.Health)",
}
#: The bytes before a message: whether it is compressed, and its length.
_PREFIX: Final = 5
#: The longest response that is read, in bytes; one has two bytes behind its prefix.
_LONGEST: Final = 1024


class GRPCProbeHead(ProbeHead):
    """The writer of the heads of probes by gRPC."""

    def __init__(self, settings: UpstreamSettings) -> None:
        super().__init__(settings)
        timeout = f"{TIMEOUT_FIELD}: {written_timeout(settings.health.timeout)}"
        self._lines += ["Content-Type: application/grpc", "TE: trailers", timeout]

    def __call__(self, request: Request, authority: str) -> bytes:  # noqa: ARG002 never sent
        """Raise BadMessage: a backend that chooses HTTP/1.1 does not speak gRPC."""
        raise BadMessage("the backend does not speak HTTP/2", 502)


class GRPCProbe(Probe):
    """A call of the health service: a backend is healthy while its service, or the server as a whole, is SERVING."""

    def __init__(self, settings: UpstreamSettings, bounded: Bounded = silent_timeout) -> None:
        super().__init__(settings, bounded)
        self._head = GRPCProbeHead(settings)
        self._message = check_message(settings.health.service)

    def _ask_on(self, connection: BackendConnection, backend: Backend) -> str:
        received = Received("POST", _CHECK, 1, Headers(), "")
        request = Request(received, Headers(), backend.authority, _CHECK, "", Body(self._message))
        answer = connection.send_request(self._head, request, backend.authority)
        if answer.status != 200 or not is_grpc(answer.headers):
            return f"status {answer.status}, and no gRPC"
        data, rest = connection.receive_body(answer.framing)
        data += _rest_of(rest)
        status = answer.headers.lookup(STATUS_FIELD) or status_in([] if rest is None else rest.trailers)
        if status == OK:
            return _verdict(data)
        return f"{STATUS_FIELD} {status or 'missing'}{_REASONS.get(status or '', '')}"


def check_message(service: str) -> bytes:
    """Return the message that asks about a service, with its prefix; about the server as a whole, for an empty name."""
    name = service.encode()
    message = bytes([_SERVICE]) + _number(len(name)) + name if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _number(value: int) -> bytes:
    """Return a number as protobuf has it: seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _rest_of(rest: Reader | None) -> bytes:
    """Return the rest of the body, up to the longest response; the trailers follow it."""
    data = b""
    while rest is not None and len(data) < _LONGEST and (piece := rest.next_piece()):
        data += piece
    return data


def _verdict(data: bytes) -> str:
    """Return why the backend is unhealthy by the message; "" if it is healthy."""
    message = data[_PREFIX:]
    if len(data) < _PREFIX or data[0] or int.from_bytes(data[1:_PREFIX], "big") != len(message):
        return "no message"
    if not message:  # protobuf leaves out a zero
        return _STATUSES[0]
    if len(message) < 2 or message[0] != _STATUS:
        return "no message"
    return "" if message[1] == _SERVING else _STATUSES.get(message[1], f"status {message[1]} of the service")
