"""The access log at several targets: files, standard output, and syslog servers that are real, away, slow or replaced."""

import os
import re
import signal
import socket
import threading

import pytest
from hammer import load
from shipped import PUBLIC, UNLIMITED, running

from gproxy.testing.gateway import eventually

ACCESS = "access = log/access.log"
METRICS = ("handlers = compress, health,", "handlers = compress, health, metrics,")


class Datagrams:
    """A syslog server that keeps each datagram; over UDP without a path."""

    def __init__(self, path=None):
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(str(path) if path else ("127.0.0.1", 0))
        self.socket.settimeout(10)

    @property
    def port(self):
        return self.socket.getsockname()[1]

    def receive(self, count=1):
        return [self.socket.recv(65536).decode() for _ in range(count)]

    def waiting(self):
        """Return how many datagrams are there at once."""
        self.socket.setblocking(False)
        found = 0
        try:
            while self.socket.recv(65536):
                found += 1
        except BlockingIOError:
            return found

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()


def to(*targets):
    return (ACCESS, f"access = {', '.join(targets)}")


def ids(messages):
    return [re.search("\tid:([^\t]+)", message)[1] for message in messages]


def lost(ours):
    page = ours.get("/metrics").body.decode()
    return int(float(re.search(r"^gproxy_log_lost_lines_total (\S+)$", page, re.M)[1]))


def test_unix_datagrams_beside_a_file_and_standard_output(tmp_path):
    with (
        Datagrams(tmp_path / "log.socket") as server,
        running(
            tmp_path, UNLIMITED, *PUBLIC, to(f"syslog:unix:{tmp_path}/log.socket", "log/a.log", "log/b.log")
        ) as ours,
    ):
        answers = [ours.get("/users")["x-request-id"] for _ in range(3)]
        messages = server.receive(3)
        host = re.escape(socket.gethostname())
        (worker,) = ours.workers
        when = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
        for message in messages:
            assert re.fullmatch(
                rf"<190>1 ({when}) {host} gproxy {worker} access - time:\1\tid:.*\tuser:-\tauth:-", message
            )
        assert ids(messages) == answers
        for name in ("a.log", "b.log"):
            assert [line["id"] for line in ours.access(3, f"log/{name}")] == answers


def test_udp_with_json(tmp_path):
    with (
        Datagrams() as server,
        running(
            tmp_path, UNLIMITED, *PUBLIC, to(f"syslog:127.0.0.1:{server.port}"), ("format = ltsv", "format = json")
        ) as ours,
    ):
        ours.get("/users")
        (message,) = server.receive()
        assert re.match(r'<190>1 \S+ \S+ gproxy \d+ access - \{"time":', message)


