"""The command line. Each command imports what it needs, so that gevent and user code load late or not at all."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

from gproxy import __version__

if TYPE_CHECKING:
    from gproxy.config.sections.settings import Settings
    from gproxy.gateway.gateway import Gateway

_Overrides = dict[tuple[str, str], str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Return the exit code: 0 success, 1 could not serve, 2 wrong arguments or configuration."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and not arguments[0].startswith("-"):
        command, *arguments = arguments
        if command not in _COMMANDS:
            _parser("").error(f"unknown command {command!r}{_instead(command)}")
    else:
        command = ""
    with _ending_with_its_reader():
        options = _parser(command).parse_args(arguments)
        if command:
            return _run(_COMMANDS[command], options)
    return _serve(options)


@contextmanager
def _ending_with_its_reader() -> Iterator[None]:
    """End as other tools do, by SIGPIPE, if the reader of what is printed has gone, such as `head`."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPIPE})
        signal.raise_signal(signal.SIGPIPE)


def _run(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    from gproxy.config.problems import ConfigError

    try:
        return command(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


def _instead(command: str) -> str:
    """Return the hint for an unknown command: how to serve, which needs none, what signals do, or a similar one."""
    if command in {"serve", "start", "run", "up"} or command.endswith(".ini"):
        return f"; to serve, write gproxy --config {command if command.endswith('.ini') else 'FILE'}"
    if command in {"stop", "quit", "restart"}:
        return "; a signal does that"
    return _suggest(command, _COMMANDS)


def _suggest(word: str, words: Iterable[str]) -> str:
    from gproxy.config.problems import suggest  # late: the import would delay the start of a worker

    return suggest(word, words)


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line, and a mistyped option as such, not as a missing one."""

    def parse_args(self, args: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        known = [name for action in self._actions for name in action.option_strings]
        for word in (argument.partition("=")[0] for argument in args):
            if word.startswith("--") and word not in known:
                self.error(f"unknown option {word}{_suggest(word, known)}")
        file = next((word for word in args if word.endswith(".ini")), "")
        if file and "--config" in known and "--config" not in {word.partition("=")[0] for word in args}:
            self.error(f"missing: --config; write --config {file}")
        return super().parse_intermixed_args(args)

    def error(self, message: str) -> NoReturn:
        text = message.replace("the following arguments are required:", "missing:")
        self.exit(2, f"{self.prog}: {text}{'' if text.endswith('?') else f'; see {self.prog} --help'}\n")


def _parser(command: str) -> _Parser:
    """Return the parser of a command; the empty name is serving."""
    parser = _Parser(
        prog=f"gproxy {command}" if command else "gproxy",
        usage=None if command else "gproxy --config FILE [option ...]\n       gproxy COMMAND [--help]",
        description=_HELP[command],
        epilog="" if command else _commands(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if command not in {"version", "password"}:
        text = "path of the settings, an INI file" + ("; default: the demo settings" if command == "dev" else "")
        parser.add_argument("--config", required=command not in {"dev", "key"}, metavar="FILE", help=text)
    if command in {"", "dev"}:
        _add_serving_options(parser)
    if command == "check":
        text = "ask every issuer for its metadata and keys, and every endpoint about a nonsense token"
        parser.add_argument("--online", action="store_true", help=text)
    if command == "token":
        _add_token_options(parser)
    if command == "explain":
        _add_explain_options(parser)
    if command == "key":
        _add_key_options(parser)
    if command == "password":
        _add_password_options(parser)
    return parser


def _commands() -> str:
    lines = [f"  gproxy {name:9}{text}" for name, text in _HELP.items() if name]
    return "\n".join(["commands:", *lines, "", _SIGNALS])


def _add_serving_options(parser: argparse.ArgumentParser) -> None:
    where = "address to listen on: HOST:PORT, [::1]:PORT, unix:PATH or fd:N; repeatable; replaces the file's"
    parser.add_argument("--bind", action="append", metavar="ADDRESS", help=where)
    parser.add_argument(
        "--workers", metavar="N|auto", help="number of worker processes; auto: one per core; replaces the file's"
    )
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error; replaces the file's")
    parser.add_argument("--version", action="version", version=f"gproxy {__version__}", help="print the version")


def _add_token_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--read", action="store_true", help="read a token from standard input and explain it instead")
    parser.add_argument("--sub", metavar="NAME", help="subject of the token (the sub claim)")
    parser.add_argument("--role", metavar="NAME", help="value of the role claim")
    parser.add_argument("--scope", metavar="'NAME ...'", help="value of the scope claim")
    parser.add_argument("--aud", metavar="NAME", help="value of the aud claim (default: the handler's first audience)")
    parser.add_argument(
        "--claim", action="append", default=[], metavar="NAME=VALUE", help="a further claim, a text or JSON; repeatable"
    )
    parser.add_argument("--ttl", default="1h", metavar="TIME", help="lifetime: 1h, 30m, 1d (default: 1h)")
    parser.add_argument("--handler", metavar="NAME", help="name of the jwt handler that signs, if there are several")


def _add_explain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", metavar="METHOD", help="method of the request: GET, POST, ...")
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help="target of the request: /path?query or http://host/path"
    )
    parser.add_argument(
        "-H", dest="headers", action="append", default=[], metavar="'NAME: VALUE'", help="header; repeatable"
    )
    parser.add_argument("--from", dest="peer", default="127.0.0.1", metavar="IP", help="address of the peer, or unix")
    parser.add_argument("--listener", metavar="ADDRESS", help="address of [server] bind that gets the request")
    parser.add_argument(
        "--as", dest="claims", metavar="'CLAIM: VALUE, ...'", help="identity of the client, instead of a credential"
    )


def _add_key_options(parser: argparse.ArgumentParser) -> None:
    actions = "new: print a new key and write its hash; list: the users; disable: a user; hash: that of standard input"
    parser.add_argument("action", choices=("new", "list", "disable", "hash"), help=actions)
    parser.add_argument("user", nargs="?", metavar="USER", help="section of the key, for new and disable")
    parser.add_argument("--handler", metavar="NAME", help="name of the api_key handler, if there are several")


def _add_password_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="name of the user")
    parser.add_argument("--file", required=True, metavar="FILE", help="file in the form of htpasswd, as in users =")
    kinds = "kind of the hash (default: scrypt); the others need gproxy[passwords]"
    parser.add_argument("--kind", choices=("scrypt", "bcrypt", "argon2"), default="scrypt", help=kinds)


def _serve(options: argparse.Namespace) -> int:
    from gproxy.arbiter.spawn import CannotStartError, spawn

    _open_standard_streams()
    try:
        first = spawn(generation=1, number=1)  # the worker imports while the arbiter imports
        from gproxy.arbiter.arbiter import Arbiter

        arbiter = Arbiter(options.config, _overrides(options), first)
    except CannotStartError as error:
        print(error, file=sys.stderr)
        return 1
    return arbiter.run()


def _open_standard_streams() -> None:
    """Reopen closed standard streams, so that sockets do not get descriptors 0-2 and receive our output."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _overrides(options: argparse.Namespace) -> _Overrides:
    given = {
        ("server", "bind"): "\n".join(options.bind) if options.bind else None,
        ("server", "workers"): options.workers,
        ("log", "level"): options.log_level,
    }
    return {place: text for place, text in given.items() if text is not None}


def _build(path: str) -> "tuple[Settings, Gateway]":
    """Return the settings and the gateway, which is never opened. Raises ConfigError."""
    import gproxy.server.patch  # noqa: F401 user modules may import what must be patched first
    from gproxy.gateway.build import build, load
    from gproxy.runtime import Runtime

    settings = load(path)
    return settings, build(settings, Runtime.of(settings))


def _check(options: argparse.Namespace) -> int:
    settings, gateway = _build(options.config)
    from gproxy.config.types.units import plural

    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if store := gateway.runtime.store:
        print(f"rate limits count in {store.describe()}; while it is unavailable, {settings.state.meanwhile}")
    routes, upstreams = plural(len(gateway.router.routes), "route"), plural(len(gateway.upstreams), "upstream")
    print(f"{options.config}: {routes}, {upstreams}, all fine")
    return _check_online(settings, gateway) if options.online else 0


def _check_online(settings: "Settings", gateway: "Gateway") -> int:
    """Print what issuers and endpoints answer. Return 1 if one of them fails."""
    from gproxy.commands.check_online import outcomes

    is_good = True
    for outcome in outcomes(settings, gateway.runtime):
        print(outcome, flush=True)
        is_good = is_good and outcome.is_good
    return 0 if is_good else 1


def _routes(options: argparse.Namespace) -> int:
    settings, gateway = _build(options.config)
    from gproxy.commands.routes import describe

    print(describe(settings, gateway))
    return 0


def _config(options: argparse.Namespace) -> int:
    settings, _ = _build(options.config)
    from gproxy.commands.config import describe

    print(describe(settings), end="")
    return 0


def _explain(options: argparse.Namespace) -> int:
    if options.target is None:
        is_method = options.method.isalpha()
        text = "TARGET, such as /path" if is_method else f"METHOD; write GET {options.method}"
        _parser("explain").error(f"missing: {text}")
    settings, gateway = _build(options.config)
    from gproxy.commands.explain_request import answer

    try:
        print(
            answer(
                options.method,
                options.target,
                options.headers,
                options.peer,
                settings,
                gateway,
                listener=options.listener,
                claims=options.claims,
            )
        )
    except ValueError as error:
        print(f"gproxy explain: {error}", file=sys.stderr)
        return 2
    return 0


def _token(options: argparse.Namespace) -> int:
    import gproxy.server.patch  # noqa: F401 user modules may import what must be patched first
    from gproxy.commands.token import claims_of, sign

    if options.read:
        return _read_token(options)
    if options.sub is None:
        _parser("token").error("missing: --sub")
    try:
        claims = claims_of(options.sub, options.role, options.scope, options.aud, options.claim)
        token = sign(options.config, claims, options.ttl, options.handler)
    except (ValueError, OSError) as error:
        print(f"gproxy token: {error}", file=sys.stderr)
        return 2
    print(token)
    return 0


def _key(options: argparse.Namespace) -> int:
    from gproxy.commands import key

    if options.action != "hash" and options.config is None:
        _parser("key").error("missing: --config")
    if (options.user is None) == (options.action in {"new", "disable"}):
        _parser("key").error(f"{'missing' if options.user is None else 'unexpected'}: USER")
    try:
        result, note = key.run(options.action, options.config or "", options.handler, options.user or "")
    except (ValueError, OSError) as error:
        print(f"gproxy key: {error}", file=sys.stderr)
        return 2
    if result:
        print(result)
    if note:
        print(note, file=sys.stderr)
    return 0


def _password(options: argparse.Namespace) -> int:
    from pathlib import Path

    from gproxy.commands.password import asked, write

    try:
        write(Path(options.file), options.user, asked(options.user), options.kind)
    except (ValueError, OSError) as error:
        print(f"gproxy password: {error}", file=sys.stderr)
        return 2
    return 0


def _read_token(options: argparse.Namespace) -> int:
    from gproxy.commands.token_read import read

    try:
        report, is_accepted = read(options.config, sys.stdin.read(), options.handler)
    except (ValueError, OSError) as error:
        print(f"gproxy token: {error}", file=sys.stderr)
        return 2
    print(report)
    return 0 if is_accepted else 1


def _dev(options: argparse.Namespace) -> int:
    from gproxy.arbiter.spawn import CannotStartError
    from gproxy.commands.dev import serve

    try:
        return serve(options.config, _overrides(options))
    except CannotStartError as error:
        print(error, file=sys.stderr)
        return 1


def _version(_: argparse.Namespace) -> int:
    print(f"gproxy {__version__}")
    return 0


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "check": _check,
    "dev": _dev,
    "routes": _routes,
    "config": _config,
    "explain": _explain,
    "token": _token,
    "key": _key,
    "password": _password,
    "version": _version,
}
_HELP: Final = {
    "": "Serve in the foreground until a signal.",
    "check": "check the settings and report all problems; opens no socket",
    "routes": "print every route: match, chain in order, upstream, backends",
    "config": "print the settings in effect, each with its file and line, as a settings file without secrets",
    "explain": "print which route a request matches and why, its client, chain, limits and headers",
    "dev": "serve with demo backends, and reload when a file changes",
    "key": "make, list and disable API keys in the file of an api_key handler",
    "password": "write the password of a user into a file, in the form of htpasswd",
    "token": "sign a token that the configured jwt handler accepts, or explain one",
    "version": "print the version",
}
_SIGNALS: Final = """signals:
  TERM, INT   stop after active requests have finished; a second one stops immediately, as QUIT does
  HUP         reload settings and handler code; if that fails, the old ones stay in use
  USR1        reopen the access log
  TTIN, TTOU  add a worker, remove a worker

exit status: 0 a clean stop, 1 it could not serve, 2 wrong arguments or configuration"""
