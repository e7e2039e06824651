import gc
import os

import gevent.os
import pytest
from gevent.threadpool import ThreadPool

from gproxy.config.sections.static import CacheRule, StaticOptions
from gproxy.static.lookup import SMALL, Found, Lookup, Missing


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "www"
    (root / "folder").mkdir(parents=True)
    (root / "folder/index.html").write_text("index")
    (root / "bare").mkdir()
    (root / "a.txt").write_text("content")
    return root


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/a.txt", b"/a.txt"),
        ("//folder///a", b"/folder/a"),
        ("/folder/", b"/folder/"),
        ("/", b"/"),
        ("/%C3%BC%20%25", b"/\xc3\xbc %"),
        ("/%252e%252e", b"/%2e%2e"),
        ("/a..b/c...", b"/a..b/c..."),
        *[
            (path, None)
            for path in (
                "*", "", "a", "/..", "/../a", "/a/..", "/.", "/./a", "/.git/config", "/a/.b", "/%2e%2e/a", "/a%2Etxt",
                "/%2e", "/a%2fb", "/a%2Fb", "/a\\b", "/a%5cb", "/a%5Cb", "/a\0", "/a%00", "/%", "/%4", "/%zz", "/ü€",
            )
        ],
    ],
)  # fmt: skip
def test_the_names_of_a_path(root, path, names):
    assert Lookup(StaticOptions(root=root)).names(path) == names


def test_hidden_names_are_an_option(root):
    lookup = Lookup(StaticOptions(root=root, hidden=True))
    assert lookup.names("/.git/config") == b"/.git/config"
    assert [lookup.names(path) for path in ("/../a", "/.", "/a/..", "/%2egit")] == [None] * 4


def test_files_folders_and_nothing(root):
    os.mkfifo(root / "pipe")
    lookup = Lookup(StaticOptions(root=root))
    assert lookup.find(b"/a.txt").plain.content == b"content"
    assert lookup.find(b"/folder/").plain.content == b"index"
    assert lookup.find(b"/folder") is Missing.SLASH
    for path in (b"/", b"/bare", b"/bare/", b"/none", b"/a.txt/", b"/pipe", b"/" + b"a" * 300):
        assert lookup.find(path) is Missing.NOTHING
    assert lookup.find_fallback() is Missing.NOTHING
    assert Lookup(StaticOptions(root=root, fallback="folder/index.html")).find_fallback().plain.content == b"index"
    assert Lookup(StaticOptions(root=root, index="a.txt")).find(b"/").plain.content == b"content"


def test_a_link_may_stay_within_the_root(root, tmp_path):
    (tmp_path / "outside.txt").write_text("outside")
    (tmp_path / "www-2").mkdir()
    (tmp_path / "www-2/a.txt").write_text("outside")
    lookup = Lookup(StaticOptions(root=root))
    for number, (target, expected) in enumerate(
        {
            "a.txt": True,
            "folder/../a.txt": True,
            root / "a.txt": True,
            "../outside.txt": False,
            tmp_path / "outside.txt": False,
            "../www-2/a.txt": False,
            "link6": False,
        }.items()
    ):
        (root / f"link{number}").symlink_to(target)
        assert isinstance(lookup.find(b"/link%d" % number), Found) is expected, target
    (root / "loop").symlink_to("loop")
    assert lookup.find(b"/loop") is Missing.NOTHING
    (root / "up").symlink_to("..")
    assert lookup.find(b"/up/outside.txt") is Missing.NOTHING
    assert lookup.find(b"/up/www/a.txt").plain.content == b"content"  # out, and in again


