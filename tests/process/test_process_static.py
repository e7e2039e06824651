"""Files as a route serves them, beside a real nginx with the same folder."""

import gzip
import hashlib
import itertools
import os
import re
import shutil
import socket
import time
from contextlib import closing
from urllib.parse import quote

import forked
import psutil
import pytest
from nginx_process import nginx

from gproxy.testing.gateway import RunningGateway, Wire, eventually, free_port

INI = """
[gateway]
handlers = health
[route:site]
path = /
root = {folder}
skip = health
[route:health]
path = /health
respond = 200
"""
SITE = {
    "index.html": b"<h1>front page</h1>\n",
    "plain.txt": b"".join(b"line %d\n" % number for number in range(120)),
    "empty.txt": b"",
    "large.bin": bytes(range(256)) * 1200,
    "folder/index.html": b"<h1>folder</h1>\n",
    "bare/readme.txt": b"no index here\n",
    "app.js": b"console.log('app');\n" * 50,
    ".secret": b"hidden\n",
}
_numbers = itertools.count()
BIG = 64 * 1024 * 1024
#: A time that is no multiple of anything.
CHANGED = 1_700_000_003
EXACT = "Tue, 14 Nov 2023 22:13:23 GMT"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("static") / "www"
    for name, content in SITE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (CHANGED, CHANGED))
    return folder


@pytest.fixture(scope="module")
def gateway(site):
    """A gateway that all tests share: each changes only files of its own."""
    with RunningGateway(INI.replace("{folder}", str(site)), site.parent) as running:
        yield running


