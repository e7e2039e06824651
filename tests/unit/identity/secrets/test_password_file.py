"""The file of passwords: entries, and the lines of its mistakes."""

from pathlib import Path

import pytest

from gproxy.identity.secrets.password_file import parse_users

PATH = Path("etc/users")
BCRYPT = "$2y$05$Xk.n5zbbQjxjbv52fh0E9.PIQTvQo0QR/bn3JIk2i6u7SpCsyKpXS"
SCRYPT = "$scrypt$ln=4,r=1,p=1$MTIzNDU2Nzg$MTIzNDU2Nzg5MDEyMzQ1Ng"


def test_users():
    users = parse_users(PATH, f"# comment\n\nalice:{BCRYPT}\r\n  \nmüller@x:{SCRYPT}".encode())
    assert len(users) == 2
    assert (users.find("alice"), users.find("müller@x"), users.find("bob")) == (BCRYPT, SCRYPT, None)
    assert parse_users(PATH, b"").decoy("x", b"key") is None


def test_each_mistake_has_its_line_and_no_hash():
    lines = [
        b"# comment", b"alice:$apr1$OfnrcFBR$l8Sca/4rLEP9xIzBm.K2K0", b"bob", f":{BCRYPT}".encode(),
        b"carol:secret", f"dave:{BCRYPT}".encode(), f"dave:{SCRYPT}".encode(), b"\xff:x", f"e\tve:{BCRYPT}".encode(),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="etc/users:2") as error:
        parse_users(PATH, b"\n".join(lines))
    assert str(error.value).splitlines() == [
        "etc/users:2: the entry of 'alice' is a hash of MD5, which is guessed too fast; expected bcrypt, argon2 or scrypt",
        "etc/users:3: expected USER:HASH, as `gproxy password` and htpasswd write it",
        "etc/users:4: expected USER:HASH, as `gproxy password` and htpasswd write it",
        "etc/users:5: the entry of 'carol' is no known hash; expected bcrypt, argon2 or scrypt, as `gproxy password` writes it",
        "etc/users:7: 'dave' occurs twice; the first is at line 6",
        "etc/users:8: is not UTF-8; RFC 7617 wants UTF-8 for users too",
        "etc/users:9: the name of a user is a text of printable characters",
    ]  # fmt: skip
