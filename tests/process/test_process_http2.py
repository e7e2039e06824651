"""HTTP/2 with clients that are not ours: curl, nghttp and h2load, over TLS and by prior knowledge, across a reload."""

import re
import shutil
import subprocess
import threading

import pytest

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import RunningGateway, eventually, free_port

INI = """
[server]
workers = 2
{more}
[gateway]
handlers = health
[handler:health]
[route:all]
upstream = one
[route:fixed]
path = /fixed
respond = 200
body = hello
[upstream:one]
backends = {url}
[tls:a]
certificate = a.test.crt
key = a.test.key
hsts = 1d
"""


def run(*command):
    """Run a program, and return what it prints."""
    assert shutil.which(command[0]), f"{command[0]} is not installed; scripts/install test installs it"
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def echo(peer, request):
    peer.read_body(request)
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.body), request.body))


def answer_complete(peer, request):
    """Answer a request whose body ends; the others were malformed."""
    try:
        reply(b"hello")(peer, request)
    except (AssertionError, OSError):
        peer.sock.close()


class Scene:
    """A gateway with one address of each kind."""

    def __init__(self, folder, backend, more=""):
        self.folder, self.backend = folder, backend
        self.tls, self.h2c = free_port(), free_port()
        addresses = ("--bind", f"127.0.0.1:{self.tls} tls", "--bind", f"127.0.0.1:{self.h2c} h2c")
        self.gateway = RunningGateway(INI.format(url=backend.url, more=more), folder, *addresses)

    def curl(self, *arguments):
        ca = str(self.folder / "authority.pem")
        known = f"*:{self.tls}:127.0.0.1"
        return run("curl", "-sS", "-i", "--max-time", "20", "--cacert", ca, "--resolve", known, *arguments)

    def url(self, path="/"):
        return f"https://a.test:{self.tls}{path}"

    def address(self, scheme):
        """Return the URL of the fixed response, over TLS or not."""
        return self.url("/fixed") if scheme == "https" else f"http://127.0.0.1:{self.h2c}/fixed"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("http2")
    Authority(folder).issue("a.test")
    with Actor() as backend:
        made = Scene(folder, backend)
        with made.gateway:
            yield made


@pytest.fixture
def play(scene):
    scene.backend.act = reply(b"hello")
    scene.backend.requests.clear()
    return scene


@pytest.mark.parametrize(
    ("option", "version"), [("--http2", "HTTP/2"), ("--http1.1", "HTTP/1.1"), ("--http1.0", "HTTP/1.0")]
)
def test_alpn_chooses_the_protocol(play, option, version):
    answer = play.curl(option, play.url("/alpn"))
    version = version.replace("1.0", "1.1")  # RFC 9110 section 2.5
    assert answer.stdout.startswith(f"{version} 200")
    assert answer.stdout.lower().count("strict-transport-security: max-age=86400") == 1
    assert answer.stdout.endswith("hello")


def test_prior_knowledge_is_for_addresses_with_the_word(play):
    assert play.curl("--http2-prior-knowledge", f"http://127.0.0.1:{play.h2c}/").stdout.startswith("HTTP/2 200")
    assert play.curl(f"http://127.0.0.1:{play.h2c}/").stdout.startswith("HTTP/1.1 200")
    assert play.curl("--http2", f"http://127.0.0.1:{play.h2c}/").stdout.startswith("HTTP/1.1 200")  # no Upgrade: h2c
    assert play.curl("--http2-prior-knowledge", f"http://127.0.0.1:{play.gateway.port}/").returncode
    eventually(lambda: play.gateway.access()[-1]["status"] == "505", "its access line")


def test_http2_can_be_off(tmp_path, play):
    Authority(tmp_path).issue("a.test")
    off = Scene(tmp_path, play.backend, "http2 = no")
    with off.gateway:
        assert off.curl("--http2", off.url()).stdout.startswith("HTTP/1.1 200")


def test_curl_uploads_and_downloads(play, tmp_path):
    (tmp_path / "body").write_bytes(bytes(range(256)) * 8192)
    play.backend.act = echo
    answer = play.curl("--http2", "-T", str(tmp_path / "body"), "-o", str(tmp_path / "got"), play.url("/echo"))
    assert answer.returncode == 0
    assert (tmp_path / "got").read_bytes().endswith((tmp_path / "body").read_bytes())
    assert play.gateway.line("/echo")["reqsize"] == str(256 * 8192)


def test_nghttp_asks_for_many_at_once(play):
    urls = [f"https://127.0.0.1:{play.tls}/{number}" for number in range(50)]
    said = run("nghttp", "-s", "-n", *urls).stdout
    assert len(re.findall(r" 200 +5 /\d+$", said, re.MULTILINE)) == 50
    assert {line["protocol"] for line in play.gateway.access() if re.fullmatch(r"/\d+", line["path"])} == {"HTTP/2.0"}


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_h2load_gets_what_it_asks_for(play, scheme):
    said = run(
        "h2load", "-n", "5000", "-c", "4", "-m", "16", play.address(scheme).replace("a.test", "127.0.0.1")
    ).stdout
    assert "5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert "status codes: 5000 2xx" in said


#: h2spec's name of each case that fails, by the scheme: without TLS, what is no preface is taken for HTTP/1.1.
REJECTED = {"https": [], "http": ["Sends invalid connection preface"]}


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_h2spec(play, scheme):
    play.backend.act = answer_complete
    port = ["-t", "-k", "-p", str(play.tls)] if scheme == "https" else ["-p", str(play.h2c)]
    said = run("h2spec", "-h", "127.0.0.1", *port, "-o", "5").stdout
    passed, _, failed = said.partition("Failures:")
    assert re.findall(r"\u00d7 \d+: (.*)", failed) == REJECTED[scheme], failed
    assert f"146 tests, {146 - len(REJECTED[scheme])} passed, 0 skipped" in said, passed


def test_no_request_fails_across_a_reload(play):
    """Ask by curl: h2load gives up what it has under way when GOAWAY comes."""
    reloading = threading.Thread(target=play.gateway.reload)
    reloading.start()
    count = 0
    while reloading.is_alive() or count < 20_000:
        answer = play.curl(
            "--no-progress-meter", "--parallel", "--parallel-max", "30", "-o", "/dev/null",
            "-w", "%{http_version} %{http_code}\\n", f"{play.url('/fixed')}?[1-2000]",
        )  # fmt: skip
        assert (answer.returncode, answer.stderr) == (0, "")
        assert answer.stdout.splitlines().count("2 200") == 2000
        count += 2000
    reloading.join()
