"""Windows: what is given back, when, and that a window never becomes too large."""

import pytest

from gproxy.http.h2.windows import Windows


def test_a_window_is_given_back_in_steps_of_half_of_it():
    windows = Windows(0, 100_000)
    windows.receive_window = 0
    sizes = (49_999, 0, 1, 49_999, 1, 100_000)
    assert [windows.returned(size) for size in sizes] == [0, 0, 50_000, 0, 50_000, 100_000]
    assert windows.receive_window == 200_000


def test_a_window_that_is_withheld_in_part_is_given_back_in_smaller_steps():
    """Otherwise what is read could stay below a step while the peer has no window left."""
    windows = Windows(0, 100_000)
    assert [windows.returned(size, 60_000) for size in (19_999, 1)] == [0, 20_000]
    assert [windows.returned(size, 100_000) for size in (16_383, 1)] == [0, 16_384]


def test_a_window_doubles_up_to_its_largest():
    windows = Windows(0, 1000)
    assert [windows.grow(3500) for _ in range(4)] == [1000, 1500, 0, 0]
    assert (windows.size, windows.receive_window) == (3500, 3500)


def test_a_window_that_is_larger_than_the_largest_stays():
    windows = Windows(0, 1000)
    assert (windows.grow(500), windows.size) == (0, 1000)


@pytest.mark.parametrize(
    ("before", "increment", "fits"), [(0, 2**31 - 1, True), (1, 2**31 - 1, False), (-5, 2**31 - 1, True)]
)
def test_a_window_for_sending_stays_below_two_to_31(before, increment, fits):
    assert Windows(before, 1000).open(increment) is fits
