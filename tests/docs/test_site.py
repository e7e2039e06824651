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
    written = [line.partition("/ ")[0] for line in tree.splitlines()]
    files = (path.relative_to(ROOT / "gproxy").parent for path in (ROOT / "gproxy").rglob("*.py"))
    assert sorted(written) == sorted({folder.as_posix() for folder in files} - {"."})


def test_the_journey_has_a_line_for_every_file():
    named = re.findall(r"^- `(?:gproxy/)?([\w/]+\.py)` ", (DOCS / "journey.md").read_text(), re.M)
    files = {path for path in (ROOT / "gproxy").rglob("*.py") if path.stat().st_size}
    assert sorted(named) == sorted(path.relative_to(ROOT / "gproxy").as_posix() for path in files)


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
