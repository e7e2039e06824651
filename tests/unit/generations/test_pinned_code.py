"""Pinned code: what is imported once is what later workers import, whatever has become of its files."""

import errno
import importlib
import importlib.resources
import os
import py_compile
import shutil
import sys
import traceback

import pytest

from gproxy.arbiter.generations.history import KeptCode
from gproxy.generations.pinned_code import PinnedCode, PinnedFinder, content_of
from gproxy.runtime.user_files import is_users

SOURCES = {
    "pinned_pack/__init__.py": "from .inner import VALUE\n",
    "pinned_pack/inner.py": "VALUE = 'first'\n\ndef fail():\n    raise ValueError(VALUE)\n",
    "pinned_space/part/leaf.py": "VALUE = 'leaf'\n",
}


class Worker:
    """The imports of one worker, which has what earlier ones have sent."""

    def __init__(self, contents=(), read_at=0.0):
        #: The contents of the memory files, and the paths of the modules in them.
        self.sent = []
        self.code = PinnedCode(contents, read_at, lambda fd, files: self.sent.append((content_of(os.dup(fd)), files)))
        self.finder = PinnedFinder(self.code)

    def load(self, *names):
        """Import modules as a process does that has not imported them yet."""
        for name in [name for name in sys.modules if name.startswith("pinned_")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        sys.meta_path.insert(0, self.finder)
        try:
            return [importlib.import_module(name) for name in names]
        finally:
            sys.meta_path.remove(self.finder)

    def send(self):
        self.code.send_added()
        return [content for content, _ in self.sent]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("pinned_")]:
        del sys.modules[name]


def test_packages_and_namespace_packages_outlive_their_files(folder):
    first = Worker()
    before = first.load("pinned_pack.inner", "pinned_space.part.leaf")
    contents = first.send()
    shutil.rmtree(folder / "pinned_pack")
    shutil.rmtree(folder / "pinned_space")
    later = Worker(contents)
    inner, leaf = later.load("pinned_pack.inner", "pinned_space.part.leaf")
    assert (inner.VALUE, leaf.VALUE) == ("first", "leaf")
    assert [one.__file__ for one in (inner, leaf)] == [one.__file__ for one in before]
    assert sys.modules["pinned_pack"].__path__ == [str(folder / "pinned_pack")]
    with pytest.raises(ValueError, match="first") as caught:
        inner.fail()
    frame = traceback.extract_tb(caught.tb)[-1]
    assert (frame.filename, frame.lineno, frame.name) == (str(folder / "pinned_pack/inner.py"), 4, "fail")
    assert later.send() == []  # nothing came from the disk


def test_a_module_that_is_a_bytecode_file_alone_is_pinned_too(folder):
    (folder / "pinned_bytes.py").write_text("VALUE = 'bytes'\n")
    py_compile.compile(str(folder / "pinned_bytes.py"), str(folder / "pinned_bytes.pyc"))
    (folder / "pinned_bytes.py").unlink()
    first = Worker()
    (before,) = first.load("pinned_bytes")
    contents = first.send()
    (folder / "pinned_bytes.pyc").unlink()
    (module,) = Worker(contents).load("pinned_bytes")
    assert (module.VALUE, module.__file__) == ("bytes", before.__file__)


def test_what_comes_late_from_a_newer_file_is_logged_once(folder, caplog):
    first = Worker()
    first.load("pinned_pack")
    contents = first.send()
    assert caplog.messages == []
    later = Worker(contents, read_at=(folder / "pinned_space/part/leaf.py").stat().st_ctime - 1)
    later.load("pinned_pack", "pinned_space.part.leaf")
    later.send()
    later.send()
    (line,) = caplog.messages
    assert line.startswith(
        f"imported late, from files that are newer than the generation: {folder}/pinned_space/part/leaf.py;"
    )
    assert later.sent[0][1] == [str(folder / "pinned_space/part/leaf.py")]


