"""Demo backends: `python -m gproxy.testing.demo 5001 5002 5003`. Each returns the request that it received as JSON."""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterable, Sequence  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402


def answer_on(port: int) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """Return the WSGI application for one port; `/…/slow` takes five seconds."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].endswith("/slow"):
            gevent.sleep(5)
        headers = {
            key[5:].replace("_", "-").title(): value for key, value in environ.items() if key.startswith("HTTP_")
        }
        body = environ["wsgi.input"].read()
        report = {
            "backend": port, "method": environ["REQUEST_METHOD"], "path": environ["PATH_INFO"],
            "query": environ["QUERY_STRING"], "headers": headers, "body_bytes": len(body),
            "items": [{"id": number, "name": f"item {number}"} for number in range(12)],
        }  # fmt: skip
        data = json.dumps(report, indent=1).encode() + b"\n"
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
        return [data]

    return application


def start(ports: Sequence[int]) -> list[int]:
    """Serve on the ports that are free, and return these."""
    served = []
    for port in ports:
        try:
            WSGIServer(("127.0.0.1", port), answer_on(port), log=None).start()
        except OSError as error:
            print(f"demo: port {port}: {error.strerror}", file=sys.stderr, flush=True)
        else:
            served.append(port)
    return served


def main(ports: list[int]) -> int:
    if start(ports) != ports:
        return 1
    print("demo backends on", *ports, flush=True)
    gevent.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main([int(port) for port in sys.argv[1:]] or [5001, 5002, 5003]))
