"""The access log at a real rsyslogd: what it finds in the messages, also after it was away."""

import json
import shutil
import subprocess
from contextlib import contextmanager

from shipped import PUBLIC, UNLIMITED, running

from gproxy.testing.gateway import PATIENCE, eventually, free_port

RSYSLOG = shutil.which("rsyslogd", path="/usr/sbin:/usr/local/sbin:/usr/bin")

#: As in docs/logs.md, with other places.
SETTINGS = """
global(workDirectory="{folder}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{folder}/log.socket" UseSpecialParser="off")
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="{udp}")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="{tcp}")
template(name="parts" type="string"
  string="%inputname% %pri% %protocol-version% %app-name% %procid% %msgid% %timestamp:::date-rfc3339% %msg%\\n")
if $app-name == "gproxy" then action(type="omfile" file="{folder}/parts" template="parts")
"""


class Rsyslog:
    def __init__(self, folder):
        assert RSYSLOG, "rsyslogd is not installed; scripts/install test installs it"
        self.folder = folder
        self.udp, self.tcp = free_port(), free_port()
        (folder / "rsyslog.conf").write_text(SETTINGS.format(folder=folder, udp=self.udp, tcp=self.tcp))

    @property
    def targets(self):
        return f"syslog:unix:{self.folder}/log.socket, syslog:127.0.0.1:{self.udp}, syslog:tcp:127.0.0.1:{self.tcp}"

    @contextmanager
    def running(self):
        command = [RSYSLOG, "-n", "-f", f"{self.folder}/rsyslog.conf", "-i", f"{self.folder}/pid"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                eventually((self.folder / "pid").exists, "rsyslogd")
                yield
            finally:
                process.terminate()
                process.wait(PATIENCE)
                (self.folder / "pid").unlink(missing_ok=True)

    def parts(self, count):
        """Wait for this many messages, and return the parts of each, the line as an object."""
        path = self.folder / "parts"
        eventually(lambda: path.exists() and path.read_text().count("\n") >= count, f"{count} messages")
        found = [line.split(" ", 7) for line in path.read_text().splitlines()]
        return [(*parts[:-1], json.loads(parts[-1])) for parts in found]


def test_rsyslog_finds_every_part_and_gets_the_lines_of_its_absence(tmp_path):
    log = Rsyslog(tmp_path)
    changes = (("access = log/access.log", f"access = {log.targets}"), ("format = ltsv", "format = json"))
    with running(tmp_path, UNLIMITED, *PUBLIC, *changes) as ours:
        with log.running():
            ids = [ours.get("/users")["x-request-id"]]
            (worker,) = ours.workers
            for name, priority, version, app, pid, message_id, time, line in log.parts(3):
                assert (priority, version, app, pid, message_id) == ("190", "1", "gproxy", str(worker), "access")
                assert (name == "imuxsock" or time == line["time"]) and line["id"] == ids[0]
        ids.append(ours.get("/users")["x-request-id"])
        with log.running():
            ids.append(ours.get("/users")["x-request-id"])

            def found(name):
                path = tmp_path / "parts"
                return [
                    json.loads(line.split(" ", 7)[7])["id"]
                    for line in path.read_text().splitlines()
                    if line.startswith(name)
                ]

            for name in ("imuxsock", "imtcp"):  # UDP does not say that nothing listens before the second datagram
                eventually(lambda name=name: found(name) == ids, f"the lines of {name}")
