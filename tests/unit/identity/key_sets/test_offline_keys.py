"""Commands find the keys that are kept, or in a file, and ask no issuer."""

import json

import pytest

from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.key_sets.kept_keys import keep
from gproxy.identity.key_sets.key_source import KeySource
from gproxy.identity.key_sets.offline_keys import offline_keys
from gproxy.testing.issuer import SigningKey

URL = KeySource.parse("https://id.example/keys")


def key_set(*kids):
    return json.dumps({"keys": [SigningKey.new(kid, "ES256").public for kid in kids]}).encode()


def found(source, folder, kid="k1", algorithm="ES256"):
    keys = offline_keys({"https://id.example": source}, ("ES256", "RS256"), folder)["https://id.example"]
    return [key.kid for key in keys.find(kid, algorithm)]


def test_a_kept_set_has_its_keys(tmp_path):
    keep(tmp_path, URL, key_set("k1", "k2"), 1000.0)
    assert found(URL, tmp_path) == ["k1"]
    assert found(URL, tmp_path, None) == ["k1", "k2"]
    with pytest.raises(Untrusted, match="its key is unknown"):
        found(URL, tmp_path, "k3")
    with pytest.raises(Untrusted, match="its key is for another algorithm"):
        found(URL, tmp_path, "k1", "RS256")


def test_the_ids_of_the_known_keys_are_known(tmp_path):
    assert offline_keys({"id": URL}, ("ES256",), tmp_path)["id"].ids == ()
    keep(tmp_path, URL, key_set("k1", "k2"), 1000.0)
    assert offline_keys({"id": URL}, ("ES256",), tmp_path)["id"].ids == {"k1", "k2"}


def test_a_file_has_its_keys(tmp_path):
    (tmp_path / "ci.jwks").write_bytes(key_set("k1"))
    assert found(KeySource.parse(f"file:{tmp_path}/ci.jwks"), tmp_path) == ["k1"]


def test_without_a_set_nothing_is_known(tmp_path):
    with pytest.raises(Unavailable, match="no key set of https"):
        found(URL, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kept_set_that_others_may_write_is_not_used(tmp_path):
    keep(tmp_path, URL, key_set("k1"), 1000.0)
    (path,) = tmp_path.iterdir()
    path.chmod(0o666)
    with pytest.raises(Unavailable, match="could have been written by others"):
        found(URL, tmp_path)
