"""Clients that count every request they send, and what became of it."""

import socket
import threading
import time
from contextlib import contextmanager

from gproxy.testing.gateway import Wire

REQUEST = b"GET /users/%d HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /users/%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Client(threading.Thread):
    """Asks until told to stop, or until nobody listens any more; every other one takes a new connection each time.

    sent and answered are counts; lost says how a request that was sent was lost. A connection that is refused is not.
    """

    def __init__(self, port, *, keeps_alive, tls=None):
        super().__init__(daemon=True)
        self.port = port
        self.keeps_alive = keeps_alive
        self.tls = tls
        self.sent = self.answered = 0
        self.lost = []
        self.enough = threading.Event()

    def run(self):
        while not self.enough.is_set():
            try:
                sock = socket.create_connection(("127.0.0.1", self.port), 10)
            except ConnectionRefusedError:
                return
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_hostname="a.test")
            with Wire(sock) as wire:
                while self.ask(wire):
                    pass

    def ask(self, wire):
        """True if the connection can be used again."""
        self.sent += 1
        try:
            wire.send((REQUEST if self.keeps_alive else LAST) % self.sent)
            answer = wire.read_response()
        except OSError as error:
            self.lost.append(repr(error))
            return False
        if answer.status != 200 or not answer.complete:
            self.lost.append(repr(answer))
            return False
        self.answered += 1
        return self.keeps_alive and answer["connection"] != "close" and not self.enough.is_set()


@contextmanager
def load(port, threads=8, tls=None, *, may_lose=0):
    """Half of the clients keep their connections. Afterwards none may have lost more than it `may_lose`."""
    clients = [Client(port, keeps_alive=bool(n % 2), tls=tls) for n in range(threads)]
    for client in clients:
        client.start()
    try:
        time.sleep(0.3)
        yield clients
    finally:
        for client in clients:
            client.enough.set()
        for client in clients:
            client.join(20)
    assert not any(client.is_alive() for client in clients)
    lost = [lost for client in clients for lost in client.lost]
    assert len(lost) <= may_lose, lost
    assert sum(client.sent for client in clients) == sum(client.answered for client in clients) + len(lost) > threads
