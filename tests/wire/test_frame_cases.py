"""Frames of HTTP/2 in, and what must come of them: see framecases.py for the format of frames/*.frames.

After each case the gateway must still serve, its next answer must be nobody else's, and there must be exactly one
access line for each answer.
"""

import socket
import struct
from types import SimpleNamespace

import hpack
import pytest
from framecases import CASES, ERRORS, FLAGS, KINDS, Expected, Heard, frame, load
from test_wire_cases import IS_ALIVE, OK, Scripted, check_backend
from wirecases import unescape

from gproxy.testing.gateway import PATIENCE, RunningGateway, Wire, eventually, free_port

ALL = [case for path in sorted(CASES.glob("*.frames")) for case in load(path.name)]
NAMES = {number: name for name, number in KINDS.items()}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: What the gateway sends for reasons of its own.
SKIPPED = ("SETTINGS", "WINDOW_UPDATE")
#: A stream that no case uses, for the request that asks whether the connection still serves.
LAST = 0x7FFFFFFF


class FrameWire(Wire):
    """A connection that reads frames."""

    def __init__(self, sock):
        super().__init__(sock)
        self.decoder = hpack.Decoder()

    def read_frame(self):
        """Kind, flags, stream and payload; None at the end."""
        head = self.read_exactly(9)
        if len(head) < 9:
            return None
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        size = int.from_bytes(head[:3], "big")
        assert size <= 16384
        return NAMES.get(kind, str(kind)), flags, stream, self.read_exactly(size)

    def next(self, *wanted):
        """The next frame that is not skipped, with its fields in place of a block."""
        while (found := self.read_frame()) is not None:
            kind, flags, stream, payload = found
            if kind == "HEADERS":
                while not flags & FLAGS["EH"]:
                    _, flags, _, more = self.read_frame()
                    payload += more
                return kind, flags, stream, self.decoder.decode(payload)
            if kind not in SKIPPED or kind in wanted:
                return kind, flags, stream, payload
        return None


def start(case, stack, folder):
    scripted = Scripted()
    backend = stack.enter_context(scripted.backend)
    port = free_port()
    ini = case.ini.replace("{backend}", backend.url)
    gateway = stack.enter_context(RunningGateway(ini, folder, "--bind", f"127.0.0.1:{port} h2c"))
    return SimpleNamespace(
        gateway=gateway, scripted=scripted, port=port, log=stack.enter_context((folder / "log/access.log").open())
    )


@pytest.mark.parametrize("case", ALL, ids=map(str, ALL))
def test_frame_case(stages, case):
    stage = stages(case)
    stage.log.read()
    stage.scripted.seen.clear()
    stage.scripted.raw, stage.scripted.closes = case.answered or OK, case.backend_closes
    with FrameWire(socket.create_connection(("127.0.0.1", stage.port), PATIENCE)) as wire:
        if not case.is_bare:
            wire.send(PREFACE + frame("SETTINGS"))
        play(wire, case, stage.scripted)
        check_end(wire, case)
    assert stage.gateway.ask(IS_ALIVE).body == b"alive"
    if "backend" in case.body:
        eventually(lambda: stage.scripted.seen and stage.scripted.seen[-1].body == case.body["backend"], "the body")
    check_backend(case, stage.scripted.seen, stage.scripted.backend.port)
    check_log(case, stage.log)


def play(wire, case, scripted):
    for step in case.steps:
        if isinstance(step, Heard):
            eventually(lambda text=step.text: has_heard(scripted, text), "a request at the backend")
        elif isinstance(step, Expected):
            found = wire.next(step.kind)
            assert matches(found, step), (found, step)
        else:
            try:
                wire.send(step)
            except OSError:
                assert not case.kept


def has_heard(scripted, text):
    return bool(scripted.seen) and text in scripted.seen[-1].body + scripted.peer.buffer


def matches(found, step):
    if found is None:
        return False
    kind, flags, stream, content = found
    if (kind, stream) != (step.kind, step.stream):
        return False
    if kind in ("GOAWAY", "RST_STREAM"):
        code = ERRORS[int.from_bytes(content[4:8] if kind == "GOAWAY" else content, "big")]
        return not step.words or code in step.words[0].split("|")
    if kind in ("HEADERS", "DATA") and bool(flags & FLAGS["ES"]) != ("ES" in step.words):
        return False
    if any(word in FLAGS and not flags & FLAGS[word] for word in step.words):
        return False
    if kind == "HEADERS":
        return {tuple(part.split(": ", 1)) for part in step.parts} <= set(content)
    return not step.parts or content == unescape(step.parts[0])


def check_end(wire, case):
    if not case.kept:
        rest = wire.next()
        assert rest is None, rest
        return
    wire.send(frame(f"GET {LAST} /alive"))
    while (found := wire.next()) is not None and found[0] != "DATA":
        assert (found[0], found[2]) == ("HEADERS", LAST), found
    assert found is not None
    assert found[2:] == (LAST, b"alive")


def check_log(case, log):
    """The lines that the case names, and one for each request that asked whether the gateway is alive."""
    pieces = []
    count = len(case.entries) + 1 + case.kept

    def there():
        pieces.append(log.read())
        return "".join(pieces).count("\n") >= count

    eventually(there, f"{count} access lines")
    lines = [dict(field.split(":", 1) for field in line.split("\t")) for line in "".join(pieces).splitlines()]
    own = [line for line in lines if line["path"] != "/alive"]
    assert len(own) == len(case.entries), own
    for entry in case.entries:
        match = next((line for line in own if entry.items() <= line.items()), None)
        assert match, (entry, own)
        own.remove(match)
