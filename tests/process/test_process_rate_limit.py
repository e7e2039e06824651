"""Feature 4: a hundred a minute for each client address, and whose address that is."""

import re

from shipped import PUBLIC, problem, running


def test_a_hundred_and_not_one_more(tmp_path):
    with running(tmp_path, *PUBLIC) as ours:
        answers = [ours.get("/users") for _ in range(100)]
        assert [answer.status for answer in answers] == [200] * 100
        assert {answer["ratelimit-policy"] for answer in answers} == {'"default";q=100;w=60'}
        left = [re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer["ratelimit"]) for answer in answers]
        assert [int(match[1]) for match in left] == [*range(99, -1, -1)]
        assert all(0 < int(match[2]) <= 61 for match in left)

        refused = ours.get("/orders")  # another route, the same limit
        assert refused.status == 429
        wait = int(refused["retry-after"])
        assert 50 < wait <= 61
        assert re.fullmatch(r'"default";r=0;t=\d+', refused["ratelimit"])
        assert int(refused["ratelimit"].rpartition("t=")[2]) <= wait
        assert refused["ratelimit-policy"] == '"default";q=100;w=60'
        assert problem(refused)["title"] == "Too Many Requests"
        assert ours.line_of(refused)["reason"] == "rate_limited"
        assert ours.received == 100
        assert ours.get("/health").status == 200  # health stands before the limit
        # Nobody believes a client that calls itself somebody else.
        assert ours.get("/users", "X-Forwarded-For: 203.0.113.9").status == 429


def test_clients_behind_trusted_proxies_have_a_limit_each(tmp_path):
    trusted = ("trusted_proxies =  ", "trusted_proxies = 127.0.0.0/8, 10.0.0.0/8 ")
    limit = ("limit = 100/minute", "limit = 2/minute")
    with running(tmp_path, *PUBLIC, trusted, limit) as ours:

        def statuses(forwarded_for):
            return [ours.get("/users", f"X-Forwarded-For: {forwarded_for}").status for _ in range(3)]

        assert statuses("203.0.113.1") == [200, 200, 429]
        assert statuses("203.0.113.2") == [200, 200, 429]
        # Read from the right: what a client wrote itself stands on the left, and 10.1.1.1 is a proxy of ours.
        assert statuses("203.0.113.77, 203.0.113.3, 10.1.1.1") == [200, 200, 429]
        assert ours.get("/users", "X-Forwarded-For: 203.0.113.88, 203.0.113.3").status == 429
        # IPv6 by /64: the next address is the same client.
        assert statuses("2001:db8::1") == [200, 200, 429]
        assert ours.get("/users", "X-Forwarded-For: 2001:db8::2").status == 429
        assert ours.get("/users", "X-Forwarded-For: 2001:db8:0:1::2").status == 200
        answer = ours.get("/users", "X-Forwarded-For: 203.0.113.5")
        assert ours.line_of(answer)["client"] == "203.0.113.5"


def test_refused_tokens_are_limited_too(tmp_path):
    with running(tmp_path, ("limit = 100/minute", "limit = 2/minute")) as ours:
        assert [ours.get("/users").status for _ in range(3)] == [401, 401, 429]
