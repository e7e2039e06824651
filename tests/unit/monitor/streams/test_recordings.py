"""A recording of the monitor, with workers that note what they are asked."""

from collections.abc import Generator

import gevent
import pytest

from gproxy.monitor.streams import recordings
from gproxy.monitor.streams.recordings import Recording


class Lines:
    def __init__(self):
        self.leases = []

    def __iter__(self):
        return iter(())

    def ask(self, question, arguments):
        self.leases.append(arguments["seconds"])
        return []


@pytest.fixture
def lines(monkeypatch):
    monkeypatch.setattr(recordings, "_RENEW", 0.02)
    monkeypatch.setattr(recordings, "_LOOK", 0.005)
    return Lines()


def test_workers_record_no_longer_than_its_time_if_the_command_stops_reading(lines):
    stream = Recording(lines, {}, 10, 0.1).stream("sha256:")
    assert isinstance(stream, Generator)
    next(stream)
    gevent.sleep(0.2)
    asked = len(lines.leases)
    assert asked
    gevent.sleep(0.1)
    assert len(lines.leases) == asked
    stream.close()
    assert lines.leases[-1] == 0
