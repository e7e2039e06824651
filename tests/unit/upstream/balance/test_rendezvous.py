"""The hash policies: one key, one backend; who leaves takes only its own keys along."""

from collections import Counter

import pytest

from gproxy.http.request import request

LETTERS = "abcdefgh"


def places(group, count=2000):
    return {n: group.pick(request(target=f"/item/{n}")) for n in range(count)}


def test_a_lost_backend_moves_its_own_keys_and_no_other(group):
    some = group(",".join(LETTERS), balance="uri_hash")
    before = places(some)
    some.lose("c")
    after = places(some)
    assert {n for n in before if before[n] != after[n]} == {n for n in before if before[n] == "c"}
    assert "c" not in after.values()
    assert len({after[n] for n in before if before[n] == "c"}) == 7  # spread over all that are left
    some.regain("c")
    assert places(some) == before


def test_losing_another_one_meanwhile_and_getting_both_back(group):
    some = group(",".join(LETTERS), balance="uri_hash")
    before = places(some)
    some.lose("c")
    places(some)
    some.lose("f")
    both = places(some)
    assert {n for n in before if before[n] != both[n]} == {n for n in before if before[n] in "cf"}
    some.regain("c")
    only_f = places(some)
    assert {n for n in before if before[n] != only_f[n]} == {n for n in before if before[n] == "f"}


def test_a_new_backend_takes_its_share_and_moves_nothing_between_the_others(group):
    seven, eight = group(",".join(LETTERS[:7]), balance="uri_hash"), group(",".join(LETTERS), balance="uri_hash")
    before, after = places(seven), places(eight)
    moved = {n for n in before if before[n] != after[n]}
    assert moved == {n for n in after if after[n] == "h"}
    assert len(moved) / len(before) == pytest.approx(1 / 8, abs=0.03)


def test_keys_are_spread_evenly_and_by_weight(group):
    even = Counter(places(group(",".join(LETTERS), balance="uri_hash"), 8000).values())
    assert all(count == pytest.approx(1000, rel=0.15) for count in even.values())
    weighted = Counter(places(group("a weight=3,b", balance="uri_hash"), 8000).values())
    assert weighted["a"] == pytest.approx(6000, rel=0.05)


def test_the_order_of_the_file_does_not_matter(group):
    assert places(group("a,b,c", balance="uri_hash"), 300) == places(group("c,a,b", balance="uri_hash"), 300)


def test_this_is_where_keys_are_today_and_in_every_later_release(group):
    """Gateways side by side must agree, and so must the old and the new one during an update."""
    found = places(group(",".join(LETTERS), balance="uri_hash"), 24)
    assert "".join(found.values()) == PLACES


PLACES = "dbbefggbecggdcdbfdffgcbe"


def test_a_tried_or_full_backend_passes_its_keys_on_as_if_it_were_removed(group):
    some = group("a max_connections=1,b,c,d", balance="uri_hash")
    before = places(some, 300)
    some.lose("a")
    lost = places(some, 300)
    some.regain("a")
    assert {n: some.pick(request(target=f"/item/{n}"), tried="a") for n in before} == lost
    some["a"].active = 1
    assert places(some, 300) == lost


@pytest.mark.parametrize(
    ("options", "one", "same", "none"),
    [
        ({"balance": "header_hash", "hash_key": "X-Tenant"}, {"headers": {"X-Tenant": "%d"}}, {"headers": {"x-tenant": "%d"}, "target": "/other"}, {}),
        ({"balance": "cookie_hash", "hash_key": "sid"}, {"headers": {"Cookie": "a=b; sid=%d; c=d"}}, {"headers": {"Cookie": "sid=%d"}}, {"headers": {"Cookie": "xsid=5; sidx=5"}}),
        ({"balance": "query_hash", "hash_key": "user"}, {"target": "/x?a=b&user=%d&c=d"}, {"target": "/y?user=%d"}, {"target": "/x?xuser=5&userx=6"}),
        ({"balance": "ip_hash"}, {"client": "192.0.2.%d"}, {"client": "::ffff:192.0.2.%d"}, None),
        ({"balance": "ip_hash"}, {"client": "2001:db8:0:%d::1"}, {"client": "2001:db8:0:%d:ffff::2"}, None),
    ],
)  # fmt: skip
def test_what_each_policy_looks_at(group, options, one, same, none):
    def asked(words, number):
        filled = {
            name: {k: v.replace("%d", str(number)) for k, v in value.items()}
            if name == "headers"
            else value.replace("%d", str(number))
            for name, value in words.items()
        }
        return request(**filled)

    some = group(",".join(LETTERS), **options)
    found = {number: some.pick(asked(one, number)) for number in range(100)}
    assert {number: some.pick(asked(same, number)) for number in range(100)} == found
    assert len(set(found.values())) == 8
    if none is not None:  # in turn
        assert some.picks(16, asked(none, 0)) == LETTERS * 2


def test_a_key_beyond_latin_1_or_of_any_length_is_a_key_too(group):
    some = group(",".join(LETTERS), balance="uri_hash")
    for path in ("/ü/日本", "/\udcff", "/" + "x" * 30_000):
        asked = request()
        asked.path = path
        assert len(set(some.picks(3, asked))) == 1
