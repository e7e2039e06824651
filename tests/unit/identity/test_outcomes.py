"""The numbers of identity handlers and key sets, as the page of metrics has them."""

from types import SimpleNamespace

import pytest

from gproxy.http.errors import ClientGone
from gproxy.identity import outcomes as module
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.outcomes import OUTCOMES, Asked, Outcomes, watch_keys
from gproxy.runtime import Runtime


def values(runtime):
    return {(row.name, row.labels): row.cells[0] for row in runtime.metrics.read() if row.name.startswith("gproxy_")}


def test_each_outcome_is_a_series_from_the_start():
    runtime, outcomes = Runtime(), Outcomes()
    outcomes.watch(runtime, "tokens")
    found = values(runtime)
    assert [found["gproxy_auth_total", ("tokens", outcome)] for outcome in OUTCOMES] == [0] * 7


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("auth_missing", "missing"),
        ("auth_invalid", "invalid"),
        ("auth_scope", "denied"),
        ("forbidden", "denied"),
        ("cross_site", "denied"),
        ("auth_throttled", "throttled"),
        ("auth_unavailable", "unavailable"),
        ("a_user_s_own", "invalid"),
    ],
)
def test_each_reason_counts_as_its_outcome(reason, outcome):
    runtime, outcomes = Runtime(), Outcomes()
    outcomes.watch(runtime, "tokens")
    outcomes.ok += 2
    outcomes.count(reason)
    found = {labels[1]: value for (name, labels), value in values(runtime).items() if name == "gproxy_auth_total"}
    assert found == dict.fromkeys(OUTCOMES, 0) | {"ok": 2, outcome: 1}


def test_outside_calls_have_their_outcome_and_duration(monkeypatch):
    runtime = Runtime()
    asked = Asked(runtime, "opaque")
    now = iter((10.0, 10.25, 20.0, 20.25, 30.0, 30.5, 40.0, 41.0, 50.0))
    monkeypatch.setattr(module, "monotonic", lambda: next(now))
    with asked.timed():
        pass
    with asked.timed() as call:
        call.admits = False
    for error in (Untrusted("it is not active"), Unavailable("no answer"), ClientGone()):
        with pytest.raises(type(error)), asked.timed():
            raise error
    found = values(runtime)
    numbers = [found["gproxy_auth_asked_total", ("opaque", outcome)] for outcome in ("ok", "rejected", "failed")]
    assert numbers == [1, 2, 1]
    assert found["gproxy_auth_asked_seconds", ("opaque",)] == 2.0


def test_key_sets_have_their_number_age_and_fetches():
    runtime = Runtime()
    keys = SimpleNamespace(name="https://id.example", count=0, age=None, fetches={"ok": 0, "failed": 2})
    watch_keys(runtime, keys)
    place = (keys.name,)
    found = values(runtime)
    assert found["gproxy_keys", place] == 0
    assert found["gproxy_keys_age_seconds", place] == float("inf")
    assert found["gproxy_keys_fetches_total", (*place, "failed")] == 2
    keys.count, keys.age = 3, 61.5
    keys.fetches["ok"] += 1
    found = values(runtime)
    assert found["gproxy_keys", place] == 3
    assert found["gproxy_keys_age_seconds", place] == 61.5
    assert found["gproxy_keys_fetches_total", (*place, "ok")] == 1
