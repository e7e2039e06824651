"""The time account: exclusive parts that add up, with waits for the client apart."""

import pytest

from gproxy.gateway.watch.time_account import BACKEND, OTHER, TimeAccount, account_of, part_of
from gproxy.http.deadline import Deadline
from gproxy.http.request import request


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def deadline(clock):
    return Deadline(clock=clock)


def test_parts_are_exclusive_and_add_up(clock, deadline):
    account = TimeAccount(deadline)
    clock.now += 1
    before = account.switch(part_of("jwt"))
    clock.now += 2
    inner = account.switch(BACKEND)
    clock.now += 4
    account.switch(inner)
    clock.now += 8
    account.switch(before)
    clock.now += 16
    account.close(duration=32)
    assert account.parts == {OTHER: 18, "handler.jwt": 10, BACKEND: 4}  # one second was before the account began
    assert sum(account.parts.values()) == 32
    assert account.handlers() == {"jwt": 10}


def test_a_wait_for_the_client_is_upload_before_the_head_and_write_behind_it(clock, deadline):
    account = TimeAccount(deadline)
    account.switch(BACKEND)
    clock.now += 5
    deadline.pause(3)
    account.begin_body()
    clock.now += 7
    deadline.pause(6)
    account.close(duration=12)
    assert account.parts == {OTHER: 0, BACKEND: 2, "upload": 3, "body": 1, "write": 6}


def test_a_copy_of_a_request_has_an_account_that_is_thrown_away():
    asked = request()
    account_of(asked).switch(BACKEND)
    assert asked.exchange.account is None
    asked.exchange.account = kept = TimeAccount(asked.deadline)
    assert account_of(asked) is kept
