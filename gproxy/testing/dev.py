"""The child process of `gproxy dev`: it runs the demo backends and prints commands to try.

    python -m gproxy.testing.dev PIPE CONFIG OVERRIDES KIND

The process exits when `gproxy dev` closes its end of the pipe; PIPE is the file descriptor. KIND says whose the
settings are: those of the `demo`, those of an `app` without demo backends, or a `file` of the user.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from itertools import islice  # noqa: E402

import gevent  # noqa: E402
from gevent.os import tp_read  # noqa: E402

from gproxy.commands.credentials.token import sign  # noqa: E402
from gproxy.commands.dev import APP  # noqa: E402
from gproxy.commands.live.admin_client import place_of  # noqa: E402
from gproxy.config.ini.build import build  # noqa: E402
from gproxy.config.ini.files import SourceFile, parse_files, read_files  # noqa: E402
from gproxy.config.ini.parser import RawSection  # noqa: E402
from gproxy.config.load import Overrides, load_process  # noqa: E402
from gproxy.config.sections.route import RouteSettings  # noqa: E402
from gproxy.config.types import Address  # noqa: E402
from gproxy.testing import demo  # noqa: E402

PORTS = (5001, 5002, 5003)

#: What to try, by the kind of the settings.
_TRY = {
    "demo": """
The gateway serves on {url}, with demo backends on {ports} behind it; it reloads when
{config} or a module beside it is saved. Try:
{token}
  curl -i {header}{url}/users/1
  curl -i {header}{url}/orders
  curl -i {header}{url}/users/slow      # takes 5 s, so 504 after 3 s
  curl -s {url}/health
{admin}
ctrl-C stops it.
""",
    "app": """
The app {app} is on {url}; it reloads when one of its modules is saved. Try:

  curl -i {url}/
{admin}
ctrl-C stops it.
""",
    "file": """
The gateway serves on {url}; demo backends are on {ports} for upstreams
that name these ports. It reloads when {config} or a module beside it is saved. Try:
{token}
{routes}
{admin}
ctrl-C stops it.
""",
}
_PAGE = "gproxy dashboard --admin {place}     # the page of operators, in a browser"
#: The most routes that have a line.
_ROUTES = 5


def main(pipe: int, config: str, overrides: Overrides, kind: str) -> None:
    """Serve until the other end of the pipe is closed."""
    greeter = gevent.spawn(_greet, config, overrides, kind, demo.start(PORTS if kind != "app" else ()))
    tp_read(pipe, 1)
    greeter.kill()


def _greet(config: str, overrides: Overrides, kind: str, ports: list[int]) -> None:
    """Print what to try, once the gateway listens. Problems in the settings are reported by the gateway."""
    files = read_files(config, os.environ)
    server, _, admin, _ = load_process(files, overrides)
    address = next((address for address in server.bind if address.kind == "tcp"), None) if server else None
    if address is None:
        return
    _wait_for_listener(address)
    token = _token(config)
    url = f"http://{address}".replace("//0.0.0.0", "//localhost")
    header = '-H "Authorization: Bearer $TOKEN" ' if token else ""
    text = _TRY[kind].format(
        app=overrides.get(APP),
        url=url,
        ports=", ".join(f":{port}" for port in ports),
        config=config,
        token=f"\n  TOKEN={token}\n" if token else "",
        routes="\n".join(f"  curl -i {header}{one}" for one in islice(_routes(files, url), _ROUTES)),
        admin=f"  {_PAGE.format(place=place_of(admin.bind))}\n" if admin is not None and admin.bind else "",
        header=header,
    )
    sys.stdout.write(text)
    sys.stdout.flush()


def _routes(files: Sequence[SourceFile], url: str) -> Iterator[str]:
    """Yield the arguments of curl for a request to each route; a pattern is shown as it is written."""
    for section in parse_files(files, os.environ, []) or ():
        if section.kind == "route" and (route := _route(section)):
            path = next((path for path in route.path if not path.expression), None)
            host = f"-H 'Host: {route.host[0].replace('*', 'name')}' " if route.host else ""
            pattern = "" if path else f"{url}/…  # a path of {route.path[0]}"
            yield f"{host}{pattern or f'{url}{path}'}"


def _route(section: RawSection) -> RouteSettings | None:
    """Return the settings of the route; None if they have a problem."""
    return build(RouteSettings, section.options, section, [], [], name=section.name)


def _wait_for_listener(address: Address) -> None:
    while True:
        try:
            socket.create_connection((address.host or "localhost", address.port), 1).close()
        except OSError:
            gevent.sleep(0.05)
        else:
            return


def _token(config: str) -> str:
    try:
        return sign(config, {"sub": "alice", "role": "admin"}, "1d")
    except Exception:  # noqa: BLE001 there may be no jwt handler, or none with a secret
        return ""


if __name__ == "__main__":
    overrides = {(section, option): text for section, option, text in json.loads(sys.argv[3])}
    main(int(sys.argv[1]), sys.argv[2], overrides, sys.argv[4])
    os._exit(0)
