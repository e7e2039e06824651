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

PACKAGE: Final = Path(__file__).parent / "gproxy"
#: The folders on the path of a request. mypyc compiles their files to one C library with direct calls between them.
HOT: Final = (
    "gateway",
    "handlers/steps",
    "http",
    "observe",
    "runtime",
    "server",
    "state/rate_limit",
    "tracing",
    "upstream",
)
#: The files of these folders that stay interpreted, by the reason. `__init__.py` is never compiled.
INTERPRETED: Final = {
    "mypyc cannot compile a subclass of a class of another library, or of bytes or str": (
        "http/h2/never_indexed", "http/one_chunk", "observe/nonblocking", "runtime/expired", "server/listener",
        "state/rate_limit/client_buckets", "upstream/http1/pool", "upstream/http1/tls_session",
    ),
    "mypyc cannot compile cached properties": ("http/tls", "runtime/process_figures"),
    "mypyc takes its tuple of floats for unset": ("observe/buckets", "observe/metrics", "observe/metrics_reader"),
    "a table has no code to compile": ("http/h2/tables", "observe/metric_families"),
    "the arbiter imports it, and would load the library": (
        "http/header_names", "observe/json_log", "observe/local_time", "observe/log",
    ),
    "the thread that it starts takes longer than its code": ("runtime/lent_call", "runtime/offloaded_call"),
    "users make subclasses of HTTPError": ("http/errors",),
    "its constructor would stay interpreted, and runs once for each credential": ("http/identity",),
    "protocols or an enumeration have no code to compile": (
        "http/client_stream", "http/handler", "http/time_limit", "runtime/live_rules",
    ),
    "runs once at start, or seldom": (
        "gateway/build", "gateway/build_handler", "gateway/packages", "gateway/selftest_functions",
        "gateway/user_code", "server/drain", "server/hub_collector", "server/listeners", "server/patch",
        "server/tls_hosts", "server/trial", "server/worker", "observe/access_files/follow",
        "observe/access_files/layout", "observe/access_files/log_files", "observe/access_files/moments",
        "observe/log_file", "observe/rotation", "runtime/aio", "runtime/command_part", "runtime/route_parts",
        "runtime/user_files", "upstream/discovery", "upstream/dns", "upstream/health/active",
        "upstream/health/grpc_probe", "upstream/health/probe", "upstream/health/shared", "upstream/override",
        "upstream/upstream_metrics",
        "runtime/marshalled", "runtime/tables",
    ),
    "runs only while requests are captured": ("gateway/watch/capture_rules",),
    "runs only for sampled requests": ("tracing/otel_bridge", "tracing/request_trace", "tracing/span_record"),
    "runs only for a failed, hedged, mirrored or limited attempt, and its tests pass stand-ins": (
        "upstream/mirror", "upstream/retry", "upstream/forwarder/hedge", "upstream/forwarder/time_limits",
    ),
}  # fmt: skip


def sources() -> list[str]:
    """Return the files to compile, below the package."""
    kept = {f"{name}.py" for names in INTERPRETED.values() for name in names}
    found = {path.relative_to(PACKAGE).as_posix() for folder in HOT for path in (PACKAGE / folder).rglob("*.py")}
    return sorted(name for name in found - kept if not name.endswith("__init__.py"))


SOURCES: Final = sources()
#: Computed before compilation: a source edited meanwhile must not match its old compiled module.
CHECKSUMS: Final = [f"{crc32((PACKAGE / source).read_bytes()):08x} {source}\n" for source in SOURCES]
#: Options of mypy. scripts/test checks the types; here the imported libraries may not be installed.
OPTIONS: Final = [
    "--config-file=", "--ignore-missing-imports", "--follow-imports=silent", "--disable-error-code=import-untyped",
]  # fmt: skip


#: Flags of gcc and clang. PERF: a function that another library could replace is not inlined. The other two are about
#: the time of the build: the assembler runs beside the compiler, and gcc reads the source anew for each line that the
#: warning is about, which took it a third of the time.
FLAGS: Final = ("-fvisibility=hidden", "-pipe", "-Wno-misleading-indentation")

#: Commands by which pip asks for metadata twice before it builds: mypyc would take its time for each.
METADATA: Final = {"egg_info", "dist_info"}


def extensions() -> list[Any]:
    """Return the library and a small module for each source; an empty list if they cannot or need not be compiled."""
    if os.environ.get("GPROXY_PURE") or METADATA & set(sys.argv):
        return []
    try:
        from mypyc.build import mypycify

        files = [f"gproxy/{source}" for source in SOURCES]
        built = mypycify([*OPTIONS, *files], group_name="gproxy.hot", opt_level="3", debug_level="0")
        if os.name == "posix":
            for extension in built:
                extension.extra_compile_args = [*extension.extra_compile_args, *FLAGS]
        return built
    except (ImportError, SystemExit) as error:
        _warn(error or "mypyc failed")
        return []


class Build(build_ext):
    """A build step that continues without a compiler, and writes the checksums of the compiled sources."""

    def finalize_options(self) -> None:
        """Compile the small modules on the other cores while one of them compiles the library."""
        super().finalize_options()
        self.parallel = self.parallel or True

    def run(self) -> None:
        try:
            self._forget()
            super().run()
            self._note()
        except Exception as error:  # noqa: BLE001 without a compiler the sources run
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


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": Build})
