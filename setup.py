"""The build: compiles the hot path if a C compiler is installed; without one the same files run interpreted.

The rest of the package's metadata is in pyproject.toml. GPROXY_PURE=1 builds and runs without compiled modules.
"""

import os
import sys
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from setuptools import setup
from setuptools.command.build_ext import build_ext

#: The modules on the path of every request. mypyc compiles them to one C library with direct calls between them.
HOT: Final = {
    "http": (
        "body", "exchange", "forwarding", "framing", "headers", "rate_limit_fields", "request", "request_fields",
        "request_id", "response", "rewrite", "target", "trust", "wire",
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
        "backend", "rotation", "sticky", "upstream",
        "balance/hash_keys", "balance/latency", "balance/least_conn", "balance/policy", "balance/random",
        "balance/rendezvous", "balance/round_robin", "balance/user",
        "forwarder/forward", "forwarder/request_head", "forwarder/response_body", "health/passive", "health/state",
        "http1/channel", "http1/connection", "http1/idle", "http1/response_head", "http1/tls",
    ),
}  # fmt: skip
SOURCES: Final = [f"{folder}/{name}.py" for folder, names in HOT.items() for name in names]
#: Computed before compilation: a source edited meanwhile must not match its old compiled module.
CHECKSUMS: Final = [f"{crc32(Path('gproxy', source).read_bytes()):08x} {source}\n" for source in SOURCES]
#: Options of mypy. scripts/test checks the types; here the imported libraries may not be installed.
OPTIONS: Final = [
    "--config-file=", "--ignore-missing-imports", "--follow-imports=silent", "--disable-error-code=import-untyped",
]  # fmt: skip


def extensions() -> list[Any]:
    """Return the library and a small module for each source; an empty list if they cannot be compiled."""
    if os.environ.get("GPROXY_PURE"):
        return []
    try:
        from mypyc.build import mypycify

        files = [f"gproxy/{source}" for source in SOURCES]
        return mypycify([*OPTIONS, *files], group_name="gproxy.hot", opt_level="3", debug_level="0")
    except (ImportError, SystemExit) as error:
        _warn(error or "mypyc failed")
        return []


class Build(build_ext):
    """A build step that continues without a compiler, and writes the checksums of the compiled sources."""

    def run(self) -> None:
        try:
            self._forget()
            super().run()
            self._note()
        except Exception as error:
            _warn(error)
            self.extensions = []

    def _forget(self) -> None:
        """Remove earlier modules that were compiled in place: Python would import an outdated one before its source."""
        for old in (*Path("gproxy").rglob("*.so"), Path("gproxy/compiled.txt")) if self.inplace else ():
            old.unlink(missing_ok=True)

    def _note(self) -> None:
        """Write the checksums of the compiled sources, for gproxy/compiled.py."""
        package = Path("gproxy")
        note = (package if self.inplace else Path(self.build_lib) / package) / "compiled.txt"
        note.write_text("".join(CHECKSUMS if self.extensions else []))


def _warn(why: object) -> None:
    print(f"gproxy: not compiled: {why}; the hot path runs interpreted", file=sys.stderr)


setup(ext_modules=extensions(), cmdclass={"build_ext": Build})