@pytest.fixture
def big(site):
    """The name of a file that is too large for the buffers of a connection."""
    path = site / f"big{next(_numbers)}.bin"
    with path.open("wb") as file:
        for number in range(BIG // 65536):
            file.write(number.to_bytes(4, "big") * 16384)
    yield path.name
    path.unlink()


class Client:
    """A client that keeps its connection while the server does."""

    def __init__(self, port):
        self.port = port
        self.wire = None

    def ask(self, path, fields, method="GET"):
        self.wire = self.wire or Wire(socket.create_connection(("127.0.0.1", self.port), 15))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.wire.send(f"{method} {path} HTTP/1.1\r\nHost: gateway.test\r\n{lines}\r\n")
        answer = self.wire.read_response(head_only=method == "HEAD")
        if method == "HEAD" or answer.status >= 400:  # nginx closes the connection after some of these
            self.close()
        return answer

    def close(self):
        if self.wire is not None:
            self.wire.sock.close()
            self.wire = None


#: Values of each field; TAG stands for the entity tag of the server that is asked.
CONDITIONS = {
    "If-Match": (None, "TAG", '"other"', "*", "W/TAG", '"other", TAG'),
    "If-Unmodified-Since": (None, EXACT, "Tue, 14 Nov 2023 22:13:22 GMT", "Wed, 15 Nov 2023 22:13:23 GMT"),
    "If-None-Match": (None, "TAG", '"other"', "*", "W/TAG", '"other", W/TAG'),
    "If-Modified-Since": (None, EXACT, "Tue, 14 Nov 2023 22:13:22 GMT", "Wed, 15 Nov 2023 22:13:23 GMT", "yesterday"),
}
RANGES = (
    "bytes=0-9", "bytes=10-", "bytes=-5", "bytes=0-0", "bytes=5-2", "bytes=0-99999999", "bytes=99999999-", "bytes=-0",
    "bytes=-99999999", "bytes=a-b", "bytes=", "bytes=-", "bytes=5", "items=0-5", "bytes= 1 - 2 ", "BYTES=0-1", "0-9",
    "bytes=99999999999999999999-", "bytes=1-2-3", "bytes=0-9223372036854775807", "bytes=- 5", "bytes= -5", "bytes=1 2-3",
)  # fmt: skip
IF_RANGES = (None, "TAG", '"other"', "W/TAG", EXACT, "Wed, 15 Nov 2023 22:13:23 GMT", "nonsense")
PATHS = ("/plain.txt", "/empty.txt", "/large.bin")


def matrix():
    """The requests: path, method and fields."""
    for path, method, values in itertools.product(PATHS[:1], ("GET", "HEAD"), itertools.product(*CONDITIONS.values())):
        yield path, method, dict(zip(CONDITIONS, values, strict=True))
    for path, wanted, condition in itertools.product(PATHS, RANGES, IF_RANGES):
        yield path, "GET", {"Range": wanted, "If-Range": condition}
    for path, match, none_match in itertools.product(PATHS, CONDITIONS["If-Match"], CONDITIONS["If-None-Match"]):
        yield path, "GET", {"Range": "bytes=1-4", "If-Match": match, "If-None-Match": none_match}


def as_nginx_should_read(fields):
    """Return the fields without those that nginx 1.22 judges and that RFC 9110 requires to be ignored.

    Sections 13.1.3 and 13.1.4: the date beside a tag. An invalid date has no weight either.
    """
    ignored = {"If-Unmodified-Since"} if "If-Match" in fields else set()
    ignored |= {"If-Modified-Since"} if "If-None-Match" in fields else set()
    return {name: value for name, value in fields.items() if name not in ignored}


def test_conditions_and_ranges_are_answered_as_nginx_answers_them(site, gateway, tmp_path):
    """Over a thousand requests, each to both."""
    port = free_port()
    more = f"server {{ listen 127.0.0.1:{port}; root {site}; if_modified_since before; keepalive_requests 100000; }}"
    differences = []
    compared = 0
    theirs, ours = Client(port), Client(gateway.port)
    with nginx(tmp_path / "nginx", free_port(), more), closing(theirs), closing(ours):
        tags = {(client, path): client.ask(path, {})["etag"] for client in (theirs, ours) for path in PATHS}
        assert all(re.fullmatch(r'"[^"]+"', tag) for tag in tags.values())
        for path, method, fields in matrix():
            given = {name: value for name, value in fields.items() if value}
            shown = [
                facts(client.ask(path, {k: v.replace("TAG", tags[client, path]) for k, v in sent.items()}, method))
                for client, sent in ((theirs, as_nginx_should_read(given)), (ours, given))
            ]
            compared += 1
            if shown[0] != shown[1]:
                differences.append((path, method, given, *shown))
    assert not differences, "\n".join(map(str, differences[:20]))
    assert compared > 1000


def facts(answer):
    """What both servers have to agree on; bodies of errors are their own."""
    is_file = answer.status in (200, 206)
    return (
        answer.status,
        answer["content-range"],
        hashlib.sha256(answer.body).hexdigest() if is_file else None,
        answer["content-length"] if is_file else None,
        answer["last-modified"] if answer.status in (200, 206, 304) else None,
        answer["accept-ranges"] if answer.status == 200 else None,
        bool(answer["etag"]) if answer.status in (200, 206, 304) else None,
    )


def test_a_range_is_for_get_alone_and_several_ranges_get_the_whole_file(gateway):
    head = gateway.get("/plain.txt", "Range: bytes=0-9", method="HEAD")
    assert (head.status, head["content-length"]) == (200, str(len(SITE["plain.txt"])))
    several = gateway.get("/plain.txt", "Range: bytes=0-1,4-5")
    assert (several.status, several.body) == (200, SITE["plain.txt"])


def ways_out():
    """Paths that lead out of the root for a server that decodes, joins or resolves carelessly."""
    dots = (
        "..",
        "%2e%2e",
        "%2E.",
        ".%2e",
        "..%2f..",
        "..%5c",
        "..\\",
        "%2e%2e%5c",
        ".%5c..",
        "...%2f..%2f..",
        "..;",
        "%252e%252e",
    )
    ends = ("secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "..\\secret.txt", "www/../secret.txt")
    beginnings = ("", "folder/", "folder/deeper/", "bare/./", "plain.txt/")
    for beginning, step, end in itertools.product(beginnings, dots, ends):
        yield f"/{beginning}{step}/{end}"
    yield from ("/out.txt", "/out/secret.txt", "/chain.txt", "/folder/out.txt", "/passwd", "/proc/self/environ")
    yield from ("/plain.txt%5c..%5c..%5csecret.txt", "/%2fetc%2fpasswd", "/.secret", "/folder/../.secret", "/%2esecret")


def test_no_path_leads_out_of_the_root(site, gateway):
    outside = site.parent
    (outside / "secret.txt").write_bytes(b"outside\n")
    (outside / "www-beside").mkdir()
    (outside / "www-beside/secret.txt").write_bytes(b"outside\n")
    for link, target in {
        "out.txt": "../secret.txt", "out": "..", "chain.txt": "out.txt", "folder/out.txt": outside / "secret.txt",
        "passwd": "/etc/passwd", "proc": "/proc", "beside": "../www-beside",
    }.items():  # fmt: skip
        (site / link).symlink_to(target)
    (site / "inside.txt").symlink_to("folder/index.html")
    paths = [*ways_out(), "/beside/secret.txt"]
    assert len(paths) > 200
    answers = {path: gateway.get(path) for path in paths}
    assert {path: answer.status for path, answer in answers.items() if answer.status != 404} == {}
    assert gateway.get("/inside.txt").body == SITE["folder/index.html"]  # a link that stays within
    # What routing cannot read as one path is rejected before any route, by the same means as for backends.
    for path in ("/%00", "/plain.txt%00.js", "/%zz", "/%"):
        assert gateway.get(path).status == 400


def test_a_link_whose_target_changes_between_two_requests_is_judged_anew(site, gateway):
    (site.parent / "secret.txt").write_bytes(b"outside\n")
    link = site / "link.txt"
    link.symlink_to("plain.txt")
    assert gateway.get("/link.txt").status == 200
    link.unlink()
    link.symlink_to("../secret.txt")
    eventually(lambda: gateway.get("/link.txt").status == 404, "the look-up of the other file")


def test_methods_folders_types_and_reasons(gateway):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = gateway.get("/plain.txt", "Content-Length: 0", method=method)
        assert (answer.status, answer["allow"]) == (405, "GET, HEAD")
    assert gateway.get("/").body == gateway.get("/index.html").body == SITE["index.html"]
    assert gateway.get("/folder/").body == SITE["folder/index.html"]
    moved = gateway.get("/folder?a=b")
    assert (moved.status, moved["location"]) == (301, "/folder/?a=b")
    assert gateway.get("//folder")["location"] == "/folder/"  # not the host of another
    assert [gateway.get(path).status for path in ("/bare/", "/bare", "/plain.txt/", "/none", "/.secret")] == [404] * 5
    page = gateway.get("/")
    assert page["content-type"] == "text/html; charset=utf-8"
    assert page["cache-control"] == "max-age=0"
    assert page["vary"] is None
    assert gateway.get("/large.bin")["content-type"] == "application/octet-stream"
    head = gateway.get("/large.bin", method="HEAD")
    assert (head.status, head["content-length"]) == (200, str(len(SITE["large.bin"])))
    assert gateway.get("/empty.txt", method="HEAD")["content-length"] == "0"
    assert gateway.line("/none")["reason"] == "no_file"


def test_names_with_other_characters(site, gateway):
    for name in ("with blank.txt", "größe.txt", "100%25.txt", "a+b=c&d;e.txt", "日本.txt"):
        (site / name).write_text(name)
        assert gateway.get(f"/{quote(name)}").body.decode() == name
    (site / os.fsdecode(b"latin-\xe9.txt")).write_text("not UTF-8")
    assert gateway.get("/latin-%E9.txt").body == b"not UTF-8"


@pytest.fixture(scope="module")
def coded(site):
    """Give app.js its siblings."""
    js = site / "app.js"
    for suffix, content in {".gz": gzip.compress(js.read_bytes()), ".br": b"as br", ".zst": b"as zstd"}.items():
        (site / f"app.js{suffix}").write_bytes(content)


@pytest.mark.usefixtures("coded")
@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("gzip", "gzip"),
        ("br;q=0.5, gzip", "gzip"),
        ("br;q=0, zstd;q=0, *", "gzip"),
        ("identity", None),
        ("deflate", None),
        ("*;q=0", None),
        ("br;q=0.5, identity", None),
        ("*", "br"),
        (None, None),
    ],
)
def test_a_precompressed_sibling_is_served_as_the_client_prefers(site, gateway, accepted, coding):
    def get(*more):
        return gateway.get("/app.js", *([f"Accept-Encoding: {accepted}"] if accepted else []), *more)

    answer = get()
    name = "app.js" + {"br": ".br", "zstd": ".zst", "gzip": ".gz", None: ""}[coding]
    assert (answer["content-encoding"], answer.body) == (coding, (site / name).read_bytes())
    assert answer["vary"] == "Accept-Encoding"
    assert answer["content-type"] == "text/javascript; charset=utf-8"
    again = get(f"If-None-Match: {answer['etag']}")
    assert (again.status, again["etag"], again["vary"]) == (304, answer["etag"], "Accept-Encoding")
    other = gateway.get("/app.js", f"If-None-Match: {answer['etag']}")
    assert other.status == (304 if coding is None else 200)


