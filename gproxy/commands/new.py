"""`gproxy new`: writes a project with settings, a handler, its tests, and files for services; changes no file."""

import argparse
import keyword
import os
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_TEMPLATES: Final = Path(__file__).parent / "templates"
#: The files of each project, with their templates.
_FILES: Final[Mapping[str, str]] = {
    "gproxy.ini": "gproxy.ini", "tests/test_gateway.py": "test.py", "etc/supervisord.conf": "supervisord.conf",
    "etc/{{name}}.service": "service", "Containerfile": "Containerfile", ".gitignore": "gitignore",
    "README.md": "README.md",
}  # fmt: skip
#: The files with the code, without and with --package.
_CODE: Final[Mapping[bool, Mapping[str, str]]] = {
    False: {"handlers.py": "code.py", "pyproject.toml": "pyproject.toml"},
    True: {"{{module}}/__init__.py": "code.py", "pyproject.toml": "pyproject-package.toml"},
}
#: A name that packages may have.
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
#: Modules that the project would hide, or that it has itself.
_TAKEN: Final = sys.stdlib_module_names | {"gproxy", "tests", "etc"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the folder and the kind of the project."""
    parser.add_argument("folder", metavar="DIR", help="folder of the project, whose name is the project's")
    text = "make a package that can be installed, and that offers its handler by an entry point"
    parser.add_argument("--package", action="store_true", help=text)


def run(options: argparse.Namespace) -> int:
    """Write the project. Return 1 if one of its files exists or cannot be written. Raises ArgumentError for a name."""
    folder = Path(options.folder)
    words = _words(folder.resolve(), is_package=options.package)
    files = {_filled(path, words): template for path, template in {**_FILES, **_CODE[options.package]}.items()}
    if taken := [path for path in files if os.path.lexists(folder / path)]:
        print(f"{folder} has {', '.join(sorted(taken))} already; nothing was written", file=sys.stderr)
        return 1
    try:
        for path, template in files.items():
            _write(folder / path, _filled((_TEMPLATES / f"{template}.txt").read_text(), words))
    except OSError as error:
        print(f"{error.filename}: cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print("\n".join(_report(folder, files)))
    return 0


def _words(folder: Path, *, is_package: bool) -> dict[str, str]:
    """Return what the templates name. Raises ArgumentError for a name that no package or module can have."""
    name = folder.name
    if not _NAME.fullmatch(name):
        raise argparse.ArgumentError(None, f"{name!r} cannot be a project's name; expected letters, digits, - . and _")
    module = re.sub("[-.]", "_", name).lower() if is_package else "handlers"
    if not module.isidentifier() or keyword.iskeyword(module) or module in _TAKEN:
        raise argparse.ArgumentError(None, f"{module!r} cannot be the name of the package's module; choose another DIR")
    if is_package and _is_installed(module, folder):
        raise argparse.ArgumentError(None, f"{module!r} is the name of an installed module; choose another DIR")
    return {
        "name": name,
        "module": module,
        "use_comment": "         ; needless where the package is installed" if is_package else "",
        "installed": "/opt/gproxy ." if is_package else "/opt/gproxy",
        "code": f"are in `{module}/`" if is_package else "are in `handlers.py`",
    }


def _is_installed(module: str, folder: Path) -> bool:
    """Return whether Python finds the module elsewhere than in the folder, which would hide it."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # it is imported, and not by the usual ways
        return True
    if spec is None:
        return False
    if spec.has_location and spec.origin is not None:
        return not Path(spec.origin).resolve().is_relative_to(folder)
    places = [Path(place).resolve() for place in spec.submodule_search_locations or ()]
    here = Path.cwd()  # whose folders are packages without files, if Python searches it at all
    return any(not place.is_relative_to(folder) and place.parent != here for place in places)


def _filled(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: words[found[1]], text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x") as file:  # fails for a file that has appeared meanwhile
        file.write(text)


def _report(folder: Path, files: Iterable[str]) -> Iterable[str]:
    yield from (f"wrote {folder / path}" for path in sorted(files))
    yield ""
    yield f"next: cd {folder}; pytest; gproxy check --config gproxy.ini; gproxy dev --config gproxy.ini"
