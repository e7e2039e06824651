"""The rules by which a request is watched."""

import pytest

from gproxy.config.types import Secret
from gproxy.gateway.watch.watch_rules import Periodic, TimingHeader
from gproxy.http.request import request


@pytest.mark.parametrize(("value", "wanted"), [("s" * 16, True), ("s" * 15, False), ("", False), ("\xff" * 16, False)])
def test_the_timing_header_needs_the_whole_token(value, wanted):
    rule = TimingHeader(Secret("s" * 16))
    assert rule.wants(request(headers={"X-Gproxy-Timing": value})) is wanted
    assert not rule.wants(request())


def test_one_of_128_requests_is_watched():
    rule = Periodic()
    turns = [number for number in range(1, 400) if rule.wants(request())]
    assert turns == [128, 256, 384]
