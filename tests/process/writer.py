"""One of several processes that write to one access log: `writer.py NUMBER LINES`, as fast as it can."""

import sys

import gevent

from gproxy.http.exchange import Exchange
from gproxy.observe.access_line import ltsv
from gproxy.observe.access_log import AccessLog

number, lines, size, compress = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "yes"
log = AccessLog("access.log", line=ltsv, daily=True, size=size, keep=10_000, compress=compress)
log.open()
sys.stdout.write("open\n")
sys.stdout.flush()
sys.stdin.readline()
for line in range(lines):
    exchange = Exchange(1_795_000_000, "192.0.2.1", "GET", "text of some length", "HTTP/1.1")
    exchange.id, exchange.auth = f"{number}-{line}", "last"
    exchange.host = exchange.route = exchange.user_agent = exchange.referer = "text of some length"
    log.record(exchange)
    if line % 50 == 49:
        gevent.sleep(0)  # a turn of the loop, in which they are written
        log.join()  # what gathers during a rotation would make the next file larger
while log._compression:
    log.look()
    gevent.sleep(0.05)
log.close()
sys.exit(bool(log.lost))
