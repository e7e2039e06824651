"""The code of user modules, which all workers of a generation have in common, whatever is on the disk by then.

A worker notes the code of each user module that it imports, and the arbiter keeps it in memory files. Later workers of
the generation get these files, and import that code under the same names, with the same files and lines.
"""

import fcntl
import logging
import marshal
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec, NamespaceLoader, PathFinder, SourceFileLoader, SourcelessFileLoader
from importlib.util import MAGIC_NUMBER, spec_from_file_location
from types import CodeType, ModuleType
from typing import Final, NamedTuple, cast

from gproxy.runtime.user_files import is_users

_log = logging.getLogger("gproxy")

#: The most names of modules in a line of the log.
_NAMED: Final = 5


class PinnedModule(NamedTuple):
    """A user module as it was imported."""

    name: str
    #: The path of its source, or of its bytecode without a source; empty for a namespace package.
    file: str
    #: The folders in which modules of the package are searched for; None for a module that is no package.
    folders: list[str] | None
    #: The marshalled code object.
    code: bytes = b""

    @property
    def places(self) -> list[str]:
        """The folders of the import path in which the module was found."""
        own = [f"{self.file}/.."] if self.file and self.folders is not None else self.folders or [self.file]
        return [os.path.abspath(f"{path}/..") for path in own]  # noqa: PTH100 compared as text with other absolute paths


class PinnedCode:
    """The modules that an earlier worker has imported, and those that this one adds.

    `contents` are those of the memory files, `read_at` is the Unix time at which the generation began. `send` gets the
    descriptor of a further memory file, and the paths of the modules in it.
    """

    def __init__(self, contents: Iterable[bytes], read_at: float, send: Callable[[int, list[str]], object]) -> None:
        self._read_at = read_at
        self._send = send
        #: By name; several only if a process has removed one from `sys.modules`, and imported one of another folder.
        self._modules: dict[str, list[PinnedModule]] = {}
        for content in contents:
            for module in _unpacked(content):
                self._note(module)
        #: Whether the modules that the settings name are here: what is imported now is imported late.
        self._is_built = bool(self._modules)
        self._added: list[PinnedModule] = []

    def pin_imports(self) -> None:
        """Pin all user modules that are imported from now on."""
        sys.meta_path.insert(0, PinnedFinder(self))

    def find(self, name: str, path: Sequence[str]) -> PinnedModule | None:
        """Return the module that an import finds first on the path, if its code is pinned.

        The worker that builds from the disk looks there: the first on the path may not be pinned yet.
        """
        found = self._modules.get(name, ()) if self._is_built else ()
        if len(found) < 2:
            return found[0] if found else None
        by_place = {place: module for module in found for place in module.places}
        return next((by_place[place] for place in map(os.path.abspath, path) if place in by_place), None)

    def add(self, module: PinnedModule) -> None:
        """Add a module that comes from the disk."""
        if self._note(module):
            self._added.append(module)

    def _note(self, module: PinnedModule) -> bool:
        """Note the module; return False if there is one of this name and file."""
        known = self._modules.setdefault(module.name, [])
        if any(one.file == module.file for one in known):
            return False
        known.append(module)
        return True

    def code_of(self, module: PinnedModule, load: Callable[[str], CodeType | None]) -> CodeType | None:
        """Return the pinned code of the module; else load it from the disk, and pin it."""
        for pinned in self._modules.get(module.name, ()):
            if pinned.file == module.file:
                code: CodeType = marshal.loads(pinned.code)  # noqa: S302 it comes from a worker of this gateway
                return code
        loaded = load(module.name)
        if loaded is not None:
            self.add(module._replace(code=marshal.dumps(loaded)))
        return loaded

    def send_added(self) -> None:
        """Send what was added since the last call; log a line if it comes late, from newer files than the generation.

        The first call ends the build: what is added later comes late.
        """
        added, self._added = self._added, []
        if self._is_built:
            self._warn_of_newer(added)
        self._is_built = True
        if not added:
            return
        try:
            fd = _memory_file(_packed(added))
        except OSError as error:  # no descriptor or no memory is left; the heartbeats must go on
            _log.warning("cannot keep the code of %d modules for later workers: %s", len(added), error.strerror)
            return
        try:
            self._send(fd, [module.file for module in added if module.file])
        finally:
            os.close(fd)

    def _warn_of_newer(self, modules: Iterable[PinnedModule]) -> None:
        newer = [module.file for module in modules if module.file and _changed(module.file) > self._read_at]
        if newer:
            more = f" and {len(newer) - _NAMED} more" if len(newer) > _NAMED else ""
            what = "imported late, from files that are newer than the generation: %s%s; HUP lets all workers read them"
            _log.warning(what, ", ".join(newer[:_NAMED]), more)


