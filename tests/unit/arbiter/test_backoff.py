"""The pauses before workers start again."""

from gproxy.arbiter.backoff import Backoff


def pauses(backoff, count, *, is_last=False):
    return [backoff.pause(1, is_last=is_last) for _ in range(count)]


def test_the_pause_doubles_and_is_bounded_after_hours_of_failures():
    backoff = Backoff()
    assert pauses(backoff, 5) == [0, 0.1, 0.2, 0.4, 0.8]
    assert pauses(backoff, 2000)[-1] == 10


def test_the_last_worker_starts_at_once_if_one_has_served():
    backoff = Backoff()
    pauses(backoff, 5)
    for _ in range(20):
        backoff.note_serving()
        assert backoff.pause(1, is_last=True) == 0


def test_a_last_worker_that_does_not_serve_pauses_up_to_a_second():
    backoff = Backoff()
    assert pauses(backoff, 3, is_last=True) == [0, 0.1, 0.2]
    assert pauses(backoff, 20, is_last=True)[-1] == 1


def test_each_number_has_a_pause_of_its_own_and_forgets_it():
    backoff = Backoff()
    pauses(backoff, 5)
    assert backoff.pause(2, is_last=False) == 0
    backoff.forget(1)
    backoff.forget(3)
    assert backoff.pause(1, is_last=False) == 0
