"""A first look through real sockets: one gateway process, one scripted backend."""

from gproxy.testing.backends import Backend, answering
from gproxy.testing.gateway import RunningGateway

INI = """
[route:all]
path = /
upstream = one
[upstream:one]
backends = {url}
"""


def test_a_request_goes_through_and_comes_back(tmp_path):
    with Backend(answering(body=b"hello")) as backend, RunningGateway(INI.format(url=backend.url), tmp_path) as gateway:
        answer = gateway.get("/users/1?a=b", "X-Mine: yes")
        assert answer.status == 200
        assert answer.body == b"hello"
        (seen,) = backend.wait_for_requests(1)
        assert seen.line == "GET /users/1?a=b HTTP/1.1"
        assert seen["x-mine"] == "yes"
        (line,) = gateway.access()
        assert line["route"] == "all"
        assert line["backend"] == f"127.0.0.1:{backend.port}"
