"""The child process of `gproxy dev`: it runs the demo backends and prints commands to try.

    python -m gproxy.testing.dev PIPE CONFIG OVERRIDES DEMO

The process exits when `gproxy dev` closes its end of the pipe; PIPE is the file descriptor. DEMO is `yes` or `no`.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402

import gevent  # noqa: E402
from gevent.os import tp_read  # noqa: E402

from gproxy.commands.dev import APP  # noqa: E402
from gproxy.commands.live.admin_client import place_of  # noqa: E402
from gproxy.commands.token import sign  # noqa: E402
from gproxy.config.ini.files import read_files  # noqa: E402
from gproxy.config.load import Overrides, load_process  # noqa: E402
from gproxy.config.types import Address  # noqa: E402
from gproxy.testing import demo  # noqa: E402

PORTS = (5001, 5002, 5003)

_TRY = """
The gateway serves on {url}, with demo backends on {ports} behind it; it reloads when
{config} or a module beside it is saved. Try:
{token}
  curl -i {header}{url}/users/1
  curl -i {header}{url}/orders
  curl -i {header}{url}/users/slow      # takes 5 s, so 504 after 3 s
  curl -s {url}/health
{admin}
ctrl-C stops it.
"""

_TRY_APP = """
The app {app} is on {url}; it reloads when one of its modules is saved. Try:

  curl -i {url}/
{admin}
ctrl-C stops it.
"""

_PAGE = "gproxy dashboard --admin {place}     # the page of operators, in a browser"


def main(pipe: int, config: str, overrides: Overrides, ports: Sequence[int]) -> None:
    """Serve until the other end of the pipe is closed."""
    greeter = gevent.spawn(_greet, config, overrides, demo.start(ports))
    tp_read(pipe, 1)
    greeter.kill()


def _greet(config: str, overrides: Overrides, ports: list[int]) -> None:
    """Print what to try, once the gateway listens. Problems in the settings are reported by the gateway."""
    server, _, admin, _ = load_process(read_files(config, os.environ), overrides)
    address = next((address for address in server.bind if address.kind == "tcp"), None) if server else None
    if address is None:
        return
    _wait_for_listener(address)
    token = _token(config)
    app = overrides.get(APP)
    text = (_TRY if app is None else _TRY_APP).format(
        app=app,
        url=f"http://{address}".replace("//0.0.0.0", "//localhost"),
        ports=", ".join(f":{port}" for port in ports),
        config=config,
        token=f"\n  TOKEN={token}\n" if token else "",
        admin=f"  {_PAGE.format(place=place_of(admin.bind))}\n" if admin is not None and admin.bind else "",
        header='-H "Authorization: Bearer $TOKEN" ' if token else "",
    )
    sys.stdout.write(text)
    sys.stdout.flush()


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
    main(int(sys.argv[1]), sys.argv[2], overrides, PORTS if sys.argv[4] == "yes" else ())
    os._exit(0)
