"""Hashes of passwords: made and verified by us, by other programs, and those that are not usable."""

import hashlib
from base64 import b64encode

import pytest

from gproxy.identity.secrets import passwords
from gproxy.identity.secrets.passwords import hashed, is_right, is_too_long, kind_of

#: As `htpasswd -nbB`, `argon2 somesalt -e -id -m 12`, and passlib write them for the password "secret".
BCRYPT = "$2y$05$Xk.n5zbbQjxjbv52fh0E9.PIQTvQo0QR/bn3JIk2i6u7SpCsyKpXS"
ARGON2 = "$argon2id$v=19$m=65536,t=3,p=1$c29tZXNhbHQ$+NjXAUFbnb55bu+d7f6OzT3jt4SrWIA0Xkm5hM8uxOs"


def scrypt_of(password, ln=4, r=1, p=1, salt=b"12345678", size=32):
    key = hashlib.scrypt(password, salt=salt, n=1 << ln, r=r, p=p, dklen=size)
    parts = (b64encode(part).decode().rstrip("=") for part in (salt, key))
    return f"$scrypt$ln={ln},r={r},p={p}${'$'.join(parts)}"


@pytest.mark.parametrize("kind", ["scrypt", "bcrypt", "argon2"])
def test_a_hash_of_ours(kind, monkeypatch):
    monkeypatch.setattr(passwords, "_LN", 4)
    monkeypatch.setattr(passwords, "_ROUNDS", 4)
    one, two = (hashed("pässword", kind) for _ in range(2))
    assert one != two
    assert kind_of(one) == kind
    assert is_right("pässword", one)
    assert not is_right("passwort", one)


@pytest.mark.parametrize(("text", "kind"), [(BCRYPT, "bcrypt"), (ARGON2, "argon2"), (scrypt_of(b"secret"), "scrypt")])
def test_a_hash_of_others(text, kind):
    assert kind_of(text) == kind
    assert is_right("secret", text)
    assert not is_right("Secret", text)


def test_the_scrypt_vector_of_rfc_7914():
    text = scrypt_of(b"pleaseletmein", 14, 8, 1, b"SodiumChloride", 64)
    assert b64encode(bytes.fromhex("7023bdcb3afd7348461c06cd81fd38eb")).decode().rstrip("=")[:20] in text
    assert is_right("pleaseletmein", text)


def test_a_new_scrypt_hash_takes_32_mebibytes():
    assert hashed("x").startswith("$scrypt$ln=15,r=8,p=3$")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("$apr1$OfnrcFBR$l8Sca/4rLEP9xIzBm.K2K0", "MD5"),
        ("$1$OfnrcFBR$l8Sca/4rLEP9xIzBm.K2K0", "MD5"),
        ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"),
        ("{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"),
        ("7gGZJyQ6HuqXc", "crypt"),
        ("$5$UfrUUOEp65dQ0vbn$yh.CxcXMIk7BLCSUJzmwJHLHE831tQqXUikY8thEP24", "crypt"),
        ("$6$CTxHfbZumULWYDJl$h8OLoXZSQBwo", "crypt"),
    ],
)
def test_hashes_that_are_guessed_too_fast(text, kind):
    with pytest.raises(ValueError, match=f"^is a hash of {kind}, which is guessed too fast; expected bcrypt") as error:
        kind_of(text)
    assert text not in str(error.value)


@pytest.mark.parametrize("text", ["", "secret", "$2y$10$short", "$scrypt$", "$argon2id$x", "plain text"])
def test_what_is_no_hash_is_not_shown(text):
    with pytest.raises(ValueError, match=r"^is no known hash") as error:
        kind_of(text)
    assert not text or text not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        BCRYPT.replace("$05$", "$17$"),
        BCRYPT.replace("$05$", "$03$"),
        ARGON2.replace("m=65536", "m=999999999"),
        "$scrypt$ln=20,r=8,p=1$MTIzNDU2Nzg$MTIzNDU2Nzg5MDEyMzQ1Ng",
    ],
)
def test_hashes_that_cost_too_much(text):
    with pytest.raises(ValueError, match=r"^is a hash that costs too much"):
        kind_of(text)


@pytest.mark.parametrize("cost", ["ln=0,r=8,p=1", "ln=16,r=1,p=1", "ln=4,r=0,p=1", "ln=4,r=8,p=0"])
def test_a_hash_that_scrypt_cannot_compute_is_found_at_the_start(cost):
    with pytest.raises(ValueError, match=r"^is (a hash with impossible costs|no known hash)"):
        kind_of(f"$scrypt${cost}$MTIzNDU2Nzg$MTIzNDU2Nzg5MDEyMzQ1Ng")


def test_a_hash_has_the_signs_of_base64():
    with pytest.raises(ValueError, match=r"^is no known hash"):
        kind_of("$argon2id$v=19$m=8,t=1,p=1$ü$ü")


@pytest.mark.parametrize(("text", "package"), [(BCRYPT, "bcrypt"), (ARGON2, "argon2")])
def test_a_hash_without_its_package(monkeypatch, text, package):
    monkeypatch.setattr(passwords, "find_spec", lambda name: None if name == package else True)
    with pytest.raises(ValueError, match=rf"needs the package {package}: pip install 'gproxy\[passwords\]'"):
        kind_of(text)
    kind_of(scrypt_of(b"x"))


def test_bcrypt_reads_72_bytes_and_no_nul():
    assert is_too_long("ü" * 37, BCRYPT)
    assert not is_too_long("ü" * 36, BCRYPT)
    assert not is_too_long("x" * 1000, ARGON2)
    assert not is_right("x" * 73, BCRYPT)
    assert not is_right("secret\0", BCRYPT)
    with pytest.raises(ValueError, match="the password exceeds the limit of bcrypt, 72 bytes"):
        hashed("x" * 73, "bcrypt")


def test_a_broken_argon2_hash_is_no_error():
    assert not is_right("secret", ARGON2[:-3] + "!!!")
