"""A service of gRPC with all four kinds of calls and a health service, without protobuf: messages are bytes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc

SERVICE = "greeter.Greeter"
#: The messages of grpc.health.v1 for SERVING and NOT_SERVING.
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class Greeter:
    """A server of gRPC on a free port, for use in a `with`; over TLS with a `pair` of a key and a certificate.

    `is_available`: whether calls are processed. `cancelled` is set once a client has cancelled a call.
    """

    def __init__(self, pair: tuple[bytes, bytes] | None = None) -> None:
        self._scheme = "http" if pair is None else "https"
        self.is_available = True
        self.health = SERVING
        self.asked: list[bytes] = []
        self.cancelled = threading.Event()
        self.calls = 0
        #: The metadata and the remaining time of the last call.
        self.metadata: dict[str, str | bytes] = {}
        self.remaining: float | None = None
        self._server = grpc.server(
            ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", 8 << 20), ("grpc.so_reuseport", 0)]
        )
        if pair is None:
            self._port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self._port = self._server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    {
                        "Hello": grpc.unary_unary_rpc_method_handler(self.hello),
                        "Count": grpc.unary_stream_rpc_method_handler(self.count),
                        "Join": grpc.stream_unary_rpc_method_handler(self.join),
                        "Talk": grpc.stream_stream_rpc_method_handler(self.talk),
                        "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
                        "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
                        "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
                    },
                ),
                grpc.method_handlers_generic_handler(
                    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(self.check)}
                ),
            )
        )

    @property
    def url(self) -> str:
        return f"{self._scheme}://localhost:{self._port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(0).wait(10)

    def _begin(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())
        self.remaining = context.time_remaining()
        if not self.is_available:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    def hello(self, message: bytes, context: Any) -> bytes:
        self._begin(context)
        context.send_initial_metadata((("x-first", "1"), ("x-data-bin", b"\0\1\xff")))
        context.set_trailing_metadata((("x-last", "2"),))
        return b"hello " + message

    def count(self, message: bytes, context: Any) -> Iterator[bytes]:
        self._begin(context)
        for number in range(int(message)):
            yield str(number).encode()

    def join(self, messages: Iterator[bytes], context: Any) -> bytes:
        self._begin(context)
        return b",".join(messages)

    def talk(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        self._begin(context)
        for message in messages:
            yield message.upper()

    def fail(self, message: bytes, context: Any) -> bytes:
        self._begin(context)
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"no: ü {message.decode()}")
        raise AssertionError

    def fail_late(self, message: bytes, context: Any) -> Iterator[bytes]:
        self._begin(context)
        yield message
        context.abort(grpc.StatusCode.UNAVAILABLE, "in the middle")

    def wait(self, message: bytes, context: Any) -> bytes:
        self._begin(context)
        ended = threading.Event()
        context.add_callback(ended.set)
        if ended.wait(20):
            self.cancelled.set()
        return message

    def check(self, message: bytes, context: Any) -> bytes:
        self.asked.append(message)
        return self.health