FRONT_END = """
[gateway]
handlers = compress
[handler:compress]
[route:api]
path = /api
respond = 200
[route:app]
path = /, /shop
root = {folder}
fallback = index.html
precompressed = gzip
cache = /folder/*: 365d immutable, *.js: 1h
[route:all]
path = /all/
strip_prefix = yes
root = {folder}
hidden = yes
"""


@pytest.mark.usefixtures("coded")
def test_a_single_page_app_behind_its_api(site, tmp_path):
    (site / "deep").mkdir()
    with RunningGateway(FRONT_END.replace("{folder}", str(site)), tmp_path) as gateway:
        for path in ("/users/7", "/shop/cart", "/deep", "/deep/", "/bare/"):
            answer = gateway.get(path)
            assert (answer.status, answer.body) == (200, SITE["index.html"]), path
            assert answer["cache-control"] == "max-age=0"
        assert [gateway.get(path).status for path in ("/lost.js", "/v1.2/docs", "/users\\7", "/users%2f7")] == [404] * 4
        assert gateway.get("/api").status == 200
        assert gateway.get("/folder/")["cache-control"] == "max-age=31536000, immutable"
        answer = gateway.get("/app.js", "Accept-Encoding: br, gzip")
        assert (answer["content-encoding"], answer["cache-control"]) == ("gzip", "max-age=3600")
        assert gateway.get("/app.js", "Accept-Encoding: gzip", f"If-None-Match: {answer['etag']}").status == 304
        # What has no sibling is compressed by the handler, and still compared with the file's entity tag.
        plain = gateway.get("/plain.txt", "Accept-Encoding: gzip")
        assert gzip.decompress(plain.body) == SITE["plain.txt"]
        assert gateway.get("/plain.txt", "Accept-Encoding: gzip", f"If-None-Match: {plain['etag']}").status == 304
        assert gateway.get("/all/.secret").body == SITE[".secret"]
        assert gateway.get("/all/folder")["location"] == "/all/folder/"
        assert gateway.get("/all/../.secret").status in (200, 404)  # another route, whose fallback has no dot
        assert b"hidden" not in gateway.get("/all/../.secret").body


