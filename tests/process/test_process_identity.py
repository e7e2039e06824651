"""Credentials in cookies, parameters and other headers, alternatives between them, and what no backend ever gets."""

import pytest
from shipped import UNLIMITED, problem, running, signed

SECRET = "a secret of sixty-four bytes, or a few more, so that HS512 is content"
STAFF = "another secret of sixty-four bytes, or some more, as RFC 7518 asks for"
PLACES = ("secret = auto", f"secret = {SECRET}\nsources = bearer, cookie:sid, query:token, header:X-Token")
PUBLIC = ("upstream = orders\n", "upstream = orders\nskip = jwt\n")


def token(**claims):
    return signed(SECRET, "HS256", **claims)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    with running(tmp_path_factory.mktemp("identity"), UNLIMITED, PLACES, PUBLIC) as setup:
        yield setup


def last(ours, backend):
    return backend.requests[-1]


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/users?a=1&token={}&b=2", []),
        ("/users?a=1&%74oken={}&b=2", []),
        ("/users?a=1&b=2", ["Cookie: a=1; sid={}; b=2"]),
        ("/users?a=1&b=2", ["X-Token: {}", "Cookie: a=1; b=2"]),
        ("/users?a=1&b=2", ["X-Token: {}", "Cookie: sid=unread; a=1; b=2"]),
    ],
)
def test_a_token_is_found_and_no_backend_gets_it(ours, target, headers):
    given = token(sub="bob")
    before = len(ours.one.requests), len(ours.three.requests)
    answer = ours.get(target.format(given), *(header.format(given) for header in headers))
    assert answer.status == 200
    seen = ours.one.requests[-1] if len(ours.one.requests) > before[0] else ours.three.requests[-1]
    assert seen["x-user-id"] == "bob"
    assert seen.line == "GET /users?a=1&b=2 HTTP/1.1"
    assert seen["cookie"] in {None, "a=1; b=2"}
    assert given not in seen.head.decode()
    line = ours.line_of(answer)
    assert line["user"] == "bob"
    assert given not in str(line)


def test_a_response_to_a_url_with_a_token_is_private(ours):
    assert ours.get(f"/users?token={token()}")["cache-control"] == "private"
    assert ours.get("/users", f"X-Token: {token()}")["cache-control"] is None


def test_two_tokens_in_two_places_are_a_bad_request(ours):
    before = ours.received
    for target, *headers in (
        (f"/users?token={token()}", f"Authorization: Bearer {token()}"),
        (f"/users?token={token()}&token={token()}",),
        ("/users", f"X-Token: {token()}", f"X-Token: {token()}"),
        ("/users", f"Cookie: sid={token()}", f"Cookie: sid={token(sub='eve')}"),
    ):
        answer = ours.get(target, *headers)
        assert (answer.status, problem(answer)["status"], ours.line_of(answer)["reason"]) == (400, 400, "auth_invalid")
    assert ours.received == before


def test_no_backend_gets_a_credential_on_a_route_without_the_handler(ours):
    given = token()
    answer = ours.get(
        f"/orders?token={given}&a=1", f"Cookie: sid={given}; a=1", f"X-Token: {given}", f"X_Token: {given}"
    )
    assert answer.status == 200
    seen = ours.two.requests[-1]
    assert (seen.line, seen["cookie"], seen["x-token"]) == ("GET /orders?a=1 HTTP/1.1", "a=1", None)
    assert given not in seen.head.decode()


def test_another_spelling_of_the_header_is_no_credential_and_does_not_pass(ours):
    answer = ours.get("/users", f"X_Token: {token()}")
    assert (answer.status, ours.line_of(answer)["reason"]) == (401, "auth_missing")
    assert ours.get("/users", f"X_Token: {token()}", f"X-Token: {token()}").status == 200
    seen = (ours.one.requests + ours.three.requests)[-1]
    assert "X_Token" not in seen.head.decode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 200),
        (["Sec-Fetch-Site: same-origin"], 200),
        (["Sec-Fetch-Site: cross-site"], 403),
        (["Sec-Fetch-Site: same-site", "Origin: https://other.example"], 403),
        (["Origin: https://evil.example"], 403),
    ],
)
def test_a_page_of_another_site_cannot_use_the_cookie(ours, headers, status):
    answer = ours.get("/users", f"Cookie: sid={token()}", "Content-Length: 0", *headers, method="POST")
    assert answer.status == status
    if status == 403:
        assert ours.line_of(answer)["reason"] == "cross_site"
    assert ours.get("/users", f"X-Token: {token()}", "Content-Length: 0", *headers, method="POST").status == 200


def test_a_page_of_another_site_cannot_open_a_websocket_with_the_cookie(ours):
    handshake = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="]
    answer = ours.get("/users", f"Cookie: sid={token()}", "Origin: https://evil.example", *handshake)
    assert (answer.status, ours.line_of(answer)["reason"]) == (403, "cross_site")


CHOICE = ("rate_limit, jwt", "rate_limit, who")
MEMBERS = f"""
[handler:who]
use = any_of
of = jwt, staff
[handler:staff]
use = jwt
secret = {STAFF}
sources = header:X-Staff
forward = sub: X-Staff-ID
"""


@pytest.fixture(scope="module")
def either(tmp_path_factory):
    with running(tmp_path_factory.mktemp("either"), UNLIMITED, CHOICE, more=MEMBERS) as setup:
        yield setup


def test_each_alternative_works_alone(either):
    staff = signed(STAFF, "HS256", sub="carol")
    assert either.get("/orders", either.bearer(sub="bob")).status == 200
    assert either.two.requests[-1]["x-user-id"] == "bob"
    answer = either.get("/orders", f"X-Staff: {staff}", "X-User-ID: root")
    assert answer.status == 200
    seen = either.two.requests[-1]
    assert (seen["x-staff-id"], seen["x-user-id"], seen["x-staff"]) == ("carol", None, None)


def test_a_bad_first_credential_is_final_and_a_good_one_hides_the_second(either):
    staff = signed(STAFF, "HS256", sub="carol")
    before = either.received
    answer = either.get("/orders", "Authorization: Bearer a.b.c", f"X-Staff: {staff}")
    assert (answer.status, either.line_of(answer)["reason"]) == (401, "auth_invalid")
    assert either.received == before
    assert either.get("/orders", either.bearer(sub="bob"), f"X-Staff: {staff}").status == 200
    assert staff not in either.two.requests[-1].head.decode()


def test_no_credential_gets_one_challenge_of_each(either):
    answer = either.get("/orders")
    assert (answer.status, either.line_of(answer)["reason"]) == (401, "auth_missing")
    assert answer["www-authenticate"] == 'Bearer realm="gproxy", Bearer realm="gproxy"'
