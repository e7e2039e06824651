"""What one would write first: gevent.pywsgi in front of a stock urllib3 pool. Usage: plain.py PORT BACKEND_PORT"""

from gevent import monkey

monkey.patch_all()

import socket
import sys

import gevent
import urllib3
from gevent.pywsgi import WSGIServer

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"}
pool = urllib3.HTTPConnectionPool("127.0.0.1", int(sys.argv[2]), maxsize=256, block=False)


def passed_on(fields):
    return [(name, value) for name, value in fields if name.lower() not in HOP_BY_HOP]


def application(environ, start_response):
    headers = passed_on((key[5:].replace("_", "-"), value) for key, value in environ.items() if key.startswith("HTTP_"))
    body = environ["wsgi.input"].read() if environ.get("CONTENT_LENGTH") else None
    url = environ["PATH_INFO"] + ("?" + environ["QUERY_STRING"] if environ["QUERY_STRING"] else "")
    method = environ["REQUEST_METHOD"]
    with gevent.Timeout(3):
        answer = pool.urlopen(
            method, url, body=body, headers=dict(headers), preload_content=False, retries=False, redirect=False
        )
        data = answer.read(decode_content=False)
        answer.release_conn()
    fields = passed_on(answer.headers.items())
    if environ.get("HTTP_CONNECTION") == "close":  # pywsgi closes, but does not say so
        fields.append(("Connection", "close"))
    start_response(f"{answer.status} {answer.reason}", fields)
    return [data]


server = WSGIServer(("127.0.0.1", int(sys.argv[1])), application, log=None)
server.init_socket()
server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
server.serve_forever()
