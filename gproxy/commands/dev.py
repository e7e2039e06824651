"""`gproxy dev`: the gateway with demo backends, which reloads when a file changes."""

import argparse
import glob
import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from gproxy.arbiter.arbiter import Arbiter
from gproxy.arbiter.spawn import GROUP_SIGNALS, CannotStartError, path_flags, spawn
from gproxy.commands import serve as serving
from gproxy.config.ini.files import parse_files, read_files
from gproxy.config.load import Overrides, load_process
from gproxy.config.problems import ConfigError
from gproxy.config.sections.settings import PARTS

#: Whose the settings are: those of the demo, of an app, or a file of the user.
Kind = Literal["demo", "app", "file"]
#: The packaged demo settings; the changes keep their files out of the working directory.
_TEMPLATE: Final = Path(__file__).parents[1] / "testing" / "demo.ini"
_CHANGES: Final = {
    "0.0.0.0:8080": "127.0.0.1:8080",
    "access = log/access.log": "access = -             ",
    "[gateway]": "state_dir = {folder}/var\n\n[gateway]",
}
#: The settings of `--app`, besides the app itself. The modules beside it are watched before it imports them.
_APP_SETTINGS: Final = """\
[server]
bind = 127.0.0.1:8080
state_dir = {folder}/var
watch = {here}/*.py

[route:app]
path = /

[log]
access = -
"""
#: The option that names the app.
APP: Final = ("route:app", "app")
#: The parts that the command adds to each worker.
_COMMON_PARTS: Final = ("gproxy.dev.inspector:Inspector", "gproxy.debugger.breakpoint:DevBreakpoint")
_PARTS: Final = ("gproxy.dev.dev_part:DevPart", *_COMMON_PARTS)
_EXPOSED_PARTS: Final = ("gproxy.dev.dev_part:ExposedDevPart", *_COMMON_PARTS)
#: The port of the page of operators, if no other program has it.
_ADMIN_PORT: Final = 8081


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of serving; without `--config` the command has settings of its own."""
    text = "path of the settings, an INI file; default: the demo settings"
    parser.add_argument("--config", metavar="FILE", help=text)
    app = "serve this WSGI app as the only route, without a settings file; MODULE:NAME() for a factory"
    parser.add_argument("--app", metavar="MODULE:NAME", help=app)
    expose = "serve clients of other machines too, without the pages and headers of dev; else they get 403"
    parser.add_argument("--expose", action="store_true", help=expose)
    serving.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal. Return the exit code. Raises ArgumentError."""
    if options.app is not None and options.config is not None:
        raise argparse.ArgumentError(None, "--app needs no settings file; write it as an option of a route in --config")
    parts = _EXPOSED_PARTS if options.expose else _PARTS
    given = serving.overrides(options) | {PARTS: "\n".join(parts)}
    if sys.stdin is not None and sys.stdin.isatty():
        os.environ["GPROXY_TERMINAL"] = os.ttyname(sys.stdin.fileno())  # for breakpoint() in the workers
    try:
        with tempfile.TemporaryDirectory(prefix="gproxy-dev-") as name:
            folder = Path(name)
            if options.app is not None:
                return _serve(_app_settings(folder), given | {APP: options.app}, "app")
            if options.config is not None:
                return _serve(options.config, given, "file")
            return _serve(_demo_settings(folder), given, "demo")
    except CannotStartError as error:
        print(error, file=sys.stderr)
        return 1


def _serve(config: str, given: Overrides, kind: Kind) -> int:
    """Serve these settings until a signal and return the exit code. Raises CannotStartError."""
    given = {**_admin(config, given), **given}
    # The stamp of bytecode has whole seconds: a module saved twice in one would run as it was first.
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    # The debugger of an editor stops a worker for any time, so a worker is never replaced.
    chosen = {("server", "worker_timeout"): "0s", **given, ("server", "reload"): "on"}
    demo_end = _start_demo(config, given, kind)
    try:
        return Arbiter(config, chosen, spawn(generation=1, number=1)).run()
    finally:
        os.close(demo_end)


def _admin(config: str, overrides: Overrides) -> dict[tuple[str, str], str]:
    """Return what settings do not say of it: the admin listener, and the permission to debug over its unix socket.

    Return nothing if the settings have a problem, which serving reports.
    """
    try:
        files = read_files(config, os.environ)
        server, _, admin, _ = load_process(files, overrides)
    except ConfigError:
        return {}
    if server is None or admin is None:
        return {}
    found = {("admin", "bind"): _addresses(server.state_dir)} if not admin.bind else {}
    has_unix = not admin.bind or any(one.kind == "unix" for one in admin.bind)
    sections = parse_files(files, os.environ, []) or ()
    is_said = any(one.title == "admin" and "debug" in one.options for one in sections)
    return found | ({("admin", "debug"): "yes"} if has_unix and not is_said else {})


def _addresses(state_dir: Path) -> str:
    """Return the addresses of the admin listener."""
    with socket.socket() as probe:
        is_taken = probe.connect_ex(("127.0.0.1", _ADMIN_PORT)) == 0
    path = f"unix:{state_dir.absolute()}/admin.sock"
    return path if is_taken else f"{path}, 127.0.0.1:{_ADMIN_PORT}"


def _demo_settings(folder: Path) -> str:
    text = _TEMPLATE.read_text()
    for before, after in _CHANGES.items():
        text = text.replace(before, after.replace("{folder}", str(folder)), 1)
    return _written(folder, text)


def _app_settings(folder: Path) -> str:
    return _written(folder, _APP_SETTINGS.format(folder=folder, here=glob.escape(str(Path.cwd()))))


def _written(folder: Path, text: str) -> str:
    path = folder / "gproxy.ini"
    path.write_text(text)
    return str(path)


def _start_demo(config: str, overrides: Overrides, kind: Kind) -> int:
    """Start the hints, and demo backends unless an app is served. Return a descriptor, whose end is theirs too."""
    read_end, write_end = os.pipe()
    os.set_inheritable(read_end, True)
    given = json.dumps([(*place, text) for place, text in overrides.items()])
    command = [sys.executable, *path_flags(), "-m", "gproxy.testing.dev", str(read_end), config, given, kind]
    os.posix_spawn(sys.executable, command, os.environ, setsigmask={*GROUP_SIGNALS, signal.SIGUSR2})
    os.close(read_end)
    return write_end
