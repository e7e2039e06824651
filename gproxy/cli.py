"""The command line. Imports neither gevent nor the user's code until it knows what to do."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Final

from gproxy import __version__
from gproxy.config.problems import ConfigError

_Overrides = dict[tuple[str, str], str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0 fine, 1 could not serve, 2 wrong arguments or configuration."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((word for word in arguments if not word.startswith("-")), "") if arguments else ""
    command = arguments[0] if arguments and arguments[0] in _COMMANDS else "serve"
    if verb and command == "serve" and arguments[0] == verb:
        print(
            f"gproxy: no command '{verb}'; there are {', '.join(_COMMANDS)}, and serving: gproxy --config FILE",
            file=sys.stderr,
        )
        return 2
    options = _parser(command).parse_args(arguments[1:] if command != "serve" else arguments)
    try:
        return _COMMANDS[command](options) if command in _COMMANDS else _serve(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


def _parser(command: str) -> argparse.ArgumentParser:
    summary = "serve in the foreground" if command == "serve" else _HELP[command]
    others = (
        "" if command != "serve" else "other commands:\n" + "\n".join(f"  gproxy {k:8}{v}" for k, v in _HELP.items())
    )
    parser = argparse.ArgumentParser(
        prog="gproxy" if command == "serve" else f"gproxy {command}",
        description=summary,
        epilog=others,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if command == "version":
        return parser
    parser.add_argument("--config", required=True, metavar="FILE", help="the settings, an INI file")
    if command == "serve":
        parser.add_argument(
            "--bind", action="append", metavar="ADDRESS", help="HOST:PORT, [::1]:PORT, unix:PATH or fd:N; repeatable"
        )
        parser.add_argument("--workers", metavar="N|auto")
        parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
        parser.add_argument("--version", action="version", version=f"gproxy {__version__}")
    if command == "token":
        parser.add_argument("--sub", required=True, help="whom it is for")
        parser.add_argument("--role", help="the role claim")
        parser.add_argument("--ttl", default="1h", help="how long it is valid (1h)")
        parser.add_argument("--handler", metavar="NAME", help="which jwt handler, if there are several")
    return parser


def _serve(options: argparse.Namespace) -> int:
    from gproxy.server.worker import serve

    return serve(options.config, _overrides(options))


def _overrides(options: argparse.Namespace) -> _Overrides:
    given = {
        ("server", "bind"): "\n".join(options.bind or ()),
        ("server", "workers"): options.workers or "",
        ("log", "level"): options.log_level or "",
    }
    return {place: text for place, text in given.items() if text}


def _check(options: argparse.Namespace) -> int:
    import gproxy.server.patch  # noqa: F401 user modules may import what must be patched first
    from gproxy.gateway.build import build

    settings, gateway = build(options.config)
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{options.config}: {len(gateway.router.routes)} routes, {len(gateway.upstreams)} upstreams, all fine")
    return 0


def _routes(options: argparse.Namespace) -> int:
    import gproxy.server.patch  # noqa: F401 user modules may import what must be patched first
    from gproxy.gateway.build import build
    from gproxy.gateway.describe import describe

    print(describe(*build(options.config)))
    return 0


def _token(options: argparse.Namespace) -> int:
    import gproxy.server.patch  # noqa: F401 user modules may import what must be patched first
    from gproxy.gateway.token import sign

    try:
        print(sign(options.config, options.sub, options.role, options.ttl, options.handler))
    except (ValueError, OSError) as error:
        print(f"gproxy token: {error}", file=sys.stderr)
        return 2
    return 0


def _version(_: argparse.Namespace) -> int:
    print(f"gproxy {__version__}")
    return 0


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "check": _check,
    "routes": _routes,
    "token": _token,
    "version": _version,
}
_HELP: Final = {
    "check": "load and build everything, open nothing; all problems at once",
    "routes": "every route: match, chain in order, upstream, backends",
    "token": "sign a token that the configured jwt handler accepts",
    "version": "which version this is",
}
