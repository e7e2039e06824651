"""Compiles the hot path where a C compiler is at hand; the same files run interpreted where none is.

Everything else about the package is in pyproject.toml. GPROXY_PURE=1 builds, and runs, without compiling.
"""

import os
import sys
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from setuptools import setup
from setuptools.command.build_ext import build_ext

#: What every request passes. mypyc makes one C library of them, in which they call each other directly.
HOT: Final = {
    "http": (
        "body", "forwarding", "framing", "headers", "rate_limit_fields", "request", "request_fields", "request_id",
        "response", "rewrite", "target", "trust", "wire",
    ),
    "runtime": ("alarm", "channel"),
    "state": ("rate_limit/bucket", "rate_limit/limiter"),
    "observe": ("access_line", "access_log"),
    "gateway": ("candidates", "chain", "gateway", "route", "router"),
    "server": (
        "client_channel", "connection", "context", "proxy_protocol_connection", "response_writer", "tls_channel",
        "tls_connection",
    ),
    "upstream": (
        "backend", "sticky", "upstream",
        "balance/hash_keys", "balance/latency", "balance/least_conn", "balance/policy", "balance/random",
        "balance/rendezvous", "balance/round_robin", "balance/user",
        "forwarder/forward", "forwarder/request_head", "forwarder/response_body", "health/passive", "health/state",
        "http1/channel", "http1/connection", "http1/idle", "http1/response_head", "http1/tls",
    ),
}  # fmt: skip
SOURCES: Final = [f"{folder}/{name}.py" for folder, names in HOT.items() for name in names]
#: Taken before they are read: who edits one while it is compiled must not have the old one run for it.
CHECKSUMS: Final = [f"{crc32(Path('gproxy', source).read_bytes()):08x} {source}\n" for source in SOURCES]
#: As mypy's: what it checks is checked elsewhere, and here the libraries we use may not be installed.
OPTIONS: Final = [
    "--config-file=", "--ignore-missing-imports", "--follow-imports=silent", "--disable-error-code=import-untyped",
]  # fmt: skip


def extensions() -> list[Any]:
    """The library and a small module for each source; none if it cannot be made."""
    if os.environ.get("GPROXY_PURE"):
        return []
    try:
        from mypyc.build import mypycify

        files = [f"gproxy/{source}" for source in SOURCES]
        return mypycify([*OPTIONS, *files], group_name="gproxy.hot", opt_level="3", debug_level="0")
    except (ImportError, SystemExit) as error:
        _say(error or "mypyc refuses it")
        return []


class Build(build_ext):
    """Goes on without a compiler, and notes what was compiled from what."""

    def run(self) -> None:
        try:
            self._forget()
            super().run()
            self._note()
        except Exception as error:
            _say(error)
            self.extensions = []

    def _forget(self) -> None:
        """What was compiled in place before: a module that is none any more would be found before its source."""
        for old in (*Path("gproxy").rglob("*.so"), Path("gproxy/compiled.txt")) if self.inplace else ():
            old.unlink(missing_ok=True)

    def _note(self) -> None:
        """What was compiled, which gproxy/compiled.py compares."""
        package = Path("gproxy")
        note = (package if self.inplace else Path(self.build_lib) / package) / "compiled.txt"
        note.write_text("".join(CHECKSUMS if self.extensions else []))


def _say(why: object) -> None:
    print(f"gproxy: not compiled, it will run interpreted: {why}", file=sys.stderr)


setup(ext_modules=extensions(), cmdclass={"build_ext": Build})
