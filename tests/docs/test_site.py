"""The pages as a whole: each can be found, the site's navigation is complete, and the design names files that exist."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def links(page):
    for target in re.findall(r"\]\(([^)#:\s]+\.md)(?:#[^)]*)?\)", (DOCS / page).read_text()):
        yield os.path.normpath(Path(page).parent / target)


def test_every_page_is_reachable_from_the_index():
    found, waiting = set(), ["index.md"]
    while waiting:
        page = waiting.pop()
        if page in PAGES - found:
            found.add(page)
            waiting += links(page)
    assert PAGES - found == set()


def test_the_index_has_a_line_for_every_page_and_four_doors():
    assert re.findall(r"^## (.*)", (DOCS / "index.md").read_text(), re.M) == ["Use", "Extend", "Operate", "Contribute"]
    why = {page for page in PAGES if page.startswith("why/")}
    assert set(links("index.md")) == PAGES - why - {"index.md"} | {"why/index.md"}
    assert set(links("why/index.md")) == why - {"why/index.md"}


def test_every_page_is_in_the_navigation_of_the_site():
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = re.findall(r"- (?:[\w ]+: )?(\S+\.md)$", navigation, re.M)
    assert sorted(pages) == sorted(PAGES)


def test_the_tree_of_the_architecture_is_the_package():
    (tree,) = re.findall(r"^```text\n(.*?)^```", (DOCS / "architecture.md").read_text(), re.M | re.S)
    written = set()
    for entry in re.split(r"\n(?=\S)", re.sub(r"\([^)]*\)", "", tree)):
        folder, _, rest = entry.partition("/ ")
        written |= {f"{folder}/{name}" for name in re.findall(r"\w+", rest.rpartition(": ")[2])}
    files = {path.relative_to(ROOT / "gproxy").with_suffix("").as_posix() for path in (ROOT / "gproxy").rglob("*.py")}
    assert written == {path for path in files if "/" in path and not path.endswith("__init__")}


def test_the_journey_has_a_line_for_every_file():
    named = re.findall(r"^- `(?:gproxy/)?([\w/]+\.py)` ", (DOCS / "journey.md").read_text(), re.M)
    package = ROOT / "gproxy"
    files = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    assert len(named) == len(set(named))
    assert set(named) <= files
    assert {file for file in files if not file.endswith("__init__.py")} <= set(named)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_files_that_pages_name_exist(page):
    for name in re.findall(r"`((?:[a-z0-9_]+/)+[a-z0-9_]+\.py)`", (DOCS / page).read_text()):
        assert (ROOT / "gproxy" / name).exists() or (ROOT / name).exists(), name


def test_the_python_of_the_architecture_runs():
    for block in re.findall(r"^```python\n(.*?)^```", (DOCS / "architecture.md").read_text(), re.M | re.S):
        exec(compile(block, "docs/architecture.md", "exec"), {})


def test_the_script_is_good_bash_and_executable():
    assert os.access(ROOT / "scripts/docs", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / "scripts/docs"], check=True)
