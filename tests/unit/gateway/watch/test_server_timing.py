"""The field Server-Timing."""

from gproxy.gateway.watch.server_timing import add_server_timing
from gproxy.gateway.watch.time_account import TimeAccount
from gproxy.http.deadline import Deadline
from gproxy.http.request import request
from gproxy.http.response import Response


def test_our_parts_come_before_the_backends_lines_and_name_no_address():
    times = iter([0.0, 0.001, 0.0035, 0.0135, 0.0136])
    account = TimeAccount(Deadline(clock=lambda: next(times)))
    account.switch("handler.jwt")
    account.switch("backend")
    account.switch("other")
    asked = request()
    asked.upstream, asked.backend, asked.tries = "users", "10.0.0.1:80", 2
    response = Response(200, headers=[("Server-Timing", "db;dur=5"), ("Server-Timing", "cache;desc=hit")])
    add_server_timing(response, asked, account)
    assert response.headers["Server-Timing"] == (
        'total;dur=13.6, jwt;dur=2.5, backend;dur=10;desc="users, attempt 2", other;dur=1.1, db;dur=5, cache;desc=hit'
    )
