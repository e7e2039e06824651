"""The files of docs/getting-started.md, run as the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway

PAGE = (Path(__file__).resolve().parents[2] / "docs/getting-started.md").read_text()
STAGES = re.findall(r"^```ini\n(.*?)^```", PAGE, re.M | re.S)
HANDLERS = re.search(r"^```python\n(.*?)^```", PAGE, re.M | re.S)[1]


def run(folder, *arguments):
    return subprocess.run([sys.executable, "-m", "gproxy", *arguments], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("stage", range(3))
def test_each_file_of_the_page_is_correct(tmp_path, stage):
    if stage == 2:
        (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "gproxy.ini").write_text(STAGES[stage])
    done = run(tmp_path, "check", "--config", "gproxy.ini")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(STAGES) == 3


def started(folder, backend, stage):
    return RunningGateway(STAGES[stage].replace("http://localhost:5001", backend.url), folder)


def token(folder, name, role):
    done = run(folder, "token", "--config", "gproxy.ini", "--sub", name, "--role", role)
    assert done.returncode == 0, done.stderr
    return f"Authorization: Bearer {done.stdout.strip()}"


def test_the_first_route(tmp_path):
    with Backend(answering()) as backend, started(tmp_path, backend, 0) as gateway:
        assert gateway.get("/books/1").status == 200
        assert gateway.get("/films").status == 404
        assert gateway.line("/films")["reason"] == "no_route"


def test_the_gateway_at_the_end_of_the_page(tmp_path):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    with Backend(answering()) as backend, started(tmp_path, backend, 2) as gateway:
        assert gateway.get("/health").status == 200
        assert gateway.get("/books/1").status == 401
        alice, bob = token(tmp_path, "alice", "reader"), token(tmp_path, "bob", "editor")

        rejected = gateway.get("/books/1", alice, method="DELETE")
        assert rejected.status == 403
        assert b"only the role editor may change books" in rejected.body
        assert not backend.requests

        deleted = gateway.get("/books/1", bob, method="DELETE")
        assert (deleted.status, deleted["x-served-by"]) == (200, backend.url.removeprefix("http://"))
        received = backend.requests[0]
        assert (received["x-user-id"], received["x-user-role"], received["authorization"]) == ("bob", "editor", None)

        answers = [gateway.get("/books/1", alice, "X-User-ID: forged").status for _ in range(6)]
        assert answers == [200] * 4 + [429] * 2
        assert backend.requests[-1]["x-user-id"] == "alice"
        assert gateway.get("/books/1", bob).status == 200
        assert {line["reason"] for line in gateway.access(10)} == {"-", "auth_missing", "not_editor", "rate_limited"}


def test_the_chain_is_as_the_page_shows_it(tmp_path):
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "gproxy.ini").write_text(STAGES[2])
    chain = "health > jwt > rate_limit > editors > forward"
    assert chain in PAGE
    assert chain in run(tmp_path, "routes", "--config", "gproxy.ini").stdout
