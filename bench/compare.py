"""gproxy beside other proxies, each on one core, in interleaved rounds: ratios, not times.

A round asks every peer for the same, one after the other, so that whatever else the machine does meets all alike;
each round gives a ratio to the first peer, and what is told is their median, smallest and largest.
"""

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import load, plot, results
from bench.peers import PEERS, Place
from bench.scenarios import SCENARIOS, backends
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
    if options.svg:
        options.svg.write_text(plot.svg({name: results.ratios(one) for name, one in measured.items()}))
    failed = sum(map(results.errors, measured.values()))
    if failed:
        print(f"bench: {failed} requests failed", file=sys.stderr)
    return int(failed > 0)


def _options(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"default: all: {', '.join(SCENARIOS)}")
    others = [name for name in PEERS if name != "gproxy"]
    parser.add_argument("--peer", action="append", choices=others, help="to compare with; the first is the yardstick")
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--seconds", type=_positive, default=2, help="for each peer in each round")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the ratios there")
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
    with tempfile.TemporaryDirectory(prefix="gproxy-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker has no rights of its own
        with backends(folder) as behind:
            for scenario in names:
                measured[scenario] = _measure(SCENARIOS[scenario], peers, behind.ports, folder, options)
                _show(scenario, measured[scenario], options)
    return measured


def _measure(scenario, peers, ports, folder, options):
    with ExitStack() as stack:
        servers = {peer: stack.enter_context(_server(peer, scenario, ports, folder)) for peer in peers}
        for server in servers.values():
            load.run(server.port, scenario, 1, folder)
        rounds = [
            {peer: _sample(server, scenario, options.seconds, folder) for peer, server in servers.items()}
            for _ in range(options.rounds)
        ]
    return {peer: [one[peer] for one in rounds] for peer in peers}


def _server(peer, scenario, ports, folder):
    place = Place(free_port(), ports, folder, scenario.jwt)
    return Server(peer, PEERS[peer](place), place.port, folder)


def _sample(server, scenario, seconds, folder):
    before = server.cpu()
    done = load.run(server.port, scenario, seconds, folder)
    spent = server.cpu() - before
    return results.Sample(done, spent / max(1, done.requests) * 1e6, server.memory())


def _show(name, measured, options):
    scenario = SCENARIOS[name]
    clients = f"{scenario.connections} connection{'s' * (scenario.connections > 1)}"
    print(f"\n{name}: {scenario.about}, {clients}, {options.rounds} x {options.seconds} s")
    print(*results.table(measured), sep="\n", flush=True)
