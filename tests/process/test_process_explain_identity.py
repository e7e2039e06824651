"""`gproxy explain` and `gproxy token --read` judge a credential without a running gateway, check by check."""

import base64
import hashlib
import sys

import forked
import jwt
import pytest

from gproxy.testing.gateway import RunningGateway
from gproxy.testing.issuer import Issuer

SECRET = "a secret of sixty-four bytes, or a few more, so that HS512 is content"
INI = f"""\
[gateway]
handlers = who, allow
[handler:who]
use = any_of
of = jwt, partner
[handler:jwt]
secret = {SECRET}
audience = https://api.example
[handler:partner]
use = jwt
secret = auto
sources = header:X-Token, cookie:sid
[handler:allow]
allow = method:GET user, role:admin
[route:users]
path = /users
upstream = users
[route:open]
path = /open
skip = who, allow
upstream = users
[upstream:users]
backends = http://127.0.0.1:5001
"""


@pytest.fixture
def gproxy(tmp_path):
    (tmp_path / "gproxy.ini").write_text(INI)

    def run(command, *arguments, text="", code=0):
        line = [sys.executable, "-m", "gproxy", command, "--config", "gproxy.ini", *arguments]
        done = forked.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=30, input=text)
        assert done.returncode == code, done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["gproxy.ini"], "nothing is opened"
        return done.stdout or done.stderr

    return run


def part(text, title):
    """The lines below a title, each with single blanks."""
    _, _, rest = ("\n" + text).partition(f"\n{title}\n")
    return [" ".join(line.split()) for line in rest.partition("\n\n")[0].rstrip("\n").split("\n")]


def token(key=SECRET, **claims):
    given = {"sub": "alice", "aud": "https://api.example", "exp": 4_000_000_000} | claims
    return jwt.encode({name: value for name, value in given.items() if value is not None}, key, "HS256")


def bearer(**claims):
    return "-H", f"Authorization: Bearer {token(**claims)}"


def test_a_good_credential_is_accepted_and_the_rule_that_admits_is_named(gproxy):
    given = token(role="clerk")
    text = gproxy("explain", "GET", "/users", "-H", f"Authorization: Bearer {given}")
    rows = part(text, "identity")
    assert [row.partition(",")[0] for row in rows] == [
        "who credential in bearer",
        "form yes",
        "alg yes is 'HS256'",
        "typ yes is 'JWT'",
        "exp yes ends 2096-10-02T07:06:40Z",
        "nbf yes",
        "aud yes is 'https://api.example'",
        "signature yes",
        "accepted: user 'alice'; roles clerk",
        "allow admitted by the rule method:GET user (gproxy.ini:14)",
    ]
    assert rows[0].endswith("judged by jwt")
    assert given not in text


@pytest.mark.parametrize(
    ("method", "given", "end"),
    [
        ("GET", bearer(aud="https://api.example/"), "401: the token is rejected: it is meant for another audience"),
        ("GET", bearer(key="another secret of sixty-four bytes, or some more, as RFC 7518 asks"), "401: the token is rejected: its signature is wrong"),
        ("POST", bearer(role="clerk"), "allow 403: no rule admits the request"),
        ("POST", bearer(role="admin"), "allow admitted by the rule role:admin (gproxy.ini:14)"),
        ("POST", ("--as", "sub: bob, role: admin"), "allow admitted by the rule role:admin (gproxy.ini:14)"),
        ("POST", ("--as", "sub: bob, role: clerk"), "allow 403: no rule admits the request"),
        ("GET", ("-H", "Authorization: Bearer x.y.z"), "401: the token is rejected: it is malformed"),
        ("GET", (), "the request ends here; --as 'sub: alice' shows what follows for such an identity"),
        ("GET", ("-H", f"X-Token: {token()}", "-H", "X-Token: b"), "who 400: several fields with the credential; expected one"),
    ],
)  # fmt: skip
def test_the_last_line_is_the_result(gproxy, method, given, end):
    text = gproxy("explain", method, "/users", *given)
    assert part(text, "identity")[-1] == end
    is_admitted = "admitted" in end
    assert ("\nupstream users" in text, "\nrequest to 127.0.0.1:5001" in text) == (is_admitted, is_admitted)


def test_without_a_credential_the_status_and_the_way_to_go_on_are_named(gproxy):
    assert part(gproxy("explain", "GET", "/users"), "identity")[0] == "who 401: a credential is required"


