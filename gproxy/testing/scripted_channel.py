"""Channels whose peer follows a script, for unit tests of code that reads and writes a channel.

    with ScriptedChannel([After(request_head), response_head[:10], response_head[10:], RESET]) as scripted:
        connection = HTTP1Connection(scripted.socket, scripted.backend, "10.0.0.1:80")
        ...
        assert scripted.sent == request_head

The channels are real ones: compiled code takes no stand-in for them. Only the socket below them follows the script.
Nothing is sent to anyone, and no wait takes longer than a turn of the event loop.
"""

import socket
from collections.abc import Iterable
from enum import Enum
from functools import cached_property
from typing import Any, Final, NamedTuple, Self, TypeAlias, cast

from gproxy.runtime.alarm import Alarm, TimerWheel
from gproxy.server.client_channel import ChannelSettings, ClientChannel
from gproxy.upstream.http1.channel import BackendChannel

__all__ = ["END", "RESET", "After", "Ending", "ScriptedChannel", "Step"]


class Ending(Enum):
    """The ways in which a peer stops sending."""

    #: It closes in order: `receive` returns b"".
    END = "end"
    #: It resets the connection: `receive` raises the channel's `lost`, and so does every later `send`.
    RESET = "reset"


END: Final = Ending.END
RESET: Final = Ending.RESET


class After(NamedTuple):
    """A pause of the peer, until `sent` is among the bytes that the code under test has sent."""

    sent: bytes


#: Bytes arrive in one piece. A script without an ending leaves the peer connected and silent.
Step: TypeAlias = bytes | After | Ending


class _ScriptedSocket:
    """Receives what the script says and records what is sent. Its descriptor is readable while a step can be taken."""

    def __init__(self, script: Iterable[Step], takes: int | None) -> None:
        self.script = list(script)
        self.takes = takes
        self.sends: list[bytes] = []
        self.actions: list[str] = []
        self.is_reset = False
        self._is_full = False
        self._is_signalled = False
        # A pair, for what an event loop and `poll` see of a socket: its state. No byte of the script passes through it.
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self.update()

    def fileno(self) -> int:
        return self._near.fileno()

    def update(self) -> None:
        """Make the descriptor readable or not, as the next step of the script says."""
        if self.actions[-1:] == ["close"]:
            return
        script = self.script
        while script and isinstance(script[0], After) and script[0].sent in b"".join(self.sends):
            script.pop(0)
        step = script[0] if script else None
        if isinstance(step, Ending):
            self.is_reset = self.is_reset or step is RESET
            self._far.shutdown(socket.SHUT_WR)
        elif isinstance(step, bytes) and not self._is_signalled:
            self._is_signalled = True
            self._far.send(b".")
        elif not isinstance(step, bytes) and self._is_signalled:
            self._is_signalled = False
            self._near.recv(1)

    def recv(self, limit: int, flags: int = 0) -> bytes:
        if flags:  # MSG_PEEK
            return self._near.recv(limit, flags)
        step = self.script[0] if self.script else None
        if step is RESET:
            self.script[0] = END  # an error is reported once
            raise ConnectionResetError(104, "Connection reset by peer")
        if step is END:
            return b""
        if not isinstance(step, bytes):
            raise BlockingIOError
        if len(step) > limit:
            self.script[0] = step[limit:]
        else:
            self.script.pop(0)
            self.update()
        return step[:limit]

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        if self.is_reset:
            raise ConnectionResetError(104, "Connection reset by peer")
        if self._is_full:
            self._is_full = False
            raise BlockingIOError
        taken = bytes(data[: self.takes])
        self._is_full = len(taken) < len(data)
        self.sends.append(taken)
        if flags & socket.MSG_MORE:
            self.actions.append("send_last")
        self.update()
        return len(taken)

    def sendmsg(self, buffers: Iterable[bytes]) -> int:
        self.actions.append("sendmsg")
        return self.send(b"".join(buffers))

    def setsockopt(self, level: int, name: int, value: object) -> None:  # noqa: ARG002 as socket.setsockopt
        if name == socket.SO_LINGER:
            self.actions.append("abort")

    def shutdown(self, how: int) -> None:
        self.actions.append("shut_writing" if how == socket.SHUT_WR else "shut")
        if how != socket.SHUT_WR:
            self.script[:] = [END]
            self.update()

    def close(self) -> None:
        if self.actions[-1:] != ["close"]:
            self.actions.append("close")
        self._near.close()
        self._far.close()


class ScriptedChannel:
    """A channel's peer that sends what a script says, and a record of what it gets.

    `backend`, `client` and `socket` are the channel as the code under test takes it; a test uses one of them. Leave the
    `with` block, or call `close`, before the next test.
    """

    def __init__(
        self,
        script: Iterable[Step] = (),
        *,
        takes: int | None = None,
        body_timeout: float = 10.0,
        write_timeout: float = 10.0,
    ) -> None:
        """Prepare the peer. It takes at most `takes` bytes at a time and then makes the sender wait; None: any number.

        The timeouts are those of `client`, in seconds.
        """
        self._socket = _ScriptedSocket(script, takes)
        #: The socket that follows the script, for code that makes a channel of it.
        self.socket: Any = self._socket
        self._body_timeout, self._write_timeout = body_timeout, write_timeout

    @cached_property
    def backend(self) -> BackendChannel:
        """The channel to a backend that follows the script."""
        return BackendChannel(cast(socket.socket, self._socket))

    @cached_property
    def client(self) -> ClientChannel:
        """The channel of a client that follows the script; its alarm throws into the greenlet that asks first."""
        sock = cast(socket.socket, self._socket)
        settings = ChannelSettings(self._body_timeout, self._write_timeout)
        return ClientChannel(sock, Alarm(TimerWheel()), settings)

    @property
    def sent(self) -> bytes:
        """All bytes that the peer got."""
        return b"".join(self.sends)

    @property
    def sends(self) -> list[bytes]:
        """The same, one item for each time that the kernel would have taken bytes."""
        return self._socket.sends

    @property
    def actions(self) -> list[str]:
        """The other calls on the connection, in order: `send_last`, `shut_writing`, `shut`, `abort`, `close`."""
        return self._socket.actions

    @property
    def remaining(self) -> list[Step]:
        """The steps that were not taken yet."""
        return list(self._socket.script)

    def add(self, *steps: Step) -> None:
        """Have the peer go on with these steps."""
        self._socket.script.extend(steps)
        self._socket.update()

    def close(self) -> None:
        """Close the channel, if the code under test did not."""
        for name in ("backend", "client"):
            channel: Any = self.__dict__.get(name)
            if channel is not None and "close" not in self.actions:
                channel.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
