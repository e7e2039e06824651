"""The metadata of an issuer: which form is found, how often it is read, and what a failure changes."""

import json

import gevent
import pytest

from gproxy.identity.errors import Unavailable
from gproxy.identity.key_sets.issuer_metadata import IssuerMetadata
from gproxy.identity.outgoing.client import Answer, Outgoing, OutgoingError
from gproxy.runtime import Runtime
from gproxy.testing import Clock

ISSUER = "https://id.example.com/a"
OPENID = "https://id.example.com/a/.well-known/openid-configuration"
OAUTH = "https://id.example.com/.well-known/oauth-authorization-server/a"


class FakeOutgoing:
    """Answers with documents by URL; 404 without one, an error if all is down."""

    def __init__(self):
        self.documents = {OPENID: {"issuer": ISSUER, "jwks_uri": "https://id.example.com/keys"}}
        self.asked = []
        self.down = ""

    def fetch(self, url, *, limit, **_):
        self.asked.append(url)
        gevent.sleep(0)
        if self.down:
            raise OutgoingError(self.down)
        found = self.documents.get(url)
        return Answer(404, {}, b"") if found is None else Answer(200, {}, json.dumps(found).encode())


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def outgoing():
    return FakeOutgoing()


@pytest.fixture
def metadata(clock, outgoing):
    runtime = Runtime(monotonic=clock)
    runtime.singles[Outgoing] = outgoing
    return IssuerMetadata(ISSUER, runtime)


def test_nothing_is_fetched_before_it_is_needed(metadata, outgoing):
    assert outgoing.asked == []


def test_the_first_form_is_enough(metadata, outgoing):
    assert metadata.url("jwks_uri") == ("https://id.example.com/keys", False)
    assert metadata.url("jwks_uri").url == "https://id.example.com/keys"
    assert outgoing.asked == [OPENID]


def test_the_second_form_is_found(metadata, outgoing):
    outgoing.documents[OAUTH] = outgoing.documents.pop(OPENID)
    assert metadata.read()["issuer"] == ISSUER
    assert outgoing.asked == [OPENID, OAUTH]


def test_all_who_need_it_wait_for_one_fetch(metadata, outgoing):
    waiting = [gevent.spawn(metadata.read) for _ in range(50)]
    gevent.joinall(waiting)
    assert all(one.get()["issuer"] == ISSUER for one in waiting)
    assert outgoing.asked == [OPENID]


def test_a_document_of_another_issuer_is_not_believed(metadata, outgoing):
    outgoing.documents[OPENID]["issuer"] = "https://evil.example"
    with pytest.raises(
        Unavailable, match=r"metadata of https://id.example.com/a: the metadata is of issuer 'https://evil"
    ):
        metadata.read()


def test_a_server_that_is_down_is_asked_once_a_second(metadata, outgoing, clock):
    outgoing.down = "no answer within 5 s"
    for _ in range(3):
        with pytest.raises(Unavailable, match="no answer within 5 s"):
            metadata.url("jwks_uri")
    assert outgoing.asked == [OPENID]
    clock.advance(1)
    outgoing.down = ""
    assert metadata.read()


def test_after_an_unexpected_exception_it_is_asked_once_a_second_too(metadata, outgoing, clock, caplog):
    outgoing.documents[OPENID]["jwks_uri"] = object()  # `json.dumps` raises TypeError
    for _ in range(3):
        with pytest.raises(Unavailable, match="TypeError"):
            metadata.url("jwks_uri")
    assert outgoing.asked == [OPENID]
    assert caplog.text.count("Traceback") == 1
    outgoing.documents[OPENID]["jwks_uri"] = "https://id.example.com/keys"
    clock.advance(1)
    assert metadata.url("jwks_uri").url == "https://id.example.com/keys"


def test_it_is_read_again_after_an_hour_and_nobody_waits(metadata, outgoing, clock):
    metadata.read()
    outgoing.documents[OPENID] |= {"jwks_uri": "https://id.example.com/moved"}
    clock.advance(3599)
    metadata.read()
    assert len(outgoing.asked) == 1
    clock.advance(1)
    assert metadata.url("jwks_uri").url == "https://id.example.com/keys"
    gevent.sleep(0.01)
    assert metadata.url("jwks_uri").url == "https://id.example.com/moved"
    assert len(outgoing.asked) == 2


def test_an_old_document_stays_while_it_cannot_be_read_again(metadata, outgoing, clock):
    metadata.read()
    outgoing.down = "status 500"
    clock.advance(3600)
    for _ in range(3):
        metadata.reload_if_old()
        assert metadata.url("jwks_uri").url == "https://id.example.com/keys"
    assert len(outgoing.asked) == 2
    clock.advance(60)
    outgoing.down = ""
    metadata.reload_if_old()
    assert (len(outgoing.asked), metadata.last_error) == (3, "")


def test_a_missing_endpoint_is_unavailable(metadata):
    with pytest.raises(Unavailable, match="the metadata has no introspection_endpoint"):
        metadata.url("introspection_endpoint")
