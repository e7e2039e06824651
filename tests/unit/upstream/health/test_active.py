"""How many verdicts of probes in a row decide."""

import gevent

from gproxy.config.types import Seconds
from gproxy.runtime import Runtime
from gproxy.testing import Clock
from gproxy.upstream.health.active import ActiveHealthCheck
from gproxy.upstream.health.grpc_probe import GRPCProbe
from gproxy.upstream.health.probe import Probe
from unit.upstream.health.probed import Backend, settings


class Checked:
    """A check whose verdicts are applied and recorded."""

    def __init__(self, **options):
        self.backend = Backend()
        self.marks = []
        runtime = Runtime(monotonic=Clock(100.0))
        self.check = ActiveHealthCheck(settings(**options), self.backend, self.mark, runtime)

    def mark(self, backend, passes, why):
        backend.health.mark_probe(passes, why)
        self.marks.append((passes, why))

    def judge(self, *verdicts):
        for why_not in verdicts:
            self.check.judge(why_not)
        found, self.marks = self.marks, []
        return found


def test_the_very_first_verdict_decides():
    assert Checked(fall=3).judge("timeout") == [(False, "timeout")]


def test_fall_failures_in_a_row_take_a_backend_out():
    some = Checked(fall=3)
    some.judge("")
    assert some.judge("timeout", "timeout") == []
    assert some.judge("") == [(True, "")]  # the row is broken
    assert some.judge("timeout", "timeout") == []
    assert some.judge("timeout") == [(False, "timeout")]


def test_rise_passes_in_a_row_bring_a_backend_back():
    some = Checked(rise=2)
    some.backend.health.mark_probe(True)
    some.backend.health.mark_probe(False, "timeout")
    assert some.judge("") == []
    assert some.judge("") == [(True, "")]


def test_a_started_check_probes_at_once_and_notes_when_the_next_one_is_due():
    some = Checked(health_interval=Seconds(10))
    some.check._runtime.random.seed(1)
    some.check.start()
    greenlet = some.check._greenlet
    some.check.start()
    assert some.check._greenlet is greenlet
    gevent.sleep(0)
    assert some.marks == [(True, "")]
    assert 109.0 <= some.backend.health.next_probe <= 111.0
    some.check.stop()
    assert greenlet.dead


def test_the_settings_choose_the_kind_of_probe():
    kinds = [
        type(ActiveHealthCheck(settings(**options), Backend(), print, Runtime())._probe)
        for options in ({}, {"http2": "yes", "health": "grpc"})
    ]
    assert kinds == [Probe, GRPCProbe]
