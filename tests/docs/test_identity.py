"""docs/identity.md: each file is correct, and what the page prints runs as printed."""

import os
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import forked
import pytest

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor, Backend, answering, reply
from gproxy.testing.gateway import RunningGateway
from gproxy.testing.issuer import Issuer

PAGE = (Path(__file__).resolve().parents[2] / "docs/identity.md").read_text()
SECTIONS = dict(re.findall(r"^##+ (.+?)\n(.*?)(?=^##+ |\Z)", PAGE, re.M | re.S))
SECRET = "a secret of at least thirty-two bytes"
ENVIRON = {"JWT_SECRET": SECRET, "INTROSPECTION_SECRET": "s3cret"}
RECIPES = [
    "Keycloak", "Auth0", "Entra ID", "Cognito", "Google", "GitHub Actions", "MCP servers",
    "API keys for partners", "Passwords of htpasswd", "Certificates between services",
    "A login in the browser: oauth2-proxy or Authelia",
]  # fmt: skip
#: The user's own module of the page's example.
SESSIONS = """
from collections import namedtuple
Row = namedtuple("Row", "name plan")
def find(sid):
    return {"s1": Row("alice", "pro")}.get(sid)
"""


def blocks(title, language):
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[title], re.M | re.S)


#: The file of keys, and the key whose hash is there.
KEYS = blocks("API keys for partners", "ini")[1]
KEY = "a key that the partner has had for years"


def files():
    """The settings of the page, each with the title of its section."""
    return [
        (title, number)
        for title in SECTIONS
        for number, block in enumerate(blocks(title, "ini"))
        if "[upstream:" in block
    ]


def test_each_recipe_has_a_file():
    part = PAGE[PAGE.index("## Recipes") : PAGE.index("## Opaque tokens")]
    assert re.findall(r"^### (.+)$", part, re.M) == RECIPES
    assert set(RECIPES) <= {title for title, _ in files()}


@pytest.fixture(scope="module")
def files_of_settings(tmp_path_factory):
    """A folder with the files that the page's settings name."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("etc", "tls"):
        (folder / name).mkdir()
    (folder / "etc/keys.ini").write_text(KEYS)
    command = [sys.executable, "-m", "gproxy", "password", "alice", "--file", "etc/users"]
    forked.run(command, cwd=folder, input="correct horse battery\n", text=True, check=True, capture_output=True)
    authority = Authority(folder / "tls", "services-ca")
    authority.path.rename(folder / "tls/services-ca.crt")
    for name in ("tools.example.com", "gateway"):
        for path, suffix in zip(authority.issue(name, file=name), ("crt", "key"), strict=True):
            Path(path).rename(folder / "tls" / f"{name}.{suffix}")
    (folder / "sessions.py").write_text(SESSIONS)
    (folder / "handlers.py").write_text(blocks("Your own", "python")[0])
    return folder


@pytest.fixture
def folder(files_of_settings, tmp_path):
    return shutil.copytree(files_of_settings, tmp_path, dirs_exist_ok=True)


def check(folder, text):
    (folder / "gproxy.ini").write_text(text)
    command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"]
    environ = {"PATH": os.environ["PATH"], **ENVIRON}
    done = forked.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize(("title", "number"), files(), ids=lambda value: str(value).replace(" ", "-"))
def test_a_file_has_no_mistake_and_no_warning(folder, title, number):
    assert check(folder, blocks(title, "ini")[number]) == (0, "")


class Provider(NamedTuple):
    """What a provider's tokens have, which headers follow, and what is rejected with which status."""

    audience: str | None
    claims: dict[str, object]
    headers: dict[str, str]
    rejected: list[tuple[dict[str, object], int]]
    path: str = "/api"


