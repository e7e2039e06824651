"""The other half of `gproxy dev`: demo backends, and what to try.

    python -m gproxy.testing.dev LEASH CONFIG OVERRIDES

It lives for as long as the pipe LEASH is held at the other end.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402
from gevent.os import tp_read  # noqa: E402

from gproxy.commands.token import sign  # noqa: E402
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

ctrl-C stops it.
"""


def main(leash: int, config: str, overrides: Overrides) -> None:
    """Until the leash is let go."""
    greeter = gevent.spawn(_greet, config, overrides, demo.start(PORTS))
    tp_read(leash, 1)
    greeter.kill()


def _greet(config: str, overrides: Overrides, ports: list[int]) -> None:
    """Once somebody listens where the settings say. What is wrong with them others will tell."""
    server, _ = load_process(Path(config), Path(config).read_bytes(), overrides)
    address = next((address for address in server.bind if address.kind == "tcp"), None) if server else None
    if address is None:
        return
    _await(address)
    token = _token(config)
    said = _TRY.format(
        url=f"http://{address}".replace("//0.0.0.0", "//localhost"),
        ports=", ".join(f":{port}" for port in ports),
        config=config,
        token=f"\n  TOKEN={token}\n" if token else "",
        header='-H "Authorization: Bearer $TOKEN" ' if token else "",
    )
    sys.stdout.write(said)
    sys.stdout.flush()


def _await(address: Address) -> None:
    while True:
        try:
            socket.create_connection((address.host or "localhost", address.port), 1).close()
        except OSError:
            gevent.sleep(0.05)
        else:
            return


def _token(config: str) -> str:
    try:
        return sign(config, "alice", "admin", "1d")
    except Exception:
        return ""  # no jwt handler, or none that signs


if __name__ == "__main__":
    given = {(section, option): text for section, option, text in json.loads(sys.argv[3])}
    main(int(sys.argv[1]), sys.argv[2], given)
    os._exit(0)
