"""Compiles the hot path where a C compiler is at hand; the same files run interpreted where none is.

Everything else about the package is in pyproject.toml. GPROXY_PURE=1 builds, and runs, without compiling.
"""

import os
import sys
from hashlib import blake2b
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

#: What every request passes. mypyc makes one C library of them, in which they call each other directly.
HOT = """
    http/headers http/request http/response http/body http/rewrite http/target http/framing http/wire
    http/forwarding
    runtime/alarm runtime/channel
    observe/accesslog observe/entry
    gateway/gateway gateway/router gateway/route gateway/candidates gateway/chain
    server/connection server/respond server/client server/known
    upstream/forward upstream/compose upstream/body upstream/upstream upstream/backend
    upstream/answer upstream/channel
""".split()
SOURCES = [f"gproxy/{name}.py" for name in HOT]
#: As mypy's: what it checks is checked elsewhere, and here the libraries we use may not be installed.
OPTIONS = ["--config-file=", "--ignore-missing-imports", "--disable-error-code=import-untyped"]


def extensions():
    """The library and a small module for each source; none if it cannot be made."""
    if os.environ.get("GPROXY_PURE"):
        return []
    try:
        from mypyc.build import mypycify

        return mypycify([*OPTIONS, *SOURCES], group_name="gproxy.hot", opt_level="3", debug_level="0")
    except (ImportError, SystemExit) as error:
        print(f"gproxy: not compiled, it will run interpreted: {error or 'mypyc refuses it'}", file=sys.stderr)
        return []


class Build(build_ext):
    """Goes on without a compiler, and notes what was compiled from what."""

    def run(self):
        try:
            super().run()
            self._note()
        except Exception as error:
            print(f"gproxy: not compiled, it will run interpreted: {error}", file=sys.stderr)
            self.extensions = []

    def _note(self):
        """Digests of what was compiled, which gproxy/compiled.py compares."""
        note = Path("gproxy" if self.inplace else f"{self.build_lib}/gproxy") / "compiled.txt"
        lines = [f"{blake2b(Path(s).read_bytes(), digest_size=16).hexdigest()} {s[7:]}" for s in SOURCES]
        note.write_text("".join(f"{line}\n" for line in lines if self.extensions))


setup(ext_modules=extensions(), cmdclass={"build_ext": Build})