class PinnedFinder:
    """The import finder before all others: it pins the code of user modules, and serves code that is pinned."""

    def __init__(self, code: PinnedCode) -> None:
        self._code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of pinned code, or the one that another finder has; None if there is no such module."""
        if (pinned := self._code.find(fullname, sys.path if path is None else path)) is not None:
            return self._spec(pinned)
        spec = self._find_elsewhere(fullname, path, target)
        if spec is None:
            return None
        folders = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
        if spec.origin is None or not spec.has_location:
            if folders and any(is_users(f"{folder}{os.sep}") for folder in folders):  # a namespace package
                self._code.add(PinnedModule(fullname, "", folders))
        elif type(spec.loader) in _LOADERS and is_users(spec.origin):
            spec.loader = _LOADERS[type(spec.loader)](PinnedModule(fullname, spec.origin, folders), self._code)
        return spec

    def _spec(self, module: PinnedModule) -> ModuleSpec | None:
        folders = None if module.folders is None else list(module.folders)  # a package may add to its own
        if not module.file:
            return _namespace(module.name, folders or [])
        kind = SourceFileLoader if module.file.endswith(".py") else SourcelessFileLoader
        loader = _LOADERS[kind](module, self._code)
        return spec_from_file_location(module.name, module.file, loader=loader, submodule_search_locations=folders)

    def _find_elsewhere(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)  # old libraries lack it
            if find is not None and (spec := find(name, path, target)) is not None:
                return cast(ModuleSpec, spec)
        return None


def _namespace(name: str, folders: list[str]) -> ModuleSpec:
    """Return the spec of a namespace package, whose path follows `sys.path` as Python's own does."""
    loader = NamespaceLoader(name, folders, PathFinder.find_spec)
    spec = ModuleSpec(name, loader, is_package=True)
    spec.submodule_search_locations = loader._path  # type: ignore[attr-defined]  # noqa: SLF001 nothing else makes such a path
    return spec


class _PinnedSource(SourceFileLoader):
    """The loader of a module with a source. Sources of tracebacks and data files are those of the disk."""

    def __init__(self, module: PinnedModule, code: PinnedCode) -> None:
        super().__init__(module.name, module.file)
        self._module = module
        self._code = code

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002 the module has its name
        """Return the pinned code."""
        return self._code.code_of(self._module, super().get_code)


class _PinnedBytecode(SourcelessFileLoader):
    """The loader of a module that is a bytecode file alone."""

    def __init__(self, module: PinnedModule, code: PinnedCode) -> None:
        super().__init__(module.name, module.file)
        self._module = module
        self._code = code

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002 the module has its name
        """Return the pinned code."""
        return self._code.code_of(self._module, super().get_code)


#: Our loaders in place of those of Python. Extension modules and archives stay as they are on the disk.
_LOADERS: Final[dict[type, Callable[[PinnedModule, PinnedCode], SourceFileLoader | SourcelessFileLoader]]] = {
    SourceFileLoader: _PinnedSource, SourcelessFileLoader: _PinnedBytecode,
}  # fmt: skip


def user_files() -> list[str]:
    """Return the files of all user modules that are imported."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return [file for file in files if file and is_users(file)]


def _memory_file(content: bytes) -> int:
    """Return the descriptor of a memory file, which no process can change."""
    fd = os.memfd_create("gproxy-code", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return fd


def content_of(fd: int) -> bytes:
    """Return the content of a memory file, and close the descriptor, whose position other processes have too."""
    try:
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _packed(modules: Sequence[PinnedModule]) -> bytes:
    return MAGIC_NUMBER + marshal.dumps([tuple(module) for module in modules])


def _unpacked(content: bytes) -> list[PinnedModule]:
    """Return the modules; none if another Python has written them."""
    if not content.startswith(MAGIC_NUMBER):
        _log.warning("the code of the generation is that of another Python; it is read from the disk")
        return []
    return [PinnedModule(*fields) for fields in marshal.loads(content[len(MAGIC_NUMBER) :])]  # noqa: S302 as above


def _changed(path: str) -> float:
    """Return the Unix time at which the file got its content or its place; 0 without a file."""
    try:
        return os.stat(path).st_ctime  # noqa: PTH116 the path is a string
    except OSError:
        return 0.0
