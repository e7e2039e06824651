"""A handler that leaves cycles behind, whose finalizers stop a timer of the loop, while threads allocate."""

import gc
import os
import time

import gevent
from gevent.monkey import get_original

from gproxy import Response

_thread = get_original("_thread", "get_ident")
HUB = _thread()
finalized = {"hub": 0, "elsewhere": 0}


class Cycle:
    def __init__(self, size):
        self.itself = self
        self.others = [[] for _ in range(size)]
        self.limited = limited()
        next(self.limited)


def limited():
    with gevent.Timeout(60):
        try:
            yield
        finally:
            finalized["hub" if _thread() == HUB else "elsewhere"] += 1


def allocate():
    return len([[] for _ in range(30_000)])


def is_interrupted(seconds):
    """Leave cycles behind, without a turn of the loop, until some are collected or the time is over."""
    before, end = finalized["hub"], time.monotonic() + seconds
    while finalized["hub"] == before and time.monotonic() < end:
        Cycle(10)
    return finalized["hub"] > before


def child_is_enabled():
    reading, writing = os.pipe()
    if not os.fork():
        os.write(writing, b"%d" % gc.isenabled())
        os._exit(0)
    try:
        return os.read(reading, 1)
    finally:
        os.close(reading)
        os.close(writing)


class Handler:
    def open(self, runtime):
        self.runtime = runtime

    def __call__(self, request, next):
        if request.path == "/compute":
            return Response(200, b"%d" % is_interrupted(10))
        if request.path == "/child":
            return Response(200, child_is_enabled())
        Cycle(3000)
        self.runtime.offload(allocate)
        return Response(200, f"{finalized['hub']} {finalized['elsewhere']}".encode())
