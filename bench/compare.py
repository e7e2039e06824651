"""gproxy beside other proxies, each on one core, in interleaved rounds: ratios, not times.

A round asks every peer for the same, one after the other, so that whatever else the machine does meets all alike;
each round gives ratios to the first peer, and what is told is their median, smallest and largest.
"""

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import plot, results
from bench.h2load import HTTP2Generator
from bench.load import Generator
from bench.peers import APP_SERVERS, ONLY_HTTP2, PEERS, WITH_HTTP2, WITH_TOKENS, Place
from bench.scenarios import KINDS, SCENARIOS, backends
from bench.server import NotStartedError, Server
from gproxy.testing.gateway import free_port


def main(arguments):
    """Measure, print, plot; the exit code: 1 if a peer did not start or answered errors."""
    options = _options(arguments)
    peers = list(dict.fromkeys([*(options.peer or ["plain"]), "gproxy"]))
    try:
        measured = _measure_all(options.scenarios, peers, options)
    except (NotStartedError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(*results.summary(measured, KINDS), sep="\n")
    if options.svg:
        proxied = {name: one for name, one in measured.items() if next(iter(one)) == peers[0]}
        compared = {name: results.ratios(one, results.CPU) for name, one in proxied.items()}
        options.svg.write_text(plot.svg(compared, peers, KINDS))
    failed = sum(map(results.errors, measured.values()))
    if failed:
        print(f"bench: {failed} requests failed", file=sys.stderr)
    return int(failed > 0)


def _options(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"default: all: {', '.join(SCENARIOS)}")
    others = [name for name in PEERS if name not in APP_SERVERS]
    parser.add_argument("--peer", action="append", choices=others, help="to compare with; the first is the yardstick")
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--seconds", type=_positive, default=2, help="for each peer in each round")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the ratios of CPU time there")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.scenarios if name not in SCENARIOS]:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    options.scenarios = options.scenarios or list(SCENARIOS)
    return options


def _positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _measure_all(names, peers, options):
    """By scenario and peer, a sample a round."""
    measured = {}
    with tempfile.TemporaryDirectory(prefix="gproxy-bench-") as path:
        folder = Path(path)
        folder.chmod(0o755)  # nginx's worker has no rights of its own
        with backends(folder) as behind:
            for name in names:
                scenario = SCENARIOS[name]
                measured[name] = _measure(scenario, asked(scenario, peers), behind, folder, options)
                _show(name, measured[name], options)
    return measured


def asked(scenario, peers):
    """The peers that do all that the scenario needs, and the yardstick in any case.

    An app has a yardstick of its own. For HTTP/2 it is nginx if no other peer speaks it.
    """
    if scenario.app:
        return list(APP_SERVERS)
    if scenario.streams:
        others = [peer for peer in peers if peer in WITH_HTTP2 and peer != "gproxy"]
        return [*(others or ["nginx"]), "gproxy"]
    peers = [peer for peer in peers if peer != ONLY_HTTP2]
    if peers == ["gproxy"]:
        peers = ["plain", *peers]
    return [peer for peer in peers if peer in WITH_TOKENS or peer == peers[0] or not scenario.jwt]


def _measure(scenario, peers, behind, folder, options):
    generator = (HTTP2Generator if scenario.streams else Generator)(scenario, folder)
    seconds = scenario.seconds or options.seconds
    with ExitStack() as stack:
        servers = {peer: stack.enter_context(_server(peer, scenario, behind, folder)) for peer in peers}
        for server in servers.values():
            generator.run(server.port, 1)
        rounds = [
            {peer: results.sample(server, generator, seconds) for peer, server in servers.items()}
            for _ in range(options.rounds)
        ]
    return {peer: [one[peer] for one in rounds] for peer in peers}


def _server(peer, scenario, behind, folder):
    secure = behind.secure if scenario.streams else None
    place = Place(free_port(), behind.ports, folder, scenario.jwt, scenario.app, secure, scenario.grpc)
    return Server(peer, PEERS[peer](place), place.port, folder)


def _show(name, measured, options):
    scenario = SCENARIOS[name]
    clients = f"{scenario.connections} connection{'s' * (scenario.connections > 1)}"
    print(f"\n{name}: {scenario.about}, {clients}, {options.rounds} x {scenario.seconds or options.seconds} s")
    print(*results.table(measured), sep="\n", flush=True)
