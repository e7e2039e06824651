r"""Reads cases/*.wire: the settings of one gateway, then any number of cases.

Everything before the first `==` is the INI file, with `{backend}` for the scripted backend's URL. A case is:

    == its name
    # a remark
    C: GET / HTTP/1.1          the client sends this line and CRLF
    C~ abc\x00\r\n             the client sends this as it is; \r \n \t \0 \\ \xNN are escapes, \{a*9} repeats
    pause                      the client waits a little, so that what follows is a packet of its own
    slowly 7                   the client sends 7 bytes at a time
    leave                      the client closes without waiting for an answer
    B: HTTP/1.1 200 OK         what the backend answers (in B: and B~ like C: and C~); by default 200 with `ok`
    B close                    the backend closes behind it
    answer 200 kept            what the client gets: a status for each request, and then `kept` or `closed`
    client + Name: value       a header line that the client gets
    client - name              a header that it does not get; `client - Name: value` is for one line only
    client = body              the body that it gets
    client broken              the answer breaks off
    backend GET / HTTP/1.1     a request line that the backend gets; without any, the backend gets nothing at all
    backend + Name: value      a header line that the backend gets; several of one name in their order;
                               PORT stands for the backend's own port
    backend - name             a header that it does not get; `backend - Name: value` is for one line only
    backend = body             the body that it gets
    backend ~ Name: value      a trailer that it gets; the others it does not get
    log reason=bad_request     what the access line of the last request says, blank-separated
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

CASES = Path(__file__).parent / "cases"

_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


@dataclass
class Case:
    file: str
    name: str
    ini: str
    sent: list[bytes] = field(default_factory=lambda: [b""])
    piece: int = 0
    leaves: bool = False
    answered: bytes = b""
    backend_closes: bool = False
    statuses: list[int] = field(default_factory=list)
    kept: bool = False
    broken: bool = False
    lines: list[str] = field(default_factory=list)
    has: dict[str, list[str]] = field(default_factory=lambda: {"client": [], "backend": []})
    lacks: dict[str, list[str]] = field(default_factory=lambda: {"client": [], "backend": []})
    body: dict[str, bytes] = field(default_factory=dict)
    trailers: list[str] = field(default_factory=list)
    log: dict[str, str] = field(default_factory=dict)

    def __str__(self):
        return f"{self.file}: {self.name}"


def load(name):
    """The cases in one file."""
    ini, *texts = re.split(r"(?m)^== ", (CASES / name).read_text("utf-8"))
    return [_case(name.removesuffix(".wire"), ini, text) for text in texts]


def unescape(text):
    text = re.sub(r"\\\{(.+?)\*(\d+)\}", lambda m: m[1] * int(m[2]), text)
    return re.sub(r"\\(x[0-9a-f]{2}|.)", _unescaped, text).encode("latin-1")


def _unescaped(match):
    code = match[1]
    return chr(int(code[1:], 16)) if code[0] == "x" else _ESCAPES[code]


def _case(file, ini, text):
    name, *lines = text.splitlines()
    case = Case(file, name.strip(), ini)
    for line in lines:
        if line and not line.startswith("#"):
            _directive(case, line)
    assert case.statuses or case.leaves, f"{case}: no answer"
    return case


def _directive(case, line):  # noqa: C901 one branch for each word
    word, _, rest = line.partition(" ")
    if word in ("C:", "C~"):
        case.sent[-1] += unescape(rest) + (b"\r\n" if word == "C:" else b"")
    elif word in ("B:", "B~"):
        case.answered += unescape(rest) + (b"\r\n" if word == "B:" else b"")
    elif line == "B close":
        case.backend_closes = True
    elif word == "pause":
        case.sent.append(b"")
    elif word == "slowly":
        case.piece = int(rest)
    elif word == "leave":
        case.leaves = True
    elif word == "answer":
        *statuses, end = rest.split()
        case.statuses = [int(status) for status in statuses]
        case.kept = {"kept": True, "closed": False}[end]
    elif line == "client broken":
        case.broken = True
    elif word in ("client", "backend"):
        _expectation(case, word, rest)
    elif word == "log":
        case.log = dict(pair.split("=", 1) for pair in rest.split())
    else:
        raise ValueError(f"{case}: {line!r}")


def _expectation(case, side, rest):
    sign, _, what = rest.partition(" ")
    if sign == "+":
        case.has[side].append(unescape(what).decode("latin-1"))
    elif sign == "~":
        case.trailers.append(what)
    elif sign == "-":
        case.lacks[side].append(unescape(what).decode("latin-1").lower())
    elif sign == "=":
        case.body[side] = unescape(what)
    else:
        assert side == "backend", f"{case}: {rest!r}"
        case.lines.append(unescape(rest).decode("latin-1"))
