"""The server-sent events of the monitor: values once a second, changes at once, and the details of the open view.

All clients of one view share its content, which is made once for all of them. A client that reads too slowly is
dropped: its browser connects anew, and gets the state of that moment.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import gevent
from gevent.queue import Empty, Full, Queue

from gproxy.monitor.gathered.changes import Change, Changes

_log = logging.getLogger("gproxy")

#: The most clients, and the most events that wait for one of them.
MOST_CLIENTS: Final = 100
_MOST_WAITING: Final = 60
#: Seconds between two looks at a view, and without an event, after which a comment shows that the stream lives.
_EVERY: Final = 1.0
_SILENCE: Final = 15.0
#: Milliseconds after which a browser connects anew.
_RETRY: Final = 2000

#: Makes the content of a view, which becomes JSON.
Look = Callable[[], Mapping[str, Any]]
#: Returns what is new in a view: its content, and the content before.
Difference = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any] | None]


def event(kind: str, content: object, number: int | None = None) -> bytes:
    """Return an event of the stream; a `number` is what the client sends as Last-Event-ID."""
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {kind}\ndata: {data}\n\n".encode("utf-8", "surrogatepass")


class Client:
    """A client of the stream: its events until it leaves, or reads too slowly."""

    def __init__(self) -> None:
        self._waiting: Queue[bytes] = Queue(_MOST_WAITING)
        self.is_dropped = False

    def put(self, data: bytes) -> None:
        """Add an event; without room the client is dropped."""
        try:
            self._waiting.put_nowait(data)
        except Full:
            self.is_dropped = True

    def events(self) -> Iterator[bytes]:
        """Yield the events as they come; end once the client is dropped."""
        while not self.is_dropped:
            try:
                yield self._waiting.get(timeout=_SILENCE)
            except Empty:
                yield b":\n\n"


class _ViewStream:
    """The content of one view for all clients that have it open; it is made only while there are some."""

    def __init__(self, look: Look, difference: Difference) -> None:
        self.clients: set[Client] = set()
        self._look = look
        self._difference = difference
        self._content: Mapping[str, Any] | None = None
        self._fails = False
        self._greenlet = gevent.spawn(self._run)

    def add(self, client: Client) -> None:
        if self._content is not None:
            client.put(event("view", self._content))
        self.clients.add(client)

    def remove(self, client: Client) -> None:
        self.clients.discard(client)
        if not self.clients:
            self._greenlet.kill(block=False)

    def _run(self) -> None:
        while True:
            try:
                self._tell(self._look())
            except Exception:  # noqa: BLE001 the next look may succeed
                if not self._fails:  # only the first failure of a series
                    _log.exception("monitor: a view failed")
                self._fails = True
            else:
                self._fails = False
            gevent.sleep(_EVERY)

    def _tell(self, content: Mapping[str, Any]) -> None:
        """Send what is new in the view."""
        before, self._content = self._content, content
        new = self._difference(content, before) if before is not None else None
        if before is None:
            self._send(event("view", content))
        elif new is not None:
            self._send(event("rows", new))

    def _send(self, data: bytes) -> None:
        for client in self.clients:
            client.put(data)


class EventStreams:
    """All clients of the event stream."""

    def __init__(self, changes: Changes, difference: Difference) -> None:
        self._changes = changes
        self._difference = difference
        self._clients: set[Client] = set()
        self._views: dict[object, _ViewStream] = {}
        self._values = b""
        changes.listeners.append(self._tell)

    @property
    def count(self) -> int:
        """The number of clients."""
        return len(self._clients)

    def send_values(self, values: Mapping[str, Any]) -> None:
        """Send the values of a second to all clients."""
        self._values = event("values", values)
        self._send(self._values)

    def _tell(self, change: Change) -> None:
        self._send(event("change", change.describe(), change.number))

    def _send(self, data: bytes) -> None:
        for client in list(self._clients):
            client.put(data)

    def stream(self, key: object, look: Look | None, after: int | None) -> Iterator[bytes] | None:
        """Return the events for a new client; None if there are too many clients.

        `look` makes the content of its view, which it shares with all clients that have the same `key`; None: no view.
        `after` is the number of the last change that it knows; None: it wants no older ones.
        """
        if len(self._clients) >= MOST_CLIENTS:
            return None
        client = Client()
        for change in self._changes.after(after) if after is not None else ():
            client.put(event("change", change.describe(), change.number))
        if self._values:
            client.put(self._values)
        return self._serve(client, key, look)

    def _serve(self, client: Client, key: object, look: Look | None) -> Iterator[bytes]:
        self._clients.add(client)
        view = None
        try:
            yield f"retry: {_RETRY}\n\n".encode()
            if look is not None:
                view = self._views.get(key) or self._views.setdefault(key, _ViewStream(look, self._difference))
                view.add(client)
            yield from client.events()
        finally:
            self._clients.discard(client)
            if view is not None:
                view.remove(client)
                if not view.clients:
                    self._views.pop(key, None)
