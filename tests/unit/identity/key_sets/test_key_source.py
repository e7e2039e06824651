"""The places of key sets, and what `gproxy check` finds in a file."""

import pytest

from gproxy.identity.key_sets.key_source import KeySource
from unit.identity.issuing import AUTO, published


def test_places():
    assert KeySource.parse("https://id.example.com/keys?a=b") == KeySource("url", "https://id.example.com/keys?a=b")
    assert KeySource.parse("file:etc/ci.jwks") == KeySource("file", "etc/ci.jwks")
    assert KeySource.of_issuer("https://id.example.com") == KeySource("issuer", "https://id.example.com")


@pytest.mark.parametrize("text", ["", "keys", "etc/ci.jwks", "ftp://a/", "https://"])
def test_other_places_are_rejected(text):
    with pytest.raises(ValueError, match="; expected "):
        KeySource.parse(text)


@pytest.mark.parametrize(
    "source", [KeySource.parse("http://id.example.com/k"), KeySource.of_issuer("http://id.example.com")]
)
def test_http_beyond_loopback_needs_an_option(source):
    source.require(insecure=True)
    with pytest.raises(ValueError, match="insecure = yes"):
        source.require(insecure=False)


def test_a_file_is_read_by_check(tmp_path):
    path = tmp_path / "ci.jwks"
    source = KeySource.parse(f"file:{path}")
    with pytest.raises(ValueError, match=r"ci.jwks cannot be read: no such file"):
        source.check(AUTO)
    path.write_bytes(b"{}")
    with pytest.raises(ValueError, match=r"ci.jwks: the key set has no list of keys"):
        source.check(AUTO)
    path.write_bytes(published("k1"))
    assert source.check(AUTO) == []
    assert source.check(("RS256", "EdDSA")) == [f"{path} has no key for RS256, EdDSA"]


def test_check_opens_nothing_else():
    assert KeySource.parse("https://192.0.2.1/").check(AUTO) == []
