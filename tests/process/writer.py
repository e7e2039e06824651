"""One of several processes that write to one access log: `writer.py NUMBER LINES`, as fast as it can."""

import sys

import gevent

from gproxy.observe.access_line import Entry
from gproxy.observe.access_log import AccessLog

number, lines, size, compress = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "yes"
log = AccessLog("access.log", format="ltsv", daily=True, size=size, keep=10_000, compress=compress)
log.open()
sys.stdout.write("open\n")
sys.stdout.flush()
sys.stdin.readline()
texts = {name: "text of some length" for name, kind in Entry.__annotations__.items() if kind is str}
numbers = {name: 1_795_000_000 for name in Entry.__annotations__ if name not in texts}
entry = Entry(**texts, **numbers)
for line in range(lines):
    log.write(entry._replace(id=f"{number}-{line}", user="last"))
    if line % 50 == 49:
        gevent.sleep(0)  # a turn of the loop, in which they are written
        log.join()  # what gathers during a rotation would make the next file larger
while log._compression:
    log.look()
    gevent.sleep(0.05)
log.close()
sys.exit(bool(log.lost))
