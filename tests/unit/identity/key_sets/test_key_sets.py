"""The key sets of a worker: one for each place, from URLs, issuers, files and the last run."""

import json
import logging

import gevent
import pytest

from gproxy.identity.errors import Unavailable
from gproxy.identity.key_sets import key_sets
from gproxy.identity.key_sets.kept_keys import keep, kept_keys
from gproxy.identity.key_sets.key_sets import KeySets
from gproxy.identity.key_sets.key_source import KeySource
from gproxy.identity.outgoing.client import Answer, Outgoing, OutgoingError
from gproxy.runtime import Runtime
from gproxy.testing import Clock
from unit.identity.issuing import AUTO, ids, published

URL = "https://id.example.com/keys"
ISSUER = "https://id.example.com"
OPENID = f"{ISSUER}/.well-known/openid-configuration"
PLACE = KeySource.parse(URL)
DISCOVERED = KeySource.of_issuer(ISSUER)


class FakeOutgoing:
    """Answers with bytes by URL, else with 404; fails for a URL whose bytes are a text."""

    def __init__(self):
        self.answers = {URL: published("k1"), OPENID: self.document(URL)}
        self.asked = []
        self.public = {}
        self.before = lambda: None

    @staticmethod
    def document(url):
        return json.dumps({"issuer": ISSUER, "jwks_uri": url}).encode()

    def fetch(self, url, *, limit, public=False):
        self.asked.append(url)
        self.public[url] = public
        self.before()
        found = self.answers.get(url, b"")
        if isinstance(found, str):
            raise OutgoingError(found)
        return Answer(200 if found else 404, {}, found)


@pytest.fixture
def outgoing():
    return FakeOutgoing()


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def runtime(tmp_path, outgoing, clock):
    runtime = Runtime(state_dir=tmp_path, clock=Clock(1_000_000.0), monotonic=clock)
    runtime.singles[Outgoing] = outgoing
    return runtime


@pytest.fixture
def sets(runtime):
    sets = runtime.single(KeySets)
    yield sets
    sets.close()


def test_all_handlers_that_name_a_place_share_its_set(sets, outgoing):
    one, other = sets.of(PLACE, algorithms=AUTO), sets.of(PLACE, algorithms=AUTO)
    sets.open()
    assert one.find("k1", "ES256") == other.find("k1", "ES256")
    assert outgoing.asked == [URL]
    assert [row["name"] for row in sets.snapshot()] == [URL]


def test_a_set_is_found_by_discovery(sets, outgoing):
    trusted = sets.of(DISCOVERED, algorithms=AUTO)
    sets.open()
    assert ids(trusted.keys) == ["k1"]
    assert outgoing.asked == [OPENID, URL]
    assert outgoing.public[URL] is False


def test_a_set_on_another_host_must_be_public(sets, outgoing):
    outgoing.answers = {
        OPENID: outgoing.document("https://keys.example.net/"),
        "https://keys.example.net/": published("k1"),
    }
    trusted = sets.of(DISCOVERED, algorithms=AUTO)
    sets.open()
    assert ids(trusted.keys) == ["k1"]
    assert outgoing.public["https://keys.example.net/"] is True


def test_a_set_that_has_moved_is_found_at_once(sets, outgoing):
    trusted = sets.of(DISCOVERED, algorithms=AUTO)
    sets.open()
    outgoing.answers = {OPENID: outgoing.document(f"{URL}2"), f"{URL}2": published("k2")}
    (live,) = sets
    live.step()
    assert ids(trusted.keys) == ["k2"]
    assert outgoing.asked[2:] == [URL, OPENID, f"{URL}2"]


def test_a_set_that_fails_and_has_not_moved_is_asked_once(sets, outgoing):
    sets.of(DISCOVERED, algorithms=AUTO)
    sets.open()
    outgoing.answers[URL] = "no answer within 5 s"
    (live,) = sets
    live.step()
    assert live.last_error == "no answer within 5 s"
    assert outgoing.asked[2:] == [URL, OPENID]


def test_an_issuer_that_is_down_is_asked_for_its_metadata_once(sets, outgoing):
    outgoing.answers[OPENID] = "no answer within 5 s"
    sets.of(DISCOVERED, algorithms=AUTO)
    sets.open()
    assert outgoing.asked == [OPENID]
    (row,) = sets.snapshot()
    assert row["last_error"] == f"metadata of {ISSUER}: no answer within 5 s"
    assert (row["state"], row["age"], row["count"]) == ("missing", None, 0)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "status 404"),
        (b"<html>", "the key set is not strict JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'{"keys": []}', "the key set has no usable key"),
    ],
)
def test_an_answer_that_is_no_key_set_is_a_failure(sets, outgoing, answer, error):
    outgoing.answers[URL] = answer
    trusted = sets.of(PLACE, algorithms=AUTO)
    sets.open()
    (live,) = sets
    assert live.last_error == error
    with pytest.raises(Unavailable):
        trusted.find("k1", "ES256")


