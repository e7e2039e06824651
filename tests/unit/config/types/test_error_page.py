"""Files of error pages: their kind, their placeholders, their size."""

import pytest

from gproxy.config.types.error_page import ErrorPage


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"), [("a.html", "html"), ("a.HTM", "html"), ("b/a.txt", "text"), ("a.json", "json")]
)
def test_the_end_of_the_name_is_the_kind(folder, name, kind):
    (folder / "b").mkdir()
    (folder / name).write_text("{status} {title} {detail} {id}")
    page = ErrorPage.parse(name)
    assert (page.kind, page.text.names, str(page)) == (kind, ("status", "title", "detail", "id"), name)


def test_other_braces_are_text(folder):
    (folder / "a.html").write_bytes(b"\xef\xbb\xbf<style>p{margin:0} q{}</style>{}{ id }")
    page = ErrorPage.parse("a.html")
    assert page.text.parts == ("<style>p{margin:0} q{}</style>{}{ id }",)


def test_a_page_has_at_most_64_kib(folder):
    (folder / "a.html").write_text("x" * 64 * 1024)
    assert ErrorPage.parse("a.html")
    (folder / "a.html").write_text("x" * (64 * 1024 + 1))
    with pytest.raises(ValueError, match=r"a\.html has more than 64 KiB"):
        ErrorPage.parse("a.html")


def test_a_folder_is_no_page(folder):
    (folder / "a.html").mkdir()
    with pytest.raises(ValueError, match="cannot be read: is a directory"):
        ErrorPage.parse("a.html")
