"""`gproxy password`: writes the hash of a user's password into a file in the form of htpasswd."""

import argparse
import re
import sys
from pathlib import Path
from typing import Final
from unicodedata import normalize

from gproxy.commands.credentials.file_edit import edit
from gproxy.commands.credentials.secret_line import is_person, secret_line
from gproxy.identity.secrets.password_file import parse_users
from gproxy.identity.secrets.passwords import Kind, hashed

_is_line_end: Final = re.compile(rb"\r?\n$").search


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("user", metavar="USER", help="name of the user")
    parser.add_argument("--file", required=True, metavar="FILE", help="file in the form of htpasswd, as in users =")
    kinds = "kind of the hash (default: scrypt); the others need gproxy[passwords]"
    parser.add_argument("--kind", choices=("scrypt", "bcrypt", "argon2"), default="scrypt", help=kinds)


def run(options: argparse.Namespace) -> int:
    """Ask for a password and write it. Return the exit code."""
    try:
        write(Path(options.file), options.user, asked(options.user), options.kind)
    except (ValueError, OSError) as error:
        print(f"gproxy password: {error}", file=sys.stderr)
        return 2
    return 0


def write(path: Path, user: str, password: str, kind: Kind = "scrypt") -> None:
    """Replace the password of a user, or add the user. Comments and other lines stay.

    Clients send both in Unicode's form NFC (RFC 7617 section 2.1). Raises ValueError for a user or a password that
    RFC 7617 excludes, and for a file with problems in other lines.
    """
    user, password = (normalize("NFC", text) for text in (user, password))
    if not user or ":" in user or not user.isprintable() or user != user.strip() or user.startswith("#"):
        raise ValueError(f"{user!r} cannot be a user; expected a name without colons and control characters")
    if not password or any(ord(sign) < 32 or ord(sign) == 127 for sign in password):
        raise ValueError("the password is empty or has control characters")
    entry = f"{user}:{hashed(password, kind)}".encode()
    edit(path, lambda data: _checked(path, with_entry(data, user, entry)))


def with_entry(data: bytes, user: str, entry: bytes) -> bytes:
    """Return the content of a file with this entry in place of the user's, or at the end."""
    lines = data.splitlines(keepends=True)
    place = next((number for number, line in enumerate(lines) if line.startswith(f"{user}:".encode())), None)
    end = next((match[0] for line in lines if (match := _is_line_end(line))), b"\n")
    if place is not None:
        lines[place] = entry + end
        return b"".join(lines)
    if lines and not _is_line_end(lines[-1]):
        lines[-1] += end
    return b"".join([*lines, entry + end])


def _checked(path: Path, data: bytes) -> bytes:
    parse_users(path, data)
    return data


def asked(user: str) -> str:
    """Return the password that a person types twice without echo, or the first line of the standard input.

    Raises ValueError if the two differ, or if the input is not UTF-8.
    """
    password = secret_line(f"password of {user}: ")
    if is_person() and secret_line("again: ") != password:
        raise ValueError("the two passwords differ")
    return password
