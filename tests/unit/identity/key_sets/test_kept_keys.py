"""Key sets in files: they come back, and only if nobody else can have written them."""

import os

import pytest

from gproxy.identity.key_sets.kept_keys import keep, kept_keys
from gproxy.identity.key_sets.key_source import KeySource
from unit.identity.issuing import AUTO, ids, published

SOURCE = KeySource.parse("https://id.example.com/keys")


@pytest.fixture
def path(tmp_path):
    keep(tmp_path, SOURCE, published("k1"), 1234.5)
    (path,) = tmp_path.iterdir()
    return path


def test_a_set_comes_back(path, tmp_path):
    kept = kept_keys(tmp_path, SOURCE)
    assert kept.fetched == 1234.5
    assert ids(kept.keys.for_algorithms(AUTO).keys) == ["k1"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_place_has_its_own(path, tmp_path):
    assert kept_keys(tmp_path, KeySource.parse("https://id.example.com/keys2")) is None
    assert kept_keys(tmp_path, KeySource.of_issuer("https://id.example.com/keys")) is None


def test_a_set_replaces_the_former_one(path, tmp_path):
    keep(tmp_path, SOURCE, published("k2"), 2000)
    assert ids(kept_keys(tmp_path, SOURCE).keys.for_algorithms(AUTO).keys) == ["k2"]
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_is_made(tmp_path):
    keep(tmp_path / "a/b", SOURCE, published("k1"), 1)
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
    assert kept_keys(tmp_path / "none", SOURCE) is None


def test_the_rest_of_a_killed_worker_is_no_obstacle(tmp_path, path):
    path.with_suffix(f".{os.getpid()}.new").symlink_to(tmp_path / "elsewhere")
    keep(tmp_path, SOURCE, published("k2"), 1)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o660, 0o606, 0o622])
def test_a_file_that_others_may_write_is_rejected(path, tmp_path, mode):
    path.chmod(mode)
    with pytest.raises(ValueError, match="could have been written by others"):
        kept_keys(tmp_path, SOURCE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_rejected(path, tmp_path):
    os.chown(path, 12345, 12345)
    with pytest.raises(ValueError, match="could have been written by others"):
        kept_keys(tmp_path, SOURCE)


def test_a_link_and_a_folder_are_rejected(path, tmp_path):
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(ValueError, match="cannot be read"):
        kept_keys(tmp_path, SOURCE)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="written by others"):
        kept_keys(tmp_path, SOURCE)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}\n{}", b"[]\n", b'{"fetched": 1}\n{"keys": []}', b'{"fetched": "x"}\n']
)
def test_another_content_is_rejected(path, tmp_path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is unusable"):
        kept_keys(tmp_path, SOURCE)
