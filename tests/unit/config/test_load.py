"""A whole file: the one that ships, overrides from the command line, and what needs more than one section to see."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from gproxy.config import ConfigError, RouteSettings, load
from gproxy.config.ini.files import SourceFile, read_files
from gproxy.config.load import load_process
from gproxy.config.types import Address, BackendURL, Rotate
from gproxy.config.types.access_log import LogTarget
from gproxy.config.types.path_pattern import RoutePath
from gproxy.config.types.route_action import UpstreamShare

BUILTINS = {"compress", "health", "rate_limit", "jwt"}
SMALL = "[route:a]\nupstream = a\n[upstream:a]\nbackends = http://a:1\n"

SHIPPED = """\
[server]
bind = 0.0.0.0:8080
workers = 1                     ; or auto: one per core
grace = 30s                     ; time for requests in flight to finish when the gateway stops

[gateway]
handlers = compress, health, rate_limit, jwt    ; around every route; requests flow down this list, responses back up
timeout = 3s                    ; for a response to begin, retries included, then 504; and for each further piece of it
trusted_proxies =               ; networks whose X-Forwarded-* headers are trusted; none by default

[route:users]
path = /users                   ; /users and everything below it, not /users2
upstream = users

[route:orders]
path = /orders
upstream = orders

[upstream:users]
backends = http://localhost:5001, http://localhost:5003
balance = round_robin

[upstream:orders]
backends = http://localhost:5002

[handler:rate_limit]
limit = 100/minute              ; per client address
[handler:jwt]
algorithms = HS256
secret = auto                   ; generated once, kept in [server] state_dir with mode 0600; or ${ENV}, file:PATH
forward = sub: X-User-ID, role: X-User-Role
[handler:compress]
[handler:health]
path = /health
cache = 1s

[log]
access = log/access.log         ; or - for standard output, or off
format = ltsv                   ; or json, combined
rotate = daily, 10MB            ; whichever comes first
keep = 14
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "g.ini"
        path.write_text(text)
        return path

    return write


def problems(path, **given):
    with pytest.raises(ConfigError) as error:
        load(path, **{"builtins": BUILTINS, "environ": {}, **given})
    return [str(problem).replace(f"{path}:", "g:") for problem in error.value.problems]


def test_shipped_file(write):
    settings = load(write(SHIPPED), builtins=BUILTINS, environ={})
    assert settings.server.bind == (Address("tcp", "0.0.0.0", 8080),)
    assert (settings.server.workers, settings.server.grace) == (1, 30)
    assert settings.gateway.handlers == ("compress", "health", "rate_limit", "jwt")
    assert (settings.gateway.timeout, settings.gateway.trusted_proxies) == (3, ())
    assert settings.routes == tuple(
        RouteSettings(name, (UpstreamShare(name),), (RoutePath(f"/{name}"),)) for name in ("users", "orders")
    )
    assert {name: upstream.backends for name, upstream in settings.upstreams.items()} == {
        "users": (BackendURL("http", "localhost", 5001), BackendURL("http", "localhost", 5003)),
        "orders": (BackendURL("http", "localhost", 5002),),
    }
    assert settings.upstreams["users"].balance == "round_robin"
    assert (settings.log.access, settings.log.format, settings.log.keep) == ((LogTarget("log/access.log"),), "ltsv", 14)
    assert settings.log.rotate == Rotate(True, 10_000_000)
    assert settings.warnings == ()


def test_handlers_of_the_shipped_file(write):
    handlers = load(write(SHIPPED), builtins=BUILTINS, environ={}).handlers
    assert {
        name: {key: value.text for key, value in handler.options.items()} for name, handler in handlers.items()
    } == {
        "rate_limit": {"limit": "100/minute"},
        "jwt": {"algorithms": "HS256", "secret": "auto", "forward": "sub: X-User-ID, role: X-User-Role"},
        "compress": {},
        "health": {"path": "/health", "cache": "1s"},
    }
    assert [handler.use for handler in handlers.values()] == list(handlers)


def test_smallest_file(write):
    settings = load(write(SMALL), builtins=(), environ={})
    assert [route.path for route in settings.routes] == [(RoutePath("/"),)]
    assert settings.handlers == {}


def test_listed_handler_without_a_section(write):
    path = write(SMALL + "[gateway]\nhandlers =\n  jwt\n")
    handler = load(path, builtins=BUILTINS, environ={}).handlers["jwt"]
    assert (handler.use, handler.options) == ("jwt", {})
    assert str(handler.section.problem("", "no")) == f"{path}:7: [handler:jwt] no"


def test_own_handler(write):
    path = write(SMALL + "[gateway]\nhandlers = t\n[handler:t]\nuse = my.handlers:Tenant\nx = 1\n")
    handler = load(path, builtins=BUILTINS, environ={}).handlers["t"]
    assert (handler.use, list(handler.options)) == ("my.handlers:Tenant", ["x"])