def test_a_set_is_kept_and_serves_the_next_start_at_once(sets, outgoing, runtime, tmp_path, clock):
    sets.of(PLACE, algorithms=AUTO)
    sets.open()
    assert kept_keys(tmp_path, PLACE).fetched == 1_000_000
    later = Runtime(state_dir=tmp_path, clock=Clock(1_000_100.0), monotonic=clock)
    later.singles[Outgoing] = outgoing
    outgoing.answers[URL] = "no answer within 5 s"
    other = later.single(KeySets)
    trusted = other.of(PLACE, algorithms=AUTO)
    assert ids(trusted.find("k1", "ES256")) == ["k1"]
    assert other.snapshot()[0] | {"last_error": ""} == {
        "name": URL, "state": "stale", "age": 100, "count": 1, "last_error": "",
    }  # fmt: skip
    other.close()


def test_a_kept_set_that_is_too_old_is_ignored(sets, outgoing, tmp_path):
    keep(tmp_path, PLACE, published("k1"), 1_000_000 - 86_400)
    outgoing.answers[URL] = "no answer within 5 s"
    trusted = sets.of(PLACE, algorithms=AUTO)
    with pytest.raises(Unavailable):
        trusted.find("k1", "ES256")


def test_a_kept_set_that_others_may_write_is_ignored_with_a_warning(sets, outgoing, tmp_path, caplog):
    keep(tmp_path, PLACE, published("k1"), 1_000_000)
    (path,) = tmp_path.iterdir()
    path.chmod(0o666)
    outgoing.answers[URL] = "no answer within 5 s"
    trusted = sets.of(PLACE, algorithms=AUTO)
    assert "could have been written by others" in caplog.text
    assert trusted.keys == frozenset()


def test_a_folder_that_cannot_be_written_is_no_obstacle(runtime, sets, tmp_path, caplog):
    runtime.state_dir = tmp_path / "file"
    runtime.state_dir.write_text("")
    trusted = sets.of(PLACE, algorithms=AUTO)
    sets.open()
    gevent.sleep(0.05)
    assert ids(trusted.keys) == ["k1"]
    assert "cannot be kept" in caplog.text


def test_the_start_waits_for_sets_side_by_side_and_not_for_long(sets, outgoing, monkeypatch, caplog):
    monkeypatch.setattr(key_sets, "START", 0.4)
    outgoing.before = gevent.event.Event().wait
    for n in range(5):
        sets.of(KeySource.parse(f"{URL}{n}"), algorithms=AUTO)
    with gevent.Timeout(1.5):
        sets.open()
    assert len(outgoing.asked) == 5
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"keys of {URL}{n} are missing: requests with its tokens get 503" for n in range(5)]


def test_the_start_does_not_wait_for_a_set_that_is_kept(sets, outgoing, tmp_path):
    keep(tmp_path, PLACE, published("k1"), 1_000_000)
    outgoing.before = gevent.event.Event().wait
    sets.of(PLACE, algorithms=AUTO)
    with gevent.Timeout(2):
        sets.open()


def test_http_beyond_loopback_is_rejected_at_the_start(sets):
    with pytest.raises(ValueError, match="insecure = yes"):
        sets.of(KeySource.parse("http://id.example.com/keys"), algorithms=AUTO)


def test_a_file_is_fresh_for_ever_and_replaced_after_a_change(sets, runtime, tmp_path, clock):
    path = tmp_path / "ci.jwks"
    path.write_bytes(published("k1", "k2"))
    gone = []
    trusted = sets.of(KeySource.parse(f"file:{path}"), algorithms=AUTO, withdrawn=lambda keys: gone.append(ids(keys)))
    clock.advance(1e9)
    assert sets.snapshot() == [{"name": str(path), "state": "fresh", "age": 0, "count": 2, "last_error": ""}]
    path.write_bytes(published("k2", "k3"))
    (file,) = sets._files
    file.look(runtime, "keys")
    file.look(runtime, "keys")
    assert gone == [["k1"]]
    assert ids(trusted.keys) == ["k2", "k3"]


def test_health_and_metrics_see_the_sets(sets, runtime):
    sets.of(PLACE, algorithms=AUTO)
    sets.open()
    assert runtime.keys() == sets.snapshot()
