"""The house rules that a reader relies on: who imports whom, how long things are, that public names are explained."""

import ast
import re
import runpy
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "gproxy").rglob("*.py"))

#: What a folder may import of gproxy, besides itself; a longer name counts before a shorter one. A row holds once its
#: folder exists. docs/changing.md has the same table, generated from this one.
LOW = {"http", "config", "state", "observe", "runtime", "identity"}
CORE = LOW | {"upstream", "handlers", "gateway"}
#: Folders of extensions, which only commands and the files of MORE import.
EXTENDING = {"apps", "static", "jobs", "generations", "debugger", "dev", "recording"}
HTTP1 = {"http", "config.types", "runtime", "upstream.connection", "upstream.errors"}
MAY_IMPORT = {
    "http": set(),
    "config": {"http.header_names"},
    "state": {"config"},
    "observe": {"http", "config", "state"},
    "runtime": {"http", "config", "state", "observe"},
    "identity": {"http", "config", "state", "runtime"},
    "upstream": LOW - {"identity"},
    "upstream.http1": HTTP1,
    "upstream.http2": HTTP1 | {"upstream.http1"},
    "handlers": {"http", "config.types", "identity", "state", "runtime"},
    "gateway": CORE,
    "arbiter": {"config", "observe.log", "state.shared.memory"},
    "server": CORE | {"arbiter", "introspection"},
    "commands": CORE | {"arbiter", "server", "introspection"} | EXTENDING,
    "introspection": {"http", "config", "state", "observe", "runtime"},
    "tracing": {"http", "config", "observe", "runtime"},
    "monitor": CORE | {"arbiter", "server", "introspection", "tracing.span_record"},
    "apps": {"http", "config", "state", "runtime", "upstream.forwarder"},
    "static": {"http", "config", "state", "runtime"},
    "jobs": {"http", "config", "state", "runtime"},
    **{name: {"http", "config", "observe", "runtime"} for name in ("generations", "debugger", "dev", "recording")},
}
#: Files that may import more than their folder.
MORE = {
    "gateway.build": {"apps", "generations", "introspection", "tracing"},
    "server.worker": {"generations", "tracing"},
    "server.trial": {"generations"},
}
#: Parts that only these folders may import, whatever the table says.
ONLY_FROM = {
    "testing": {"testing"},
    "gateway.build": {"gateway", "server", "commands", "cli", "testing.kit"},
    "gateway.policy": {"gateway"},
    "gateway.user_code": {"gateway", "server", "commands.handlers"},
    "server.worker": {"server"},
}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in FILES}


@cache
def imported(path):
    """The modules of gproxy that a file imports, wherever in it and for whatever."""
    return tuple(imports(path))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in MODULES or node.module in MODULES:
                    yield full if full in MODULES else node.module


def is_in(module, folder):
    return module == folder or module.startswith(f"{folder}.")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    here = name_of(path).removeprefix("gproxy").removeprefix(".")
    row = max((folder for folder in MAY_IMPORT if is_in(here, folder)), key=len, default=None)
    if row is None:
        return
    for module in imported(path):
        there = module.removeprefix("gproxy").removeprefix(".")
        allowed = MAY_IMPORT[row] | {row} | MORE.get(here, set())
        assert not there or any(is_in(there, folder) for folder in allowed), f"{here} imports {there}"


@pytest.mark.parametrize("part", ONLY_FROM)
def test_some_parts_are_imported_in_few_folders(part):
    for name, path in MODULES.items():
        here = name.removeprefix("gproxy").removeprefix(".")
        if not any(is_in(here, folder) for folder in ONLY_FROM[part]):
            assert [one for one in imported(path) if is_in(one, f"gproxy.{part}")] == [], here


#: Files with tables of optional parts: texts MODULE:NAME, which are imported once the settings or a command need them.
TABLES = {"gateway.build", "introspection.answers", "monitor.monitor", "monitor.answers.inspector", "commands.dev"}


def test_only_tables_name_optional_parts():
    part = re.compile(rf"gproxy\.({'|'.join(EXTENDING)})\b")
    naming = set()
    for name, path in MODULES.items():
        here = name.removeprefix("gproxy.")
        texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        if here.split(".")[0] not in EXTENDING and any(isinstance(one, str) and part.match(one) for one in texts):
            naming.add(here)
    assert naming == TABLES