TENANT = "11111111-2222-3333-4444-555555555555"
PROVIDERS = {
    "Keycloak": Provider(
        "shop-api",
        {
            "typ": "Bearer",
            "preferred_username": "alice",
            "realm_access": {"roles": ["clerk", "lead"]},
            "resource_access": {"shop-api": {"roles": ["buyer"]}},
        },
        {"x-user-id": "f3a1", "x-user-name": "alice", "x-user-role": "clerk,lead"},
        [({"typ": "ID"}, 401), ({"aud": "account"}, 401), ({"aud": None}, 401)],
    ),
    "Auth0": Provider(
        "https://api.example.com",
        {"aud": ["https://api.example.com", "https://example.eu.auth0.com/userinfo"], "scope": "openid read:orders"},
        {"x-user-id": "f3a1"},
        [({"scope": "openid"}, 403), ({"aud": ["https://example.eu.auth0.com/userinfo"]}, 401)],
    ),
    "Entra ID": Provider(
        "99999999-8888-7777-6666-555555555555",
        {"tid": TENANT, "oid": "0-1", "name": "Alice", "scp": "Orders.Read"},
        {"x-user-id": "0-1", "x-user-name": "Alice"},
        [({"scp": "User.Read"}, 403), ({"aud": "api://orders"}, 401)],
    ),
    "Cognito": Provider(
        None,
        {"token_use": "access", "client_id": "1example23456789", "cognito:groups": ["clerks", "leads"]},
        {"x-user-id": "f3a1", "x-user-role": "clerks,leads"},
        [({"token_use": "id"}, 401), ({"client_id": "another"}, 401), ({"client_id": None}, 401)],
    ),
    "Google": Provider(
        "1234567890-abc.apps.googleusercontent.com",
        {"hd": "example.com", "email": "alice@example.com", "email_verified": True},
        {"x-user-id": "f3a1", "x-user-email": "alice@example.com"},
        [({"hd": None}, 401), ({"hd": "example.org"}, 401), ({"email_verified": False}, 401)],
    ),
    "GitHub Actions": Provider(
        "https://deploy.example.com",
        {"repository": "acme/shop", "ref": "refs/heads/main", "run_id": "7"},
        {"x-repository": "acme/shop", "x-ref": "refs/heads/main", "x-run-id": "7"},
        [({"ref": "refs/heads/x"}, 403), ({"repository": "eve/shop"}, 403), ({"aud": "https://github.com/acme"}, 401)],
        "/deploy",
    ),
}


@pytest.mark.parametrize("title", PROVIDERS)
def test_a_recipe_admits_the_tokens_of_its_provider_and_no_others(tmp_path, title):
    provider = PROVIDERS[title]
    (text,) = blocks(title, "ini")
    with Issuer(algorithm="RS256") as issuer, Backend(answering()) as backend:
        text = re.sub(r"^issuer = .*", f"issuer = {issuer.url}", text, flags=re.M)
        text = text.replace("http://localhost:5001", backend.url)
        with RunningGateway(text, tmp_path) as gateway:
            usual = {"aud": provider.audience, **provider.claims}
            for change, status in [({}, 200), *provider.rejected]:
                bearer = issuer.token("f3a1", **{**usual, **change})
                assert gateway.get(provider.path, f"Authorization: Bearer {bearer}").status == status, change
            (seen,) = backend.requests
            assert {name: seen[name] for name in provider.headers} == provider.headers
            assert seen["authorization"] is None


def test_partners_have_keys_and_what_their_section_says(folder):
    assert sha256(KEY.encode()).hexdigest() in KEYS
    (folder / "etc/keys.ini").write_text(KEYS.replace("203.0.113.0/24", "127.0.0.0/8"))
    text = blocks("API keys for partners", "ini")[0].replace("limit = 60", "limit = 1").replace("pro: 1000", "pro: 2")
    with Backend(answering()) as backend:
        with RunningGateway(text.replace("http://localhost:5001", backend.url), folder) as gateway:
            key = f"X-API-Key: {KEY}"
            assert [gateway.get("/orders", key).status for _ in range(3)] == [200, 200, 429]
            (seen, _) = backend.requests
            assert (seen["x-partner"], seen["x-plan"], seen["x-api-key"]) == ("acme-prod", "pro", None)
            assert gateway.get("/orders", "X-API-Key: another key of twenty characters").status == 401
            assert gateway.get("/orders").status == 401
            assert KEY not in gateway.errors


def test_a_user_of_htpasswd_logs_in(folder):
    (text,) = blocks("Passwords of htpasswd", "ini")
    text = text[text.index("[gateway]") :]
    with Backend(answering()) as backend:
        with RunningGateway(text.replace("http://localhost:5001", backend.url), folder) as gateway:
            pair = b64encode(b"alice:correct horse battery").decode()
            assert gateway.get("/", f"Authorization: Basic {pair}").status == 200
            assert (backend.requests[0]["x-user-id"], backend.requests[0]["authorization"]) == ("alice", None)
            answer = gateway.get("/")
            assert (answer.status, answer["www-authenticate"]) == (401, 'Basic realm="tools", charset="UTF-8"')


def authorizer(login, headers):
    """An act that admits who has a session, and sends others to a login page."""

    def act(peer, request):
        if request.line.startswith("GET /oauth2/") or request["host"] == "auth.example.com":
            reply(b"a page of its own")(peer, request)
        elif request["cookie"] == "session=s1":
            reply(b"", *headers, status="202 Accepted")(peer, request)
        else:
            reply(b"", f"Location: {login}", status="302 Found")(peer, request)

    return act


