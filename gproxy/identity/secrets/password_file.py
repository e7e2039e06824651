"""The file of passwords, in the form of htpasswd: `user:hash` in each line."""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from gproxy.identity.secrets.passwords import kind_of
from gproxy.identity.watched_file import place


class Users:
    """The password hashes of a file by user."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = hashes
        self._all = [*hashes.values()]

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, user: str) -> str | None:
        """Return the hash of this user, None if there is no such user."""
        return self._hashes.get(user)

    def decoy(self, user: str, secret: bytes) -> str | None:
        """Return the hash of another user, to spend as much time on an unknown one as on a known one.

        A name always gets the same decoy: so times do not show names that are unknown, whatever kinds the file has.
        None without users.
        """
        digest = blake2b(user.encode("utf-8", "surrogatepass"), digest_size=8, key=secret).digest()
        return self._all[int.from_bytes(digest) % len(self._all)] if self._all else None


def parse_users(path: Path, data: bytes) -> Users:
    """Return the users of a file. Raises ValueError with a line for each problem, each with its place."""
    hashes: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems: list[str] = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            entry = entry_of(line)
        except ValueError as error:
            problems.append(place(path, number, str(error)))
            continue
        if entry is None:
            continue
        user, text = entry
        if user in hashes:
            problems.append(place(path, number, f"{user!r} occurs twice; the first is at line {lines[user]}"))
        hashes[user], lines[user] = text, number
    if problems:
        raise ValueError("\n".join(problems))
    return Users(hashes)


def entry_of(line: bytes) -> tuple[str, str] | None:
    """Return user and hash of a line, None for an empty line or a comment. Raises ValueError, without the hash."""
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8; RFC 7617 wants UTF-8 for users too") from None
    if not text or text.startswith("#"):
        return None
    user, colon, digest = text.partition(":")
    if not colon or not user:
        raise ValueError("expected USER:HASH, as `gproxy password` and htpasswd write it")
    if not user.isprintable():
        raise ValueError("the name of a user is a text of printable characters")
    try:
        kind_of(digest)
    except ValueError as error:
        raise ValueError(f"the entry of {user!r} {error}") from None
    return user, digest
