"""The access line: the fields of one exchange, and the three formats of a line."""

import json
import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from gproxy.observe.log import escape, escape_word

#: The fields of an Entry as a plain tuple; PERF: an Entry's constructor would cost as much as the line.
Facts: TypeAlias = tuple[
    float, str, str, str, str, str, int, float, int, int, str, str, str, int, str, str, str, str, str
]  # fmt: skip


class Entry(NamedTuple):
    """The fields of one exchange, complete once its last byte is sent. An empty text means that there is none."""

    time: float  # epoch seconds, when the head of the request was complete
    id: str
    client: str  # address after trusted proxies
    method: str
    path: str  # without the query, which may hold secrets
    protocol: str
    status: int
    duration: float  # seconds, from the first byte in to the last byte out
    size: int  # bytes of response body sent
    reqsize: int  # bytes of request body received
    route: str
    upstream: str
    backend: str  # host:port
    tries: int
    reason: str  # one word; empty if all went well
    vhost: str
    referer: str
    ua: str
    user: str


_json = json.JSONEncoder(separators=(",", ":")).encode
# strftime's names follow the locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def ltsv(facts: Facts) -> str:
    """Return a line of labelled tab-separated values (ltsv.org): the labels are Entry's fields, empty is `-`."""
    (when, ident, client, method, path, protocol, status, duration, size, reqsize,
     route, upstream, backend, tries, reason, vhost, referer, ua, user) = facts  # fmt: skip
    # PERF: one check of all texts together. LTSV has no escaping, so a TAB in a path would forge a field.
    texts = f"{ident}{client}{method}{path}{protocol}{route}{upstream}{backend}{reason}{vhost}{referer}{ua}{user}"
    if not texts.isprintable():
        (when, ident, client, method, path, protocol, status, duration, size, reqsize,
         route, upstream, backend, tries, reason, vhost, referer, ua, user) = _cleaned(facts)  # fmt: skip
    stamp, took = _timestamp(when), _seconds(duration)
    # PERF: no format specifications: with them mypyc formats each piece separately.
    return (
        f"time:{stamp}\tid:{ident or '-'}\tclient:{client or '-'}\tmethod:{method or '-'}"
        f"\tpath:{path or '-'}\tprotocol:{protocol or '-'}\tstatus:{status}\tduration:{took}\tsize:{size}"
        f"\treqsize:{reqsize}\troute:{route or '-'}\tupstream:{upstream or '-'}\tbackend:{backend or '-'}"
        f"\ttries:{tries}\treason:{reason or '-'}"
        f"\tvhost:{vhost or '-'}\treferer:{referer or '-'}\tua:{ua or '-'}\tuser:{user or '-'}"
    )


def json_line(facts: Facts) -> str:
    """Return a JSON object in ASCII; numbers are numbers, the time is ISO 8601 as in LTSV, empty is `""`."""
    named = Entry._make(facts)._asdict()
    named["time"] = _timestamp(named["time"])
    named["duration"] = round(named["duration"], 6)
    return _json(named)


def combined(facts: Facts) -> str:
    """Return a line in Apache's combined format."""
    entry = Entry._make(facts)
    request = _quoted(f"{entry.method} {entry.path} {entry.protocol}" if entry.method else "")
    return (
        f"{escape_word(entry.client) or '-'} - {escape_word(entry.user) or '-'} [{_clf(int(entry.time))}] {request} "
        f"{entry.status} {entry.size} {_quoted(entry.referer)} {_quoted(entry.ua)}"
    )


FORMATS: dict[str, Callable[[Facts], str]] = {"ltsv": ltsv, "json": json_line, "combined": combined}


def _cleaned(facts: Facts) -> Facts:
    return Entry._make(escape(value) if isinstance(value, str) else value for value in facts)


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escape(text) or "-"}"'


def _timestamp(when: float) -> str:
    return _stamp(int(when * 1000 + 0.5))


# PERF: a busy worker writes many lines a millisecond
@lru_cache(maxsize=128)
def _stamp(millis: int) -> str:
    second = millis // 1000
    date, offset = _iso(second)
    return f"{date}.{str(1000 + millis - second * 1000)[1:]}{offset}"


def _seconds(duration: float) -> str:
    """Return the duration in seconds with six decimals."""
    micros = int(duration * 1e6 + 0.5)
    whole = micros // 1_000_000
    return f"{whole}.{str(1_000_000 + micros - whole * 1_000_000)[1:]}"


# PERF: the caches hold more than one second, since slow requests are logged among those that began later.
@lru_cache(maxsize=128)
def _iso(second: int) -> tuple[str, str]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
    return stamp[:-5], f"{stamp[-5:-2]}:{stamp[-2:]}"


@lru_cache(maxsize=128)
def _clf(second: int) -> str:
    moment = time.localtime(second)
    return time.strftime(f"%d/{_MONTHS[moment.tm_mon - 1]}/%Y:%H:%M:%S %z", moment)
