"""Backends are killed and started again at random, and no request that may be repeated is lost while one of them lives."""

import random
import socket
import subprocess
import sys
import threading
import time

from gproxy.testing.gateway import RunningGateway, eventually, free_port

REQUESTS, CLIENTS = 2000, 6
INI = """
[gateway]
handlers = health
timeout = 10s
[handler:health]
cache = 0s
[route:all]
path = /
upstream = three
[upstream:three]
backends = {backends}
retries = 3
"""
#: Answers in one piece, after a while in which it may be killed; says when it listens.
PROGRAM = """
import socket, sys, threading, time
def serve(peer):
    data = b""
    while more := peer.recv(65536):
        data += more
        while b"\\r\\n\\r\\n" in data:
            head, _, data = data.partition(b"\\r\\n\\r\\n")
            time.sleep(0.004)
            peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nalive")
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=100)
print("listens", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


class Mortal:
    """A backend process that can be killed and come back on the same port."""

    def __init__(self):
        self.port = free_port()
        self.start()

    def start(self):
        command = [sys.executable, "-ISE", "-c", PROGRAM, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"listens\n"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def wreak(backends, rng, enough):
    """Kill one or two of the three, start them again, at all times; how many deaths there were."""
    deaths = 0
    while not enough.wait(rng.uniform(0, 0.05)):
        victims = rng.sample(backends, rng.choice((1, 1, 2)))
        for victim in victims:
            victim.kill()
            deaths += 1
            enough.wait(rng.uniform(0, 0.05))
        for victim in victims:
            victim.start()
    return deaths


class Client(threading.Thread):
    """Asks one request after another on connections that it keeps."""

    def __init__(self, gateway, count):
        super().__init__(daemon=True)
        self.gateway = gateway
        self.count = count
        self.answers = []

    def run(self):
        with self.gateway.connect() as wire:
            for n in range(self.count):
                wire.send(f"{('GET', 'DELETE')[n % 2]} /{n} HTTP/1.1\r\nHost: a\r\n\r\n")
                answer = wire.read_response()
                self.answers.append((answer.status, answer.body))


def test_nothing_is_lost_while_one_backend_lives(tmp_path):
    rng = random.Random(20)
    backends = [Mortal() for _ in range(3)]
    urls = ", ".join(f"http://127.0.0.1:{backend.port}" for backend in backends)
    enough, deaths = threading.Event(), []
    try:
        with RunningGateway(INI.replace("{backends}", urls), tmp_path) as gateway:
            clients = [Client(gateway, REQUESTS // CLIENTS + 1) for _ in range(CLIENTS)]
            chaos = threading.Thread(target=lambda: deaths.append(wreak(backends, rng, enough)))
            started = time.monotonic()
            for thread in (chaos, *clients):
                thread.start()
            for client in clients:
                client.join(60)
            seconds = time.monotonic() - started
            enough.set()
            chaos.join(20)
            answers = [answer for client in clients for answer in client.answers]
            assert [answer for answer in answers if answer != (200, b"alive")] == []
            assert len(answers) >= REQUESTS
            assert deaths[0] >= 5
            assert seconds < 25
            gateway.wait_until_idle()
            eventually(lambda: max(int(line["tries"]) for line in gateway.access(REQUESTS)) > 1, "a retry")
            assert not [line for line in gateway.access() if line["status"] != "200"]
    finally:
        enough.set()
        for backend in backends:
            backend.kill()


def test_the_chaos_can_fail(tmp_path):
    """Without retries the same loses requests: the test above tells something."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()[1]
    living = Mortal()
    ini = INI.replace("{backends}", f"http://127.0.0.1:{dead}, http://127.0.0.1:{living.port}").replace("= 3", "= 0")
    try:
        with RunningGateway(ini, tmp_path) as gateway:
            assert 502 in [gateway.get().status for _ in range(4)]
    finally:
        living.kill()
