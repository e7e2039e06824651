"""git over HTTP: a clone and a push of some megabytes, with a password, through the gateway's defaults."""

import os

import pytest
from programs import gunicorn, in_front_of, required, run, succeed

#: Neither the settings of the user nor a prompt.
ENVIRON = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    **{f"GIT_{who}_{what}": f"alice{end}" for who in ("AUTHOR", "COMMITTER") for what, end in (("NAME", ""), ("EMAIL", "@example.com"))},
}  # fmt: skip


def git(folder, *arguments):
    return succeed(required("git"), "-C", str(folder), *arguments, env=ENVIRON).decode().strip()


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("git")
    git(folder, "init", "--quiet", "--bare", "shop.git")
    with gunicorn(folder, "git_wsgi:app") as port, in_front_of(port, folder) as gateway:
        gateway.url = f"http://alice:wonder@127.0.0.1:{gateway.port}/shop.git"
        yield gateway


def test_a_push_and_a_clone_of_some_megabytes(host, tmp_path):
    """A pack of more than 1 MB is sent in chunks, after a request that only asks for the password."""
    first, second = tmp_path / "first", tmp_path / "second"
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", "first")
    for number in range(3):
        (first / f"photo{number}.jpg").write_bytes(os.urandom(2_000_000))
        git(first, "add", ".")
        git(first, "commit", "--quiet", "-m", f"Add photo {number}")
    git(first, "push", "--quiet", host.url, "main")
    assert git(tmp_path, "ls-remote", host.url, "main").split()[0] == git(first, "rev-parse", "HEAD")

    git(tmp_path, "clone", "--quiet", "--branch", "main", host.url, "second")
    git(second, "fsck", "--strict")
    assert git(second, "log", "--format=%H %s") == git(first, "log", "--format=%H %s")

    (first / "notes.txt").write_text("a small change\n")
    git(first, "add", ".")
    git(first, "commit", "--quiet", "-m", "Add notes")
    git(first, "push", "--quiet", host.url, "main")
    git(second, "pull", "--quiet", "--ff-only")
    assert (second / "notes.txt").read_text() == "a small change\n"

    lines = [line for line in host.access() if line["method"] == "POST" and "receive-pack" in line["path"]]
    assert {line["status"] for line in lines} == {"200"}
    assert max(int(line["reqsize"]) for line in lines) > 6_000_000


def test_a_push_with_a_wrong_password_is_the_servers_answer(host, tmp_path):
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", "first")
    git(tmp_path / "first", "commit", "--quiet", "--allow-empty", "-m", "Begin")
    wrong = host.url.replace("wonder", "guess")
    done = run(required("git"), "-C", str(tmp_path / "first"), "push", wrong, "main:other", env=ENVIRON)
    assert done.returncode != 0
    assert b"Authentication failed" in done.stderr
