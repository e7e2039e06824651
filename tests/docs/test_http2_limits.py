"""The figures of HTTP/2 in docs/limits.md are those of the code."""

from pathlib import Path

import pytest

from gproxy.http.h2 import budget, frames, hpack_decoder, messages, session
from gproxy.http.h2.settings import SessionOptions
from gproxy.runtime.http2 import transport
from gproxy.server.http2 import connection as client
from gproxy.upstream.http1.response_head import MAX_HEAD
from gproxy.upstream.http2 import connection as backend
from gproxy.upstream.http2 import response_stream

ROOT = Path(__file__).resolve().parents[2]
KIB = 1024
OURS = SessionOptions()
SENTENCES = [
    f"{budget.MOST_TOKENS} at once; {budget.TOKENS_PER_SECOND} come back each second, and 1 with each answered request",
    f"{budget.UPDATES} for each request and each DATA frame of a response; PING frames: {budget.PINGS}, resets",
    f"resets of streams that are over: {budget.LATE_RESETS}",
    f"does not read: {session.MOST_UNSENT:,}",
    f"twice `max_head`, {messages.MOST_CONTINUATIONS} CONTINUATION frames, {hpack_decoder._MOST_LITERALS:,} fields",
    f"`max_head` with {hpack_decoder.FIELD_OVERHEAD} bytes more for each field",
    f"a frame: {frames.MAX_FRAME:,} bytes; the table of known fields: {hpack_decoder.DEFAULT_TABLE_SIZE:,} bytes",
    f"{OURS.initial_window // KIB} KiB, which doubles up to {OURS.connection_window // 2 // KIB} KiB",
    f"{OURS.connection_window // KIB // KIB} MiB, then the client waits",
    f"the client's system has not taken: {transport.MAX_UNSENT // KIB} KiB",
    f"under way: {client._SILENCE:g} s, then {client._PING_TIMEOUT:g} s for the answer",
    f"has waited for {client._PATIENT * 1000:g} ms may reset",
    f"of up to {backend.MOST_STREAMS} requests each",
    f"what the backend allows, at most {backend.MOST_STREAMS}",
    f"{MAX_HEAD // KIB} KiB decoded",
    f"HEADERS and {messages.MOST_CONTINUATIONS} CONTINUATION frames, {(1 + messages.MOST_CONTINUATIONS) * frames.MAX_FRAME:,} bytes",
    f"its client has not taken: {backend.WINDOW // KIB} KiB",
    f"wait for their client: {response_stream._MOST_INTERIM}",
    f"{backend.MOST_RESETS} at once; {backend.FORGIVEN:g} each second are forgiven",
    f"malformed responses: {budget.MOST_TOKENS} at once",
    f"{backend.SILENT:g} s before a request, {backend.WAITING:g} s while requests wait; then {backend.ANSWER:g} s",
    f"sends nothing for its requests: {backend.BETWEEN:g} s",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_figure_is_that_of_the_code(sentence):
    assert sentence in " ".join((ROOT / "docs/limits.md").read_text().split())


def test_limits_that_are_said_once_for_two_places_are_the_same():
    assert backend._MAX_HEAD == MAX_HEAD
    assert OURS.max_window >= OURS.connection_window // 2
