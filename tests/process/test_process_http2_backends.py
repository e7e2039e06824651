"""A real nginx as backend over HTTP/2: it refuses streams when a connection has had its number of requests."""

import threading

import pytest
from nginx_process import nginx

from gproxy.testing.authority import Authority
from gproxy.testing.gateway import RunningGateway, free_port

SERVER = """
server {
  listen 127.0.0.1:{port} {tls} http2;
  {certificate}
  http2_max_concurrent_streams 10; keepalive_requests 50;
  root {folder}/www;
  location /small { return 200 "small"; }
}
"""
INI = """
[server]
workers = 1
[gateway]
timeout = 20s
[route:all]
path = /
upstream = all
[upstream:all]
backends = {url}
http2 = {http2}
http2_connections = 3
"""


@pytest.fixture(scope="module", params=["yes", "auto"])
def gateway(request, tmp_path_factory):
    """A gateway before an nginx that speaks HTTP/2: by prior knowledge, or over TLS."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    authority = Authority(folder)
    certificate, key = authority.issue("localhost")
    is_tls = request.param == "auto"
    server = SERVER.replace("{port}", str(port)).replace("{folder}", str(folder)).replace("{tls}", "ssl" * is_tls)
    more = server.replace("{certificate}", f"ssl_certificate {certificate}; ssl_certificate_key {key};" * is_tls)
    url = f"{'https' if is_tls else 'http'}://localhost:{port}"
    ini = INI.replace("{url}", url).replace("{http2}", request.param)
    with (
        nginx(folder, free_port(), more),
        RunningGateway(ini, folder, environ={"SSL_CERT_FILE": str(authority.path)}) as running,
    ):
        yield running


def test_no_request_fails_while_nginx_renews_its_connections(gateway):
    answers = []

    def ask():
        for _ in range(20):
            answer = gateway.get("/small")
            answers.append((answer.status, answer.body))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(200, b"small")] * 400


def test_large_files_side_by_side(gateway):
    expected = (gateway.folder / "www/users/big.bin").read_bytes()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(gateway.get("/users/big.bin"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.body == expected for answer in answers] == [True] * 4
