"""The access line: the three formats of an exchange."""

import json
from collections.abc import Callable
from functools import lru_cache

from gproxy.http.exchange import Exchange
from gproxy.observe.local_time import local
from gproxy.observe.log import escape, escape_word

_json = json.JSONEncoder(separators=(",", ":")).encode
# strftime's names follow the locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def ltsv(exchange: Exchange) -> str:
    """Return a line of labelled tab-separated values (ltsv.org); an empty text is `-`. `report` is there if any."""
    texts: tuple[str, ...] = (
        exchange.id, exchange.client, exchange.method, exchange.target, exchange.protocol, exchange.route,
        exchange.upstream, exchange.backend, exchange.reason, exchange.host, exchange.referer, exchange.user_agent,
        exchange.user, exchange.auth,
    )  # fmt: skip
    # PERF: one check of all texts together. LTSV has no escaping, so a TAB in a path would forge a field.
    if not "".join(texts).isprintable():
        texts = tuple(map(escape, texts))
    ident, client, method, path, protocol, route, upstream, backend, reason, vhost, referer, ua, user, auth = texts
    report = f"\treport:{escape(exchange.report)}" if exchange.report else ""
    # PERF: no format specifications: with them mypyc formats each piece separately.
    return (
        f"time:{timestamp(exchange.started)}\tid:{ident or '-'}\tclient:{client or '-'}\tmethod:{method or '-'}"
        f"\tpath:{path or '-'}\tprotocol:{protocol or '-'}\tstatus:{exchange.status}"
        f"\tduration:{seconds(exchange.duration)}\tsize:{exchange.bytes_sent}\treqsize:{exchange.bytes_received}"
        f"\troute:{route or '-'}\tupstream:{upstream or '-'}\tbackend:{backend or '-'}"
        f"\ttries:{exchange.tries}\treason:{reason or '-'}"
        f"\tvhost:{vhost or '-'}\treferer:{referer or '-'}\tua:{ua or '-'}\tuser:{user or '-'}"
        f"\tauth:{auth or '-'}{report}"
    )


def json_line(exchange: Exchange) -> str:
    """Return a JSON object in ASCII; numbers are numbers, the time is ISO 8601 as in LTSV, empty is `""`.

    `report` is there if there is one.
    """
    fields: dict[str, object] = {
        "time": timestamp(exchange.started),
        "id": exchange.id,
        "client": exchange.client,
        "method": exchange.method,
        "path": exchange.target,
        "protocol": exchange.protocol,
        "status": exchange.status,
        "duration": round(exchange.duration, 6),
        "size": exchange.bytes_sent,
        "reqsize": exchange.bytes_received,
        "route": exchange.route,
        "upstream": exchange.upstream,
        "backend": exchange.backend,
        "tries": exchange.tries,
        "reason": exchange.reason,
        "vhost": exchange.host,
        "referer": exchange.referer,
        "ua": exchange.user_agent,
        "user": exchange.user,
        "auth": exchange.auth,
    }
    if exchange.report:
        fields["report"] = exchange.report
    return _json(fields)


def combined(exchange: Exchange) -> str:
    """Return a line in Apache's combined format."""
    line = f"{exchange.method} {exchange.target} {exchange.protocol}" if exchange.method else ""
    return (
        f"{escape_word(exchange.client) or '-'} - {escape_word(exchange.user) or '-'} [{_clf(int(exchange.started))}] "
        f"{_quoted(line)} {exchange.status} {exchange.bytes_sent} "
        f"{_quoted(exchange.referer)} {_quoted(exchange.user_agent)}"
    )


FORMATS: dict[str, Callable[[Exchange], str]] = {"ltsv": ltsv, "json": json_line, "combined": combined}


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escape(text) or "-"}"'


def timestamp(when: float) -> str:
    """Return the local time with its offset, in milliseconds: ISO 8601, and as RFC 5424 has it too."""
    return _stamp(int(when * 1000 + 0.5))


# PERF: a busy worker writes many lines a millisecond
@lru_cache(maxsize=128)
def _stamp(millis: int) -> str:
    second = millis // 1000
    date, offset = _iso(second)
    return f"{date}.{str(1000 + millis - second * 1000)[1:]}{offset}"


def seconds(duration: float) -> str:
    """Return the duration in seconds with six decimals."""
    micros = int(duration * 1e6 + 0.5)
    whole = micros // 1_000_000
    return f"{whole}.{str(1_000_000 + micros - whole * 1_000_000)[1:]}"


# PERF: the caches hold more than one second, since slow requests are logged among those that began later.
@lru_cache(maxsize=128)
def _iso(second: int) -> tuple[str, str]:
    stamp = local(second).strftime("%Y-%m-%dT%H:%M:%S%z")
    return stamp[:-5], f"{stamp[-5:-2]}:{stamp[-2:]}"


@lru_cache(maxsize=128)
def _clf(second: int) -> str:
    moment = local(second)
    return moment.strftime(f"%d/{_MONTHS[moment.month - 1]}/%Y:%H:%M:%S %z")
