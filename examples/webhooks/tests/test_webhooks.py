"""The gateway of gproxy.ini, without sockets and in virtual time."""

import hmac
import logging

import pytest
from gproxy.testing import answer, refused

BODY = b'{"id": "event-1"}'


@pytest.fixture
def send(gproxy):
    """Send an event as the payment service does."""

    def send(body=BODY, *, age=0, secret=b"a secret of the example"):
        sent = int(gproxy.clock.wall()) - age
        mac = hmac.new(secret, b"%d.%s" % (sent, body), "sha256").hexdigest()
        return gproxy.post("/hooks/payments", body, {"Signature": f"t={sent},v1={mac}"})

    return send


def test_an_event_is_forwarded_once(gproxy, send):
    payments = gproxy.backend("payments", answer(202))
    assert send().status == 202
    assert send().json() == {"status": "known"}
    assert send(b'{"id": "event-2"}').status == 202
    assert [request.body.buffer(100) for request in payments.requests] == [BODY, b'{"id": "event-2"}']


def test_an_event_is_forgotten_after_a_day(gproxy, send):
    payments = gproxy.backend("payments")
    send()
    gproxy.clock.advance(24 * 3600 + 1)
    send()
    assert len(payments.requests) == 2


def test_a_failed_event_may_come_again(gproxy, send):
    gproxy.expect_warning("refuses connections")
    gproxy.backend("payments", refused())
    assert send().status == 502
    gproxy.backend("payments", answer(202))
    assert send().status == 202


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"secret": b"another"}, "wrong_signature"), ({"age": 301}, "old_signature"), ({"age": -301}, "old_signature")],
)
def test_bad_signatures_reach_no_backend(gproxy, send, change, reason):
    payments = gproxy.backend("payments")
    assert send(**change).status == 401
    assert gproxy.line["reason"] == reason
    assert payments.requests == []


@pytest.mark.parametrize("signature", ["", "t=1", "t=,v1=", "t=9999999999999999999,v1=x", "v1=x", "t=x,v1=é"])
def test_odd_signatures_get_401(gproxy, signature):
    assert gproxy.post("/hooks/payments", BODY, {"Signature": signature} if signature else {}).status == 401


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"id": ""}', b"no JSON", b'{"id": "%s"}' % (b"x" * 65)])
def test_an_event_needs_an_id(send, body):
    assert send(body).status == 400


def test_an_id_may_have_any_characters(send):
    assert send(b'{"id": "%s"}' % ("\U0001f4b6".encode() * 64)).status == 200


def test_a_long_body_is_a_413(send):
    assert send(b'{"id": "1", "x": "%s"}' % (b"x" * 70_000)).status == 413


def test_the_job_reports(gproxy, send, caplog):
    from webhooks import report  # importable since the fixture has loaded the settings beside it

    with caplog.at_level(logging.INFO, "webhooks"):
        for _ in range(3):
            send()
        report(gproxy.runtime)
    assert "forwarded 1, repeated 2" in caplog.text