def test_a_gateway_imports_no_part_that_its_settings_do_not_need(tmp_path):
    (tmp_path / "gproxy.ini").write_text(
        "[gateway]\nhandlers = compress, health, limit\n[handler:limit]\nuse = rate_limit\nlimit = 1/s\n"
        "[route:a]\nupstream = a\n[upstream:a]\nbackends = http://127.0.0.1:1\n"
    )
    program = (
        "import sys, gproxy.server.worker\n"
        "from gproxy.gateway.build import build, load\n"
        "from gproxy.runtime import Runtime\n"
        "settings = load(sys.argv[1])\n"
        "build(settings, Runtime.of(settings))\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "gproxy.ini")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    parts = {name.removeprefix("gproxy.") for name in found if is_in(name, "gproxy")}
    optional = (
        *EXTENDING,
        "tracing",
        "testing",
        "runtime.aio",
        "runtime.gather",
        "state.redis",
        "state.table",
        "upstream.http2",
    )
    assert {name for name in parts if any(is_in(name, part) for part in optional)} == {
        "generations", "generations.pinned_code",
    }  # fmt: skip
    assert not {"asyncio", "pdb", "redis", "pytest"} & set(found)


def test_no_two_files_import_each_other():
    edges = {name: {other for other in imported(path) if other != name} for name, path in MODULES.items()}
    # A package's __init__ is loaded before its modules, which is no import of theirs.
    found = {name for name in edges if name in reachable(edges, name)}
    assert found == set()


def reachable(edges, start):
    seen, todo = set(), list(edges[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += edges.get(name, ())
    return seen


def test_handlers_do_not_know_each_other():
    for path in (ROOT / "gproxy/handlers").glob("*.py"):
        if path.name != "__init__.py":
            others = [name for name in imported(path) if is_in(name, "gproxy.handlers")]
            assert all(is_in(name, "gproxy.handlers.steps") for name in others), path.name


#: Modules below 40 lines, each with its reason; every other idea that small belongs to a larger one.
SMALL = {
    "__main__": "python -m gproxy",
    "apps.errors": "a stream of an app",
    "arbiter.generations.trial": "a state of a generation that few have",
    "arbiter.backoff": "pauses between starts, apart from what starts",
    "commands.credentials.secret_line": "what two commands ask for without echo",
    "commands.config": "a command",
    "commands.version": "a command",
    "commands.live.rollback": "a command",
    "config.admin_checks": "checks of one section against others",
    "config.file_stamp": "what the arbiter, the server and identity compare",
    "config": "the public names",
    "gateway.watch.server_timing": "a field of its own",
    "handlers": "the table of built-in handlers",
    "handlers.body_limit": "a handler",
    "handlers.respond": "a handler",
    "handlers.steps": "the sentence about the folder",
    "handlers.steps.own_paths": "a step that two handlers share",
    "http.announce_identity": "compiled, as the base of identity handlers cannot be",
    "http.json_body": "a format of its own",
    "http.handler": "the protocol that everything else is built on",
    "http.phase": "the words for one number, which all folders of the hot path store",
    "http.h2.never_indexed": "encoder, decoder and fields share it",
    "http.one_chunk": "a protocol's helper that compiled files share",
    "http.rate_limit_fields": "an RFC of its own",
    "http.request_id": "a format of its own",
    "http.websocket": "an RFC of its own",
    "server.http2.figures": "what a process counts, apart from what each connection does",
    "http.set_cookie": "the response side of cookies, which splits and sticky sessions share",
    "identity.errors": "the errors of all identity handlers",
    "identity": "the public names",
    "identity.cross_site": "a check that two base classes share",
    "identity.key_sets.pem": "files with keys, apart from signatures",
    "identity.secrets.low_threads": "threads of another kind than those of the runtime",
    "introspection.live_jobs": "the answers to two questions",
    "introspection.live_config": "the answer to one question",
    "introspection.record_feed": "what is fed by itself, apart from the answers to questions",
    "introspection.process_status": "the answer to one question",
    "monitor.answers.config": "the answer to one question",
    "monitor.answers.metrics": "the answer to one question",
    "monitor.answers.recent": "the answer to one question",
    "monitor.access.audit": "the one form of audit lines",
    "monitor.times": "the one form of times",
    "monitor.answers.events": "the answer to one question",
    "monitor.views.logs": "a view",
    "monitor.views.settings": "a view",
    "runtime.user_files": "what introspection, the gateway and dev ask about a file",
    "recording.pseudonyms": "the one form of pseudonyms",
    "runtime.expired": "what an alarm throws; imported by nearly all",
    "server.patch": "must be imported before any other module",
    "upstream.balance": "the table of policies",
    "upstream.forwarder.grpc_attempt": "what only upstreams with HTTP/2 do",
}


def test_no_file_is_a_crumb():
    lines = {name: path.read_text().count("\n") for name, path in MODULES.items()}
    small = {name.removeprefix("gproxy.") for name, count in lines.items() if 0 < count < 40}
    assert small == set(SMALL)


SETUP = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")


def test_each_interpreted_file_of_a_compiled_folder_exists_and_has_one_reason():
    names = [name for names in SETUP["INTERPRETED"].values() for name in names]
    assert len(names) == len(set(names))
    assert [name for name in names if not (ROOT / f"gproxy/{name}.py").exists()] == []
    assert [name for name in names if not name.startswith(tuple(f"{folder}/" for folder in SETUP["HOT"]))] == []


def test_no_unit_test_of_compiled_code_is_left_to_the_interpreted_run():
    text = (ROOT / "tests/unit/conftest.py").read_text()
    left = ast.literal_eval(re.search(r"^NEVER_COMPILED = (\(.*?\))$", text, re.M | re.S)[1])
    assert [name for name in left if not (ROOT / "tests/unit" / name).exists()] == []
    assert [source for source in SETUP["SOURCES"] if source.startswith(left)] == []


@pytest.mark.parametrize("source", SETUP["SOURCES"])
def test_compiled_files_avoid_what_mypyc_does_otherwise(source):
    """docs/why/compiled.md: super().__init__(**options), and `raise ... from` without setting __cause__."""
    path = ROOT / "gproxy" / source
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "__init__":
            assert not [one for one in node.keywords if one.arg is None], f"{path}:{node.lineno}"
        if isinstance(node, ast.FunctionDef):
            text = ast.unparse(node)
            raises = [one for one in ast.walk(node) if isinstance(one, ast.Raise) and one.cause is not None]
            if any(not (isinstance(one.cause, ast.Constant) and one.cause.value is None) for one in raises):
                assert "__cause__" in text or "_reset(" in text, f"{path}:{node.lineno} {node.name}"


def handlers(tree):
    """Return, of each function and each name that it catches exceptions as, the classes that are caught."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            caught = {}
            for one in ast.walk(node):
                if isinstance(one, ast.ExceptHandler) and one.name:
                    caught.setdefault(one.name, set()).add(ast.unparse(one.type))
            for classes in caught.values():
                yield node.lineno, classes


def test_compiled_files_catch_a_compiled_exception_by_a_name_of_its_own():
    """docs/why/compiled.md: a name keeps the class of its first handler; another exception would be a TypeError."""
    trees = {source: ast.parse((ROOT / "gproxy" / source).read_text()) for source in SETUP["SOURCES"]}
    compiled = {node.name for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef)}
    shared = [
        f"{source}:{line}"
        for source, tree in trees.items()
        for line, classes in handlers(tree)
        if len(classes) > 1 and compiled & classes
    ]
    assert shared == []


#: Calls whose result may stand in a slice: they change nothing, so that calling them twice is harmless; or have no type.
HARMLESS = {"count", "end", "find", "len", "max", "min", "rfind", "start", "split", "tidied", "_send"}


@pytest.mark.parametrize("source", SETUP["SOURCES"])
def test_compiled_files_call_nothing_within_a_slice(source):
    """docs/why/compiled.md: mypyc makes such a call twice unless it slices a text, bytes, a list or a tuple."""
    bounds = [
        bound
        for node in ast.walk(ast.parse((ROOT / "gproxy" / source).read_text()))
        if isinstance(node, ast.Slice)
        for bound in (node.lower, node.upper)
        if bound is not None
    ]
    calls = [node.func for bound in bounds for node in ast.walk(bound) if isinstance(node, ast.Call)]
    assert {getattr(call, "attr", getattr(call, "id", "")) for call in calls} <= HARMLESS


@pytest.mark.parametrize("package_name", ["http", "config"])
def test_the_words_and_the_settings_need_no_event_loop(package_name):
    program = f"import gproxy.{package_name}.{'wire' if package_name == 'http' else 'load'}, sys; print('gevent' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_the_arbiter_needs_no_event_loop_and_none_of_what_serves():
    program = (
        "import gproxy.arbiter.arbiter, sys; sys.path_importer_cache.clear();"
        "print(*(name for name in sys.modules if name.split('.')[0] not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    names = {name for name in done.stdout.split() if not name.startswith(("__", "_distutils", "sitecustomize"))}
    assert {name.split(".")[0] for name in names} == {"gproxy"}
    allowed = ("gproxy.arbiter", "gproxy.compiled", "gproxy.hot__mypyc", "gproxy.config", "gproxy.http")
    few = {name for name in names if name != "gproxy" and not any(is_in(name, folder) for folder in allowed)}
    assert few == {
        "gproxy.observe", "gproxy.observe.json_log", "gproxy.observe.local_time", "gproxy.observe.log",
        "gproxy.observe.nonblocking", "gproxy.state", "gproxy.state.shared", "gproxy.state.shared.memory",
    }  # fmt: skip
    assert "ssl" not in names


def test_the_first_worker_starts_before_the_slow_imports():
    slow = {"dataclasses", "inspect", "json", "logging"}
    program = f"import gproxy.cli, gproxy.commands.serve, sys; print(*{slow} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


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


def test_each_exception_of_the_linter_says_why():
    """`# noqa: ANN401 an option may be anything`."""
    without = []
    for path in FILES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"# noqa: (ANN401|BLE001|SLF001)(, \w+)*$", line):
                without.append(f"{path.relative_to(ROOT)}:{number}")
    assert without == []


def test_settings_share_their_methods():
    """A frozen dataclass that the decorator writes methods for costs each start; without Record it would have none."""
    found = {
        path.relative_to(ROOT).as_posix(): re.findall(
            r"@dataclass\((frozen=.*)\)\n(?:@\S+\n)?class \w+(\(.*\))?:", path.read_text()
        )
        for path in (ROOT / "gproxy/config").rglob("*.py")
    }
    assert sum(map(len, found.values())) > 50
    wanted = ("frozen=True, slots=True, eq=False, repr=False", "(Record)")
    assert {path: set(classes) - {wanted} for path, classes in found.items() if set(classes) - {wanted}} == {}


def test_no_name_that_says_nothing():
    assert [p for p in FILES if p.stem in ("utils", "helpers", "base", "manager", "common", "misc")] == []


#: Source files without a unit test file of their name, each with its reason.
TESTED_ELSEWHERE = {
    "gateway/watch/watched_chain.py": "is measured with a whole gateway; tests/flow/test_time_account.py tests it",
    "gateway/watch/watched_forward.py": "is measured with a whole gateway; tests/flow/test_time_account.py tests it",
    "gateway/watch/watching_gateway.py": "is measured with a whole gateway; tests/flow/test_time_account.py tests it",
    "server/acceptor.py": "accepts from a socket that processes share; tests/flow and tests/process test it",
    "server/client_pace.py": "waits for a channel or a stream; the tests of both test it",
    "server/listener.py": "accepts from a socket that processes share; tests/flow and tests/process test it",
    "server/worker.py": "is a process under commands of the arbiter; tests/process tests it",
    "upstream/connection.py": "has only names of methods; those of each protocol have tests",
    "upstream/errors.py": "has only names of exceptions",
}


def test_each_source_file_has_a_unit_test_file_of_its_name():
    without = set()
    for folder in ("gateway", "server", "upstream"):
        for path in (ROOT / "gproxy" / folder).rglob("*.py"):
            source = path.relative_to(ROOT / "gproxy")
            test = ROOT / "tests/unit" / source.parent / f"test_{source.name}"
            if source.name != "__init__.py" and not test.exists():
                without.add(str(source))
    assert without == set(TESTED_ELSEWHERE)


#: Words that a reader stumbles over, and words with which no docstring begins.
STOP_WORDS = re.compile(r"\b(whoever|nobody|told|said|left out|at hand|who is|of our own|not be had)\b", re.IGNORECASE)
FUNCTION_WORDS = {
    "what", "how", "those", "it", "its", "who", "whose", "that", "as", "is", "does", "has", "whether", "which", "when",
    "where", "if", "for", "from", "one",
}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_is_plain(path):
    """Docstrings, comments, messages and option texts have no stop word; a docstring begins with a verb or a noun."""
    text = path.read_text()
    assert [line for line in text.splitlines() if STOP_WORDS.search(line)] == []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (doc := ast.get_docstring(node)):
            assert doc.split()[0].lower().strip(",.:;`") not in FUNCTION_WORDS, f"{path}:{node.lineno} {doc}"
