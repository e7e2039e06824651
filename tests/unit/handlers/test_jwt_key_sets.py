"""Tokens that keys of an issuer have signed: what a refresh of the key set ends, and what it leaves alone."""

import json

import pytest

from gproxy.handlers.jwt import JWT
from gproxy.http.errors import HTTPError
from gproxy.identity.key_sets.key_set import Key
from gproxy.identity.key_sets.key_sets import KeySets
from gproxy.identity.outgoing.client import Answer, Outgoing, OutgoingError
from gproxy.identity.tokens.issuers import Issuer as IssuerOption
from gproxy.runtime import Runtime
from gproxy.testing import answer, request
from gproxy.testing.issuer import Issuer


class FakeOutgoing:
    """Answers with what the issuer publishes; fails while it is down."""

    def __init__(self, issuer):
        self.issuer = issuer
        self.is_down = False

    def fetch(self, url, *, limit, public=False):
        if self.is_down:
            raise OutgoingError("down")
        content = self.issuer.document if "well-known" in url else {"keys": self.issuer.published}
        return Answer(200, {}, json.dumps(content).encode())


@pytest.fixture
def issuer():
    issuer = Issuer()  # it signs and publishes, and need not listen
    yield issuer
    issuer.stop()


@pytest.fixture
def runtime(tmp_path, issuer):
    runtime = Runtime(state_dir=tmp_path)
    runtime.singles[Outgoing] = FakeOutgoing(issuer)
    yield runtime
    runtime.single(KeySets).close()


@pytest.fixture
def handler(runtime, issuer):
    handler = JWT(issuer=(IssuerOption.parse(issuer.url),), audience=("api",))
    handler.open(runtime)
    runtime.single(KeySets).open()
    return handler


@pytest.fixture
def verified(monkeypatch):
    """The ids of the keys that have verified a signature."""
    found = []
    verify = Key.verify

    def counting(key, signed, signature):
        found.append(key.kid)
        return verify(key, signed, signature)

    monkeypatch.setattr(Key, "verify", counting)
    return found


def status(handler, token):
    try:
        return handler(request("GET", "/", {"Authorization": f"Bearer {token}"}), answer()).status
    except HTTPError as error:
        return error.status


def refresh(runtime):
    for live in runtime.single(KeySets):
        live.step()


def test_a_withdrawn_key_ends_its_tokens_and_others_are_not_verified_again(handler, issuer, runtime, verified):
    old = issuer.token()
    issuer.rotate()
    new = issuer.token()
    assert [status(handler, token) for token in (old, new, old, new)] == [200] * 4
    assert verified == ["k1", "k2"]
    issuer.withdraw("k1")
    refresh(runtime)
    assert [status(handler, token) for token in (new, new, old)] == [200, 200, 401]
    assert verified == ["k1", "k2"]


def test_an_unchanged_set_ends_nothing(handler, issuer, runtime, verified):
    token = issuer.token()
    for _ in range(3):
        assert status(handler, token) == 200
        refresh(runtime)
    assert verified == ["k1"]


def test_a_failed_fetch_ends_nothing(handler, issuer, runtime, verified):
    token = issuer.token()
    assert status(handler, token) == 200
    runtime.single(Outgoing).is_down = True
    refresh(runtime)
    assert [status(handler, token), status(handler, issuer.token("bob"))] == [200, 200]


def test_a_changed_key_with_the_same_id_ends_its_tokens(handler, issuer, runtime):
    token = issuer.token()
    assert status(handler, token) == 200
    other = Issuer()
    issuer.published = other.published
    other.stop()
    refresh(runtime)
    assert status(handler, token) == 401


def test_a_rejected_token_is_good_once_its_key_is_published(handler, issuer, runtime):
    issuer.rotate(publish=False)
    token = issuer.token()
    assert status(handler, token) == 401
    issuer.publish(issuer.key().public)
    refresh(runtime)
    assert status(handler, token) == 200
