"""The command as a user types it: what it prints, where, and its exit code."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jwt
import pytest
from shipped import ROOT, line_with, running, shipped

from gproxy import __version__
from gproxy.testing.gateway import RunningGateway, free_port

SMALL = "[route:a]\nupstream = a\n[upstream:a]\nbackends = http://127.0.0.1:1\n[log]\naccess = off\n"


def gproxy(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "gproxy", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )


def fails(*arguments, folder, code=2):
    """What it says about why it does not: on standard error only."""
    done = gproxy(*arguments, folder=folder)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    return done.stderr


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "gproxy.ini"
    path.write_text(SMALL)
    return str(path)


COMMANDS = (
    "admin",
    "backend",
    "check",
    "config",
    "dashboard",
    "debug",
    "dev",
    "explain",
    "handlers",
    "job",
    "key",
    "logs",
    "new",
    "password",
    "ps",
    "record",
    "reload",
    "replay",
    "rollback",
    "routes",
    "token",
    "top",
    "version",
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "gproxy: missing: --config; see gproxy --help"),
        ("--config", "gproxy: argument --config: expected one argument; see gproxy --help"),
        ("--confg x", "gproxy: unknown option --confg; did you mean '--config'?"),
        ("--config x --verbose=1", "gproxy: unknown option --verbose; did you mean '--version'?"),
        ("--config x token", "gproxy: unrecognized arguments: token; see gproxy --help"),
        ("chek --config x", "gproxy: unknown command 'chek'; did you mean 'check'?"),
        ("serve", "gproxy: unknown command 'serve'; to serve, write gproxy --config FILE; see gproxy --help"),
        ("a.ini", "gproxy: unknown command 'a.ini'; to serve, write gproxy --config a.ini; see gproxy --help"),
        ("test", "gproxy: unknown command 'test'; did you mean 'check'?"),
        ("stop", "gproxy: unknown command 'stop'; a signal does that; see gproxy --help"),
        (
            "launch",
            f"gproxy: unknown command 'launch'; known: {', '.join(COMMANDS)}; see gproxy --help",
        ),
        ("check a.ini", "gproxy check: missing: --config; write --config a.ini; see gproxy check --help"),
        ("-c a.ini", "gproxy: missing: --config; write --config a.ini; see gproxy --help"),
        ("check", "gproxy check: missing: --config; see gproxy check --help"),
        (
            "token --config x eyJh",
            "gproxy token: a token is read from standard input, with --read; see gproxy token --help",
        ),
        ("token --config x", "gproxy token: missing: --sub; see gproxy token --help"),
        ("token --config x --sub a --ttl soon", "gproxy token: --ttl: expected a time such as 3s; found 'soon'"),
        ("token --config x --sub a --ttl 0", "gproxy token: --ttl: expected a lifetime of more than 0s"),
        ("key", "gproxy key: missing: action; see gproxy key --help"),
        ("key new acme", "gproxy key: missing: --config; see gproxy key --help"),
        ("key new --config x", "gproxy key: missing: USER; see gproxy key --help"),
        ("key list acme --config x", "gproxy key: unexpected: USER; see gproxy key --help"),
        ("key list --config nowhere.ini", "nowhere.ini: cannot be read: no such file or directory"),
        ("key new --config nowhere.ini acme", "nowhere.ini: cannot be read: no such file or directory"),
        ("password alice", "gproxy password: missing: --file; see gproxy password --help"),
        (
            "password a:b --file users",
            "gproxy password: 'a:b' cannot be a user; expected a name without colons and control characters",
        ),
        ("version x", "gproxy version: unrecognized arguments: x; see gproxy version --help"),
        ("ps", "gproxy ps: missing: --config FILE or --admin URL; see gproxy ps --help"),
        ("ps --config nowhere.ini", "nowhere.ini: cannot be read: no such file or directory"),
        ("--config nowhere.ini", "nowhere.ini: cannot be read: no such file or directory"),
        ("check --config nowhere.ini", "nowhere.ini: cannot be read: no such file or directory"),
        ("routes --config .", ".: cannot be read: is a directory"),
        ("token --config . --sub a", ".: cannot be read: is a directory"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, arguments, said):
    assert fails(*arguments.split(), folder=tmp_path) == said + "\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--bind x", "command line: [server] bind: expected HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH or fd:N such as 0.0.0.0:8080; found 'x'; the port is missing"),
        ("--bind=", "command line: [server] bind: expected at least one"),
        ("--workers 0", "command line: [server] workers: must be at least 1"),
        ("--workers many", "command line: [server] workers: expected a whole number such as 3 or auto; found 'many'"),
        ("--log-level loud", "command line: [log] level: expected debug, info, warning or error; found 'loud'"),
    ],
)  # fmt: skip
def test_wrong_overrides(config, tmp_path, arguments, said):
    assert fails("--config", config, *arguments.split(), folder=tmp_path) == said + "\n"


def test_help_and_version(tmp_path):
    done = gproxy("--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for word in (
        "--bind ADDRESS",
        "--config FILE",
        "gproxy check",
        "gproxy routes",
        "gproxy explain",
        "gproxy token",
        "gproxy key",
        "gproxy password",
        "gproxy version",
        "TERM",
        "exit status",
    ):
        assert word in done.stdout
    for command in ("check", "routes", "config", "explain", "token", "version"):
        done = gproxy(command, "--help", folder=tmp_path)
        assert done.returncode == 0
        assert done.stdout.startswith(f"usage: gproxy {command}")
    for arguments in (["version"], ["--version"]):
        assert gproxy(*arguments, folder=tmp_path).stdout == f"gproxy {__version__}\n"


def test_the_installed_command_is_the_module():
    command = Path(sys.executable).with_name("gproxy")
    assert (
        subprocess.run([command, "version"], capture_output=True, text=True, timeout=20).stdout
        == f"gproxy {__version__}\n"
    )


def test_check_of_the_shipped_file_opens_nothing(tmp_path):
    (tmp_path / "etc").mkdir()
    shutil.copy(ROOT / "etc/gproxy.ini", tmp_path / "etc")
    done = gproxy("check", "--config", "etc/gproxy.ini", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "etc/gproxy.ini: 2 routes, 2 upstreams, all fine\n"
    assert {path.name for path in tmp_path.rglob("*")} == {"etc", "gproxy.ini"}


BAD = """\
[server]
grace = 30 sec
workers = 0
[gatway]
handlers = compress
[gateway]
handlers = compres, jwt, mine
tiemout = 3s
[route:a]
path = /a
upstream = usres
[route:b]
path = /b
upstream = users
skip = jtw
[route:c]
path = /b/
upstream = users
[upstream:users]
backends = http://localhost:5001/path, ftp://localhost:5002
balance = round
[handler:jwt]
secret = file:nowhere/secret
[handler:mine]
use = broken:handler
[handler:other]
use = nowhere_at_all:handler
[handler:third]
use = working:Hello
[handler:open]
use = jwt
secret = ${NOT_SET_ANYWHERE}
[log]
rotate = weekly
"""
FOUND = """\
bad.ini:2: [server] grace: expected a time such as 3s; found '30 sec'; the units are ms, s, m, h, d
bad.ini:3: [server] workers: must be at least 1
bad.ini:4: [gatway] unknown section; did you mean [gateway]?
bad.ini:7: [gateway] handlers: unknown handler 'compres'; did you mean 'compress'?
bad.ini:8: [gateway] tiemout: unknown option; did you mean 'timeout'?
bad.ini:11: [route:a] upstream: unknown upstream 'usres'; did you mean 'users'?
bad.ini:15: [route:b] skip: [gateway] handlers does not list 'jtw'; did you mean 'jwt'?
bad.ini:16: [route:c] takes the same requests as [route:b] at line 12; change path, host, methods or another match
bad.ini:20: [upstream:users] backends: expected a backend's URL such as http://localhost:5001; found 'http://localhost:5001/path'; a path in the URL is not supported; add_prefix = in the route adds one
bad.ini:20: [upstream:users] backends: expected a backend's URL such as http://localhost:5001; found 'ftp://localhost:5002'; only http:// and https:// are supported
bad.ini:21: [upstream:users] balance: expected round_robin, weighted, least_conn, p2c, latency, random, first, ip_hash, uri_hash, header_hash, cookie_hash, query_hash or sticky or MODULE:NAME such as mypackage.handlers:Tenant; found 'round'; did you mean 'round_robin'?
bad.ini:23: [handler:jwt] secret: expected a secret such as ${NAME} or file:PATH; nowhere/secret cannot be read: no such file or directory
bad.ini:25: [handler:mine] use: cannot import broken: ZeroDivisionError: division by zero (FOLDER/broken.py:2)
bad.ini:27: [handler:other] use: cannot import nowhere_at_all: ModuleNotFoundError: No module named 'nowhere_at_all'; modules are searched for beside the settings file, in the working directory and on PYTHONPATH
bad.ini:29: [handler:third] use: working has no 'Hello'; did you mean 'hello'?
bad.ini:32: [handler:open] secret: ${NOT_SET_ANYWHERE} is not set in the environment; set it, or write ${NOT_SET_ANYWHERE:-default}
bad.ini:34: [log] rotate: expected a rotation rule such as daily, 10MB; found 'weekly'; write daily, a size such as 10MB, both, or never
"""


@pytest.mark.parametrize("command", [["check"], [], ["routes"], ["token", "--sub", "a"]])
def test_every_mistake_at_once_with_its_place(tmp_path, command):
    (tmp_path / "bad.ini").write_text(BAD)
    (tmp_path / "broken.py").write_text("def handler(): ...\nhandler.x = 1 / 0\n")
    (tmp_path / "working.py").write_text("def hello(request, next):\n    return next(request)\n")
    found = fails(*command, "--config", "bad.ini", folder=tmp_path)
    assert found.replace(str(tmp_path), "FOLDER").splitlines() == FOUND.splitlines()


def test_warnings_are_no_reason_not_to_serve(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("0123456789" * 4)
    secret.chmod(0o644)
    text = SMALL + "[handler:jwt]\nsecret = file:secret\n[upstream:spare]\nbackends = http://localhost:1\n"
    (tmp_path / "gproxy.ini").write_text(text)
    done = gproxy("check", "--config", "gproxy.ini", folder=tmp_path)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "warning: gproxy.ini:7: [handler:jwt] no handlers list names this handler, so it does not run",
        "warning: gproxy.ini:8: [handler:jwt] secret: secret is readable by users other than its owner (mode 0644); run chmod 600",
        "warning: gproxy.ini:9: [upstream:spare] no route and no option of a handler names this upstream",
    ]
    with RunningGateway(text, tmp_path) as gateway:
        assert "is readable by users other than its owner" in gateway.wait_for_line("secret")
        assert "names this upstream" in gateway.wait_for_line("spare")


def test_check_warns_of_names_with_a_dollar_in_values_and_shows_no_secret(tmp_path):
    edit = "[handler:edit]\nuse = headers\nrequest =\n    X-Client: $remote_addr\n    X-Key: pa$word\n"
    text = SMALL.replace("upstream = a\n", "upstream = a\nhandlers = edit\n", 1) + edit
    (tmp_path / "gproxy.ini").write_text(text)
    done = gproxy("check", "--config", "gproxy.ini", folder=tmp_path)
    assert done.returncode == 0
    line = text[: text.index("    X-Client")].count("\n") + 1
    assert done.stderr.splitlines() == [
        f"warning: gproxy.ini:{line}: [handler:edit] request: $remote_addr is sent as it is; write {{client}}",
        (
            f"warning: gproxy.ini:{line + 1}: [handler:edit] request: '$' and the name behind it are sent as they are; "
            "known are {client}, {host}, {scheme}, {method}, {path}, {query}, {id}, {user}, {route}, {port}"
        ),
    ]


def test_routes(tmp_path):
    shutil.copy(ROOT / "etc/gproxy.ini", tmp_path)
    done = gproxy("routes", "--config", "gproxy.ini", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    users = done.stdout.partition("users\n")[2].partition("\n\n")[0]
    for word in (
        "/users and below",
        "compress > health > rate_limit > jwt > forward",
        "3s",
        "round_robin",
        "http://localhost:5001, http://localhost:5003",
    ):
        assert word in users
    assert "orders\n" in done.stdout


def test_config_names_the_place_of_each_option_in_all_files(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "g.ini").write_text(
        "[server]\nworkers = ${COUNT:-2}\n[gateway]\ninclude = conf.d/*.ini\ntimeout = 5s\n"
    )
    (tmp_path / "conf.d" / "a.ini").write_text(SMALL + "[handler:jwt]\nsecret = hunter2-hunter2-hunter2-hunter2-\n")
    done = gproxy("config", "--config", "g.ini", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in (
        "workers = 2 ; g.ini:2",
        "grace = 30s ; default",
        "; the files of include (g.ini:4) are part of this output",
        "timeout = 5s ; g.ini:5",
        "[route:a] ; conf.d/a.ini:1",
        "upstream = a ; conf.d/a.ini:2",
        "access = off ; conf.d/a.ini:6",
        "secret = *** ; conf.d/a.ini:8",
    ):
        assert line in lines
    (tmp_path / "again.ini").write_text(done.stdout.replace("***", "hunter2-hunter2-hunter2-hunter2-"))
    again = gproxy("config", "--config", "again.ini", folder=tmp_path)
    outputs = [
        [line.partition(" ; ")[0] for line in text.splitlines() if "include" not in line]
        for text in (done.stdout, again.stdout)
    ]
    assert outputs[0] == outputs[1]
    routes = [gproxy("routes", "--config", name, folder=tmp_path).stdout for name in ("g.ini", "again.ini")]
    assert routes[0] == routes[1] != ""


def test_a_token_opens_the_running_gateway(tmp_path):
    with running(tmp_path) as ours:
        config = ("--config", str(ours.config))
        token = gproxy(
            "token", *config, "--sub", "bob", "--role", "clerk", "--ttl", "2m", folder=tmp_path
        ).stdout.strip()
        assert ours.get("/orders", f"Authorization: Bearer {token}").status == 200
        assert (ours.two.requests[0]["x-user-id"], ours.two.requests[0]["x-user-role"]) == ("bob", "clerk")
        claims = jwt.decode(token, options={"verify_signature": False})
        assert 119 <= claims["exp"] - claims["iat"] <= 121
        assert (tmp_path / "var/jwt.secret").stat().st_mode & 0o777 == 0o600


def test_token_needs_a_handler_that_signs(tmp_path):
    (tmp_path / "gproxy.ini").write_text(SMALL)
    assert (
        fails("token", "--config", "gproxy.ini", "--sub", "a", folder=tmp_path)
        == "gproxy token: gproxy.ini has no jwt handler\n"
    )
    (tmp_path / "gproxy.ini").write_text(
        SMALL + "[handler:a]\nuse = jwt\nsecret = auto\n[handler:b]\nuse = jwt\nsecret = auto\n"
    )
    assert "choose one with --handler: a, b" in fails("token", "--config", "gproxy.ini", "--sub", "a", folder=tmp_path)
    chosen = gproxy("token", "--config", "gproxy.ini", "--sub", "a", "--handler", "b", folder=tmp_path)
    assert chosen.returncode == 0
    assert (tmp_path / "var/b.secret").exists()


def test_a_port_in_use(config, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = free_port()
        said = fails(
            "--config", config, "--bind", f"127.0.0.1:{free}", "--bind", f"127.0.0.1:{port}", folder=tmp_path, code=1
        )
    assert said.count("\n") == 1
    assert said.endswith(f"cannot listen on 127.0.0.1:{port}: Address already in use\n")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("192.0.2.1:80", "Cannot assign requested address; no interface of this machine has this address"),
        ("unix:gproxy.ini", "Address already in use; there is another file of this name"),
        ("nobody.invalid:8080", "Name or service not known"),
        ("unix:nowhere/socket", "No such file or directory; there is no folder nowhere"),
        ("fd:77", "Bad file descriptor"),
    ],
)
def test_an_address_that_cannot_be_had(config, tmp_path, address, why):
    said = fails("--config", config, "--bind", address, folder=tmp_path, code=1)
    assert said.count("\n") == 1
    assert f"cannot listen on {address}: " in said
    assert why in said or "resolution" in said  # the resolver's words depend on the network


@pytest.mark.skipif(os.getuid() != 0, reason="only root can drop privileges")
def test_a_low_port_without_the_right_says_what_gives_it():
    code = "import os; from gproxy.arbiter.sockets import *; os.setuid(65534); listen(Address.parse('127.0.0.1:81'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert "cannot listen on 127.0.0.1:81: Permission denied; ports below 1024 need the capability" in done.stderr


def test_check_warns_of_quotes_and_never_shows_the_secret_in_them(config, tmp_path):
    secret = 'secret = "0123456789abcdef0123456789abcdef"'
    (tmp_path / "gproxy.ini").write_text(f"[handler:jwt]\n{secret}\n[gateway]\nhandlers = jwt\n{SMALL}")
    done = gproxy("check", "--config", config, folder=tmp_path)
    said = "[handler:jwt] secret: the quotes are part of the value; a value is written without quotes"
    assert (done.returncode, done.stderr) == (0, f"warning: {config}:2: {said}\n")
    assert done.stdout == f"{config}: 1 route, 1 upstream, all fine\n"


def test_a_secret_that_cannot_be_kept(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "gproxy.ini").write_text(
        SMALL + "[server]\nstate_dir = file\n[gateway]\nhandlers = jwt\n[handler:jwt]\nsecret = auto\n"
    )
    said = fails("--config", "gproxy.ini", "--bind", f"127.0.0.1:{free_port()}", folder=tmp_path, code=1)
    assert said.count("\n") == 1
    line = SMALL.count("\n") + 6
    assert f" gproxy.ini:{line}: [handler:jwt] secret: it cannot be stored in file/jwt.secret" in said


def test_a_users_handler_that_fails_to_open_is_shown_with_its_traceback(tmp_path):
    (tmp_path / "mine.py").write_text(
        "class Mine:\n    def open(self, runtime):\n        1 / 0\n    def __call__(self, request, next):\n        return next(request)\n"
    )
    (tmp_path / "gproxy.ini").write_text(SMALL + "[handler:mine]\nuse = mine:Mine\n")
    said = fails("--config", "gproxy.ini", "--bind", f"127.0.0.1:{free_port()}", folder=tmp_path, code=1)
    line = SMALL.count("\n") + 1
    assert f" gproxy.ini:{line}: [handler:mine]: ZeroDivisionError: division by zero" in said
    assert 'mine.py", line 3' in said


@pytest.mark.parametrize("command", ["routes", "explain GET /a", "check", "token --sub a", "version", "--help"])
def test_a_reader_of_the_output_that_has_gone_ends_a_command_without_a_word(tmp_path, command):
    """As `cat file | head -1` ends, by SIGPIPE."""
    (tmp_path / "gproxy.ini").write_text("[gateway]\nhandlers = jwt\n[handler:jwt]\nsecret = auto\n" + SMALL)
    options = [] if command in {"version", "--help"} else ["--config", "gproxy.ini"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gproxy", *command.split(), *options],
            cwd=tmp_path,
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_a_unix_socket_and_two_ports(tmp_path):
    ports = free_port(), free_port()
    path = tmp_path / "g.sock"
    binds = ("--bind", f"127.0.0.1:{ports[0]}", "--bind", f"unix:{path}")
    with RunningGateway("[gateway]\nhandlers = health\n" + SMALL, tmp_path, *binds) as gateway:
        for where in (("127.0.0.1", gateway.port), ("127.0.0.1", ports[0])):
            with socket.create_connection(where, 5) as sock:
                sock.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
                assert sock.recv(99).startswith(b"HTTP/1.1 200 OK\r\n")
        done = subprocess.run(["curl", "-s", "--unix-socket", path, "http://a/ready"], capture_output=True, timeout=10)
        assert done.stdout == b'{"status": "ready"}'
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        assert not path.exists()


def test_a_stale_unix_socket_is_taken_over_and_a_served_one_is_not(config, tmp_path):
    path = tmp_path / "g.sock"
    text = "[gateway]\nhandlers = health\n" + SMALL
    with RunningGateway(text, tmp_path, "--bind", f"unix:{path}") as gateway:
        said = fails("--config", config, "--bind", f"unix:{path}", folder=tmp_path, code=1)
        assert f"cannot listen on unix:{path}: Address already in use" in said
        gateway.signal(signal.SIGKILL)
        gateway.wait()
    assert path.exists()
    with RunningGateway(text, tmp_path, "--bind", f"unix:{path}") as gateway:
        done = subprocess.run(["curl", "-s", "--unix-socket", path, "http://a/ready"], capture_output=True, timeout=10)
        assert done.stdout == b'{"status": "ready"}'


def test_ipv6(tmp_path):
    port = free_port()
    with RunningGateway("[gateway]\nhandlers = health\n" + SMALL, tmp_path, "--bind", f"[::1]:{port}"):
        done = subprocess.run(["curl", "-s", f"http://[::1]:{port}/ready"], capture_output=True, timeout=10)
        assert done.stdout == b'{"status": "ready"}'


def test_an_inherited_descriptor(tmp_path):
    (tmp_path / "gproxy.ini").write_text("[gateway]\nhandlers = health\n" + SMALL)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "gproxy", "--config", "gproxy.ini", "--bind", f"fd:{listener.fileno()}"]
        process = subprocess.Popen(
            command, cwd=tmp_path, pass_fds=[listener.fileno()], stderr=subprocess.PIPE, text=True
        )
    with process:
        line_with(process.stderr, "serves on fd:")
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
            assert sock.recv(99).startswith(b"HTTP/1.1 200 OK\r\n")
        process.terminate()
        assert process.wait(10) == 0


def test_the_file_as_it_ships_needs_no_option_but_its_name(tmp_path):
    port = free_port()
    (tmp_path / "gproxy.ini").write_text(shipped((1, 2, 3), ("bind = 0.0.0.0:8080", f"bind = 127.0.0.1:{port}")))
    command = [sys.executable, "-m", "gproxy", "--config", "gproxy.ini"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        line_with(process.stderr, f"gproxy {__version__} serves on 127.0.0.1:{port}")
        process.terminate()
        assert process.wait(10) == 0
