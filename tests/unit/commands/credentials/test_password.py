"""`gproxy password`: what changes in a file of passwords, and what stays as it is."""

import io
import stat
import sys

import pytest

from gproxy.commands.credentials import password, secret_line
from gproxy.commands.credentials.password import asked, with_entry, write
from gproxy.identity.secrets import passwords
from gproxy.identity.secrets.password_file import parse_users
from gproxy.identity.secrets.passwords import is_right

BCRYPT = "$2y$05$Xk.n5zbbQjxjbv52fh0E9.PIQTvQo0QR/bn3JIk2i6u7SpCsyKpXS"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(passwords, "_LN", 4)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"alice:new\n"),
        (b"# users", b"# users\nalice:new\n"),
        (b"bob:1\nalice:2\n# end\n", b"bob:1\nalice:new\n# end\n"),
        (b"alice:2", b"alice:new\n"),
        (b"malice:1\r\nalice2:2\r\n", b"malice:1\r\nalice2:2\r\nalice:new\r\n"),
    ],
)
def test_an_entry_is_replaced_or_added_and_the_rest_stays(before, after):
    assert with_entry(before, "alice", b"alice:new") == after


@pytest.mark.parametrize("kind", ["scrypt", "bcrypt", "argon2"])
def test_a_password_is_written_as_a_hash(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(passwords, "_ROUNDS", 4)
    path = tmp_path / "users"
    path.write_text(f"# users\nbob:{BCRYPT}\nalice:{BCRYPT}\n")
    path.chmod(0o644)
    write(path, "alice", "pässword", kind)
    users = parse_users(path, path.read_bytes())
    assert is_right("pässword", users.find("alice"))
    assert users.find("bob") == BCRYPT
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.read_text().startswith("# users\n")


def test_a_new_file_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "etc" / "users"  # whose folder is made too
    write(path, "alice", "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_other_entries_with_problems_leave_the_file_as_it_is(tmp_path):
    path = tmp_path / "users"
    path.write_text("bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
    with pytest.raises(ValueError, match="users:1: the entry of 'bob' is a hash of SHA-1"):
        write(path, "alice", "secret")
    assert path.read_text() == "bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"


@pytest.mark.parametrize("user", ["", "a:b", "a\nb", " a", "#a"])
def test_users_that_cannot_be_written(tmp_path, user):
    with pytest.raises(ValueError, match="cannot be a user"):
        write(tmp_path / "users", user, "secret")


@pytest.mark.parametrize("text", ["", "a\tb", "a\x7f"])
def test_passwords_that_no_client_can_send(tmp_path, text):
    with pytest.raises(ValueError, match="the password is empty or has control characters"):
        write(tmp_path / "users", "alice", text)


class Input(io.TextIOWrapper):
    def __init__(self, data, *, typed=False):
        super().__init__(io.BytesIO(data))
        self.isatty = lambda: typed


def test_a_password_from_the_standard_input(monkeypatch):
    for data, expected in [("gehäim\nmore\n".encode(), "gehäim"), (b" x \r\n", " x "), (b"", "")]:
        monkeypatch.setattr(sys, "stdin", Input(data))
        assert asked("alice") == expected
    monkeypatch.setattr(sys, "stdin", Input(b"\xff\n"))
    with pytest.raises(ValueError, match="the standard input is not UTF-8"):
        asked("alice")


def test_a_person_types_it_twice_without_echo(monkeypatch):
    typed = iter(["secret", "secret", "secret", "sceret"])
    monkeypatch.setattr(sys, "stdin", Input(b"", typed=True))
    monkeypatch.setattr(secret_line, "getpass", lambda _: next(typed))
    assert password.asked("alice") == "secret"
    with pytest.raises(ValueError, match="the two passwords differ"):
        password.asked("alice")
