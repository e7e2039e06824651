"""What `gproxy dev` adds: local clients only, and the reason of a failed reload."""

import pytest

from gproxy.dev import failure
from gproxy.dev.dev_part import DevPart, ExposedDevPart, failure_text
from gproxy.http.errors import HTTPError
from gproxy.http.response import Response
from gproxy.runtime import Runtime
from gproxy.testing import request


class Settings:
    routes = ()


def asked(client="127.0.0.1", **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return request("GET", "/", {"Host": "localhost", **fields}, client=client)


def test_only_the_connection_decides():
    part, exposed = DevPart(Settings, Runtime()), ExposedDevPart(Settings, Runtime())
    one = asked("192.0.2.1", X_Forwarded_For="127.0.0.1")
    with pytest.raises(HTTPError) as caught:
        part.admit(one)
    assert (caught.value.status, caught.value.reason) == (403, "not_local")
    exposed.admit(one)
    part.admit(asked())


@pytest.mark.parametrize("kind", [DevPart, ExposedDevPart])
def test_the_reason_of_a_failed_reload(kind):
    runtime = Runtime()
    part = kind(Settings, runtime)

    def marked(peer, request):
        response = Response(200)
        part.mark(response, peer, request)
        return response.headers.get("X-Gproxy-Dev")

    assert marked("127.0.0.1", asked()) is None
    runtime.reload_failure = "gproxy.ini:3: bad"
    expected = "reload failed: gproxy.ini:3: bad"
    assert [marked("127.0.0.1", asked()), marked("127.0.0.1", None), marked("unix", None)] == [expected] * 3
    assert [marked("192.0.2.1", asked("192.0.2.1")), marked("192.0.2.1", None)] == [None, None]
    assert marked("127.0.0.1", asked(X_Forwarded_For="127.0.0.1")) is None


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


def test_the_page_is_for_the_requests_of_the_client_on_this_machine():
    part, found = DevPart(Settings, Runtime()), HTTPError(500, "internal error")
    seen = part.error(ValueError("no"), found, asked(Accept="text/html"))
    assert "ValueError: no" in seen.body.decode()
    for hidden in (asked("192.0.2.1"), asked(X_Forwarded_For="127.0.0.1"), asked(Host="evil.test")):
        assert part.error(ValueError("no"), found, hidden) is None
    own = asked()
    own.is_subrequest = True
    assert part.error(ValueError("no"), found, own) is None


def test_an_exception_that_cannot_be_shown_is_an_ordinary_error(monkeypatch, caplog):
    monkeypatch.setattr(failure.Failure, "of", lambda *arguments: 1 / 0)
    assert DevPart(Settings, Runtime()).error(ValueError("no"), HTTPError(500), asked()) is None
    assert "the traceback cannot be shown" in caplog.text
