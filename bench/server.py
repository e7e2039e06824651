"""A server under measurement: started on one core, known to be the one that answers, weighed, stopped."""

import os
import subprocess
import time

import psutil

#: How long a server may take until it listens, and until it has stopped, in seconds.
PATIENCE = 15.0

_cores = sorted(os.sched_getaffinity(0))
#: Where the proxy runs, and where its clients and backends do.
PROXY_CORE, OTHER_CORE = str(_cores[0]), str(_cores[-1])
#: For all of them together, if there are two.
BOTH_CORES = f"{PROXY_CORE},{OTHER_CORE}"


class NotStartedError(Exception):
    """The message says which server, and what it wrote."""


def pinned(cores, command):
    """The command, on these cores only."""
    return ["taskset", "-c", cores, *map(str, command)]


class Server:
    """To be used in a `with`; `folder` is where it runs and where its output goes."""

    def __init__(self, name, command, port, folder, *, cores=PROXY_CORE):
        self.name = name
        self.port = port
        self._command = pinned(cores, command)
        self._folder = folder
        self._log = folder / f"{name}-{port}.log"

    def __enter__(self):
        # GOMAXPROCS: Go and Caddy would start threads for cores that they are not given. HOME: Caddy writes there.
        environ = {**os.environ, "GOMAXPROCS": "1", "HOME": str(self._folder)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _wait_until_it_listens(self):
        deadline = time.monotonic() + PATIENCE
        while not self._serves_its_port():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotStartedError(f"{self.name} did not start:\n{self._log.read_text()}")
            time.sleep(0.05)

    def _serves_its_port(self):
        """Does it listen there? Nobody else may, or we would measure what somebody has left running."""
        owners = listening(self.port)
        if None in owners:
            return False
        if strangers := owners - {process.pid for process in self.processes()}:
            raise NotStartedError(f"{self.name}: port {self.port} is served by other processes: {strangers}")
        return bool(owners)

    def processes(self):
        """The one we started, and those that it has."""
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu(self):
        """Seconds used so far, user and system."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(one.user + one.system for one in times)

    def memory(self):
        """Resident bytes, of all its processes."""
        return sum(process.memory_info().rss for process in self.processes())

    def stop(self):
        family = self.processes()
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in family[1:]:
            if process.is_running():
                process.kill()


def listening(port):
    """The ids of the processes that listen on this TCP port; None: they have only just begun, or we may not see them."""
    return {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