def test_overrides(write):
    path = write("[server]\nbind = 8080x\nmax_fields = ${NOPE}\n" + SMALL)
    overrides = {("server", "bind"): ":1, unix:x", ("server", "max_fields"): "9", ("log", "level"): "debug"}
    settings = load(path, builtins=(), overrides=overrides, environ={})
    assert [str(address) for address in settings.server.bind] == [":1", "unix:x"]
    assert (settings.server.max_fields, settings.log.level) == (9, "debug")


def test_bad_overrides(write):
    overrides = {("server", "bind"): ":x", ("log", "levle"): "debug", ("sever", "a"): "b", ("server", "workers"): "0"}
    found = problems(write(SMALL), overrides=overrides)
    assert [line.split(";")[0] for line in found] == [
        "command line: [sever] unknown section",
        "command line: [server] bind: expected HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH or fd:N such as 0.0.0.0:8080",
        "command line: [server] workers: must be at least 1",
        "command line: [log] levle: unknown option",
    ]


def test_environment(write):
    path = write(SMALL.replace("http://a:1", "${BACKEND}"))
    settings = load(path, builtins=(), environ={"BACKEND": "http://b:2, http://c:3"})
    assert [str(backend) for backend in settings.upstreams["a"].backends] == ["http://b:2", "http://c:3"]


def test_an_arbiter_reads_its_own_sections_and_leaves_mistakes_to_others(write):
    path = write("[server]\nworkers = 2\n[log]\nlevel = debug\n[gatway]\n[upstream:a]\nbackends = nonsense\n")
    files = read_files(path, {})
    server, log, *_ = load_process(files, {("server", "grace"): "1s"}, {})
    assert (server.workers, server.grace, log.level) == (2, 1.0, "debug")
    assert load_process(files, {("server", "workers"): "none"}, {})[0] is None
    assert load_process([SourceFile(path, b"\xff")], {}, {}) == (None, None, None, None)
    assert load_process([SourceFile(path, problem="is gone")], {}, {}) == (None, None, None, None)


def test_unused_upstream_is_a_warning(write):
    path = write(SMALL + "[upstream:b]\nbackends = http://b:1\n")
    settings = load(path, builtins=(), environ={})
    assert [str(warning) for warning in settings.warnings] == [
        f"{path}:5: [upstream:b] no route and no option of a handler names this upstream"
    ]


@pytest.mark.parametrize(
    "other",
    ["path = /b", "methods = GET", "host = b", "headers = X: 1"],
)
def test_routes_that_differ(write, other):
    assert len(load(write(f"{SMALL}[route:b]\nupstream = a\n{other}\n"), builtins=(), environ={}).routes) == 2


def test_missing_file(tmp_path):
    assert problems(tmp_path / "no.ini") == ["g: cannot be read: no such file or directory"]


def test_unreadable_part_causes_no_further_problems(write):
    text = "[gateway]\nhandlers = ${NOPE}\n[route:a]\nupstream = ${NOPE}\nskip = jwt\n[upstream:a]\nbackends = ${NOPE}"
    assert [line.split(" ")[0] for line in problems(write(text))] == ["g:2:", "g:4:", "g:7:"]


IMPORT_ALONE = """
import sys, types
sys.modules["gproxy"] = package = types.ModuleType("gproxy")  # what gproxy itself imports is another test's business
package.__path__ = ["gproxy"]
import gproxy.config
print({"ssl", "socket", "gevent", "urllib3", "threading"} & {*sys.modules})
print(sorted(name for name in sys.modules if name.startswith("gproxy.") and not name.startswith("gproxy.config")))
"""


def test_nothing_that_must_wait_for_patching_is_imported():
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", IMPORT_ALONE], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n['gproxy.http', 'gproxy.http.header_names']\n"


def test_a_mistake_in_a_section_hides_no_other_one_there(write):
    text = (
        "[server]\ngrace = x\nworkrs = 2\n[gateway]\ntiemout = 3s\nhandlers = compres\n"
        "[route:a]\nupstream = a\npath = a\nskip = jtw\nhandlers = jtw\n[upstream:a]\nbackends = http://a"
    )
    assert [line.split(" ")[0] for line in problems(write(text))] == [
        "g:2:",
        "g:3:",
        "g:5:",
        "g:6:",
        "g:9:",
        "g:10:",
        "g:11:",
    ]


def test_many_routes_cost_as_much_each_as_few(tmp_path):
    """Calls can be counted without depending on the machine."""

    def calls(count):
        path = tmp_path / f"{count}.ini"
        routes = "".join(f"[route:r{n}]\npath = /{n}\nupstream = u\n" for n in range(count))
        path.write_text(f"{routes}[upstream:u]\nbackends = http://a:1\n")
        seen = Counter()
        sys.setprofile(lambda frame, event, argument: seen.update([event]))
        try:
            load(path, builtins=())
        finally:
            sys.setprofile(None)
        return seen["call"]

    calls(10)
    assert calls(400) < 2.2 * calls(200)
