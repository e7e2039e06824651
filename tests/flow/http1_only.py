"""The flow tests that say what only HTTP/1.1 can say: patterns of their ids, and why."""

import re

HTTP1_ONLY = {
    r"[-[]1\.0|http10|an_old_client": "clients of HTTP/1.0",
    r"HTTP/1\.0": "a request of HTTP/1.0",
    r"test_pipelining\.py|in_a_pipeline|pipelined_requests_are|says_close": "requests that follow each other on a connection",
    r"test_tls_clients\.py": "their own connections over TLS; tests/process has HTTP/2 over TLS",
    r"test_upgrades\.py|several_protocols_the_listed": "the field Upgrade; websockets by CONNECT have tests of their own",
    r"a_rejected_head|a_redirect_and_errors|requests_are_counted|garbles-no size|a_header_is_no_request":
        "a head or a chunk that is malformed; the cases of tests/wire/frames are malformed over HTTP/2",
    r"to_the_client_as_they_are\[\w+-429": "a phrase of a backend's own",
    r"errors_have_it_too": "a request without Host, which the client cannot leave out",
    r"trace_shows_the_message|te_keeps_trailers_only\[TE": "Connection, which HTTP/2 does not have",
    r"gibibyte_at_flat_memory\[chunked": "the framing of HTTP/1.1: over HTTP/2 it is the same as with a length",
    r"test_check_|test_routes_shows": "a command, which has no client",
    r"a_grpc_server_is_named": "the preface of HTTP/2 where HTTP/1.1 is spoken",
}  # fmt: skip
_matches = re.compile("|".join(f"(?:{pattern})" for pattern in HTTP1_ONLY)).search


def is_http1_only(nodeid):
    """Return whether the test is left out over HTTP/2."""
    return _matches(nodeid) is not None
