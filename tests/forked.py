"""Commands of gproxy in forked processes: a start of Python with the imports takes half a second, a fork milliseconds.

forked_gateway.py forks gateways.

A server for each kind of command has imported what they need, with or without gevent's patches, and forks for each one.
The process of a command is as after a start: its directory, environment, streams, arguments and no module of users.
tests/process/test_command_line.py starts commands by Python.
"""

import array
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

#: What Python reads at its start, or what decides which modules are imported.
_OF_A_START = ("PYTHON", "GPROXY_PURE", "LC_", "LANG", "LD_")
#: The options of subprocess.run that `run` has itself.
_OPTIONS = {"capture_output", "text", "cwd", "env", "input", "check", "timeout", "stdin"}
#: By whether gevent patches: the server of this process.
_servers = {}


def run(command, **options):
    """Run a command of gproxy as subprocess.run does, which takes what a fork would not do alike."""
    if not _is_plain(command, options):
        return subprocess.run(command, **options)
    server = _server(command[3] if len(command) > 3 else "")
    environ = dict(os.environ if options.get("env") is None else options["env"])
    if of_a_start(environ) - of_a_start(server.environ):
        return subprocess.run(command, **options)
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given = options.get("input") or ""
        asked.write(given.encode() if isinstance(given, str) else given)
        asked.seek(0)
        cwd = str(options.get("cwd") or Path.cwd())
        wanted = {"arguments": [*map(str, command[3:])], "cwd": cwd, "env": environ}
        code = server.run(wanted, [asked.fileno(), out.fileno(), err.fileno()], options.get("timeout", 60))
        outputs = [file.seek(0) or file.read() for file in (out, err)]
    if options.get("text"):
        outputs = [output.decode() for output in outputs]
    done = subprocess.CompletedProcess(command, code, *outputs)
    if options.get("check"):
        done.check_returncode()
    return done


def _is_plain(command, options):
    """Return whether this is a command of gproxy of which only the output is wanted."""
    return (
        [*command[:3]] == [sys.executable, "-m", "gproxy"]
        and options.get("capture_output", False)
        and options.get("stdin", subprocess.DEVNULL) == subprocess.DEVNULL
        and options.keys() <= _OPTIONS
    )


def of_a_start(environ):
    return {(name, value) for name, value in environ.items() if name.startswith(_OF_A_START)}


def _server(name):
    from gproxy.cli import _COMMANDS

    is_patched = name in _COMMANDS and _COMMANDS[name].is_patched
    if is_patched not in _servers:
        _servers[is_patched] = Server(__file__, "patched" if is_patched else "plain")
    return _servers[is_patched]


class Server:
    """The process of a script that forks; it ends with this one, whose end of `line` closes."""

    def __init__(self, script, *arguments):
        self.environ = dict(os.environ)
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.place = f"{self.folder.name}/socket"
        line, theirs = socket.socketpair()
        self.line = line
        command = [sys.executable, script, self.place, str(theirs.fileno()), *arguments]
        with theirs:
            subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=self.folder.name).returncode = 0
        assert line.recv(1), "the server of commands has ended"

    def run(self, wanted, streams, timeout):
        """Run a command with these streams; return its exit code."""
        with self.start(wanted, streams, timeout) as sock, sock.makefile() as lines:
            pid = int(lines.readline())
            try:
                return int(lines.readline())
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                raise

    def start(self, wanted, streams, timeout):
        """Start a command with these streams; return a socket that receives the lines with its id and its exit code."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(self.place)
        sock.settimeout(timeout)
        socket.send_fds(sock, [b"."], streams)
        sock.sendall(json.dumps(wanted).encode() + b"\n")
        return sock


def _import_commands(is_patched):
    if is_patched:
        import gproxy.server.patch
        import gproxy.server.worker  # noqa: F401
    from importlib import import_module

    from gproxy.cli import _COMMANDS
    from gproxy.handlers import BUILT_IN

    for command in _COMMANDS.values():
        if command.is_patched == is_patched:
            import_module(f"gproxy.commands.{command.module}")
    for reference in BUILT_IN.values() if is_patched else ():
        import_module(reference.partition(":")[0])


def serve(place, line, plain):
    """Fork a process for each connection until the tests end. `plain`: a socket of gevent would start an event loop."""
    listener, line = plain(socket.AF_UNIX, socket.SOCK_STREAM), plain(fileno=line)
    listener.bind(place)
    listener.listen()
    line.send(b".")
    fork, waitpid, wait = originals()
    gc.freeze()
    while True:
        ready, _, _ = wait([listener, line], [], [])
        if line in ready:
            os._exit(0)
        fd, _ = listener._accept()  # accept() would make a socket of gevent
        with suppress(ChildProcessError):
            while waitpid(-1, os.WNOHANG)[0]:
                pass
        if fork():
            os.close(fd)
            continue
        listener.close()
        line.close()
        return _attend(plain(fileno=fd), fork, waitpid)


def originals():
    import select

    if "gevent" not in sys.modules:
        return os.fork, os.waitpid, select.select
    from gevent.monkey import get_original

    return (*get_original("os", ["fork", "waitpid"]), get_original("select", "select"))


def _attend(sock, fork, waitpid):
    """Fork a command, and send its process id and its exit code. Returns in the command's process only."""
    fds = array.array("i")
    _, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(3 * fds.itemsize))
    fds.frombytes(ancillary[0][2])
    data = b""
    while not data.endswith(b"\n"):
        data += sock.recv(65536)
    pid = fork()
    if pid:
        sock.sendall(b"%d\n" % pid)
        code = os.waitstatus_to_exitcode(waitpid(pid, 0)[1])
        with suppress(OSError):
            sock.sendall(b"%d\n" % code)
        os._exit(0)
    sock.close()
    return json.loads(data), [*fds]


def become(wanted, streams):
    """Make this process that of a command which Python has just started."""
    if "gevent" in sys.modules:
        import gevent

        gevent.reinit()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(wanted["env"])
    time.tzset()
    os.chdir(wanted["cwd"])
    sys.path[0] = os.getcwd()
    sys.argv = [sys.argv[0], *wanted["arguments"]]


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    plain = socket.socket
    _import_commands(sys.argv[3] == "patched")
    become(*serve(sys.argv[1], int(sys.argv[2]), plain))
    from gproxy.cli import main

    sys.exit(main())
