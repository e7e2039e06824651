"""The file wrapper: short files are read at once, long ones in threads."""

import io

import pytest

from gproxy.apps.file_wrapper import LONG, PIECE, FileWrapper


class Threads:
    calls = 0

    def __call__(self, function, *arguments):
        self.calls += 1
        return function(*arguments)


@pytest.mark.parametrize(("size", "in_threads"), [(10, False), (LONG - 1, False), (LONG, True)])
def test_long_files_are_read_in_threads(tmp_path, size, in_threads):
    path, threads = tmp_path / "file", Threads()
    path.write_bytes(b"x" * size)
    with path.open("rb") as file:
        pieces = list(FileWrapper(threads, file, 8192))
    assert (sum(map(len, pieces)), max(map(len, pieces))) == (size, min(size, PIECE))
    assert bool(threads.calls) is in_threads


def test_a_wrapped_object_is_closed_with_the_wrapper():
    file = io.BytesIO(b"abc")
    wrapper = FileWrapper(Threads(), file)
    assert list(wrapper) == [b"abc"]
    wrapper.close()
    assert file.closed


def test_an_error_in_the_thread_is_raised():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        next(FileWrapper(Threads(), Broken()))


def test_a_long_file_is_closed_in_a_thread(tmp_path):
    path, threads = tmp_path / "file", Threads()
    path.write_bytes(b"x" * LONG)
    file = path.open("rb")
    FileWrapper(threads, file).close()
    assert (file.closed, threads.calls) == (True, 1)


def test_an_error_of_the_close_in_the_thread_is_raised(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * LONG)

    class Broken(io.FileIO):
        def close(self):
            super().close()
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        FileWrapper(Threads(), Broken(path)).close()
