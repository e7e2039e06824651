"""A gateway with an admin listener on TCP and on a unix socket, and its clients."""

import json
import re
import socket
import subprocess
from urllib.parse import quote, urlencode

from gproxy.commands.live.admin_client import AdminClient, AdminError
from gproxy.testing.gateway import Answer, RunningGateway, Wire, eventually, free_port

TOKEN, READ_TOKEN = "act-" + "t" * 28, "read-" + "r" * 27
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
ROUTE = "[route:all]\npath = /\nrespond = 200\n"
GREETING = f"{ROUTE}body = hi\n"


def two_workers(bind="unix:{tmp}/admin.sock", more=""):
    """The settings of two workers and a monitor."""
    return f"[server]\nworkers = 2\n[log]\naccess = off\n[admin]\nbind = {bind}\n{more}{GREETING}"


def monitors(gateway):
    """The process ids of the monitors."""
    done = subprocess.run(
        ["pgrep", "-P", str(gateway.process.pid), "-f", "gproxy.monitor.monitor"], capture_output=True, text=True
    )
    return [int(pid) for pid in done.stdout.split()]


def status_of(client):
    """The answer of GET /v1/status, once the monitor serves."""
    found = []

    def answers():
        try:
            found[:] = [client.get("/v1/status")]
        except AdminError:
            return False
        return [worker["answers"] for worker in found[0]["workers"]] == [True, True]

    eventually(answers, "an answer of the monitor with two workers")
    return found[0]


def client_of(gateway):
    return AdminClient.of(str(gateway.config), None)


class Admin:
    """A gateway with an admin listener on TCP and on a unix socket, and its clients."""

    def __init__(self, folder, more="", token=TOKEN, log="access = off"):
        self.port = free_port()
        self.socket = f"{folder}/admin.sock"
        tokens = f"token = {token}\nread_token = {READ_TOKEN}\nallow = 127.0.0.0/25\n"
        ini = f"[log]\n{log}\n[admin]\nbind = unix:{self.socket}, 127.0.0.1:{self.port}\n{tokens}{more}{ROUTE}"
        self.gateway = RunningGateway(ini, folder)

    def __enter__(self):
        self.gateway.__enter__()
        self.gateway.wait_for_line("monitor: serves on")
        return self

    def __exit__(self, *error):
        self.gateway.__exit__(*error)

    def tcp(self, source="127.0.0.1"):
        return Wire(socket.create_connection(("127.0.0.1", self.port), 15, (source, 0)))

    def ask(self, line="GET /v1/status", *fields, token=TOKEN, source="127.0.0.1", host="localhost", body=""):
        credential = [f"Authorization: Bearer {token}"] if token else []
        length = [f"Content-Length: {len(body)}"] if body else []
        with self.tcp(source) as wire:
            return answer_of(wire, line, f"Host: {host}", *credential, *fields, *length, body=body)

    def unix(self):
        return unix_wire(self.socket)

    def ask_unix(self, line="GET /v1/status", *fields, body=""):
        length = [f"Content-Length: {len(body)}"] if body else []
        with self.unix() as wire:
            return answer_of(wire, line, "Host: any", *fields, *length, body=body)

    def begin_of(self, line):
        """The first events of a stream of the page, with the content of the view."""
        with self.unix() as wire:
            wire.send(f"{line} HTTP/1.1\r\nHost: any\r\n\r\n")
            head = wire.read_until(b"\r\n\r\n")
            if b" 200 " not in head:
                wire.buffer = head + wire.buffer
                return wire.read_response()
            begin = wire.read_until(b"event: view" if "view=" in line else b"event: values")
            return Answer(head.removesuffix(b"\r\n\r\n"), begin + wire.read_until(b"\n\n"), complete=False)

    def call(self, operation, values):
        """Call an operation over the unix socket."""
        values = {name: self.filled(value) for name, value in values.items()}
        path = re.sub(r"\{(\w+)\}", lambda found: quote(values.pop(found[1]), safe=""), operation.path)
        if not operation.acts:
            line = f"GET {path}{'?' + urlencode(values) if values else ''}"
            return self.begin_of(line) if operation.media_types == ("text/event-stream",) else self.ask_unix(line)
        kind, body = (FORM, urlencode(values)) if operation.is_form else (JSON, json.dumps(values))
        return self.ask_unix(f"{operation.method} {path}", f"Content-Type: {kind}", body=body)

    def filled(self, value):
        """The value for a placeholder in the values of a call."""
        return value


def unix_wire(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(15)
    sock.connect(path)
    return Wire(sock)


def answer_of(wire, line, *fields, body=""):
    wire.send("\r\n".join([f"{line} HTTP/1.1", *fields, "", body]))
    return wire.read_response(head_only=line.startswith("HEAD"))