def test_a_changed_file_is_seen_after_a_second(site, gateway):
    path = site / "changing.txt"
    path.write_bytes(b"old\n")
    old = gateway.get("/changing.txt")
    path.write_bytes(b"new\n")
    eventually(lambda: gateway.get("/changing.txt").body == b"new\n", "the new file")
    assert gateway.get("/changing.txt", f"If-None-Match: {old['etag']}").status == 200
    path.unlink()
    eventually(lambda: gateway.get("/changing.txt").status == 404, "the end of the file")


def test_a_large_file_takes_no_memory_and_stops_no_other_request(site, gateway, big):
    worker = psutil.Process(gateway.workers[0])
    gateway.get("/large.bin")
    before = worker.memory_info().rss
    digest = hashlib.sha256()
    most = slowest = 0.0
    with gateway.connect() as wire:
        wire.send(f"GET /{big} HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 200 OK" in wire.read_until(b"\r\n\r\n")
        left = BIG
        for number in itertools.count():
            digest.update(piece := wire.read_exactly(min(left, 1 << 20)))
            left -= len(piece)
            if not left or not piece:
                break
            if number % 20 == 0:
                begin = time.monotonic()
                assert gateway.get("/health").status == 200
                slowest = max(slowest, time.monotonic() - begin)
                most = max(most, worker.memory_info().rss - before)
    with (site / big).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == digest.digest()
    assert most < 16 * 1024 * 1024
    assert slowest < 2
    eventually(lambda: not [one for one in worker.open_files() if big in one.path], "the end of the file")


def slow_reader(gateway, path):
    wire = gateway.connect()
    wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
    head = wire.read_until(b"\r\n\r\n")
    assert b" 200 OK" in head
    return wire


def test_a_file_that_is_replaced_while_it_is_sent_is_finished_as_it_was(site, gateway, big):
    with slow_reader(gateway, f"/{big}") as wire:
        (site / "new").write_bytes(b"\xff" * BIG)
        (site / "new").replace(site / big)
        for _ in range(BIG >> 20):
            piece = wire.read_exactly(1 << 20)
            assert (len(piece), b"\xff\xff\xff" in piece) == (1 << 20, False)
    assert gateway.get(f"/{big}", "Range: bytes=-2").body == b"\xff\xff"


def test_a_file_that_shrinks_while_it_is_sent_breaks_the_response_off(site, gateway, big):
    with slow_reader(gateway, f"/{big}") as wire:
        os.truncate(site / big, 1000)
        assert len(wire.read_all()) < BIG
    assert gateway.line(f"/{big}")["reason"] == "file_shrunk"
    gateway.wait_for_line("the file has become shorter while it was sent")


def test_a_client_that_leaves_frees_the_file(site, gateway, big):
    worker = psutil.Process(gateway.workers[0])
    with slow_reader(gateway, f"/{big}"):
        assert [one for one in worker.open_files() if big in one.path]
    eventually(lambda: not [one for one in worker.open_files() if big in one.path], "the end of the file")
    assert gateway.line(f"/{big}")["status"] == "499"


def test_a_file_without_permission_is_a_403(site, tmp_path):
    (site / "private.txt").touch(mode=0)
    gateway = RunningGateway(INI.replace("{folder}", str(site)), tmp_path)
    if os.getuid() == 0:  # without the right to pass over permissions
        gateway._command = [
            shutil.which("setpriv"), "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search",
            *gateway._command,
        ]  # fmt: skip
    with gateway:
        assert gateway.get("/private.txt").status == 403
        assert gateway.get("/index.html").status == 200
        gateway.wait_for_line("[route:site]: a file cannot be read: permission denied: ")


def command(gateway, *arguments):
    line = [*gateway._command[:3], *arguments]
    return forked.run(line, cwd=gateway.folder, capture_output=True, text=True)


def test_check_routes_explain_and_metrics_know_the_files(site, tmp_path):
    text = INI.replace("{folder}", str(site)).replace("handlers = health", "handlers = metrics")
    with RunningGateway(text.replace("skip = health\n", ""), tmp_path) as gateway:
        config = ("--config", str(gateway.config))
        routes = command(gateway, "routes", *config)
        assert f"root      {site}, index index.html" in routes.stdout, routes
        assert "metrics > root" in routes.stdout
        found = command(gateway, "explain", *config, "GET", "/folder/")
        assert f"file: {site}/folder/index.html" in found.stdout, found
        assert "Location: /folder/" in command(gateway, "explain", *config, "GET", "/folder").stdout
        assert "404" in command(gateway, "explain", *config, "GET", "/none.txt").stdout
        files = 'gproxy_requests_total{reason="%s",route="site",status="%d"}'
        assert f"{files % ('', 304)} 0" in gateway.get("/metrics").body.decode()  # from the start
        for path in ("/plain.txt", "/none"):
            gateway.get(path)
        assert gateway.metric(files % ("", 200)) == 2
        assert gateway.metric(files % ("no_file", 404)) == 1
        gateway.config.write_text(INI.replace("{folder}", str(site / "gone")))
        check = command(gateway, "check", *config)
        assert check.returncode == 2
        assert f"gproxy.ini:6: [route:site] root: {site}/gone is not a folder" in check.stdout + check.stderr
