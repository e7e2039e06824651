"""`gproxy debug`: pdb on one request of the running gateway, in this terminal."""

import argparse
import codecs
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from gproxy.commands.live.admin_client import AdminClient, AdminError, add_admin_options, ask_monitor

#: The options whose texts are fields of the rule.
_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "path": ("PATTERN", "path of the request, such as '/users/*'"),
    "method": ("METHOD", "method of the request"),
    "header": ("FIELD", "header field of the request, such as 'X-Debug: 1', or its name only"),
    "client": ("NETWORK", "address or network of the client"),
    "user": ("USER", "user of the request, as an identity handler finds it"),
    "handler": ("NAME", "handler to stop before; default: the first one of the request"),
    "at": ("FILE:LINE", "line to stop at"),
    "wait": ("TIME", "time after which the command ends if no request matches; default: 5m"),
    "hold": ("TIME", "time for which the request is stopped at most; default: 2m"),
}
_DATA: Final = b"data: "
#: The most bytes that are passed on at a time: as JSON they must not exceed what the monitor takes.
_PIECE: Final = 8192


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the conditions of the rule, and where it stops."""
    for name, (noun, text) in _TEXTS.items():
        parser.add_argument(f"--{name}", metavar=noun, help=text)
    parser.add_argument("--on-error", action="store_true", help="stop where a handler or an app raises an exception")
    text = "connect to a breakpoint() of gproxy dev that waits for a terminal"
    parser.add_argument("--attach", action="store_true", help=text)
    add_admin_options(parser)


def run(options: argparse.Namespace) -> int:
    """Debug one request. Return 0 once it goes on, 1 if no request has matched or the gateway rejects the rule."""
    return ask_monitor(options, _debug)


def _debug(client: AdminClient, options: argparse.Namespace) -> int:
    fields = {name: value for name in (*_TEXTS, "on_error", "attach") if (value := getattr(options, name))}
    if not client.place.startswith("unix:"):
        raise AdminError(f"{client.place}: debugging is a shell in the gateway, so it needs a unix socket")
    try:
        return _show(client, _events(client.pieces("/v1/debug", "POST", fields)), is_json=options.json)
    except KeyboardInterrupt:  # the stream closes, and the request goes on
        print(file=sys.stderr)
        return 130


def _show(client: AdminClient, events: Iterator[dict[str, Any]], *, is_json: bool) -> int:
    """Print what the worker writes until the session ends, and pass on what is typed. Return the exit code."""
    name = ""
    for event in events:
        if is_json:
            print(json.dumps(event), flush=True)
        elif "output" in event:
            sys.stdout.write(event["output"])
            sys.stdout.flush()
        if "session" in event:
            name = event["session"]
            print("waiting for a request; ctrl-C ends the command", file=sys.stderr)
        elif "taken" in event:
            threading.Thread(target=partial(_type, client, f"/v1/debug/{name}"), daemon=True).start()
        elif event.get("ended"):
            raise AdminError(event["ended"])
        elif "ended" in event:
            return 0
    raise AdminError("the monitor has ended")


def _type(client: AdminClient, path: str) -> None:
    """Pass on what is typed; at the end of the input the request goes on."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with suppress(AdminError):  # the session has ended, which its stream shows
        while piece := os.read(0, _PIECE):  # not sys.stdin, whose lock a thread that waits would keep at the end
            if text := decoder.decode(piece):
                _send(client, path, text)
        _send(client, path, "")


def _send(client: AdminClient, path: str, text: str) -> None:
    """Pass a text on, once there is room: a worker does not read while a command runs. Raises AdminError."""
    while True:
        try:
            client.send("POST", path, {"input": text})
        except AdminError as error:
            if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
        else:
            return


def _events(pieces: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the server-sent events of the stream."""
    data = b""
    for piece in pieces:
        *lines, data = (data + piece).split(b"\n")
        for line in lines:
            if line.startswith(_DATA):
                yield json.loads(line.removeprefix(_DATA))