def test_the_root_may_be_a_link_that_moves(root, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.txt").write_text("other")
    link = tmp_path / "current"
    link.symlink_to(root)
    lookup = Lookup(StaticOptions(root=link))
    assert lookup.find(b"/a.txt").plain.content == b"content"
    link.unlink()
    link.symlink_to("other")
    assert lookup.find(b"/a.txt").plain.content == b"other"


def test_siblings_are_in_the_order_of_the_option(root):
    for name in ("a.txt.gz", "a.txt.br", "a.txt.zst"):
        (root / name).write_text(name)
    os.mkfifo(root / "b.txt.gz")
    (root / "b.txt").write_text("b")
    found = Lookup(StaticOptions(root=root)).find(b"/a.txt")
    assert list(found.siblings) == ["br", "zstd", "gzip"]
    assert found.siblings["zstd"].headers["Content-Encoding"] == "zstd"
    assert found.siblings["gzip"].headers["Content-Type"] == found.plain.headers["Content-Type"]
    assert len({file.validators.etag for file in found.files}) == 4
    assert {file.headers["Vary"] for file in found.files} == {"Accept-Encoding"}
    assert list(Lookup(StaticOptions(root=root, precompressed=("gzip",))).find(b"/a.txt").siblings) == ["gzip"]
    alone = Lookup(StaticOptions(root=root)).find(b"/b.txt")
    assert (alone.siblings, "Vary" in alone.plain.headers) == ({}, False)


def test_the_head_of_a_file(root):
    os.utime(root / "a.txt", ns=(0, 1_700_000_003_000_000_001))
    cache = (CacheRule.parse("folder/*: 1d immutable"), CacheRule.parse("1h"))
    lookup = Lookup(StaticOptions(root=root, cache=cache))
    file = lookup.find(b"/a.txt").plain
    assert dict(file.headers) == {
        "Content-Type": "text/plain; charset=utf-8",
        "ETag": f'"{1_700_000_003_000_000_001:x}-7"',
        "Last-Modified": "Tue, 14 Nov 2023 22:13:23 GMT",
        "Cache-Control": "max-age=3600",
        "Accept-Ranges": "bytes",
    }
    assert file.validators == (file.headers["ETag"], 1_700_000_003, 7)
    assert lookup.find(b"/folder/").plain.headers["Cache-Control"] == "max-age=86400, immutable"
    os.utime(root / "a.txt", (-5, -5))
    assert lookup.find(b"/a.txt").plain.headers["Last-Modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize(
    ("name", "media_type"),
    {
        "a.html": "text/html; charset=utf-8",
        "A.JS": "text/javascript; charset=utf-8",
        "a.woff2": "font/woff2",
        "a.tar.gz": "application/gzip",
        "a.wasm": "application/wasm",
        "a.json": "application/json",
        "a.svg": "image/svg+xml",
        "a.strange": "application/octet-stream",
        "a": "application/octet-stream",
    }.items(),
)
def test_the_media_type(root, name, media_type):
    (root / name).write_text("")
    assert Lookup(StaticOptions(root=root)).find(f"/{name}".encode()).plain.headers["Content-Type"] == media_type


def test_a_large_file_is_opened_again_as_it_is_by_then(root):
    (root / "large").write_bytes(bytes(SMALL + 1))
    (root / "small").write_bytes(bytes(SMALL))
    lookup = Lookup(StaticOptions(root=root))
    assert lookup.find(b"/small").plain.content == bytes(SMALL)
    file = lookup.find(b"/large").plain
    assert (file.content, file.validators.size) == (None, SMALL + 1)
    (root / "large").write_bytes(b"short")
    descriptor, now = lookup.reopen(file)
    assert now.validators.size == 5
    assert os.pread(descriptor.number, 10, 0) == b"short"
    (root / "large").unlink()
    assert lookup.reopen(file) is None


def test_no_descriptor_stays_open(root):
    (root / "large").write_bytes(bytes(SMALL + 1))
    (root / "out").symlink_to("/etc/passwd")
    lookup = Lookup(StaticOptions(root=root))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    found = [lookup.find(path) for path in (b"/a.txt", b"/large", b"/folder/", b"/folder", b"/bare/", b"/out")]
    assert len(os.listdir("/proc/self/fd")) == before
    opened = lookup.reopen(found[1].plain)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del opened
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_thread_with_a_loop_closes_descriptors_at_once(root, monkeypatch):
    """User code may have made the loop, and nothing may ever run it again."""
    monkeypatch.setattr(os, "close", gevent.os.close)
    lookup = Lookup(StaticOptions(root=root))

    def open_a_folder():
        gevent.get_hub()
        before = len(os.listdir("/proc/self/fd"))
        lookup.find(b"/bare")
        return len(os.listdir("/proc/self/fd")) - before

    pool = ThreadPool(1)
    assert pool.apply(open_a_folder) == 0
    pool.kill()
