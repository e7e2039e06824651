"""Changed files: which files a watch reports."""

from gproxy.arbiter.generations import file_watch
from gproxy.arbiter.generations.file_watch import FileWatch, watched_files
from gproxy.config.file_stamp import FileStamp


def test_a_watch_reports_changed_new_and_removed_files_once(tmp_path):
    settings, beside, reported = tmp_path / "g.ini", tmp_path / "mine.py", tmp_path / "else" / "other.py"
    reported.parent.mkdir()
    for path in (settings, beside, reported):
        path.write_text("")
    watch = FileWatch(str(settings))
    files = [str(reported)]
    assert watch.changed(files) == []  # a file that is reported for the first time has not changed
    for path in (settings, reported):
        path.write_text("changed")
    beside.unlink()
    new = tmp_path / "new.py"
    new.write_text("")
    assert watch.changed(files) == sorted(map(str, (settings, beside, reported, new)))
    assert watch.changed(files) == []


def test_a_watch_reports_new_matches_of_a_pattern_but_not_those_that_a_generation_has_read(tmp_path):
    settings, folder = tmp_path / "g.ini", tmp_path / "conf.d"
    folder.mkdir()
    settings.write_text("")
    read, new = folder / "a.ini", folder / "b.ini"
    read.write_text("")
    patterns = [str(folder / "*.ini")]
    watch = FileWatch(str(settings))
    watch.adopt({str(read): FileStamp.of(read), str(folder / "missing.ini"): None})
    assert watch.changed((), patterns) == []
    new.write_text("")
    assert watch.changed((), patterns) == [str(new)]
    stamp = FileStamp.of(read)
    read.write_text("changed")
    watch.adopt({str(read): stamp})  # read by a generation, and changed before the first look
    new.unlink()
    assert watch.changed((), patterns) == [str(read), str(new)]
    assert watch.changed((), patterns) == []


def test_the_files_below_a_folder_are_watched(tmp_path, monkeypatch):
    pages = tmp_path / "pages"
    editors = (".a.html.swp", ".#a.html", "#a.html#", "a.html~", ".DS_Store")
    for name in ("a.html", "deep/b.html", *editors, ".git/index", "__pycache__/m.pyc", "node_modules/x/y.js"):
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        (pages / name).write_text("")
    missing = str(tmp_path / ".env")
    found = list(watched_files([str(pages), missing, str(tmp_path / "*.none")]))
    assert found == [str(pages / "a.html"), str(pages / "deep" / "b.html"), missing]
    monkeypatch.setattr(file_watch, "_MOST", 1)
    assert list(watched_files([str(pages)])) == [str(pages / "a.html")]
    monkeypatch.setattr(file_watch, "_MOST", 5)
    for number in range(20):
        (tmp_path / "many" / f"{number:02}").mkdir(parents=True)
        (tmp_path / "many" / f"{number:02}" / "a").write_text("")
    assert len(list(watched_files([str(tmp_path / "many")]))) == 2, "folders count too: a look is short"


def test_a_new_module_beside_user_code_is_a_change_but_not_those_that_were_there(tmp_path):
    package = tmp_path / "shop"
    package.mkdir()
    for name in ("__init__.py", "views.py", "unused.py"):
        (package / name).write_text("")
    watch = FileWatch(str(tmp_path / "g.ini"))
    files = [str(package / "__init__.py"), str(package / "views.py")]
    assert watch.changed(files) == []
    assert watch.changed(files) == []
    (package / "new.py").write_text("")
    (package / "unused.py").write_text("changed")
    assert watch.changed(files) == [str(package / "new.py"), str(package / "unused.py")]
    assert watch.changed(files) == []
