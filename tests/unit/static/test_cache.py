from gproxy.http.headers import Headers
from gproxy.runtime import Runtime
from gproxy.static.cache import FRESH, FileCache
from gproxy.static.conditions import Validators
from gproxy.static.lookup import Found, StoredFile
from gproxy.testing import Clock


def found(size=10, mark=b"a"):
    content = mark * size
    return Found(StoredFile(b"/a", "", Validators('"a"', 0, size), Headers(), content), {})


def test_an_entry_is_looked_up_again_after_its_time_and_by_one_request():
    clock = Clock()
    cache = FileCache(Runtime(monotonic=clock))
    key = ("site", b"/a")
    assert cache.get(key) is None
    cache.put(key, found())
    clock.advance(FRESH - 0.01)
    assert cache.get(key) == found()
    clock.advance(0.01)
    assert cache.get(key) is None
    assert cache.get(key) == found()  # while the first one looks it up
    cache.put(key, found(mark=b"b"))
    assert cache.get(key) == found(mark=b"b")
    cache.drop(key)
    assert cache.get(key) is None
    assert (len(cache), cache.used) == (0, 0)


def test_the_oldest_entries_leave_a_full_cache():
    cache = FileCache(Runtime(monotonic=Clock()), capacity=50_000)
    for number in range(10):
        cache.put(("site", b"/%d" % number), found(10_000))
        assert cache.get(("site", b"/0")) is not None  # the one that is used stays
    assert cache.used <= 50_000
    kept = [number for number in range(10) if cache.get(("site", b"/%d" % number))]
    assert kept == [0, 7, 8, 9]


def test_large_files_and_names_count_too():
    cache = FileCache(Runtime(monotonic=Clock()), capacity=50_000)
    plain = found().plain._replace(content=None)
    for number in range(100):
        cache.put(("site", b"/%d" % number), Found(plain, {}))
    assert 0 < len(cache) < 25
