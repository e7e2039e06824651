"""Who may ask the admin listener: the checks of docs/admin.md, in their order."""

import pytest

from gproxy.config.sections.admin import AdminSettings
from gproxy.config.types import Address, Secret
from gproxy.config.types.addresses import parse_network
from gproxy.http.errors import HTTPError
from gproxy.http.request import request
from gproxy.http.response import Response
from gproxy.monitor.access.access_check import AccessCheck

TOKEN, READ = "t" * 20, "r" * 20
JSON = ("Content-Type", "application/json")


@pytest.fixture
def check(tmp_path):
    return AccessCheck(settings(), tmp_path)


def settings(**options):
    bind = (Address.parse("127.0.0.1:8081"), Address.parse("unix:/run/admin.sock"))
    return AdminSettings(**{"bind": bind, "token": Secret(TOKEN), "read_token": Secret(READ)} | options)


def asked(*headers, token=TOKEN, host="localhost:8081", client="127.0.0.1", method="GET", path="/v1/status"):
    credential = [("Authorization", f"Bearer {token}")] if token else []
    return request(method, path, [("Host", host), *credential, *headers], client=client)


def status_of(check, request, **kind):
    """The status of the rejection; 0 if the request is admitted."""
    try:
        check.caller(request, **{"acts": False} | kind)
    except HTTPError as error:
        return error.status
    return 0


def test_the_token_reads_and_acts(check):
    assert check.caller(asked(), acts=False).may_act
    assert check.caller(asked(JSON, method="POST"), acts=True).name == "token from 127.0.0.1"


def test_the_read_token_only_reads(check):
    assert not check.caller(asked(token=READ), acts=False).may_act
    with pytest.raises(HTTPError, match=r"403 .*read_token permits reading only"):
        check.caller(asked(JSON, token=READ, method="POST"), acts=True)


@pytest.mark.parametrize("token", ["", "t" * 19, "t" * 21, f"{TOKEN}\xff", READ.upper()])
def test_without_a_right_token_nothing_is_shown(check, token):
    assert status_of(check, asked(token=token)) == 401


def test_an_address_outside_of_allow_is_rejected_before_its_token_is_looked_at(tmp_path):
    check = AccessCheck(settings(allow=(parse_network("10.0.0.0/8"),)), tmp_path)
    assert status_of(check, asked(client="127.0.0.1")) == 403
    assert status_of(check, asked(client="10.1.2.3")) == 0


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8081", "127.0.0.2", "[::2]:8081", "a b"])
def test_a_foreign_host_is_misdirected(check, host):
    assert status_of(check, asked(host=host)) == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:8081", "[::1]:8081"])
def test_the_names_of_this_machine_are_known(check, host):
    assert status_of(check, asked(host=host)) == 0


@pytest.mark.parametrize(("token", "why"), [("", "a token is required"), ("x" * 20, "the token is wrong")])
def test_a_wrong_token_and_none_are_told_apart(check, token, why):
    with pytest.raises(HTTPError, match=f"401 .*{why}"):
        check.caller(asked(token=token), acts=False)


def test_ten_failures_in_a_minute_close_the_door_for_this_address_only(check):
    wrong = asked(token="x" * 20)
    assert [status_of(check, wrong) for _ in range(11)] == [401] * 10 + [429]
    assert status_of(check, asked()) == 429
    assert status_of(check, asked(client="127.0.0.2")) == 0


def test_asking_without_a_token_is_no_failure(check):
    assert {status_of(check, asked(token="")) for _ in range(30)} == {401}


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/json+x"])
def test_a_change_needs_a_content_type_that_no_form_can_send(check, kind):
    assert status_of(check, asked(("Content-Type", kind), method="POST"), acts=True) == 415


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:8081", 0), ("http://evil.example", 403), ("null", 403), ("http://localhost:8082", 403)],
)
def test_a_change_from_a_foreign_page_is_rejected(check, origin, status):
    assert status_of(check, asked(JSON, ("Origin", origin), method="DELETE"), acts=True) == status


def test_act_no_permits_only_reading_whatever_the_token(tmp_path):
    check = AccessCheck(settings(act=False), tmp_path)
    assert status_of(check, asked()) == 0
    assert status_of(check, asked(JSON, method="POST"), acts=True) == 403


def test_a_unix_socket_needs_neither_token_nor_host(check):
    assert status_of(check, asked(token="", host="anything", client="unix")) == 0
    assert status_of(check, asked(token="", client="unix", method="POST"), acts=True) == 415


def cookie_of(check, *, acts):
    response = Response(200)
    check.login.begin(asked(), response, acts=acts)
    return response.headers.get("set-cookie").partition(";")[0]


def test_a_session_of_the_page_has_the_right_of_its_token(check):
    acting, reading = (("Cookie", cookie_of(check, acts=acts)) for acts in (True, False))
    assert status_of(check, asked(acting, JSON, token="", method="POST"), acts=True) == 0
    assert status_of(check, asked(reading, token="")) == 0
    assert status_of(check, asked(reading, JSON, token="", method="POST"), acts=True) == 403


def test_a_changed_session_and_that_of_another_monitor_are_worth_nothing(check, tmp_path):
    own = cookie_of(check, acts=False)
    other = cookie_of(AccessCheck(settings(), tmp_path), acts=True)
    for wrong in (own.replace("read", "act"), other, f"{own}0", "gproxy_admin=", "gproxy_admin=act.99999999999."):
        assert status_of(check, asked(("Cookie", wrong), token="")) == 401


def test_the_session_is_hidden_from_scripts_and_from_other_sites(check):
    response = Response(200)
    check.login.begin(asked(), response, acts=True)
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(
        response.headers.get("set-cookie").split("; ")
    )


def test_the_login_form_is_public_and_its_token_counts(check):
    form = asked(("Content-Type", "application/x-www-form-urlencoded"), token="", method="POST", path="/login")
    assert not check.caller(form, acts=True, is_public=True, is_form=True).may_act
    assert check.enter(form, TOKEN) is True
    assert check.enter(form, READ) is False
    with pytest.raises(HTTPError, match="401"):
        check.enter(form, "wrong")
    foreign = asked(("Origin", "http://evil.example"), token="", method="POST", path="/login")
    assert status_of(check, foreign, acts=True, is_public=True, is_form=True) == 403


def test_a_rejected_change_is_logged_with_its_author(check, caplog):
    status_of(check, asked(JSON, token=READ, method="DELETE", path="/v1/requests/1"), acts=True)
    assert "rejected DELETE /v1/requests/1 by read_token from 127.0.0.1: 403" in caplog.text
    assert READ not in caplog.text


def test_tokens_of_forms_that_were_all_begun_in_time_are_throttled_too(check):
    """The head of each form comes before any token, so each of them passes the check of the caller."""
    form = asked(token="", method="POST", path="/login")
    statuses = []
    for _ in range(12):
        check.caller(form, acts=True, is_public=True, is_form=True)
    for _ in range(12):
        with pytest.raises(HTTPError) as caught:
            check.enter(form, "x" * 20)
        statuses.append(caught.value.status)
    assert statuses == [401] * 10 + [429] * 2
    with pytest.raises(HTTPError, match="429"):
        check.enter(form, TOKEN)
