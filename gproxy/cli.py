"""The command line. Each command imports what it needs, so that gevent and user code load late or not at all."""

import argparse
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Final, NamedTuple, NoReturn, Protocol, cast


class _Module(Protocol):
    """The module of a command. `run` may raise ConfigError, and ArgumentError for arguments that do not fit."""

    def add_options(self, parser: argparse.ArgumentParser, /) -> None: ...

    def run(self, options: argparse.Namespace, /) -> int: ...


class Command(NamedTuple):
    """A row of the table of commands. Its module is imported once the command is chosen."""

    help: str
    module: str
    #: Whether --config is required; None: the command has none, or adds its own.
    config: bool | None = True
    #: Whether gevent patches first, because user code may import what must be patched.
    is_patched: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Return the exit code: 0 success, 1 could not serve, 2 wrong arguments or configuration."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = ""
    if arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        if name not in _COMMANDS:
            _parser("").error(f"unknown command {name!r}{_instead(name)}")
    with _ending_with_its_reader():
        module, parser = _module(name), _parser(name)
        module.add_options(parser)
        options = parser.parse_args(arguments)
        if name:
            return _run(module, parser, options)
    return module.run(options)


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


def _module(name: str) -> _Module:
    command = _COMMANDS[name]
    if command.is_patched:
        import gproxy.server.patch  # noqa: F401 before the module imports ssl
    return cast("_Module", import_module(f"gproxy.commands.{command.module}"))


def _run(module: _Module, parser: "_Parser", options: argparse.Namespace) -> int:
    from gproxy.config.problems import ConfigError

    try:
        return module.run(options)
    except argparse.ArgumentError as error:
        parser.error(str(error))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


def _instead(command: str) -> str:
    """Return the hint for an unknown command: how to serve, which needs none, what signals do, or a similar one."""
    if command in {"serve", "start", "run", "up"} or command.endswith(".ini"):
        return f"; to serve, write gproxy --config {command if command.endswith('.ini') else 'FILE'}"
    if command in {"stop", "quit", "restart"}:
        return "; a signal does that"
    if meant := _MEANT.get(command):
        return f"; did you mean {meant!r}?"
    return _suggest(command, filter(None, _COMMANDS))


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


def _parser(name: str) -> _Parser:
    """Return the parser of a command, which lacks the options of the command's own. The empty name is serving."""
    command = _COMMANDS[name]
    parser = _Parser(
        prog=f"gproxy {name}" if name else "gproxy",
        usage=None if name else "gproxy --config FILE [option ...]\n       gproxy COMMAND [--help]",
        description=command.help,
        epilog="" if name else _commands(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if command.config is not None:
        text = "path of the settings, an INI file"
        parser.add_argument("--config", required=command.config, metavar="FILE", help=text)
    return parser


#: Words of other programs, and the commands.
_MEANT: Final = {
    **dict.fromkeys(("test", "validate", "configtest", "lint"), "check"),
    **dict.fromkeys(("init", "create"), "new"),
    "status": "ps",
    "drain": "backend",
    "access": "logs",
}


def _commands() -> str:
    lines = [f"  gproxy {name:10}{command.help}" for name, command in _COMMANDS.items() if name]
    return "\n".join(["commands:", *lines, "", _SIGNALS])


_COMMANDS: Final = {
    "": Command("Serve in the foreground until a signal.", "serve"),
    "check": Command("check the settings and report all problems; opens no socket", "check", is_patched=True),
    "routes": Command(
        "print every route: match, chain in order, upstream, backends", "routes", config=False, is_patched=True
    ),
    "config": Command(
        "print the settings in effect, each with its file and line, as a settings file without secrets",
        "config",
        is_patched=True,
    ),
    "explain": Command(
        "print which route a request matches and why, its client, chain, limits and headers; or what happened to one",
        "explain.explain",
        config=False,
        is_patched=True,
    ),
    "handlers": Command(
        "list the handlers that settings may use, those of installed packages too, or document one",
        "handlers",
        config=False,
        is_patched=True,
    ),
    "logs": Command("search the access log: filters, figures by route or client, the slowest, follow", "logs.logs"),
    "debug": Command(
        "stop one request of a running gateway in pdb: by path, header, user; at a line, or at an exception",
        "live.debug",
        config=False,
    ),
    "dev": Command("serve with demo backends, and reload when a file changes", "dev", config=None),
    "key": Command(
        "make, list and disable API keys in the file of an api_key handler", "credentials.key", config=False
    ),
    "password": Command(
        "write the password of a user into a file, in the form of htpasswd", "credentials.password", config=None
    ),
    "new": Command("make a project: settings, a handler with its tests, files for services", "new", config=None),
    "ps": Command("list the workers and the requests in flight of a running gateway", "live.ps", config=False),
    "dashboard": Command(
        "serve the page of a running gateway on a loopback port; prints a URL that works once",
        "live.dashboard",
        config=False,
    ),
    "token": Command(
        "sign a token that the configured jwt handler accepts, or explain one", "credentials.token", is_patched=True
    ),
    "backend": Command(
        "change a backend of the running gateway: drain, up, down, weight=N, reset", "live.backend", config=False
    ),
    "admin": Command(
        "call an operation of the admin API of a running gateway: reload, rollback, cut, set-log-level, ...",
        "live.admin",
        config=False,
    ),
    "replay": Command(
        "send recorded requests to another server, or to other settings, and report differences",
        "replay.replay",
        config=None,
    ),
    "job": Command("run a job of the running gateway now, and wait for its end", "live.job", config=False),
    "reload": Command(
        "let the running gateway read its settings and code again; exits 1 with the reasons if it cannot serve them",
        "live.reload",
        config=False,
    ),
    "rollback": Command(
        "return the running gateway to settings and code of the generation before",
        "live.rollback",
        config=False,
    ),
    "record": Command(
        "record requests with their attempts and responses in a file, without secrets, for gproxy replay or as HAR",
        "live.record",
        config=False,
    ),
    "top": Command("watch the running gateway in a terminal, cut requests, drain backends", "live.top", config=False),
    "version": Command("print the version", "version", config=None),
}
_SIGNALS: Final = """signals:
  TERM, INT   stop after active requests have finished; a second one stops immediately, as QUIT does
  HUP         reload settings and handler code; if that fails, the old ones stay in use
  USR1        reopen the access log
  TTIN, TTOU  add a worker, remove a worker

exit status: 0 a clean stop, 1 it could not serve, 2 wrong arguments or configuration"""
