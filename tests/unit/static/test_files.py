import errno
import os

import pytest

from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.static import StaticOptions
from gproxy.config.types.path_pattern import RoutePath
from gproxy.http.errors import HTTPError
from gproxy.runtime import Runtime
from gproxy.static.cache import FileCache
from gproxy.static.files import StaticFiles
from gproxy.static.lookup import SMALL
from gproxy.testing import Clock, request


class Direct(Runtime):
    """A runtime that counts calls in threads, and makes them at once."""

    calls = 0

    def offload(self, function, *args):
        self.calls += 1
        return function(*args)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "index.html").write_text("front page")
    (tmp_path / "a.txt").write_text("content")
    (tmp_path / "large.bin").write_bytes(b"x" * (SMALL * 10))
    return tmp_path


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def serve(root, clock):
    def make(change=None, runtime=None, **options):
        settings = RouteSettings("site", path=(RoutePath.parse("/"),), static=StaticOptions(root=root, **options))
        return StaticFiles(settings, runtime or Direct(monotonic=clock), change)

    return make


def test_a_small_file_comes_from_memory(serve, clock):
    runtime = Direct(monotonic=clock)
    files = serve(runtime=runtime)
    for _ in range(3):
        response = files(request(target="/a.txt"))
        assert (response.status, response.body) == (200, b"content")
        response.headers["X-Own"] = "of this response"
    assert "X-Own" not in files(request(target="/a.txt")).headers
    assert runtime.calls == 1
    clock.advance(1)
    files(request(target="/a.txt"))
    assert runtime.calls == 2


def test_routes_share_the_cache_and_no_entry(serve, root, clock):
    runtime = Direct(monotonic=clock)
    for name, hidden in (("one", False), ("two", True)):
        static = StaticOptions(root=root, hidden=hidden)
        StaticFiles(RouteSettings(name, path=(RoutePath.parse("/"),), static=static), runtime)(request(target="/a.txt"))
    assert len(runtime.single(FileCache)) == 2


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "PUT", "get"])
def test_other_methods(serve, method):
    with pytest.raises(HTTPError) as caught:
        serve()(request(method, "/a.txt"))
    assert (caught.value.status, caught.value.headers["Allow"], caught.value.reason) == (405, "GET, HEAD", "method")


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [({"If-Match": '"other"'}, 412, "precondition"), ({"Range": "bytes=9-"}, 416, "range")],
)
def test_errors_of_conditions(serve, headers, status, reason):
    with pytest.raises(HTTPError) as caught:
        serve()(request(target="/a.txt", headers=headers))
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert caught.value.headers.get("Content-Range") == ("bytes */7" if status == 416 else None)


def test_a_304_has_the_fields_that_caches_need(serve):
    files = serve()
    whole = files(request(target="/a.txt"))
    response = files(request(target="/a.txt", headers={"If-None-Match": whole.headers["ETag"]}))
    assert (response.status, response.body) == (304, b"")
    assert list(response.headers) == ["ETag", "Last-Modified", "Cache-Control"]


def test_a_large_file_is_a_stream_of_pieces(serve, root):
    files = serve()
    response = files(request(target="/large.bin", headers={"Range": f"bytes=5-{SMALL * 9}"}))
    assert response.headers["Content-Range"] == f"bytes 5-{SMALL * 9}/{SMALL * 10}"
    assert response.headers["Content-Length"] == str(SMALL * 9 - 4)
    pieces = list(response.pieces)
    assert [len(piece) for piece in pieces] == [256 * 1024, 256 * 1024, SMALL - 4]
    response.close()
    assert list(response.pieces) == []
    head = files(request("HEAD", "/large.bin"))
    assert (head.body, head.headers["Content-Length"]) == (b"", str(SMALL * 10))
    assert files(request(target="/large.bin", headers={"If-None-Match": "*"})).status == 304


def test_pieces_of_a_large_file_are_small_while_the_process_keeps_too_much(serve, clock):
    runtime = Direct(monotonic=clock, buffers=1000)
    pieces = iter(serve(runtime=runtime)(request(target="/large.bin")).pieces)
    assert len(next(pieces)) == 256 * 1024
    runtime.buffers.add(1001)
    assert len(next(pieces)) == 16_000


