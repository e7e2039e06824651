"""What the project says of itself to package indexes, CI and contributors."""

import os
import re
import runpy
import subprocess
import sys
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def test_the_built_metadata_is_that_of_pyproject():
    """The build backend has made it for the installation that runs this test."""
    built = metadata("gproxy")
    assert built["Name"] == "gproxy"
    assert built["License-Expression"] == "MIT"
    assert built["Requires-Python"] == PROJECT["requires-python"]
    assert built.get_all("Classifier") == PROJECT["classifiers"], "scripts/install test builds it again"
    assert dict(line.split(", ", 1) for line in built.get_all("Project-URL")) == PROJECT["urls"]
    assert built["Keywords"].split(",") == PROJECT["keywords"]
    assert built["Description-Content-Type"] == "text/markdown"


def test_the_pythons_are_the_same_everywhere():
    stated = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert stated == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    tested = re.search(r"for minor in ([\d ]+);", (ROOT / "scripts/pythons").read_text())
    assert tested
    assert [f"3.{minor}" for minor in tested[1].split()] == PYTHONS


def lower_bounds(*lines):
    program = f"""
import sys; sys.path.insert(0, {str(ROOT / "scripts")!r})
from pathlib import Path
from lower_bounds import constraints
print(*constraints(*map(Path, sys.argv[1:])), sep="\\n")
"""
    return subprocess.run([sys.executable, "-c", program, *lines], capture_output=True, text=True, check=False)


def test_every_dependency_has_a_lower_bound():
    pins = lower_bounds().stdout.split("\n")
    assert len([pin for pin in pins if pin]) == len(PROJECT["dependencies"]) + len(
        ["redis", "brotli", "zstd", "bcrypt", "argon2", "rich", "opentelemetry-sdk", "opentelemetry-exporter"]
    )


def test_the_tests_have_every_package_of_the_other_extras():
    extras = PROJECT["optional-dependencies"]
    wanted = {one for name, extra in extras.items() if name not in {"test", "bench", "docs"} for one in extra}
    assert wanted - set(extras["test"]) == set()


def test_no_test_skips_because_something_is_not_installed():
    """It would be missing in CI without a sign: such a test must fail, and say what installs the rest."""
    skips = re.compile(r"importorskip|(skipif|skip)\(.*(which|find_spec|installed)")
    found = [
        path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__) and skips.search(path.read_text())
    ]
    assert found == []


def test_lower_bounds_of_all_forms(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[project]\ndependencies = ["a>=1", "b[x,y]>=2.1,<3", "c-d>=0.4; python_version < \'3.14\'"]\n'
        '[project.optional-dependencies]\nmore = ["e.f>=5"]\ntest = ["pytest"]\n'
    )
    assert lower_bounds(file).stdout == "a==1\nb==2.1\nc-d==0.4; python_version < '3.14'\ne.f==5\n"
    file.write_text('[project]\ndependencies = ["a"]\n[project.optional-dependencies]\n')
    assert "pyproject.toml: 'a' has no lower bound; expected NAME>=VERSION" in lower_bounds(file).stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["lint", "nonsense"]])
def test_the_check_rejects_a_part_that_it_does_not_have_before_it_runs_one(arguments):
    done = subprocess.run([ROOT / "scripts/check", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (done.stdout, done.stderr) == ("", "check: unknown part 'nonsense'; expected lint, format or types\n")


def test_the_hooks_run_every_part_of_the_check():
    hooks = re.findall(r"entry: scripts/check (\w+)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.M)
    assert hooks == ["lint", "format", "types"]


def report_on(python, script):
    """Return the lines about a `python3.99` that is this shell script."""
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    environ = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}", "PYENV_ROOT": str(python.parent)}
    done = subprocess.run([ROOT / "scripts/pythons", "3.99"], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 1
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (  # as Debian's without python3-venv
            'case "$2" in *version_info*) echo "3.99 $0" ;; *) echo "No module named ensurepip" >&2; exit 1 ;; esac',
            "is unusable: No module named ensurepip",
        ),
        ("echo cannot open libpython >&2; exit 127", "does not start: cannot open libpython"),
    ],
)
def test_an_unusable_python_fails_with_one_line_of_reason(tmp_path, script, problem):
    fake = tmp_path / "python3.99"
    assert report_on(fake, script) == [
        f"pythons: Python 3.99 at {fake} {problem}",
        "pythons: no usable Python 3.99",
        "pythons: FAILED: Python 3.99",
    ]


def test_the_order_of_the_tests_names_files_that_exist():
    long = runpy.run_path(str(ROOT / "tests/conftest.py"))["LONG"]
    assert [name for name in long if not (ROOT / "tests" / name).is_file()] == []
    assert list(long.values()) == sorted(long.values(), reverse=True)
