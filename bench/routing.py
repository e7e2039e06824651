"""What many routes cost: a match, and the start."""

import timeit
from statistics import median

from bench.figures import Figure
from bench.scenarios import backends
from bench.start import until_first_answer
from gproxy.gateway.build import build, load
from gproxy.runtime import Runtime
from gproxy.testing import request
from gproxy.testing.gateway import free_port

_ROUTES, _UPSTREAMS = 500, 200
_FEW = 5
_REPEATS = 50


def check(folder, _minutes):
    """500 routes over 200 upstreams, beside 5 over 2."""
    with backends(folder) as behind:
        many = _settings(folder, _ROUTES, _UPSTREAMS, behind.port)
        few = _settings(folder, _FEW, 2, behind.port)
        starts = [_start(many) for _ in range(3)]
    slowest, usual = _microseconds(many, _ROUTES), _microseconds(few, _FEW)
    return [
        Figure(f"a match among {_ROUTES} routes, the slowest of some", slowest, "us", 3),
        Figure(f"the same as a multiple of that among {_FEW}", slowest / usual, "", 1.5),
        Figure(f"start with {_ROUTES} routes, {_UPSTREAMS} upstreams, median of 3", median(starts), "s", 1),
    ]


def _settings(folder, routes, upstreams, backend):
    """A file with so many, as a service landscape has them: /team-7/service-7, each with a version below it."""
    lines = [f"[server]\nstate_dir = {folder}/var\n[log]\naccess = off"]
    for number in range(routes):
        below = "/v2" if number % 2 else ""
        lines.append(f"[route:r{number}]\npath = {_path(number // 2)}{below}\nupstream = u{number % upstreams}")
    url = f"http://127.0.0.1:{backend}"
    lines += [f"[upstream:u{number}]\nbackends = {url}" for number in range(upstreams)]
    lines.append("[route:users]\npath = /users\nupstream = u0")  # what the backend really has
    file = folder / f"{routes}-routes.ini"
    file.write_text("\n".join(lines) + "\n")
    return file


def _path(number):
    return f"/team-{number % 20}/service-{number}"


def _start(file):
    port = free_port()
    return until_first_answer(["--bind", f"127.0.0.1:{port}", "--config", str(file)], port)


def _microseconds(file, routes):
    """A match on a path that is first, in the middle and last in the file, with a resource below: the slowest."""
    settings = load(file)
    gateway = build(settings, Runtime.of(settings))
    services = routes // 2
    asked = [request("GET", f"{_path(number)}/v2/things/17") for number in (0, services // 2, services - 1)]
    return max(_fastest(gateway.router.match, one) for one in asked)


def _fastest(match, one):
    return min(timeit.repeat(lambda: match(one), number=2000, repeat=_REPEATS)) / 2000 * 1e6
