"""The monitor's ends of the lines to workers."""

import marshal
from itertools import pairwise

import gevent
import gevent.socket

from gproxy.introspection.frames import FEED, write_frame
from gproxy.monitor.processes.worker_lines import WorkerLines, WorkerRef


def test_a_worker_that_always_has_more_does_not_keep_the_monitor_from_its_clients():
    moments = []

    def client(sock):
        while sock.recv(1):
            moments.append("client")
            sock.send(b"x")

    ours, theirs = gevent.socket.socketpair()
    one, other = gevent.socket.socketpair()
    for _ in range(20):
        write_frame(theirs, FEED, marshal.dumps([("exchange", 1.0, {})]))
    lines = WorkerLines(lambda *_: moments.append("record"))
    playing = [gevent.spawn(client, one), gevent.spawn(client, other)]
    one.send(b"x")
    lines.attach(WorkerRef(1, 1, 1), ours)
    with gevent.Timeout(15):
        while moments.count("record") < 20:
            gevent.sleep(0.001)
    gevent.killall(playing)
    lines.detach(1)
    for sock in (theirs, one, other):
        sock.close()
    assert not any(pair == ("record", "record") for pair in pairwise(moments))
