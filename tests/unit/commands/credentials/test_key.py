"""`gproxy key`: what changes in a file of keys, and what stays as it is."""

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gproxy.commands.credentials.file_edit import edit
from gproxy.commands.credentials.key import disable, hashed, key_file, listed, new, with_disabled, with_hash
from gproxy.config.problems import ConfigError
from gproxy.identity.secrets.api_keys import hash_of, parse_moment
from gproxy.identity.secrets.key_file import parse_keys

A, B, C = (hash_of(sign * 20) for sign in "abc")
PATH = Path("keys.ini")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"[acme]\nhash = {B}\n"),
        ("; keys", f"; keys\n\n[acme]\nhash = {B}\n"),
        ("; keys\n", f"; keys\n\n[acme]\nhash = {B}\n"),
        (f"[a]\nhash = {A}\n\n", f"[a]\nhash = {A}\n\n[acme]\nhash = {B}\n"),
        (f"[acme]\nhash = {A}", f"[acme]\nhash = {A}\n    {B}\n"),
        (f"[acme]\nhash = {A} ; old\nplan = pro ; x\n", f"[acme]\nhash = {A} ; old\n    {B}\nplan = pro ; x\n"),
        (f"[acme]\nhash =\n    {A}\n", f"[acme]\nhash =\n    {A}\n    {B}\n"),
        ("[acme]  ; new\nplan = pro\n", f"[acme]  ; new\nhash = {B}\nplan = pro\n"),
        (f"[acme]\r\nhash = {A}\r\n", f"[acme]\r\nhash = {A}\r\n    {B}\r\n"),
        (f"; odd \u2028 line\n[acme]\nhash = {A}\n", f"; odd \u2028 line\n[acme]\nhash = {A}\n    {B}\n"),
    ],
)
def test_a_hash_is_added_and_the_rest_stays(before, after):
    assert with_hash(PATH, before, "acme", B) == after


def test_a_third_hash_is_too_many():
    for text in (f"[acme]\nhash = {A}, {B}\n", f"[acme]\nhash = {A}\n    {B}\n"):
        with pytest.raises(ValueError, match=r"^keys.ini:2: acme has two keys; remove the hash of the old one first"):
            with_hash(PATH, text, "acme", C)


@pytest.mark.parametrize("user", ["", "a]b", "a\nb", " a", "a ", "a: b", ":a"])
def test_a_user_who_cannot_be_a_section(user):
    with pytest.raises(ValueError, match="cannot be the name of a section"):
        with_hash(PATH, "", user, A)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"[acme] ; x\nhash = {A}\n", f"[acme] ; x\ndisabled = yes\nhash = {A}\n"),
        (f"[acme]\ndisabled = no ; x\nhash = {A}\n", f"[acme]\ndisabled = yes ; x\nhash = {A}\n"),
        (f"[acme]\nhash = {A}\nDisabled=off", f"[acme]\nhash = {A}\nDisabled=yes"),
        (f"[acme]\ndisabled =\n  no\nhash = {A}\n", f"[acme]\ndisabled =\n    yes\nhash = {A}\n"),
    ],
)
def test_a_user_is_disabled_and_the_rest_stays(before, after):
    assert with_disabled(PATH, before, "acme") == after
    assert parse_keys(PATH, after.encode())[A].disabled


def test_an_unknown_user_is_not_disabled():
    with pytest.raises(ValueError, match=r"^keys.ini has no section \[acme\]"):
        with_disabled(PATH, f"[b]\nhash = {A}\n", "acme")


def test_a_new_key_is_in_the_file_as_a_hash_only(tmp_path):
    path = tmp_path / "keys.ini"
    first, note = new(path, "acme")
    assert note == f"the hash of this key is in {path}; the key itself is shown only now"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second, note = new(path, "acme")
    assert "acme has two good keys; remove the first hash" in note
    assert {*parse_keys(path, path.read_bytes())} == {hash_of(first), hash_of(second)}
    assert first not in path.read_text()
    disable(path, "acme")
    assert {key.disabled for key in parse_keys(path, path.read_bytes()).values()} == {True}
    assert [one.name for one in tmp_path.iterdir()] == ["keys.ini"]


def test_the_mode_of_the_file_and_a_link_to_it_stay(tmp_path):
    place, path = tmp_path / "there" / "keys.ini", tmp_path / "keys.ini"
    place.parent.mkdir()
    place.write_text("; comment\n")
    place.chmod(0o640)
    path.symlink_to("there/keys.ini")
    new(path, "acme")
    assert path.is_symlink()
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    assert place.read_text().startswith("; comment\n\n[acme]\n")


def test_a_file_with_problems_stays_as_it_is(tmp_path):
    path = tmp_path / "keys.ini"
    for text in ("[acme\n", f"[b]\nhash = {A}\nexpires = soon\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=str(path)):
            new(path, "acme")
        assert path.read_text() == text
    assert [one.name for one in tmp_path.iterdir()] == ["keys.ini"]


def test_a_change_that_fails_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")

    def fsync(_):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="the disk is full"):
        edit(path, lambda _: b"new")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("file", "old")]


def test_changes_at_the_same_time_are_all_there(tmp_path):
    path = tmp_path / "keys.ini"
    with ThreadPoolExecutor(8) as pool:
        keys = [key for key, _ in pool.map(lambda number: new(path, f"user{number}"), range(40))]
    assert {*parse_keys(path, path.read_bytes())} == {*map(hash_of, keys)}


def test_the_list(tmp_path):
    path = tmp_path / "keys.ini"
    path.write_text(
        f"[acme-prod]\nhash = {A}, {B}\nscopes = read, write\nexpires = 2027-01-31\n"
        f"[b]\nhash = {C}\ndisabled = yes\n[c]\nhash = {hash_of('d')}\nexpires = 2020-01-31T12:00:00Z\n"
    )
    assert listed(path, parse_moment("2026-01-01")).splitlines() == [
        "user       state     keys  expires           scopes",
        "acme-prod  good      2     2027-01-31 00:00  read write",
        "b          disabled  1     -                 -",
        "c          expired   1     2020-01-31 12:00  -",
    ]
    assert not re.search("[0-9a-f]{20}", listed(path, 0.0))


def test_the_hash_of_a_key():
    assert hashed("a" * 20) == A
    with pytest.raises(ValueError, match="the key is rejected: it is mistyped"):
        hashed("gk_x")


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("[handler:api_key]\nkeys = a.ini", None, "a.ini"),
        ("[handler:partners]\nuse = api_key\nkeys = ${X:-b.ini}\n[route:", "partners", "b.ini"),
        ("[handler:jwt]\n", None, "has no section of an api_key handler"),
        ("[handler:api_key]\nkeys = a.ini", "x", "no api_key handler named 'x'; expected one of: api_key"),
        ("[handler:a]\nuse=api_key\n[handler:b]\nuse=api_key", None, "several api_key handlers; choose one with --handler: a, b"),
        ("[handler:api_key]\nlookup = a:b", None, "its lookup needs what `gproxy key hash` prints"),
    ],
)  # fmt: skip
def test_the_file_of_a_handler(tmp_path, text, name, expected):
    config = tmp_path / "g.ini"
    config.write_text(text)
    if expected.endswith(".ini"):
        assert str(key_file(str(config), name)) == expected
    else:
        with pytest.raises(ValueError, match=re.escape(expected)):
            key_file(str(config), name)


def test_settings_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        key_file(str(tmp_path / "g.ini"), None)
