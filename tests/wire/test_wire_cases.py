"""Raw bytes in, and what must come of them: see wirecases.py for the format of cases/*.wire.

After each case the gateway must still serve, its next answer must be nobody else's, and there must be exactly one
access line for each answer.
"""

import re
import socket
import ssl
import threading
import time
from types import SimpleNamespace

import pytest
from wirecases import CASES, load

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Backend
from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually, free_port

#: What is said about framing must not depend on how the bytes come; the other cases are not about bytes.
OVER_TLS = ("request_framing", "chunks")
ALL = [case for path in sorted(CASES.glob("*.wire")) for case in load(path.name)]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ALIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nalive"
IS_ALIVE = b"GET /alive HTTP/1.1\r\nHost: a\r\n\r\n"


class Scripted:
    """A backend that notes a request as soon as its head is there, and answers as the case at hand says.

    peer: the connection of the last request.
    """

    def __init__(self):
        self.raw, self.closes = OK, False
        self.seen = []
        self.peer = None
        self.backend = Backend(self._serve)

    def _serve(self, peer, _backend):
        while (request := peer.read_head()) is not None:
            is_alive = request.line == "GET /alive HTTP/1.1"
            if not is_alive:
                self.seen.append(request)
                self.peer = peer
            if not read_body(peer, request):
                return
            peer.send(ALIVE if is_alive else self.raw)
            if self.closes and not is_alive:
                return


def read_body(peer, request):
    """True if it is complete."""
    if not request["transfer-encoding"]:
        size = int(request["content-length"] or 0)
        request.body = peer.read_exactly(size)
        return len(request.body) == size
    assert request["transfer-encoding"] == "chunked"
    while size := int(peer.read_until(b"\r\n") or b"0", 16):
        data = peer.read_exactly(size + 2)
        request.body += data[:-2]
        assert data.endswith(b"\r\n")
    while (line := peer.read_until(b"\r\n")) not in (b"\r\n", b""):
        request.trailers += line
    return line == b"\r\n"


def fits_a_record(case):
    """What does not comes in several, and what is answered at once depends on what has come."""
    return all(len(part) < 16_000 for part in case.sent)


def start(case, stack, folder):
    scripted = Scripted()
    backend = stack.enter_context(scripted.backend)
    port = free_port()
    authority = Authority(folder)
    crt, key = authority.issue("gateway.test")
    ini = f"{case.ini.replace('{backend}', backend.url)}\n[tls:a]\ncertificate = {crt}\nkey = {key}\n"
    gateway = stack.enter_context(RunningGateway(ini, folder, "--bind", f"127.0.0.1:{port} tls"))
    trusting = ssl.create_default_context(cafile=authority.path)

    def connect_securely():
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        return Wire(trusting.wrap_socket(sock, server_hostname="gateway.test"))

    return SimpleNamespace(
        gateway=gateway,
        scripted=scripted,
        log=stack.enter_context((folder / "log/access.log").open()),
        connect_securely=connect_securely,
    )


@pytest.mark.parametrize("case", ALL, ids=map(str, ALL))
def test_wire_case(stages, case):
    check(stages(case), case, stages(case).gateway.connect)


@pytest.mark.parametrize("case", [case for case in ALL if case.file in OVER_TLS and fits_a_record(case)], ids=str)
def test_wire_case_over_tls(stages, case):
    check(stages(case), case, stages(case).connect_securely)


def check(stage, case, connect):
    stage.log.read()
    stage.scripted.seen.clear()
    stage.scripted.raw, stage.scripted.closes = case.answered or OK, case.backend_closes
    with connect() as wire:
        sender = threading.Thread(target=send, args=(wire, case))
        sender.start()
        if isinstance(wire.sock, ssl.SSLSocket):  # which two threads must not use at a time
            sender.join()
        if case.leaves:
            sender.join()
            answers = []
        else:
            answers = [read(wire, head_only=case.sent[0].startswith(b"HEAD ")) for _ in case.statuses]
        check_client(case, answers)
        sender.join()
        if not case.leaves:
            check_end(case, wire)
    assert b"".join((stage.gateway.ask(IS_ALIVE).body,)) == b"alive"
    check_backend(case, stage.scripted.seen, stage.scripted.backend.port)
    check_log(case, stage.log)


def send(wire, case):
    try:
        for number, part in enumerate(case.sent):
            if number:
                time.sleep(0.02)
            for position in range(0, len(part), case.piece or len(part) or 1):
                wire.send(part[position : position + (case.piece or len(part))])
                if case.piece:
                    time.sleep(0.0005)
    except OSError:
        assert not case.kept


def read(wire, *, head_only):
    while True:
        answer = wire.read_response(head_only=head_only)
        if not 100 <= answer.status < 200:
            return answer


def check_client(case, answers):
    assert [answer.status for answer in answers] == case.statuses, answers
    if not answers:
        return
    last = answers[-1]
    assert last.complete is not case.broken, last
    check_fields(case, "client", last.head.decode("latin-1"))
    if "client" in case.body:
        assert last.body == case.body["client"]
    if last.status >= 400 and not case.answered:
        assert last["x-request-id"]
        assert b"Traceback" not in last.body
        assert b"127.0.0.1" not in last.body


def check_end(case, wire):
    if not case.kept:
        assert wire.is_closed(), wire.buffer
        return
    wire.send(IS_ALIVE)
    assert wire.read_response().body == b"alive"


def check_backend(case, seen, port):
    assert [request.line for request in seen] == case.lines
    if not seen:
        return
    check_fields(case, "backend", _comparable(seen[-1].head.decode("latin-1"), port))
    assert seen[-1].trailers.decode("latin-1").splitlines() == case.trailers
    if "backend" in case.body:
        assert seen[-1].body == case.body["backend"]


def _comparable(head, port):
    """Return the head without what differs between two runs: the backend's port, and the gateway's id in Via."""
    return re.sub("gproxy-[0-9a-f]{8}", "gproxy-ID", head.replace(f":{port}", ":PORT"))


def check_fields(case, side, head):
    lines = head.split("\r\n")[1:]
    names = {line.partition(":")[0].lower() for line in lines}
    places = [lines.index(line) if line in lines else (line, "is not in", lines) for line in case.has[side]]
    assert all(isinstance(place, int) for place in places), places
    for name in {line.partition(":")[0] for line in case.has[side]}:
        wanted = [line for line in case.has[side] if line.startswith(f"{name}:")]
        assert [line for line in lines if line.lower().startswith(f"{name.lower()}:")] == wanted
    assert not names.union(map(str.lower, lines)).intersection(case.lacks[side]), lines


def check_log(case, log):
    """One line for each answer, and one for each request that asked whether the gateway is alive."""
    pieces = []
    count = len(case.statuses) + 1 + case.kept

    def there():
        pieces.append(log.read())
        return "".join(pieces).count("\n") >= count

    eventually(there, f"{count} access lines")
    lines = "".join(pieces).splitlines()
    entries = [dict(field.split(":", 1) for field in line.split("\t")) for line in lines]
    own = [entry for entry in entries if entry["path"] != "/alive"]
    assert [int(entry["status"]) for entry in own] == case.statuses, own
    for key, value in case.log.items():
        assert own[-1][key] == value, own[-1]
