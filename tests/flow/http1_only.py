"""The flow tests that say what only HTTP/1.1 can say: patterns of their ids, and why."""

import re

HTTP1_ONLY = {
    r"-1\.0|http10|an_old_client": "clients of HTTP/1.0",
    r"HTTP/1\.0": "a request of HTTP/1.0",
    r"test_pipelining\.py|in_a_pipeline|says_close": "requests that follow each other on a connection",
    r"test_tls_clients\.py": "the test makes its own connections over TLS; test_http2_tls.py has those of HTTP/2",
    r"test_upgrades\.py|several_protocols_the_listed": "the field Upgrade; websockets by CONNECT have tests of their own",
    r"a_rejected_head|a_redirect_and_errors|requests_are_counted|garbles-no size|a_header_is_no_request":
        "a head or a chunk that is malformed; the cases of tests/wire/frames are malformed over HTTP/2",
    r"pipelined_requests_are_answered_in_order": "requests that follow each other on a connection",
    r"to_the_client_as_they_are\[http2-\w+-429": "a phrase of a backend's own",
    r"errors_have_it_too": "a request without Host, which the client cannot leave out",
    r"trace_shows_the_message|te_keeps_trailers_only\[http2-TE": "Connection, which HTTP/2 does not have",
    r"a_grpc_server_is_named": "the preface of HTTP/2 where HTTP/1.1 is spoken",
}  # fmt: skip
_matches = re.compile("|".join(f"(?:{pattern})" for pattern in HTTP1_ONLY)).search


def is_http1_only(item):
    """Return whether the test is left out over HTTP/2."""
    callspec = getattr(item, "callspec", None)
    is_http2 = callspec is not None and callspec.params.get("protocol") == "http2"
    return is_http2 and "/flow/" in f"/{item.nodeid}" and _matches(item.nodeid) is not None
