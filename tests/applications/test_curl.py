"""curl in front of a Flask application: Expect, chunks, ranges, resumed downloads, compression, slow clients."""

import hashlib
import json
import os
import threading

import pytest
from programs import gunicorn, in_front_of, required, run, succeed

SIZE = 1_500_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curl")
    (folder / "big.bin").write_bytes(os.urandom(SIZE))
    (folder / "page.html").write_text("<p>much the same again and again</p>\n" * 3000)
    with gunicorn(folder, "flask_shop:app", "--threads", "2") as port, in_front_of(port, folder) as gateway:
        gateway.url = f"http://127.0.0.1:{gateway.port}"
        yield gateway


def curl(*arguments, **options):
    return succeed(required("curl"), "-sS", "--max-time", "25", *arguments, **options)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_an_upload_that_waits_for_100_continue(shop):
    """curl sends Expect with every upload above 1 MB, and waits a second if nothing comes."""
    big = shop.folder / "big.bin"
    done = run(required("curl"), "-sS", "-v", "-w", "\n%{time_total}", "-T", str(big), f"{shop.url}/raw")
    answer, _, took = done.stdout.decode().rpartition("\n")
    assert json.loads(answer) == {"size": SIZE, "sha256": digest(big.read_bytes()), "chunked": False}
    assert b"> Expect: 100-continue" in done.stderr
    assert b"< HTTP/1.1 100 Continue" in done.stderr
    assert float(took) < 1


def test_an_upload_from_a_pipe(shop):
    data = (shop.folder / "big.bin").read_bytes()
    answer = json.loads(curl("-T", "-", f"{shop.url}/raw", input=data))
    assert (answer["size"], answer["sha256"]) == (SIZE, digest(data))


def test_a_download_that_is_resumed(shop, tmp_path):
    data = (shop.folder / "big.bin").read_bytes()
    part = tmp_path / "part.bin"
    part.write_bytes(data[:700_001])
    shown = curl("-C", "-", "-w", "%{http_code} %{size_download}", "-o", str(part), f"{shop.url}/files/big.bin")
    assert shown == b"206 %d" % (SIZE - 700_001)
    assert part.read_bytes() == data
    assert curl("-r", "-10", f"{shop.url}/files/big.bin") == data[-10:]
    shown = curl("-r", f"{SIZE}-", "-w", "%{http_code}", "-o", "/dev/null", f"{shop.url}/files/big.bin")
    assert shown == b"416"


def test_a_compressed_page_and_its_validator(shop):
    """A compressed answer has an ETag of its own, which the application gets back as its one."""
    page, head = shop.folder / "page.html", shop.folder / "head"
    arguments = ("--compressed", "-D", str(head), "-w", "%{stderr}%{size_download}")
    done = run(required("curl"), "-sS", *arguments, f"{shop.url}/files/page.html")
    assert done.stdout == page.read_bytes()
    assert int(done.stderr) < len(done.stdout) / 10
    tag = next(line for line in head.read_text().split("\n") if line.lower().startswith("etag")).split(": ")[1].strip()
    assert tag.endswith('-gzip"')
    again = ("--compressed", "-H", f"If-None-Match: {tag}", "-w", "%{http_code}")
    assert curl(*again, f"{shop.url}/files/page.html") == b"304"


def test_http_1_0(shop):
    page = (shop.folder / "page.html").read_bytes()
    assert curl("--http1.0", f"{shop.url}/files/page.html") == page
    assert curl("--http1.0", f"{shop.url}/stream?lines=2") == b"line 0\nline 1\n"


def test_clients_that_are_slower_than_the_timeout(shop):
    """Four seconds for 600 kB each way, both at once; and a quick client beside them is served at once."""
    part = shop.folder / "part.bin"
    part.write_bytes((shop.folder / "big.bin").read_bytes()[:600_000])
    found = {}

    def slow(name, *arguments):
        found[name] = curl("--limit-rate", "150k", *arguments)

    slow_ones = [
        threading.Thread(target=slow, args=("up", "-T", str(part), f"{shop.url}/raw")),
        threading.Thread(target=slow, args=("down", f"{shop.url}/files/part.bin")),
    ]
    for thread in slow_ones:
        thread.start()
    assert float(curl("-o", "/dev/null", "-w", "%{time_total}", f"{shop.url}/files/page.html")) < 1
    assert any(thread.is_alive() for thread in slow_ones)
    for thread in slow_ones:
        thread.join()
    assert json.loads(found["up"])["sha256"] == digest(part.read_bytes()) == digest(found["down"])
