"""The process that forks gateways: it has imported what an arbiter and a worker need, and gevent has patched it.

It forks for each gateway. The new process forks the nursery, which stays as it is and forks the workers; then it takes
the patches back and is the arbiter. Both run what a start by Python runs, with an environment, a directory, descriptors
and signals as after one. The kernel makes the arbiter the parent of the workers: they are orphans of its descendants.
"""

import _socket
import array
import ctypes
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module

import forked

_PR_SET_CHILD_SUBREAPER = 36


def _become_gateway():
    """Make this process the arbiter, with a nursery as its child; return True. Return False in a worker."""
    fork, waitpid, _ = forked.originals()
    ours, theirs = _socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not fork():
        ours.close()
        _run_nursery(theirs, fork, waitpid)
        return False
    theirs.close()
    _take_patches_back()
    _adopt_orphans()
    os.posix_spawn = partial(_spawn, ours, os.posix_spawn)
    return True


def _take_patches_back():
    from gevent.monkey import saved

    for name, originals in saved.items():
        for attribute, original in originals.items() if name in sys.modules else ():
            setattr(sys.modules[name], attribute, original)


def _adopt_orphans():
    """Make this process the parent of what its children leave behind."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _spawn(nursery, posix_spawn, path, command, environ, *, setsigmask):
    """Start a worker by the nursery, and any other process as posix_spawn does."""
    if "gproxy.server.worker" not in command:
        return posix_spawn(path, command, environ, setsigmask=setsigmask)
    arguments = command[command.index("gproxy.server.worker") + 1 :]
    wanted = json.dumps({"arguments": arguments, "env": environ, "mask": [*map(int, setsigmask)]})
    fds = array.array("i", [int(arguments[-1])])
    nursery.sendmsg([wanted.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    return int(nursery.recv(100))


def _run_nursery(line, fork, waitpid):
    """Fork a worker for each message of the arbiter, and end with it. Returns in the process of a worker only."""
    fds = array.array("i", [0])
    while True:
        data, ancillary, _, _ = line.recvmsg(1 << 17, socket.CMSG_SPACE(fds.itemsize))
        if not data:
            os._exit(0)
        fds = array.array("i", ancillary[0][2])
        parent = fork()
        if parent:
            os.close(fds[0])
            waitpid(parent, 0)
            continue
        worker = fork()
        if worker:  # its parent ends, so that the arbiter becomes that
            line.send(b"%d" % worker)
            os._exit(0)
        return _become_worker(json.loads(data), fds[0])


def _become_worker(wanted, control):
    """Make this process that of a worker which Python has just started."""
    number = int(wanted["arguments"][-1])
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd != control:
            with suppress(OSError):  # the folder itself
                os.close(fd)
    if control != number:
        os.dup2(control, number)
        os.close(control)
    os.environ.clear()
    os.environ.update(wanted["env"])
    signal.pthread_sigmask(signal.SIG_SETMASK, wanted["mask"])
    sys.argv[1:] = wanted["arguments"]


def _import_all():
    """Import what a gateway needs, and what a worker imports only if the settings name it."""
    plain = socket.socket
    import gproxy.server.patch

    sys.modules["__main__"].__file__ = gproxy.server.patch.__file__  # this file and the next are no modules of users
    del sys.modules["forked"]
    patched, socket.socket = socket.socket, plain
    import urllib3  # noqa: F401 it opens a socket: one of gevent would start an event loop

    socket.socket = patched
    for module in ("server.worker", "commands.serve", "arbiter.arbiter"):
        import_module(f"gproxy.{module}")
    from gproxy.handlers import BUILT_IN

    for reference in BUILT_IN.values():
        import_module(reference.partition(":")[0])


def _run_gateway():
    """Run the process of a gateway that this one has become."""
    from gproxy import cli
    from gproxy.arbiter.generations import generation
    from gproxy.server import worker

    if _become_gateway():
        generation._INSTANCE = os.urandom(4).hex()  # one of its own, as after an import
        worker.leave(cli.main())
    worker.leave(worker.main())


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    plain = socket.socket
    _import_all()
    sys.dont_write_bytecode = True  # a handler of the same size that a test writes within a second would not be read
    _adopt_orphans()
    forked.become(*forked.serve(sys.argv[1], int(sys.argv[2]), plain))
    _run_gateway()