def test_a_missing_role_and_a_cookie_from_another_site_are_403(gproxy, tmp_path):
    (tmp_path / "gproxy.ini").write_text(INI.replace("use = jwt\n", "use = jwt\nrole = admin\n"))
    cookie = "-H", f"Cookie: sid={token()}"
    text = gproxy("explain", "GET", "/users", *cookie)
    assert part(text, "identity")[-1] == "403: the token does not have the required role"
    text = gproxy("explain", "POST", "/users", *cookie, "-H", "Sec-Fetch-Site: cross-site")
    assert part(text, "identity")[-1].startswith("who 403: ")
    assert "\nrequest to" not in text


def test_the_failing_check_has_expected_beside_found(gproxy):
    rows = part(gproxy("explain", "GET", "/users", *bearer(aud="https://api.example/")), "identity")
    assert (
        "aud no it is meant for another audience; expected 'https://api.example'; "
        "found 'https://api.example/' (differs by a trailing slash)"
    ) in rows


def test_without_a_key_the_signature_is_not_checked(gproxy):
    rows = part(gproxy("explain", "GET", "/users", "-H", f"X-Token: {token()}"), "identity")
    assert "signature - not checked: no key is known here" in rows
    assert "accepted, if the signature is good: user 'alice'" in rows


def test_no_backend_gets_the_credential_and_the_report_does_not_show_it(gproxy):
    given = token()
    for path in ("/users", "/open"):
        text = gproxy("explain", "GET", path, "-H", f"X-Token: {given}", "-H", f"Cookie: sid={given}; a=1")
        assert "- X-Token: *** is the credential of an identity handler" in part(
            text, "request to 127.0.0.1:5001, before handlers"
        )
        assert given not in text
    assert "\nidentity\n" not in text


def test_a_cookie_that_is_removed_is_named_as_the_credential(gproxy):
    text = gproxy("explain", "GET", "/users", "-H", f"Cookie: sid={token()}")
    assert "- Cookie: *** is the credential of an identity handler" in part(
        text, "request to 127.0.0.1:5001, before handlers"
    )


def test_a_wrong_identity_is_one_line(gproxy):
    assert gproxy("explain", "GET", "/users", "--as", "bob", code=2) == (
        "gproxy explain: --as: expected NAME: VALUE; found 'bob'\n"
    )


def test_a_token_is_read_with_every_check_of_every_handler(gproxy):
    text = gproxy("token", "--read", text=f"Authorization: Bearer {token(org='a' + chr(27))}\n")
    assert part(text, "header") == ["{", '"alg": "HS256",', '"typ": "JWT"', "}"]
    assert '"org": "a\\u001b"' in part(text, "claims")
    assert "signature yes" in part(text, "handler jwt: accepted")
    assert "signature - not checked: no key is known here" in part(
        text, "handler partner: accepted, if the signature is good"
    )


def test_a_token_that_each_handler_rejects_is_status_1(gproxy):
    text = gproxy("token", "--read", text=token(exp=1_700_000_000), code=1)
    for name in ("jwt", "partner"):
        (line,) = (line for line in part(text, f"handler {name}: rejected") if line.startswith("exp"))
        assert line.startswith("exp no it has expired; ends 2023-11-14T22:13:20Z, ")
    assert gproxy("token", "--read", "--handler", "jwt", text="x.y", code=1).startswith("handler jwt: rejected\n  form")


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        ((), "", "--read: expected a token on standard input"),
        (("--handler", "jwtt"), "x", "no jwt handler named 'jwtt'; expected one of: jwt, partner"),
    ],
)
def test_wrong_arguments_are_one_line(gproxy, arguments, text, message):
    assert gproxy("token", "--read", *arguments, text=text, code=2) == f"gproxy token: {message}\n"


def test_no_line_has_the_token(gproxy):
    given = token()
    text = gproxy("token", "--read", text=given)
    assert not any(piece in text for piece in given.split("."))
    assert SECRET not in text


FILES = """\
[gateway]
handlers = who, rate_limit
[handler:who]
use = any_of
of = keys, staff
[handler:keys]
use = api_key
keys = keys.ini
[handler:staff]
use = basic
users = users
[handler:rate_limit]
limit = 10/minute
tier = plan
tiers = pro: 1000/minute
[route:users]
path = /users
upstream = users
[upstream:users]
backends = http://127.0.0.1:5001
"""
KEY = "a-key-of-another-gateway-0123456789"


