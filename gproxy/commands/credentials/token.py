"""`gproxy token`: signs a token that the configured jwt handler accepts."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gproxy.commands.credentials.token_read import read
from gproxy.config.ini.convert import Mistake, convert
from gproxy.config.types import Seconds
from gproxy.gateway.build import load
from gproxy.handlers.jwt import JWT
from gproxy.http.identity import Claims
from gproxy.identity.tokens.strict_json import read_json
from gproxy.runtime import Runtime


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--read", action="store_true", help="read a token from standard input and explain it instead")
    parser.add_argument("token", nargs="*", help=argparse.SUPPRESS)  # else argparse would quote it
    parser.add_argument("--sub", metavar="NAME", help="subject of the token (the sub claim)")
    parser.add_argument("--role", metavar="NAME", help="value of the role claim")
    parser.add_argument("--scope", metavar="'NAME ...'", help="value of the scope claim")
    parser.add_argument("--aud", metavar="NAME", help="value of the aud claim (default: the handler's first audience)")
    parser.add_argument(
        "--claim", action="append", default=[], metavar="NAME=VALUE", help="a further claim, a text or JSON; repeatable"
    )
    parser.add_argument("--ttl", default="1h", metavar="TIME", help="lifetime: 1h, 30m, 1d (default: 1h)")
    parser.add_argument("--handler", metavar="NAME", help="name of the jwt handler that signs, if there are several")


def run(options: argparse.Namespace) -> int:
    """Print a new token, or what a token holds. Return the exit code. Raises ArgumentError and ConfigError."""
    if options.token:
        raise argparse.ArgumentError(None, "a token is read from standard input, with --read")
    if not options.read and options.sub is None:
        raise argparse.ArgumentError(None, "missing: --sub")
    try:
        report, is_accepted = _explained(options) if options.read else (_signed(options), True)
    except (ValueError, OSError) as error:
        print(f"gproxy token: {error}", file=sys.stderr)
        return 2
    print(report)
    return 0 if is_accepted else 1


def _explained(options: argparse.Namespace) -> tuple[str, bool]:
    return read(options.config, sys.stdin.read(), options.handler)


def _signed(options: argparse.Namespace) -> str:
    claims = claims_of(options.sub, options.role, options.scope, options.aud, options.claim)
    return sign(options.config, claims, options.ttl, options.handler)


def claims_of(
    subject: str,
    role: str | None = None,
    scope: str | None = None,
    audience: str | None = None,
    more: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the claims that the options of the command ask for; `more` are texts NAME=VALUE. Raises ValueError."""
    usual = {"sub": subject, "role": role, "scope": scope, "aud": audience}
    claims: dict[str, Any] = {name: value for name, value in usual.items() if value is not None}
    for text in more:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ValueError(f"--claim: expected NAME=VALUE; found {text!r}")
        if name in claims:
            raise ValueError(f"--claim: {name} is given twice")
        claims[name] = _value(value)
    return claims


def _value(text: str) -> Any:  # noqa: ANN401 any value of JSON
    """Return the value of a claim: JSON, such as 7, true or ["a"], or else the text itself."""
    try:
        return read_json(text.encode("utf-8", "surrogateescape"))
    except ValueError:
        return text


def sign(config: str, claims: Claims, ttl: str, name: str | None = None) -> str:
    """Return a token with these claims and the lifetime `ttl` (`1h`).

    Raises ConfigError, or ValueError if no handler can sign it.
    """
    seconds = _lifetime(ttl)
    settings = load(config)
    handler = _chosen(
        {key: one.handler for key, one in settings.handlers.items() if isinstance(one.handler, JWT)}, name
    )
    if handler is None:
        raise ValueError(f"{config} has no jwt handler")
    if handler.secret is None:
        raise ValueError(f"[handler:{handler.name}] has no secret, so the gateway cannot sign tokens for it")
    handler.open(Runtime.of(settings))
    return handler.sign(claims, seconds, time.time())


def _chosen(found: Mapping[str, JWT], name: str | None) -> JWT | None:
    """Return the handler of this name; without a name the only one, with a secret if several. Raises ValueError."""
    if name is not None and name not in found:
        raise ValueError(f"no jwt handler named '{name}'; expected one of: {', '.join(found) or 'none'}")
    if name is None and len(found) > 1:
        found = {key: handler for key, handler in found.items() if handler.secret is not None} or found
    if name is None and len(found) > 1:
        raise ValueError(f"several jwt handlers; choose one with --handler: {', '.join(found)}")
    return found[name] if name else next(iter(found.values()), None)


def _lifetime(ttl: str) -> float:
    try:
        seconds: float = convert(Seconds, ttl, lambda _: None)
    except Mistake as mistake:
        raise ValueError(f"--ttl: {mistake}") from None
    if not seconds:
        raise ValueError("--ttl: expected a lifetime of more than 0s")
    return seconds
