"""The budget: what it costs and what comes back, with a clock of the test."""

from gproxy.http.h2.budget import Budget


def budget(now):
    return Budget(lambda: now[0])


def spent(one):
    """Return how many tokens were left."""
    count = 1
    while one.spend():
        count += 1
    return count


def test_a_new_connection_has_400_tokens():
    assert spent(budget([0.0])) == 400


def test_20_tokens_a_second_come_back():
    now = [0.0]
    one = budget(now)
    spent(one)
    now[0] += 2.0
    assert spent(one) == 40


def test_a_quiet_connection_saves_no_more_than_400():
    now = [0.0]
    one = budget(now)
    now[0] += 1e6
    assert spent(one) == 400
    now[0] += 1e6
    assert spent(one) == 400


def test_an_answered_request_earns_one():
    one = budget([0.0])
    one.earn()
    assert spent(one) == 400
    for _ in range(7):
        one.earn()
    assert spent(one) == 7


def test_10_window_updates_for_each_data_frame_are_free():
    one = budget([0.0])
    one.allow()
    one.allow()
    assert all(one.window_update() for _ in range(30))
    assert spent(one) == 400
    assert not one.window_update()


def test_a_ping_for_each_data_frame_is_free():
    one = budget([0.0])
    one.allow()
    one.allow()
    assert all(one.ping() for _ in range(3))
    assert spent(one) == 400
    assert not one.ping()


def test_a_late_reset_for_each_data_frame_is_free():
    one = budget([0.0])
    one.allow()
    one.allow()
    assert all(one.late_reset() for _ in range(3))
    assert spent(one) == 400
    assert not one.late_reset()
