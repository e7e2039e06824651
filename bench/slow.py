"""Slow clients, until killed: `python -m bench.slow PORT COUNT`. Says "ready" once all have been slow for a while.

A third sends a head by single bytes, a third a body, a third reads a long answer in small pieces. Each acts twice a
second; who was cut off, as the gateway's timeouts will, connects again.
"""

import socket
import sys
import time
from itertools import count as count_from
from itertools import cycle, islice

_HEAD = b"GET /users/1 HTTP/1.1\r\nHost: bench.test\r\nX-Slow: "
_BODY = b"POST /users/upload HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 1000000\r\n\r\n"
_READ = b"GET /users/1m HTTP/1.1\r\nHost: bench.test\r\n\r\n"
#: How often a client acts, in seconds.
_PERIOD = 0.5
_TURNS = 50
#: After so many periods their coming, all at once, is over.
_SETTLED = 3


class Client:
    """One that first sends `opening`; after that it sends a byte each time, or reads a few if `reads`."""

    def __init__(self, port, opening):
        self._port = port
        self._opening = opening
        self._connect()

    def _connect(self):
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._sock.connect(("127.0.0.1", self._port))
        self._sock.sendall(self._opening)
        self._sock.setblocking(False)

    def act(self):
        """A little, or nothing if the gateway does not read or write now."""
        try:
            is_open = self._sock.recv(1024) if self._opening is _READ else self._sock.send(b"x")
        except BlockingIOError:
            return
        except OSError:
            is_open = False
        if not is_open:
            self._sock.close()
            self._connect()


def main(port, count):
    clients = [Client(port, opening) for opening in islice(cycle((_HEAD, _BODY, _READ)), count)]
    for period in count_from(1):
        for turn in range(_TURNS):
            for client in clients[turn::_TURNS]:
                client.act()
            time.sleep(_PERIOD / _TURNS)
        if period == _SETTLED:
            print("ready", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