def test_a_large_file_that_has_changed_since_is_judged_as_it_is(serve, root):
    files = serve()
    tag = files(request("HEAD", "/large.bin")).headers["ETag"]
    (root / "large.bin").write_text("short")
    response = files(request(target="/large.bin", headers={"Range": "bytes=0-1", "If-Range": tag}))
    assert (response.status, response.read()) == (200, b"short")
    (root / "large.bin").unlink()
    with pytest.raises(HTTPError, match="404"):
        files(request(target="/large.bin"))


def test_a_file_that_shrinks_breaks_off(serve, root):
    response = serve()(request(target="/large.bin"))
    pieces = iter(response.pieces)
    next(pieces)
    os.truncate(root / "large.bin", 1000)
    with pytest.raises(HTTPError) as caught:
        next(pieces)
    assert caught.value.reason == "file_shrunk"


def test_the_fallback_is_for_paths_without_a_dot(serve):
    files = serve(fallback="index.html")
    for path in ("/users", "/users/7", "/no/"):
        assert files(request(target=path)).body == b"front page"
    for path in ("/users.js", "/a.b/c", "/a\\b", "/a%2fb"):
        with pytest.raises(HTTPError, match="404"):
            files(request(target=path))
    assert files.describe(request(target="/users/7")).endswith("/index.html")


def test_the_path_is_the_one_that_a_backend_would_get(serve):
    assert serve(change=lambda path: path.removeprefix("/app"))(request(target="/app/a.txt")).body == b"content"


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/sub", "/sub/"),
        ("/sub?a=b", "/sub/?a=b"),
        ("//sub", "/sub/"),
        ("///sub?//evil", "/sub/?//evil"),
    ],
)
def test_a_folder_without_its_slash_is_a_redirect_to_this_host(serve, root, target, location):
    (root / "sub").mkdir()
    (root / "sub/index.html").write_text("sub")
    response = serve()(request(target=target))
    assert (response.status, response.headers["Location"]) == (301, location)
    outside = serve(change=lambda _: "/sub")(request(target="/\\evil.example"))
    assert outside.headers["Location"] == "/%5Cevil.example/"


@pytest.mark.parametrize(
    ("number", "status", "reason"),
    [(errno.EACCES, 403, "forbidden"), (errno.EIO, 500, "file_error"), (errno.EMFILE, 500, "file_error")],
)
def test_a_file_that_cannot_be_read(serve, clock, caplog, number, status, reason):
    files = serve()
    files(request(target="/a.txt"))
    clock.advance(1)

    def fail(*_):
        raise OSError(number, os.strerror(number), "/srv/a.txt")

    files._lookup._opened = fail
    with pytest.raises(HTTPError) as caught:
        files(request(target="/a.txt"))
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert "/srv" not in caught.value.detail
    assert f"[route:site]: a file cannot be read: {os.strerror(number).lower()}: /srv/a.txt" in caplog.text
    with pytest.raises(HTTPError):  # it is not in the cache any more
        files(request(target="/a.txt"))


def test_spellings_of_a_path_are_one_entry(serve, clock):
    runtime = Direct(monotonic=clock)
    files = serve(runtime=runtime)
    for path in ("/a.txt", "//a.txt", "///a.txt", "/%61.txt"):
        assert files(request(target=path)).body == b"content"
    assert (len(runtime.single(FileCache)), runtime.calls) == (1, 1)


@pytest.mark.parametrize("name", ["find", "reopen", "pread"])
def test_no_thread_raises_what_gevent_would_print(serve, clock, monkeypatch, capfd, name):
    files = serve(runtime=Runtime(monotonic=clock))
    opened = files(request(target="/large.bin"))

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    clock.advance(1)
    if name == "pread":
        monkeypatch.setattr(os, "pread", fail)
    else:
        setattr(files._lookup, name, fail)
    with pytest.raises(HTTPError) as caught:
        list(opened.pieces if name == "pread" else files(request(target="/large.bin")).pieces)
    assert (caught.value.status, caught.value.reason) == (500, "file_error")
    assert "Traceback" not in capfd.readouterr().err
