"""A backend that speaks HTTP/2 by the library h2, and does with each request what a test says."""

import socket
import ssl
import threading
from queue import Empty, Queue

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from gproxy.testing.gateway import PATIENCE

SETTING = h2.settings.SettingCodes


class Exchange:
    """One request on a stream: what has arrived, and what the test sends."""

    def __init__(self, link, stream_id, pairs):
        self.link, self.id = link, stream_id
        self.pairs = pairs
        self.headers = dict(pairs)
        self.body = b""
        self.trailers = []
        #: The code of the gateway's RST_STREAM; None without one.
        self.reset_code = None
        self.has_ended = threading.Event()
        self._news = Queue()

    @property
    def method(self):
        return self.headers[":method"]

    @property
    def path(self):
        return self.headers[":path"]

    def piece(self):
        """The next piece of the body; b"" at its end."""
        return self._news.get(timeout=PATIENCE)

    def whole(self):
        """The whole body."""
        assert self.has_ended.wait(PATIENCE)
        return self.body

    def interim(self, status, *headers):
        self.link.do(lambda connection: connection.send_headers(self.id, [(":status", str(status)), *headers]))

    def head(self, status=200, *headers, end=False):
        pairs = [(":status", str(status)), *headers]
        self.link.do(lambda connection: connection.send_headers(self.id, pairs, end_stream=end))

    def data(self, data, end=False):
        """Send as much as the windows allow, and wait for them."""
        while True:
            with self.link.lock:
                size = min(self.link.h2.local_flow_control_window(self.id), 16384, len(data))
                if size or not data:
                    piece, data = data[:size], data[size:]
                    self.link.h2.send_data(self.id, piece, end_stream=end and not data)
                    self.link.flush()
                    if not data:
                        return
                    continue
                self.link.opened.clear()
            assert self.link.opened.wait(PATIENCE), "no window"

    def open(self, size):
        """Let the gateway send so much more of the body."""
        self.link.do(lambda connection: connection.increment_flow_control_window(size, self.id))

    def finish(self, *trailers):
        self.link.do(lambda connection: connection.send_headers(self.id, list(trailers), end_stream=True))

    def answer(self, body=b"", status=200, *headers):
        self.head(status, *headers)
        self.data(body, end=True)

    def reset(self, code=2):
        self.link.do(lambda connection: connection.reset_stream(self.id, code))

    def go_away(self, last_id, code=0):
        self.link.do(lambda connection: connection.close_connection(code, last_stream_id=last_id))

    def cut(self):
        """Close the connection without a word."""
        self.link.cut()


class Link:
    """One connection of the gateway."""

    def __init__(self, backend, sock):
        self.backend, self.sock = backend, sock
        self.lock = threading.RLock()
        self.opened = threading.Event()
        config = h2.config.H2Configuration(
            client_side=False,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=backend.settings)
        self.exchanges = {}
        #: Streams that are open now, by the library's own count, and the most that were at any time.
        self.pings = 0

    def do(self, action):
        with self.lock:
            action(self.h2)
            self.flush()

    def flush(self):
        try:
            self.sock.sendall(self.h2.data_to_send())
        except OSError:
            pass

    def cut(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def run(self):
        if self.backend.sends_settings:
            self.do(lambda connection: connection.initiate_connection())
        else:
            self.h2.initiate_connection()
            self.h2.data_to_send()
        try:
            while data := self.sock.recv(65536):
                if self.backend.is_deaf:
                    continue
                with self.lock:
                    events = self.h2.receive_data(data)
                    for event in events:
                        self.on(event)
                    self.flush()
        except (OSError, h2.exceptions.ProtocolError) as error:
            if not isinstance(error, OSError):
                self.backend.errors.append(error)
        finally:
            self.opened.set()
            self.sock.close()

    def on(self, event):
        backend = self.backend
        if isinstance(event, h2.events.RequestReceived):
            exchange = self.exchanges[event.stream_id] = Exchange(self, event.stream_id, event.headers)
            backend.requests.append(exchange)
            backend.most_streams = max(backend.most_streams, self.h2.open_inbound_streams)
            threading.Thread(target=self.serve, args=(exchange,), daemon=True).start()
        elif isinstance(event, h2.events.DataReceived):
            exchange = self.exchanges[event.stream_id]
            exchange.body += event.data
            if event.data:
                exchange._news.put(event.data)
            if backend.gives_window:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.exchanges[event.stream_id].trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            self.exchanges[event.stream_id]._news.put(b"")
            self.exchanges[event.stream_id].has_ended.set()
        elif isinstance(event, h2.events.StreamReset):
            self.exchanges[event.stream_id].reset_code = event.error_code
            self.opened.set()
        elif isinstance(event, h2.events.WindowUpdated):
            self.opened.set()
        elif isinstance(event, h2.events.PingReceived):
            self.pings += 1
            backend.pings += 1

    def serve(self, exchange):
        try:
            self.backend.act(exchange)
        except (h2.exceptions.ProtocolError, OSError, Empty, AssertionError) as error:
            if exchange.reset_code is None:
                self.backend.errors.append(error)


def hello(exchange):
    exchange.answer(b"hello")


class HTTP2Backend:
    """A backend whose `act` runs in a thread for each request. `streams` is its limit, `window` that of each stream.

    `context` is that of TLS, with its protocols by ALPN; `script(sock)` serves the connections that choose HTTP/1.1.
    """

    def __init__(
        self, act=hello, *, streams=None, window=None, max_head=None, context=None, connect=False, script=None
    ):
        self.act = act
        self._script = script
        self.settings = {SETTING.MAX_CONCURRENT_STREAMS: 1000 if streams is None else streams}
        if window is not None:
            self.settings[SETTING.INITIAL_WINDOW_SIZE] = window
        if max_head is not None:
            self.settings[SETTING.MAX_HEADER_LIST_SIZE] = max_head
        if connect:
            self.settings[SETTING.ENABLE_CONNECT_PROTOCOL] = 1
        self._context = context
        self.reset()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self):
        self.requests, self.links, self.errors = [], [], []
        self.most_streams = self.pings = 0
        self.sends_settings, self.is_deaf, self.gives_window = True, False, True

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
        except (OSError, ssl.SSLError):
            sock.close()
            return
        if self._script is not None and sock.selected_alpn_protocol() != "h2":
            with sock:
                self._script(sock)
            return
        link = Link(self, sock)
        self.links.append(link)
        link.run()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
        for link in self.links:
            link.cut()
