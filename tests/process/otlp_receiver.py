"""A collector of traces for tests: it takes OTLP over HTTP, or fails, hangs, or answers nonsense."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gproxy.testing.gateway import PATIENCE, eventually


class Receiver:
    """The collector, for use in a `with`. `mode`: `takes`, `fails` (500), `hangs`, `lies` (no HTTP at all)."""

    def __init__(self):
        self.mode = "takes"
        self.requests = []  # each with its headers
        self.spans = []  # as dicts
        self.resources = []
        self._leave = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append(dict(self.headers))
                if receiver.mode == "hangs":
                    receiver._leave.wait(60)
                elif receiver.mode == "lies":
                    self.wfile.write(b"\x00\xff not HTTP at all\r\n\r\n")
                elif receiver.mode == "fails":
                    self.send_response(400)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    receiver._note(body)
                    self.send_response(200)
                    self.send_header("Content-Type", "application/x-protobuf")
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._leave.set()
        self._server.shutdown()
        self._server.server_close()

    def _note(self, body):
        found = ExportTraceServiceRequest.FromString(body)
        for group in found.resource_spans:
            self.resources.append(attributes(group.resource))
            for scope in group.scope_spans:
                self.spans += [as_dict(span, scope.scope.name) for span in scope.spans]

    def of(self, trace_id, count=None):
        """Return the spans of a trace, by their names; wait until there are so many."""
        if count is not None:
            eventually(lambda: len(self._of(trace_id)) >= count, f"{count} spans of {trace_id}: {self.spans}")
        return self._of(trace_id)

    def _of(self, trace_id):
        return [span for span in self.spans if span["trace_id"] == trace_id]

    def settle(self, seconds=2.5):
        """Wait until nothing has come for longer than the gateway waits with a batch."""
        ends = time.monotonic() + PATIENCE
        before, since = -1, time.monotonic()
        while time.monotonic() < ends and (before != len(self.spans) or time.monotonic() - since < seconds):
            if before != len(self.spans):
                before, since = len(self.spans), time.monotonic()
            time.sleep(0.05)


def as_dict(span, scope):
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex(),
        "name": span.name,
        "kind": span.kind,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "attributes": attributes(span),
        "events": [(event.name, attributes(event)) for event in span.events],
        "links": [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        "failed": span.status.code == 2,
        "error": span.status.message,
        "scope": scope,
    }


def attributes(of):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}
