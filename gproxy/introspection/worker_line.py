"""The worker's end of its line to the monitor: it answers questions, and sends what the worker feeds."""

import json
import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import gevent
from gevent.lock import BoundedSemaphore

from gproxy.introspection.answers import answer
from gproxy.introspection.frames import (
    END,
    FEED,
    PART,
    QUESTION,
    BrokenLineError,
    read_descriptor,
    read_frame,
    write_frame,
)
from gproxy.introspection.worker_view import WorkerView
from gproxy.runtime.feed import Feed
from gproxy.runtime.marshalled import marshalled

_log = logging.getLogger("gproxy")

#: Seconds between two batches of records.
_FEED_EVERY: Final = 0.1
#: The most records of a batch: marshalling them takes half a millisecond.
_BATCH: Final = 500
#: Seconds between two parts of answers. Not 0: gevent then runs up to 50 of them before it looks at sockets.
_REST: Final = 0.001
#: The most questions that are answered side by side; the next waits in the socket.
_QUESTIONS: Final = 20


class WorkerLine:
    """A line to the monitor, until the monitor ends or another line replaces this one."""

    def __init__(self, sock: socket.socket, view: WorkerView) -> None:
        self._socket = sock
        self._view = view
        #: Held while a frame is written: greenlets take turns.
        self._writing = BoundedSemaphore()
        self._questions = BoundedSemaphore(_QUESTIONS)
        #: Held while a part is made: several questions together delay requests no longer than one.
        self._making = BoundedSemaphore()
        self._greenlets = [gevent.spawn(self._listen)]
        if view.runtime.feed is not None:
            self._greenlets.append(gevent.spawn(self._send, view.runtime.feed))

    def close(self) -> None:
        """End the line; answers under way are broken off."""
        gevent.killall(self._greenlets, block=False)
        self._socket.close()

    def _listen(self) -> None:
        with suppress(BrokenLineError):
            while True:
                kind, content = read_frame(self._socket)
                if kind == QUESTION:
                    asked = json.loads(content)
                    if asked.get("has_stream"):  # the answer goes on as a stream of its own
                        asked["arguments"]["stream"] = socket.socket(fileno=read_descriptor(self._socket))
                    self._questions.acquire()
                    gevent.spawn(self._answer, asked)
        self._socket.close()

    def _answer(self, asked: dict[str, Any]) -> None:
        """Answer one question, a frame for each part; the loop turns between two parts."""
        number, problem = asked["number"], ""
        try:
            parts = answer(self._view, asked["question"], asked["arguments"])
            while data := self._next(parts, number):
                self._write(PART, data)
        except OSError:
            return  # the monitor has ended
        except (ValueError, LookupError) as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 a fault here must not reach the requests
            _log.exception("the question %r of the monitor failed", asked["question"])
            problem = f"{type(error).__name__}: {error}"
        finally:
            self._questions.release()
        with suppress(OSError):
            self._write(END, _encoded({"number": number, "error": problem}))

    def _next(self, parts: Iterator[Mapping[str, Any]], number: int) -> bytes:
        """Return the next part of an answer for its frame, after the events that wait; empty at the end."""
        with self._making:
            gevent.sleep(_REST)
            for part in parts:
                return _encoded({"number": number, "part": part})
        return b""

    def _write(self, kind: bytes, data: bytes) -> None:
        with self._writing:
            write_frame(self._socket, kind, data)

    def _send(self, feed: Feed) -> None:
        """Send what is fed; while the monitor reads slowly, the feed is full, and counts what it drops."""
        with suppress(OSError):
            while True:
                while records := feed.take(_BATCH):
                    with self._writing:
                        write_frame(self._socket, FEED, marshalled(records))
                gevent.sleep(_FEED_EVERY)


def _encoded(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
