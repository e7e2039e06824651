"""docs/identity.md: each file is correct, and what the page prints runs as printed."""

import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from textwrap import dedent

import pytest

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway

PAGE = (Path(__file__).resolve().parents[2] / "docs/identity.md").read_text()
SECTIONS = dict(re.findall(r"^##+ (.+?)\n(.*?)(?=^##+ |\Z)", PAGE, re.M | re.S))
SECRET = "a secret of at least thirty-two bytes"
ENVIRON = {"JWT_SECRET": SECRET, "INTROSPECTION_SECRET": "s3cret"}
RECIPES = [
    "Keycloak", "Auth0", "Entra ID", "Cognito", "Google", "GitHub Actions",
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


def files():
    """The settings of the page, each with the title of its section."""
    return [
        (title, number)
        for title in SECTIONS
        for number, block in enumerate(blocks(title, "ini"))
        if "[upstream:" in block
    ]


def test_there_are_ten_recipes_and_each_has_a_file():
    part = PAGE[PAGE.index("## Recipes") : PAGE.index("## Opaque tokens")]
    assert re.findall(r"^### (.+)$", part, re.M) == RECIPES
    assert set(RECIPES) <= {title for title, _ in files()}


@pytest.fixture
def folder(tmp_path):
    """With the files that the page's settings name."""
    for name in ("etc", "tls"):
        (tmp_path / name).mkdir()
    key = "gk_not-a-key-of-anyone-in-the-world"
    (tmp_path / "etc/keys.ini").write_text(f"[acme]\nhash = sha256:{sha256(key.encode()).hexdigest()}\nplan = pro\n")
    authority = Authority(tmp_path / "tls", "services-ca")
    authority.path.rename(tmp_path / "tls/services-ca.crt")
    for name in ("tools.example.com", "gateway"):
        for path, suffix in zip(authority.issue(name, file=name), ("crt", "key"), strict=True):
            Path(path).rename(tmp_path / "tls" / f"{name}.{suffix}")
    (tmp_path / "sessions.py").write_text(SESSIONS)
    (tmp_path / "handlers.py").write_text(blocks("Your own", "python")[0])
    return tmp_path


def check(folder, text):
    (folder / "gproxy.ini").write_text(text)
    command = [sys.executable, "-m", "gproxy", "check", "--config", "gproxy.ini"]
    environ = {"PATH": os.environ["PATH"], **ENVIRON}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize(("title", "number"), files(), ids=lambda value: str(value).replace(" ", "-"))
def test_a_file_has_no_mistake_and_no_warning(folder, title, number):
    assert check(folder, blocks(title, "ini")[number]) == (0, "")


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