def test_tcp_with_octet_counting_over_a_restart_of_the_server(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        port = server.getsockname()[1]
        with running(tmp_path, UNLIMITED, *PUBLIC, to(f"syslog:tcp:127.0.0.1:{port}")) as ours:
            wanted, found = [], []
            for _ in range(2):
                wanted += [ours.get("/users")["x-request-id"] for _ in range(2)]
                stream, _ = server.accept()
                with stream, stream.makefile("rb") as file:
                    stream.settimeout(10)
                    found += [frame(file), frame(file)]
            assert ids(found) == wanted


def frame(file):
    """Read one message of RFC 6587, section 3.4.1."""
    size = b""
    while (digit := file.read(1)) != b" ":
        assert digit.isdigit()
        size += digit
    return file.read(int(size)).decode()


def test_a_server_that_is_away_delays_no_request_and_gets_the_lines_later(tmp_path):
    path = tmp_path / "log.socket"
    with running(tmp_path, UNLIMITED, *PUBLIC, METRICS, to(f"syslog:unix:{path}", "log/access.log")) as ours:
        wanted = [ours.get("/users")["x-request-id"] for _ in range(5)]
        assert len(ours.access(5)) == 5
        assert "next attempt" in ours.wait_for_line(f"access log syslog:unix:{path}: ")
        with Datagrams(path) as server:
            assert ids(server.receive(5)) == wanted
        path.unlink()
        wanted = [ours.get("/users")["x-request-id"] for _ in range(5)]
        with Datagrams(path) as server:
            assert ids(server.receive(5)) == wanted
        assert lost(ours) == 0
        assert ours.errors.count("next attempt") == 1


def test_a_server_that_never_reads_costs_lines_that_are_counted(tmp_path):
    """A stop does not wait for it either."""
    path = tmp_path / "log.socket"
    with (
        Datagrams(path) as server,
        running(tmp_path, UNLIMITED, *PUBLIC, to(f"syslog:unix:{path}", "log/access.log")) as ours,
    ):
        with load(ours.port, threads=2) as clients:
            eventually(lambda: sum(client.answered for client in clients) > 1000, "1,000 answers")
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        answered = sum(client.answered for client in clients)
        assert len(ours.access(answered)) == answered
        (number,) = re.findall(f"access log syslog:unix:{path}: closed, (\\d+) lines lost", ours.errors)
        assert server.waiting() + int(number) == answered


def test_usr1_finds_the_socket_of_a_new_server_and_a_new_file(tmp_path):
    path, log = tmp_path / "log.socket", tmp_path / "log/access.log"
    with (
        Datagrams(path) as old,
        running(tmp_path, UNLIMITED, *PUBLIC, to(f"syslog:unix:{path}", "log/access.log")) as ours,
    ):
        wanted = [ours.get("/users")["x-request-id"]]
        assert ids(old.receive()) == wanted
        path.unlink()
        log.rename(tmp_path / "log/moved")
        with Datagrams(path) as new:  # while the old one still exists, so that no error tells the gateway
            ours.signal(signal.SIGUSR1)
            eventually(log.exists, "a new file")
            wanted = [ours.get("/users")["x-request-id"]]
            assert ids(new.receive()) == wanted


def test_hup_changes_the_targets_and_loses_no_line(tmp_path):
    path = tmp_path / "log.socket"
    changes = (UNLIMITED, *PUBLIC)
    received = []
    with Datagrams(path) as server, running(tmp_path, *changes) as ours:

        def read():
            while not stopped.is_set() or received[-1:] != [b"last"]:
                received.append(server.socket.recv(65536))

        stopped = threading.Event()
        reader = threading.Thread(target=read)
        reader.start()
        with load(ours.port, threads=2) as clients:
            eventually(lambda: sum(client.answered for client in clients) > 100, "answers")
            settings = tmp_path / "gproxy.ini"
            settings.write_text(settings.read_text().replace(ACCESS, f"access = syslog:unix:{path}"))
            ours.signal(signal.SIGHUP)
            ours.wait_for_line("reloaded: generation 2")
            before = sum(client.answered for client in clients)
            eventually(lambda: sum(client.answered for client in clients) > before + 100, "answers of generation 2")
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        stopped.set()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.connect(str(path))
            end.send(b"last")
        reader.join(10)
        messages = [one.decode() for one in received if one != b"last"]
        found = ids(messages) + [line["id"] for line in ours.access()]
        assert len(found) == len(set(found)) == sum(client.answered for client in clients)
        assert len(messages) > 100


def test_skipped_lines_are_counted_and_not_written(tmp_path):
    skip = ("format = ltsv", "format = ltsv\nskip = /health, 401")
    with running(tmp_path, UNLIMITED, *PUBLIC, METRICS, skip) as ours:
        paths = ("/health", "/nothing", "/users", "/health/../users", "/health/%2e%2e/users")
        assert [ours.get(path).status for path in paths] == [200, 401, 200, 200, 200]
        page = ours.get("/metrics").body.decode()
        ours.signal(signal.SIGTERM)
        assert ours.wait() == 0
        assert [line["path"] for line in ours.access()] == [*paths[2:], "/metrics"]
        assert re.search(r"^gproxy_requests_total\{.*status=\"401\"\} 1.0$", page, re.M)


@pytest.mark.parametrize("size", ["4KB"])
def test_two_files_rotate_each_for_itself(tmp_path, size):
    changes = (
        ("rotate = daily, 10MB", f"rotate = {size}"),
        ("keep = 14", "keep = 100"),
        to("a/access.log", "b/access.log"),
    )
    with running(tmp_path, UNLIMITED, *PUBLIC, *changes) as ours:
        wanted = [ours.get("/users")["x-request-id"] for _ in range(40)]

        def logged(folder):
            files = sorted((tmp_path / folder).iterdir(), key=lambda file: file.stat().st_mtime_ns)
            return [name for file in files for name in ids(file.read_text().splitlines())]

        for folder in "ab":
            eventually(lambda folder=folder: len(logged(folder)) == 40, "40 lines")
            assert logged(folder) == wanted
            assert len(os.listdir(tmp_path / folder)) > 2
