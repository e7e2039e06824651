r"""Reads frames/*.frames: the settings of one gateway, then any number of cases of HTTP/2.

Everything before the first `==` is the INI file, with `{backend}` for the scripted backend's URL. A case is:

    == its name
    # a remark
    > SETTINGS | 4=70000             the client sends a frame: kind, stream, flags; then its parts behind bars
    > HEADERS 1 ES EH | :method: GET | x-a: b    fields as literals that are never indexed
    > GET 1 /path | x-a: b           the same with the usual pseudo-fields, ES and EH; POST: without ES
    > DATA 1 ES | text\x00           \r \n \t \0 \\ \xNN are escapes, \{a*9} repeats
    > DATA 1 PADDED=3 ES | text      three bytes of padding; with `PADDED=3/9` the field says nine
    > RST_STREAM 1 CANCEL
    > WINDOW_UPDATE 0 100
    > GOAWAY 0 last=1 NO_ERROR
    > PING 0 | 12345678
    > CONTINUATION 1 EH | x-a: b     so, too, with `hex`: > HEADERS 1 EH hex | 82 86
    > kind=0xbb 1 flags=0x10 | text  a frame of any kind; `length=N` says another length than that of the payload
    > raw text                       bytes as they are
    300 > PING 0 | 12345678          the line so many times; `{n}` counts from 0, `{odd}` from 1 in steps of 2
    < HEADERS 1 | :status: 200       the client waits for the next frame: kind, stream, code or flags, fields or data
    < GOAWAY 0 A|B                   with one of these codes; the connection then ends
    < SETTINGS                       and WINDOW_UPDATE are skipped unless the line names them
    heard text                       the client waits until the backend has a request's head, and this text of its body
    bare                             first line: the client sends no preface by itself, and no SETTINGS
    B: HTTP/1.1 200 OK               what the backend answers; as in wirecases.py, with B~ and `B close`
    kept | ended                     at the end the connection still serves, or has ended
    backend GET / HTTP/1.1           as in wirecases.py, with + - = and ~
    log status=400 reason=-          an access line; as many as streams were answered, in any order
"""

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import wirecases
from wirecases import unescape

CASES = Path(__file__).parent / "frames"
KINDS = {
    "DATA": 0, "HEADERS": 1, "PRIORITY": 2, "RST_STREAM": 3, "SETTINGS": 4, "PUSH_PROMISE": 5, "PING": 6, "GOAWAY": 7,
    "WINDOW_UPDATE": 8, "CONTINUATION": 9, "PRIORITY_UPDATE": 16,
}  # fmt: skip
ERRORS = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip
FLAGS = {"ES": 1, "ACK": 1, "EH": 4, "PADDED": 8, "PRIO": 32}
USUAL = (":method: {}", ":scheme: http", ":authority: a", ":path: {}")


@dataclass
class Expected:
    """A frame that the client waits for. `words`: flags or codes; `parts`: fields, or data."""

    kind: str
    stream: int
    words: list[str]
    parts: list[str]


@dataclass
class Heard:
    """What the backend has, after the head of a request."""

    text: bytes


@dataclass
class Case(wirecases.Case):
    #: What to do in order: bytes are sent, the others are waited for.
    steps: list[bytes | Expected | Heard] = field(default_factory=list)
    is_bare: bool = False
    entries: list[dict[str, str]] = field(default_factory=list)


def load(name):
    """The cases in one file."""
    ini, *texts = re.split(r"(?m)^== ", (CASES / name).read_text("utf-8"))
    return [_case(name.removesuffix(".frames"), ini, text) for text in texts]


def _case(file, ini, text):
    name, *lines = text.splitlines()
    case = Case(file, name.strip(), ini)
    for line in lines:
        if line and not line.startswith("#"):
            _directive(case, line)
    return case


