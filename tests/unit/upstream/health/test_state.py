"""The changes of one backend's health, each alone."""

import pytest

from gproxy.http.request import request
from gproxy.upstream.health.state import BackendHealth


@pytest.mark.parametrize(
    ("initial", "good", "probed", "needs_probe", "why"),
    [
        ("up", True, True, False, ""),
        ("unknown", True, False, False, ""),
        ("down", False, False, True, "not probed yet"),
    ],
)
def test_the_initial_state(initial, good, probed, needs_probe, why):
    health = BackendHealth(initial)
    assert (health.is_good, health.is_probed, health.needs_probe, health.why) == (good, probed, needs_probe, why)
    assert health.state == ("healthy" if good else "unhealthy")


def test_an_ejection_lasts_until_its_time_and_counts():
    health = BackendHealth()
    health.eject(105.0, "reset")
    assert (health.state, health.next_try, health.ejections, health.why) == ("unhealthy", 105.0, 1, "reset")
    assert health.doubtful
    health.eject(110.0, "reset")
    assert (health.next_try, health.ejections) == (110.0, 2)


def test_half_open_lets_one_trial_through():
    health, asked = BackendHealth(), request()
    health.eject(105.0, "reset")
    health.half_open()
    assert (health.state, health.is_good, health.is_open_to_trial) == ("trial", True, True)
    health.try_with(asked, 130.0)
    assert (health.state, health.is_good, health.is_open_to_trial) == ("trial", False, False)
    assert (health.trial, health.next_try) == (asked, 130.0)


def test_a_restored_backend_is_healthy_but_its_ejections_are_known():
    health = BackendHealth()
    health.eject(105.0, "reset")
    health.restore()
    assert (health.state, health.why, health.doubtful, health.ejections) == ("healthy", "", False, 1)


def test_a_failing_backend_stays_in_rotation():
    health = BackendHealth()
    health.mark_failing("reset")
    assert (health.state, health.is_good, health.why) == ("unhealthy", True, "reset")
    health.restore()
    assert health.state == "healthy"


def test_a_failed_probe_ends_the_good_state_until_one_passes():
    health = BackendHealth("unknown")
    health.next_probe = 107.0
    health.mark_probe(False, "status 500")
    assert (health.state, health.why, health.next_try) == ("unhealthy", "status 500", 107.0)
    health.mark_probe(True)
    assert (health.state, health.why, health.next_try) == ("healthy", "", 0.0)


def test_a_first_failed_probe_of_a_down_backend_leaves_it_to_the_next():
    health = BackendHealth("down")
    health.mark_probe(False, "refused")
    assert health.needs_probe
    health.mark_probe(True)
    assert not health.needs_probe
    health.mark_probe(False, "refused")
    assert not health.needs_probe


def test_a_passed_probe_keeps_the_reason_of_an_ejection():
    health = BackendHealth()
    health.eject(105.0, "reset")
    health.mark_probe(True)
    assert (health.state, health.why) == ("unhealthy", "reset")
