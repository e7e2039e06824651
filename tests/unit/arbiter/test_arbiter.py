from gproxy.arbiter.arbiter import Arbiter


def test_the_pause_between_starts_is_bounded_after_hours_of_failures():
    arbiter = Arbiter.__new__(Arbiter)
    for arbiter._quick_ends in (20, 2000):
        assert arbiter._pause() == 10