def _directive(case, line):
    repeated = re.fullmatch(r"(?:(\d+) )?> (.*)", line)
    if repeated:
        count = int(repeated[1] or 1)
        sent = (repeated[2].replace("{n}", str(n)).replace("{odd}", str(2 * n + 1)) for n in range(count))
        case.steps = _joined(case.steps, b"".join(map(frame, sent)))
    elif line.startswith("< "):
        case.steps.append(_expected(line[2:]))
    elif line == "heard" or line.startswith("heard "):
        case.steps.append(Heard(unescape(line[6:])))
    elif line == "bare":
        case.is_bare = True
    elif line in ("kept", "ended"):
        case.kept = line == "kept"
    elif line.startswith("log "):
        case.entries.append(dict(pair.split("=", 1) for pair in line[4:].split()))
    else:
        wirecases._directive(case, line)


def _joined(steps, data):
    """The steps with more bytes; what is sent without waiting is one packet."""
    if steps and isinstance(steps[-1], bytes):
        return [*steps[:-1], steps[-1] + data]
    return [*steps, data]


def _expected(text):
    head, *parts = text.split(" | ")
    kind, *words = head.split()
    stream = int(words.pop(0)) if words and words[0].isdecimal() else 0
    return Expected(kind, stream, words, parts)


def frame(text):
    """The bytes of what follows `>`."""
    if text.startswith("raw "):
        return unescape(text[4:])
    head, *parts = text.split(" | ")
    kind, *words = head.split()
    if kind in ("GET", "POST", "HEAD", "OPTIONS", "PUT"):
        stream, path, *words = words
        parts = [*(line.format(value) for line, value in zip(USUAL, (kind, "", "", path), strict=True)), *parts]
        words = [stream, "EH", *(["ES"] if kind in ("GET", "HEAD", "OPTIONS") else []), *words]
        kind = "HEADERS"
    return _frame(kind, words, parts)


def _frame(kind, words, parts):
    number = int(kind.removeprefix("kind="), 0) if kind.startswith("kind=") else KINDS[kind]
    stream = int(words.pop(0), 0) if words and words[0][0].isdigit() else 0
    values = dict(word.split("=", 1) for word in words if "=" in word)
    flags = sum(FLAGS[word] for word in words if word in FLAGS) + int(values.get("flags", "0"), 0)
    payload = _payload(kind, words, values, parts)
    if "PADDED" in values:
        size, _, says = values["PADDED"].partition("/")
        flags |= FLAGS["PADDED"]
        payload = bytes([int(says or size)]) + payload + bytes(int(size))
    length = int(values.get("length", len(payload)))
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", number, flags, stream) + payload


def _payload(kind, words, values, parts):
    if "hex" in words:
        return bytes.fromhex("".join(parts))
    code = next((struct.pack(">I", ERRORS.index(word)) for word in words if word in ERRORS), b"")
    if kind in ("HEADERS", "CONTINUATION"):
        return block(parts)
    if kind == "SETTINGS":
        return b"".join(struct.pack(">HI", *map(int, part.split("="))) for part in parts)
    if kind == "WINDOW_UPDATE":
        return struct.pack(">I", int(words[-1]))
    if kind == "GOAWAY":
        return struct.pack(">I", int(values.get("last", 0))) + code + b"".join(map(unescape, parts))
    return code + b"".join(map(unescape, parts))


def block(lines):
    """Fields as literals without indexing, names and values in plain text (RFC 7541 section 6.2.2)."""
    encoded = b""
    for line in lines:
        end = line.index(":", 1)
        name, value = unescape(line[:end]), unescape(line[end + 1 :].removeprefix(" "))
        encoded += b"\0" + _string(name) + _string(value)
    return encoded


def _string(text):
    size, prefix = len(text), b""
    if size < 127:
        return bytes([size]) + text
    size -= 127
    while size >= 128:
        prefix += bytes([size % 128 + 128])
        size //= 128
    return b"\x7f" + prefix + bytes([size]) + text
