"""What `gproxy dev` adds: local clients only, and the reason of a failed reload."""

import pytest

from gproxy.dev.dev_part import DevPart, ExposedDevPart, failure_text, is_local
from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.testing import request


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("unix", True), ("192.0.2.1", False),
        ("10.0.0.1", False), ("fe80::1", False), ("fe80::1%eth0", False), ("localhost", False), ("", False),
        ("::ffff:127.0.0.1", False), ("0.0.0.0", False), ("::", False),
    ],
)  # fmt: skip
def test_local_peers(peer, expected):
    assert is_local(peer) is expected


def test_only_the_connection_decides():
    part, exposed = DevPart(None, Runtime()), ExposedDevPart(None, Runtime())
    one = request("GET", "/", {"X-Forwarded-For": "127.0.0.1", "Host": "localhost"}, client="192.0.2.1")
    with pytest.raises(HTTPError) as caught:
        part.admit(one)
    assert (caught.value.status, caught.value.reason) == (403, "not_local")
    exposed.admit(one)
    part.admit(request("GET", "/", client="127.0.0.1"))


@pytest.mark.parametrize("kind", [DevPart, ExposedDevPart])
def test_the_reason_of_a_failed_reload(kind):
    runtime = Runtime()
    part = kind(None, runtime)
    responses = [Response(200), Response(200), Response(200)]
    part.mark(responses[0], "127.0.0.1")
    runtime.reload_failure = "gproxy.ini:3: bad"
    part.mark(responses[1], "127.0.0.1")
    part.mark(responses[2], "192.0.2.1")
    found = [response.headers.get("X-Gproxy-Dev") for response in responses]
    assert found == [None, "reload failed: gproxy.ini:3: bad", None]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("gproxy.ini:3: [gatway] unknown section", "gproxy.ini:3: [gatway] unknown section"),
        ("gproxy.ini:3: cannot import m: KeyError: 'x' ({cwd}/m.py:12)", "m.py:12 gproxy.ini:3: cannot import m: KeyError: 'x'"),
        ("cannot create A: no (/srv/other/m.py:12)", "/srv/other/m.py:12 cannot create A: no"),
        ("a\r\nSet-Cookie: b\x00\x7f\N{SNOWMAN}c", "a Set-Cookie: b c"),
        ("x" * 5000, "x" * 185),
        ("a  \n", "a"),
    ],
)  # fmt: skip
def test_the_text_is_one_line_of_ascii(monkeypatch, tmp_path, reason, expected):
    monkeypatch.chdir(tmp_path)
    assert failure_text(reason.replace("{cwd}", str(tmp_path))) == f"reload failed: {expected}"
