"""The files of the settings: which are read, in which order, and where their problems are."""

import os
from pathlib import Path

import pytest

from gproxy.config.ini.files import SourceFile, absolute, include_patterns, pack, parse_files, read_files, unpack
from gproxy.config.ini.parser import Value

NESTED = "an included file cannot include others; name them in the first file's include"
MAIN = "[gateway]\ninclude = {}\n[route:main]\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of settings, and the working directory above it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "etc"
    (folder / "conf.d").mkdir(parents=True)
    return folder


def write(folder, include, **others):
    (folder / "g.ini").write_text(MAIN.format(include))
    for name, text in others.items():
        (folder / "conf.d" / f"{name}.ini").write_text(text)


def parsed(path="etc/g.ini", environ=None):
    """Return the titles of all sections with their files, and the problems."""
    problems = []
    sections = parse_files(read_files(path, environ or {}), environ or {}, problems)
    return [(section.title, section.file) for section in sections or ()], [str(problem) for problem in problems]


def test_included_files_follow_in_the_order_of_their_names(folder):
    write(folder, "conf.d/*.ini", b="[route:b]", a="[route:a]")
    titles = [("gateway", "etc/g.ini"), ("route:main", "etc/g.ini")]
    assert parsed() == ([*titles, ("route:a", "etc/conf.d/a.ini"), ("route:b", "etc/conf.d/b.ini")], [])


def test_a_file_is_included_once_and_never_by_itself(folder):
    write(folder, "\n *.ini\n conf.d/a.ini, conf.d/*.ini", a="[route:a]")
    (folder / "conf.d" / "link.ini").symlink_to("a.ini")
    assert [file.path for file in read_files("etc/g.ini", {})] == ["etc/g.ini", "etc/conf.d/a.ini"]


def test_a_pattern_may_match_nothing_and_a_name_may_not(folder):
    write(folder, "\n  conf.d/*.ini\n  conf.d/a.ini, conf.d")
    assert parsed()[1] == [
        "etc/g.ini:4: [gateway] include: etc/conf.d/a.ini cannot be read: no such file or directory",
        "etc/g.ini:4: [gateway] include: etc/conf.d cannot be read: is a directory; write conf.d/*.ini for the files in it",
    ]


def test_variables_in_a_name(folder):
    write(folder, "${SITES:-conf.d}/*.ini", a="[route:a]")
    assert ("route:a", "etc/conf.d/a.ini") in parsed()[0]
    assert parsed(environ={"SITES": "nowhere"})[0][2:] == []
    write(folder, "${SITES}/*.ini")
    assert include_patterns(read_files("etc/g.ini", {})[0], {}) == []


def test_a_second_section_is_named_with_both_places(folder):
    again = "[route:main]\n[gateway]\ninclude = b.ini\ntimeout = 1s\n[log]\nkeep = 1\n"
    write(folder, "conf.d/*.ini", a=again, b="[log]\nkeep = 2\n")
    assert parsed()[1] == [
        "etc/conf.d/a.ini:1: [route:main] duplicate section; the first is at etc/g.ini:3",
        "etc/conf.d/a.ini:2: [gateway] duplicate section; the first is at etc/g.ini:1",
        f"etc/conf.d/a.ini:3: [gateway] include: {NESTED}",
        "etc/conf.d/b.ini:1: [log] duplicate section; the first is at etc/conf.d/a.ini:5",
    ]


def test_problems_name_the_right_file(folder):
    write(folder, "conf.d/*.ini", a="[route:a]\nnonsense\n")
    (folder / "conf.d" / "b.ini").write_bytes(b"[route:b]\n\xff")
    first, second = parsed()[1]
    assert first.startswith("etc/conf.d/a.ini:2: [route:a] expected 'option = value'")
    assert second == "etc/conf.d/b.ini:2: is not UTF-8: byte 0xff; save it as UTF-8"


def test_packed_files_are_the_same_files():
    files = [SourceFile("a.ini", b"[s]\n\0"), SourceFile("b\udcff", problem="cannot be read"), SourceFile("c", b"\xff")]
    assert unpack(pack(files)) == files
    assert "hunter2" not in repr(SourceFile("a", b"hunter2"))


def test_file_with_bom(tmp_path):
    path = tmp_path / "a.ini"
    path.write_bytes(b"\xef\xbb\xbf[s]\na = \xc3\xa9")
    (section,) = parse_files(read_files(path, {}), {}, [])
    assert section.options["a"] == Value("é", str(path), 2)


def test_file_that_is_not_utf8(tmp_path):
    path = tmp_path / "a.ini"
    path.write_bytes(b"[s]\na = \xe9")
    problems = []
    assert parse_files(read_files(path, {}), {}, problems) is None
    assert [str(problem) for problem in problems] == [f"{path}:2: is not UTF-8: byte 0xe9; save it as UTF-8"]


@pytest.mark.parametrize("name", ["g.ini", "conf.d/a.ini"])
def test_file_with_a_null_byte(folder, name):
    write(folder, "conf.d/*.ini, a\0b.ini" if name == "g.ini" else "conf.d/*.ini", a="[route:a]\n\0")
    assert parsed()[1] == [f"etc/{name}:2: is not text: byte 0x00"]


def test_files_after_the_working_directory_was_removed(folder):
    write(folder, "conf.d/*.ini", a="[route:a]")
    place = str(folder / "g.ini")
    gone = folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert [file.path for file in read_files(place, {})] == [place, str(folder / "conf.d" / "a.ini")]
    assert parsed("g.ini")[1] == ["g.ini: cannot be read: no such file or directory"]
    assert (absolute("g.ini"), absolute(place)) == ("g.ini", place)


def test_file_that_cannot_be_read(tmp_path):
    problems = []
    assert parse_files(read_files(tmp_path / "no.ini", {}), {}, problems) is None
    assert parse_files(read_files(tmp_path, {}), {}, problems) is None
    assert [str(problem) for problem in problems] == [
        f"{tmp_path / 'no.ini'}: cannot be read: no such file or directory",
        f"{tmp_path}: cannot be read: is a directory",
    ]


def test_file_without_permission(tmp_path, monkeypatch):
    def raise_problems(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", raise_problems)  # root may read everything
    path = tmp_path / "a.ini"
    path.touch()
    problems = []
    assert parse_files(read_files(path, {}), {}, problems) is None
    assert problems[0].message == "cannot be read: permission denied"
