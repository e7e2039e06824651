"""The file of API keys: what a section says, and which mistakes are reported with their lines."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from gproxy.identity.secrets.api_keys import APIKey, hash_of, parse_moment
from gproxy.identity.secrets.key_file import parse_keys

PATH = Path("etc/keys.ini")
A, B = hash_of("a" * 20), hash_of("b" * 20)


def parsed(text):
    return parse_keys(PATH, text.encode())


def problems(text):
    with pytest.raises(ValueError, match=str(PATH)) as error:
        parsed(text)
    return str(error.value).splitlines()


def test_a_key_with_all_options():
    keys = parsed(f"""
; partners
[acme-prod]
hash = {A}      ; since May
    {B.upper().replace("SHA", "sha")}
expires = 2027-01-31
disabled = yes
networks = 10.0.0.0/8, ::1
scopes = orders.read, orders.write
roles = partner
plan = pro
limit = 500/minute
regions = eu
    us
""")
    key = APIKey(
        "acme-prod",
        parse_moment("2027-01-31"),
        disabled=True,
        networks=(ip_network("10.0.0.0/8"), ip_network("::1")),
        scopes=("orders.read", "orders.write"),
        roles=("partner",),
        claims={"plan": "pro", "limit": "500/minute", "regions": ["eu", "us"]},
        place="etc/keys.ini:3",
    )
    assert keys == {A: key, B: key}


def test_a_variable_of_the_environment(monkeypatch):
    monkeypatch.setenv("PLAN", "pro")
    assert parsed(f"[a]\nhash = {A}\nplan = ${{PLAN}}")[A].claims == {"plan": "pro"}


def test_an_empty_file_has_no_keys():
    assert parsed("") == parsed("; nothing\n") == {}


def test_each_mistake_has_its_line():
    found = problems(f"""
[first]
hash = {A}
[second]
hash = {B},
    {A}
expires = soon
[third]
hash = {A}
expire = 2027-01-31
[fourth]
plan = pro
[fifth]
hash = gk_a-key-and-no-hash
[sixth]
hash = {hash_of("1")}, {hash_of("2")}, {hash_of("3")}
networks = here
[first]
plan = pro
no option
""")
    form = "expected sha256: and 64 hexadecimal digits, as `gproxy key hash` prints them"
    assert [line.partition("; found")[0].partition(": SHA")[0] for line in found] == [
        "etc/keys.ini:7: [second] expires: expected a date or time such as 2027-01-31 or 2027-01-31T12:00:00Z",
        "etc/keys.ini:9: [third] hash: occurs twice; the first is at line 3",
        "etc/keys.ini:10: [third] expire: did you mean 'expires'? A claim needs a name that resembles it less",
        "etc/keys.ini:11: [fourth] hash: is missing; expected a list, each a hash such as sha256:…",
        f"etc/keys.ini:14: [fifth] hash: expected a hash such as sha256:…; {form}",
        "etc/keys.ini:16: [sixth] hash: expected one, or two while the key is rotated",
        "etc/keys.ini:17: [sixth] networks: expected a network such as 10.0.0.0/8",
        "etc/keys.ini:18: [first] duplicate section; the first is at line 2",
        "etc/keys.ini:20: [first] expected 'option = value', '[section]', a comment, or an indented continuation",
    ]
    assert "a-key-and-no-hash" not in "".join(found)


@pytest.mark.parametrize("name", ["expire", "expired", "disable", "hashes", "network", "scopess"])
def test_a_mistyped_option_is_no_claim(name):
    assert "did you mean" in problems(f"[a]\nhash = {A}\n{name} = x")[0]


@pytest.mark.parametrize("name", ["role", "scope", "plan", "limit", "enabled", "tenant", "name", "email", "note"])
def test_usual_claims_are_no_mistyped_options(name):
    assert parsed(f"[a]\nhash = {A}\n{name} = x")[A].claims == {name: "x"}


def test_other_bytes_than_text_are_a_mistake_with_a_line():
    with pytest.raises(ValueError, match=r"etc/keys.ini:2: is not UTF-8: byte 0xff"):
        parse_keys(PATH, b"[a]\n\xff")


@pytest.mark.parametrize("data", [b"alice:$2b$05$xyz\n", b"-----BEGIN PRIVATE KEY-----\nMIIEow==\n", b'{"alice": "x"}'])
def test_a_file_of_another_kind_is_one_mistake_that_quotes_nothing(data):
    with pytest.raises(ValueError) as caught:
        parse_keys(PATH, data)
    expected = "expected an INI file, with a section and a hash for each user; `gproxy key new USER` writes one"
    assert str(caught.value) == f"etc/keys.ini:1: {expected}"
