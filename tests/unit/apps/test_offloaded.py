"""An app in threads, without sockets."""

import threading

import gevent
import pytest

from gproxy.apps.offloaded import AppThreads
from gproxy.http.body import Body
from gproxy.http.request import request as made_request


@pytest.fixture
def offloaded(mounted, runtime):
    runtime.app_threads = 1
    with gevent.Timeout(10):
        yield lambda app: mounted(app, offload="yes", buffer_request="0")
        runtime.single(AppThreads).close()


def test_a_response_that_a_handler_drops_frees_its_thread(offloaded):
    closed = []

    class Pieces:
        def __iter__(self):
            yield from (b"one", b"two")

        def close(self):
            closed.append(threading.get_native_id())

    def app(environ, start_response):
        start_response("200 OK", [])
        return Pieces()

    action = offloaded(app)
    for count in range(1, 4):  # more than there are threads
        request = made_request()
        assert action(request).status == 200
        request.end()
        while len(closed) < count:
            gevent.sleep(0.01)
    assert threading.get_native_id() not in closed


def test_the_body_is_read_while_all_other_threads_are_taken(offloaded, runtime):
    """The greenlet may spool the body in a thread of the gateway, while all threads of apps wait for it."""

    class Spooled:
        done, trailers = False, ()

        def next_piece(self):
            self.done = True
            return runtime.offload(bytes, b"one")

    def app(environ, start_response):
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    pool = gevent.get_hub().threadpool
    before, pool.maxsize = pool.maxsize, 1
    try:
        request = made_request("POST")
        request.body = Body(reader=Spooled(), length=3)
        assert offloaded(app)(request).raw_body == b"one"
    finally:
        pool.maxsize = before


def test_the_threads_are_as_many_as_the_settings_say(runtime):
    runtime.app_threads = 3
    threads = AppThreads(runtime)
    assert threads.pool.maxsize == 3
    assert threads.pool is threads.pool
    assert threads.pool is not gevent.get_hub().threadpool
    threads.close()
