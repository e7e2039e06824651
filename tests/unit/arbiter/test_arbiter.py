from gproxy.arbiter.arbiter import Arbiter


def test_a_worker_that_dies_for_hours_is_started_again_as_before():
    arbiter = Arbiter.__new__(Arbiter)
    for arbiter._quick_ends in (20, 2000):
        assert arbiter._pause() == 10