@pytest.mark.parametrize("number", [0, 1], ids=["oauth2-proxy", "authelia"])
def test_a_login_in_the_browser(tmp_path, number):
    text = blocks(RECIPES[-1], "ini")[number]
    prefix, path = (("X-Auth-Request", "/"), ("Remote", "/api/authz/forward-auth"))[number]
    login = "https://auth.example.com/?rd=https://app.example.com/"
    headers = [f"{prefix}-User: alice", f"{prefix}-Email: alice@example.com", "Set-Cookie: session=s2"]
    with Backend(answering()) as backend, Actor(authorizer(login, headers)) as authority:
        for port, part in (("5001", backend), ("4180" if number == 0 else "9091", authority)):
            text = text.replace(f"http://localhost:{port}", part.url)
        with RunningGateway(text, tmp_path) as gateway:

            def get(target, host, *lines):
                fields = "".join(f"{line}\r\n" for line in lines)
                return gateway.ask(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n")

            host = "app.example.com"
            answer = get("/", host)
            assert (answer.status, answer["location"]) == (302, login)
            assert not backend.requests
            answer = get("/", host, "Cookie: session=s1", f"{prefix}-Groups: admins")
            assert (answer.status, answer["set-cookie"]) == (200, None if number else "session=s2")
            assert authority.requests[-1].line.split()[1] == path
            (seen,) = backend.requests
            assert (seen[f"{prefix}-user"], seen[f"{prefix}-groups"]) == ("alice", None)
            assert "alice" in [line["user"] for line in gateway.access(2)]
            own = get("/oauth2/sign_in", host) if number == 0 else get("/", "auth.example.com")
            assert (own.status, own.body) == (200, b"a page of its own")


def test_a_tenant_of_entra_id_is_that_of_the_issuer(tmp_path):
    """The line in the text below the recipe."""
    (line,) = re.findall(r"`(issuer = https://login.microsoftonline.com/\{tid\}[^`]*)`", SECTIONS["Entra ID"])
    with Issuer() as issuer:
        place = line.split()[2].replace("https://login.microsoftonline.com", issuer.url)
        line = f"issuer = {place} jwks={issuer.keys_url}"
        ini = f"[gateway]\nhandlers = jwt\n[handler:jwt]\n{line}\naudience = api\nclaims = tid: *\n[route:all]\nrespond = 200\n"
        with RunningGateway(ini, tmp_path) as gateway:
            for tenant, status in ((TENANT, 200), ("another", 401)):
                bearer = issuer.token(iss=f"{issuer.url}/{tenant}/v2.0", tid=TENANT)
                assert gateway.get("/", f"Authorization: Bearer {bearer}").status == status


@pytest.mark.parametrize("change", [{}, {"sources = cookie:sid": ""}], ids=["with a source", "without"])
def test_the_session_of_the_page_is_a_member_of_any_of(folder, change):
    (text,) = blocks("Your own", "ini")
    with Backend(answering()) as backend:
        for before, after in {"http://localhost:5001": backend.url, **change}.items():
            text = text.replace(before, after)
        with RunningGateway(text, folder, environ=ENVIRON) as gateway:
            assert gateway.get("/", "Cookie: a=1; sid=s1; b=2", "X-Plan: forged").status == 200
            seen = backend.requests[0]
            assert seen["x-plan"] == "pro"
            assert seen["cookie"] == ("a=1; sid=s1; b=2" if change else "a=1; b=2")
            line = gateway.line("/")
            assert (line["user"], line["auth"]) == ("alice", "session")
            for cookie in ("Cookie: sid=other", "Cookie: other=s1"):
                answer = gateway.get("/none", cookie)
                assert answer.status == 401
                assert answer["www-authenticate"] == 'Session realm="gproxy", Bearer realm="gproxy"'


def test_the_session_of_the_page_alone(folder):
    text = dedent(
        """\
        [gateway]
        handlers = session
        [handler:session]
        use = handlers:Session
        [route:all]
        respond = 200
        """
    )
    with RunningGateway(text, folder) as gateway:
        assert gateway.get("/", "Cookie: sid=s1").status == 200
        assert gateway.get("/", "Cookie: sid=s2").status == 401


def test_the_tests_of_the_page_run_as_printed(folder):
    printed = {
        re.match(r"# (test_\w+\.py)\n", block)[1]: block
        for title in ("Your own", "Test with an issuer")
        for block in blocks(title, "python")
        if block.startswith("# test_")
    }
    assert set(printed) == {"test_session.py", "test_issuer.py"}
    for name, block in printed.items():
        (folder / name).write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *printed]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
