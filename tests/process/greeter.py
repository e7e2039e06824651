"""A gateway with an admin listener and a handler in `greeting.py`, which tests change; and its commands."""

import sys
from contextlib import contextmanager
from typing import NamedTuple

import forked

from gproxy.testing.gateway import RunningGateway, eventually

SETTINGS = """
[admin]
bind = unix:{tmp}/admin.sock
[log]
access = off
[handler:greet]
use = greeting:greet
[route:all]
path = /
handlers = greet
respond = 204
"""
CODE = """
from gproxy import Response

def greet(request, next):
    return Response(200, b"%s")
"""


@contextmanager
def running(folder, word, settings=SETTINGS):
    """The gateway, which answers with this word, once its admin listener is there."""
    (folder / "greeting.py").write_text(CODE % word)
    with RunningGateway(settings, folder) as gateway:
        eventually((folder / "admin.sock").exists, "the admin listener")
        yield gateway


class Done(NamedTuple):
    """The end of a command."""

    returncode: int
    stdout: str
    stderr: str


def command(gateway, *arguments, where=()):
    """Run a command to its end; `where` says which gateway is meant, by default the one with this file."""
    where = where or ("--config", str(gateway.config))
    done = forked.run([sys.executable, "-m", "gproxy", *arguments, *where], capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)
