"""Waiting for something of our own while a client may leave, and asking apart from a client's connection."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from time import monotonic
from typing import Final

from gevent.event import Event

from gproxy.http.client_stream import ClientStream
from gproxy.http.errors import ClientGone
from gproxy.http.request import Deadline, Request
from gproxy.runtime.alarm import Alarm, TimerWheel

#: For the alarms of those that ask apart from a connection.
_wheel: Final = TimerWheel()


class ClientWatch:
    """Somebody waits here until `wake` is called or the time is up, and learns that the client has left."""

    def __init__(self, client: ClientStream | None) -> None:
        self._client = client
        self._event = Event()
        self._woken = self._client_spoke = False

    def wake(self) -> None:
        self._woken = True
        self._event.set()

    def switch(self, _: object) -> None:
        """The loop says that there is something from the client: more to read, or its end."""
        self._client_spoke = True
        self._event.set()

    def wait(self, seconds: float = math.inf) -> None:
        """Until then, or until `wake`. Raises ClientGone, and what an alarm throws."""
        ends = monotonic() + seconds
        while not self._woken and (left := ends - monotonic()) > 0:
            self._wait_once(None if left == math.inf else left)
        self._woken = False

    def _wait_once(self, seconds: float | None) -> None:
        client = self._client
        if client is None or not client.can_detect_close():  # behind a pipelined request nobody can see the end
            self._event.wait(seconds)
        else:
            before = client.watch(self)
            try:
                self._event.wait(seconds)
            finally:
                client.watch(before)
        self._event.clear()
        spoke, self._client_spoke = self._client_spoke, False
        if spoke and client is not None and client.is_gone():
            raise ClientGone


@contextmanager
def detached(request: Request) -> Iterator[Request]:
    """The request for another greenlet than the connection's: a copy that knows neither the client nor its alarm.

    Its deadline is the request's, by an alarm of its own that is not set yet: whoever waits for this greenlet has one.
    """
    alarm = Alarm(_wheel)
    twin = copy(request)
    twin.client_stream = twin.upgrade = None
    twin.deadline = Deadline(alarm)
    twin.deadline.expires = request.deadline.expires
    try:
        yield twin
    finally:
        alarm.close()
        twin.end()
