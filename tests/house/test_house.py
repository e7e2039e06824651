"""The house rules that a reader relies on: who imports whom, how long things are, that public names are explained."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "gproxy").rglob("*.py"))

#: package -> what it may import of gproxy, besides itself.
MAY_IMPORT = {
    "http": set(),
    "config": set(),
    "state": {"config"},
    "observe": {"http", "state"},
    "runtime": {"config", "state", "observe"},
    "upstream": {"http", "config", "state", "observe", "runtime"},
    "handlers": {"http", "config", "state", "runtime"},
    "gateway": {"http", "config", "state", "observe", "runtime", "upstream", "handlers"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            yield node.module if node.module != "gproxy" else f"gproxy.{node.names[0].name}"


def package(path):
    parts = path.relative_to(ROOT / "gproxy").parts
    return parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    here = package(path)
    if here not in MAY_IMPORT:
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "gproxy" and len(parts) > 1 and parts[1] not in (here, "__version__"):
            assert parts[1] in MAY_IMPORT[here], f"{path.relative_to(ROOT)} imports {name}"


def test_handlers_do_not_know_each_other():
    for path in (ROOT / "gproxy/handlers").glob("*.py"):
        assert not [name for name in imports(path) if name.startswith("gproxy.handlers")], path.name


@pytest.mark.parametrize("package_name", ["http", "config"])
def test_the_words_and_the_settings_need_no_event_loop(package_name):
    program = f"import gproxy.{package_name}.{'wire' if package_name == 'http' else 'load'}, sys; print('gevent' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_arbiter_needs_no_event_loop_and_none_of_what_serves():
    program = (
        "import gproxy.cli, gproxy.arbiter.arbiter, sys; sys.path_importer_cache.clear();"
        "print(*(name for name in sys.modules if name.split('.')[0] not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    names = {name for name in done.stdout.split() if not name.startswith(("__", "_distutils", "sitecustomize"))}
    assert {name.split(".")[0] for name in names} == {"gproxy"}
    packages = {".".join(name.split(".")[:2]) for name in names}
    assert packages <= {"gproxy", "gproxy.cli", "gproxy.compiled", "gproxy.hot__mypyc", "gproxy.config", "gproxy.http", "gproxy.observe", "gproxy.server", "gproxy.state"}
    few = {name for name in names if name.split(".")[1:2] in (["observe"], ["state"])}
    assert few == {"gproxy.observe", "gproxy.observe.log", "gproxy.observe.nonblocking", "gproxy.state", "gproxy.state.shared.memory"}
    assert "gproxy.server.worker" not in names


def test_the_command_line_patches_before_anything_imports_ssl():
    program = (
        "import gproxy.cli, sys; assert 'ssl' not in sys.modules, 'ssl too early'; import gproxy.server.worker;"
        "from gevent import monkey; import ssl; assert monkey.is_module_patched('ssl')"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def functions():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def code_lines(node):
    body = node.body
    documented = isinstance(body[0], ast.Expr) and isinstance(getattr(body[0], "value", None), ast.Constant)
    return node.end_lineno - node.lineno + 1 - (body[0].end_lineno - body[0].lineno + 1 if documented else 0)


def test_functions_fit_on_a_screen():
    lengths = {f"{path.relative_to(ROOT)}:{node.name}": code_lines(node) for path, node in functions()}
    assert statistics.median(lengths.values()) <= 8
    assert sorted(lengths.values())[int(len(lengths) * 0.9)] <= 28
    assert {name: length for name, length in lengths.items() if length > 60} == {}


def test_no_file_grows_past_its_ideas():
    assert {str(path): lines for path in FILES if (lines := path.read_text().count("\n")) > 400} == {}


def test_every_module_and_public_class_says_what_it_is():
    missing = []
    for path in FILES:
        tree = ast.parse(path.read_text())
        if path.name not in ("__init__.py", "__main__.py") and ast.get_docstring(tree) is None:
            missing.append(str(path.relative_to(ROOT)))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and ast.get_docstring(node) is None:
                missing.append(f"{path.relative_to(ROOT)}:{node.name}")
    assert missing == []


def test_no_name_that_says_nothing():
    assert [p for p in FILES if p.stem in ("utils", "helpers", "base", "manager", "common", "misc")] == []
