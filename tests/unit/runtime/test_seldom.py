from gproxy.runtime.seldom import Seldom


class Counting:
    """A function that takes as long as the test says, on the clock of the test."""

    def __init__(self):
        self.now, self.takes, self.calls = 0.0, 0.0, 0

    def __call__(self):
        self.now += self.takes
        self.calls += 1
        return self.calls

    def clock(self):
        return self.now


def test_a_quick_count_is_made_every_ten_seconds():
    counting = Counting()
    seldom = Seldom(counting, counting.clock)
    found = []
    for _ in range(22):
        found.append(seldom())
        counting.now += 1
    assert found == [1] * 10 + [2] * 10 + [3] * 2


def test_a_slow_count_is_made_less_often():
    counting = Counting()
    counting.takes = 0.1
    seldom = Seldom(counting, counting.clock)
    seldom()
    counting.now += 199
    assert seldom() == 1
    counting.now += 2
    assert seldom() == 2