def test_keys_and_passwords_of_files_are_judged_and_the_tier_is_named(tmp_path):
    (tmp_path / "gproxy.ini").write_text(FILES)
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    (tmp_path / "keys.ini").write_text(f"[acme]\nhash = sha256:{digest}\nplan = pro\nnetworks = 10.0.0.0/8\n")

    def run(*arguments, text=""):
        command = [sys.executable, "-m", "gproxy", *arguments]
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, input=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def explained(header, peer="10.1.2.3"):
        text = run("explain", "--config", "gproxy.ini", "GET", "/users", "-H", header, "--from", peer)
        assert header.rpartition(" ")[2] not in text
        return part(text, "identity")

    run("password", "bob", "--file", "users", text="correct horse\n")
    assert explained(f"X-API-Key: {KEY}") == [
        "who credential in header:X-API-Key, judged by keys",
        "api_key yes",
        "accepted: user 'acme'",
        "rate_limit tier pro: 1000/minute",
    ]
    assert explained(f"X-API-Key: {KEY}", "192.0.2.1")[-1] == "401: the key is rejected: it may not be used from here"
    assert explained("X-API-Key: a-key-of-yet-another-gateway-0123456789")[1] == "api_key no it is unknown"
    pair = base64.b64encode(b"bob:correct horse").decode()
    assert explained(f"Authorization: Basic {pair}")[1:] == [
        "basic yes",
        "accepted: user 'bob'",
        "rate_limit 10/minute: the client has no known tier",
    ]
    wrong = base64.b64encode(b"bob:wrong").decode()
    assert explained(f"Authorization: Basic {wrong}")[1] == "basic no user or password is wrong"


OF_ISSUER = """\
[gateway]
handlers = jwt
[handler:jwt]
issuer = {url}
audience = api
[route:users]
path = /users
respond = 200
"""


def test_the_kept_key_set_verifies_while_the_issuer_is_down(tmp_path):
    with Issuer() as issuer:
        with RunningGateway(OF_ISSUER.format(url=issuer.url), tmp_path) as gateway:
            given, forged = issuer.token(), issuer.token()[:-8] + "AAAAAAAA"
            assert gateway.get("/users", f"Authorization: Bearer {given}").status == 200
        issuer.stop()

        def run(*arguments, text="", code=0):
            command = [sys.executable, "-m", "gproxy", *arguments, "--config", "gproxy.ini"]
            done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, input=text)
            assert done.returncode == code, done.stderr
            return done.stdout

        rows = part(run("explain", "GET", "/users", "-H", f"Authorization: Bearer {given}"), "identity")
        assert rows[-3:] == [f"key yes kid is '{issuer.kid}'", "signature yes", "accepted: user 'alice'"]
        assert "signature yes" in part(run("token", "--read", text=given), "handler jwt: accepted")
        rejected = part(run("token", "--read", text=forged, code=1), "handler jwt: rejected")
        assert "signature no its signature is wrong" in rejected
        for path in (tmp_path / "var").glob("keys-*"):
            path.unlink()
        text = run("token", "--read", text=given)
        assert "not checked: no key set of" in text


OTHERS = """\
[gateway]
handlers = login, mtls, allow
[handler:login]
use = forward_auth
upstream = users
user = Remote-User
copy = Remote-User
[handler:mtls]
user = dns
[handler:allow]
allow = user:shop.internal
[route:all]
upstream = users
[route:services]
path = /services
skip = login
upstream = users
[upstream:users]
backends = http://127.0.0.1:5001
"""


def test_what_only_a_running_gateway_knows_is_not_called_rejected(tmp_path):
    (tmp_path / "gproxy.ini").write_text(OTHERS)

    def explained(*arguments):
        command = [sys.executable, "-m", "gproxy", "explain", "--config", "gproxy.ini", "GET", *arguments]
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return part(done.stdout, "identity")

    assert explained("/") == ["login not judged: only a running gateway can judge such a credential"]
    assert explained("/services", "--as", "dns: shop.internal")[1:] == [
        "accepted: user 'shop.internal'",
        "allow admitted by the rule user:shop.internal (gproxy.ini:11)",
    ]