def test_the_code_of_another_python_is_ignored(folder, caplog):
    first = Worker()
    first.load("pinned_pack")
    (content,) = first.send()
    (folder / "pinned_pack/inner.py").write_text("VALUE = 'second version'\n")
    (module,) = Worker([b"\0" + content[1:]]).load("pinned_pack")
    assert module.VALUE == "second version"
    assert caplog.messages == ["the code of the generation is that of another Python; it is read from the disk"]


def test_modules_of_python_of_packages_and_of_the_gateway_stay_as_they_are(folder):
    worker = Worker()
    worker.load("json.tool")
    assert worker.send() == []
    assert not is_users(pytest.__file__)
    assert not is_users(sys.modules["gproxy"].__file__)
    assert is_users(str(folder / "pinned_pack/inner.py"))


def test_a_finder_of_an_old_library_disturbs_no_import(folder, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [object(), *sys.meta_path])
    worker = Worker()
    assert worker.finder.find_spec("pinned_pack", None).origin == str(folder / "pinned_pack/__init__.py")
    assert worker.finder.find_spec("pinned_nothing", None) is None


def test_descriptors_are_kept_once_and_closed_with_their_code():
    kept = KeptCode()
    first, same, other = (os.memfd_create("test") for _ in range(3))
    kept.add([first], ["a.py"])
    kept.add([same], ["a.py"])
    kept.add([other], ["b.py"])
    assert kept.fds == [first, other]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(same)
    del kept
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first)


def test_code_beyond_a_hundred_imports_is_not_kept_and_named_once(caplog):
    kept = KeptCode()
    for number in range(103):
        kept.add([os.memfd_create("test")], [f"/late/{number}.py"])
    kept.add([os.memfd_create("test")], ["/late/7.py"])  # of another worker
    assert len(kept.fds) == 100
    (line,) = caplog.messages
    assert line.startswith("a generation keeps the code of 100 imports; later workers read ")
    assert "late/100.py and further ones from the disk" in line


def test_data_files_of_a_namespace_package_are_found_and_its_path_follows_sys_path(
    folder, tmp_path_factory, monkeypatch
):
    (folder / "pinned_space" / "data.txt").write_text("data")
    first = Worker()
    first.load("pinned_space.part.leaf")
    later = Worker(first.send())
    (space,) = later.load("pinned_space")
    assert (importlib.resources.files(space) / "data.txt").read_text() == "data"
    more = tmp_path_factory.mktemp("more")
    (more / "pinned_space").mkdir()
    (more / "pinned_space" / "added.py").write_text("VALUE = 'added'")
    monkeypatch.syspath_prepend(str(more))
    assert importlib.import_module("pinned_space.added").VALUE == "added"


def test_a_package_that_adds_to_its_own_path_has_each_folder_once_after_a_second_import(folder):
    (folder / "pinned_pack" / "__init__.py").write_text("__path__.append(f'{__path__[0]}/more')\n")
    first = Worker()
    first.load("pinned_pack")
    for _ in range(2):
        (package,) = first.load("pinned_pack")
        assert package.__path__ == [f"{folder}/pinned_pack", f"{folder}/pinned_pack/more"]


def test_a_worker_without_a_free_descriptor_goes_on(folder, monkeypatch, caplog):
    def fails(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    first = Worker()
    first.load("pinned_pack")
    monkeypatch.setattr(os, "memfd_create", fails)
    assert first.send() == []
    assert "cannot keep the code of 2 modules for later workers: Too many open files" in caplog.text


def test_modules_of_one_name_in_several_folders_stay_several(folder, monkeypatch):
    for place in "one", "two":
        (folder / place / "pinned_plugins").mkdir(parents=True)
        (folder / place / "pinned_plugins" / "__init__.py").write_text("from .value import VALUE\n")
        (folder / place / "pinned_plugins" / "value.py").write_text(f"VALUE = {place!r}\n")

    def values(worker):
        found = []
        for place in "one", "two":
            with monkeypatch.context() as patch:
                patch.syspath_prepend(str(folder / place))
                found.append(worker.load("pinned_plugins")[0].VALUE)
        return found

    first = Worker()
    assert values(first) == ["one", "two"]
    later = Worker(first.send())
    for place in "one", "two":
        shutil.rmtree(folder / place)
    assert values(later) == ["one", "two"]
