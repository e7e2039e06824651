"""Does it hold at scale? Each check prints what it has measured, what is allowed, and whether that is so."""

import argparse
import sys
import tempfile
from pathlib import Path

from bench import idle, patience, routing, soak, start, workers
from bench.figures import NotMeasuredError
from bench.server import NotStartedError

CHECKS = {
    "start": start.check,
    "routes": routing.check,
    "idle": idle.check,
    "slow": patience.check,
    "workers": workers.check,
    "soak": soak.check,
}


def main(arguments):
    """Run the checks; the exit code: 1 if anything is beyond its limit."""
    options = _options(arguments)
    passed = [_passes(name, options.minutes) for name in options.checks]
    return int(not all(passed))


def _options(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/bench scale", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"default: all: {', '.join(CHECKS)}")
    parser.add_argument("--minutes", type=float, default=10, help="of soaking")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.checks if name not in CHECKS]:
        parser.error(f"no check {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    options.checks = options.checks or list(CHECKS)
    return options


def _passes(name, minutes):
    with tempfile.TemporaryDirectory(prefix="gproxy-scale-") as folder:
        Path(folder).chmod(0o755)  # nginx's worker has no rights of its own
        try:
            figures = CHECKS[name](Path(folder), minutes)
        except (NotMeasuredError, NotStartedError) as error:
            print(f"{name}: FAILED: {error}", file=sys.stderr)
            return False
    print(*figures, sep="\n", flush=True)
    return all(figure.ok for figure in figures)
