"""`gproxy explain`: of a request that would come, by the settings; or of one that came, by its id."""

import argparse
import sys

from gproxy.commands.check import built
from gproxy.commands.explain import by_id
from gproxy.commands.explain.request import answer
from gproxy.commands.live.admin_client import add_admin_options


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "method", metavar="METHOD", help="method of the request: GET, POST, ...; or the id of a request"
    )
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help="target of the request: /path?query or http://host/path"
    )
    parser.add_argument(
        "-H", dest="headers", action="append", default=[], metavar="'NAME: VALUE'", help="header; repeatable"
    )
    host = "host of the request, as -H 'Host: NAME'"
    parser.add_argument("--host", dest="headers", action="append", type="Host: {}".format, metavar="NAME", help=host)
    parser.add_argument("--from", dest="peer", default="127.0.0.1", metavar="IP", help="address of the peer, or unix")
    parser.add_argument("--listener", metavar="ADDRESS", help="address of [server] bind that gets the request")
    parser.add_argument(
        "--as", dest="claims", metavar="'CLAIM: VALUE, ...'", help="identity of the client, instead of a credential"
    )
    add_admin_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print the report of a request. Return the exit code. Raises ArgumentError and ConfigError."""
    if options.target is None:
        if _is_id(options.method):
            return by_id.run(options)
        is_method = options.method.isalpha()
        text = "TARGET, such as /path" if is_method else f"METHOD; write GET {options.method}"
        raise argparse.ArgumentError(None, f"missing: {text}")
    if options.config is None:
        raise argparse.ArgumentError(None, "missing: --config")
    settings, gateway = built(options.config)
    given = (options.method, options.target, options.headers, options.peer)
    try:
        print(answer(*given, settings, gateway, listener=options.listener, claims=options.claims))
    except ValueError as error:
        print(f"gproxy explain: {error}", file=sys.stderr)
        return 2
    return 0


def _is_id(word: str) -> bool:
    """Return whether the word is the id of a request, and neither a path nor a method."""
    return not word.startswith("/") and any(map(str.isdigit, word))
