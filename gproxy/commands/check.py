"""`gproxy check`: builds everything that the settings name, and opens nothing. Other commands show what it built."""

import argparse
import sys

from gproxy.config.sections.settings import Settings
from gproxy.config.types.units import plural
from gproxy.gateway.build import build, load
from gproxy.gateway.gateway import Gateway
from gproxy.runtime import Runtime


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    text = "ask every issuer for its metadata and keys, and every endpoint about a nonsense token"
    parser.add_argument("--online", action="store_true", help=text)


def run(options: argparse.Namespace) -> int:
    """Check the settings and report all problems. Raises ConfigError."""
    settings, gateway = built(options.config)
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if store := gateway.runtime.store:
        print(f"rate limits count in {store.describe()}; while it is unavailable, {settings.state.meanwhile}")
    routes, upstreams = plural(len(gateway.router.routes), "route"), plural(len(gateway.upstreams), "upstream")
    print(f"{options.config}: {routes}, {upstreams}, all fine")
    return _check_online(settings, gateway) if options.online else 0


def built(path: str) -> tuple[Settings, Gateway]:
    """Return the settings and the gateway, which is never opened. Raises ConfigError."""
    settings = load(path)
    return settings, build(settings, Runtime.of(settings))


def _check_online(settings: Settings, gateway: Gateway) -> int:
    """Print what issuers and endpoints answer. Return 1 if one of them fails."""
    from gproxy.commands.check_online import outcomes

    is_good = True
    for outcome in outcomes(settings, gateway.runtime):
        print(outcome, flush=True)
        is_good = is_good and outcome.is_good
    return 0 if is_good else 1
