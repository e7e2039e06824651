"""Each project of examples/ as its README describes it: its tests, `gproxy check`, and the commands with their output."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from shipped import ROOT
from test_dev import dev
from test_scripts import demo_ports  # noqa: F401 a fixture

EXAMPLES = ROOT / "examples"
PROJECTS = sorted(path.parent.name for path in EXAMPLES.glob("*/gproxy.ini"))
MARK = "--- next ---"


@pytest.fixture
def project(request, tmp_path):
    """A copy of the project, which is installed beside it if it is a package."""
    folder = tmp_path / request.param
    shutil.copytree(EXAMPLES / request.param, folder, ignore=shutil.ignore_patterns("__pycache__", "var", "log"))
    if (folder / "pyproject.toml").exists():
        install(folder, tmp_path / "lib")
    return folder


def install(folder, lib):
    """Install the package as pip does, which needs a build backend for it: modules, metadata, entry points."""
    described = tomllib.loads((folder / "pyproject.toml").read_text())
    project = described["project"]
    for name in described["tool"]["setuptools"]["packages"]:
        shutil.copytree(folder / name, lib / name)
    info = lib / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in points.items()) for group, points in groups
    ]
    (info / "entry_points.txt").write_text("".join(lines))


def environ(folder):
    """Return an environment whose `gproxy` is this tree's, with the installed packages of the project."""
    commands = folder.parent / "bin"
    commands.mkdir(exist_ok=True)
    (commands / "gproxy").write_text(f'#!/bin/sh\nexec {sys.executable} -m gproxy "$@"\n')
    (commands / "gproxy").chmod(0o755)
    places = [str(folder.parent / "lib"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    path = f"{commands}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def run(folder, *command):
    return subprocess.run(
        command, cwd=folder, env=environ(folder), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=50
    )


def test_the_list_has_every_project():
    listed = re.findall(r"^\| \[(\w+)\]\(\1/\)", (EXAMPLES / "README.md").read_text(), re.M)
    assert sorted(listed) == PROJECTS


@pytest.mark.parametrize("project", PROJECTS, indirect=True)
def test_its_tests_pass(project):
    command = sys.executable, "-P", "-m", "pytest"  # -P: as the command pytest, which does not look beside it
    done = run(project, *command, "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("project", PROJECTS, indirect=True)
def test_its_settings_are_correct(project):
    done = run(project, "gproxy", "check", "--config", "gproxy.ini")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("project", PROJECTS, indirect=True)
def test_the_commands_of_its_readme_print_what_it_says(project, demo_ports, monkeypatch):  # noqa: F811
    (block,) = re.findall(r"^```console\n(.*?)^```", (project / "README.md").read_text(), re.M | re.S)
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)
    assert steps
    for name, value in environ(project).items():
        monkeypatch.setenv(name, value)
    with dev(project, "--config", "gproxy.ini") as (_, port):
        script = f"\necho '{MARK}'\n".join(command for command, _ in steps).replace(
            "localhost:8080", f"127.0.0.1:{port}"
        )
        done = run(project, "bash", "-c", script)
    said = done.stdout.split(f"{MARK}\n")
    assert [text.rstrip("\n") for text in said] == [text.rstrip("\n") for _, text in steps], done.stderr
    assert Path(project, "log/access.log").read_text().count("\n") >= 2
