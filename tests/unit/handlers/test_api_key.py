"""API keys: what admits, what rejects, what is asked how often, and what a changed file does."""

import os
from itertools import count

import gevent
import pytest

from gproxy.config.types import ModuleRef, Rate, Seconds
from gproxy.handlers.any_of import AnyOf
from gproxy.handlers.api_key import APIKeys
from gproxy.http.errors import HTTPError
from gproxy.http.identity import Identity
from gproxy.identity.credential_identifier import CredentialIdentifier
from gproxy.identity.secrets.api_keys import hash_of, new_key
from gproxy.identity.sources import Source
from gproxy.runtime import Runtime
from gproxy.testing import Clock, answer, request

NOW = 1_800_000_000.0
KEY, OTHER, FOREIGN = new_key(), new_key(), "foreign-key-of-20-signs"
stamps = count(1)


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.ini"


def write(file, text):
    file.write_text(text)
    os.utime(file, ns=(0, next(stamps)))


def opened(handler, clock):
    runtime = Runtime(clock=clock)
    runtime.spawn = lambda *_: None  # the tests look at the file themselves
    handler.open(runtime)
    return handler


def changed(handler, file, text):
    """Change the file; its two looks follow."""
    write(file, text)
    for _ in range(2):
        handler._file.look(Runtime(), "handler:api_key")


def of_file(file, clock, text, **options):
    write(file, text)
    return opened(APIKeys(keys=file, **options), clock)


def of_lookup(clock, find, **options):
    handler = APIKeys(lookup=ModuleRef("mine", "find"), **options)
    handler.find = find
    return opened(handler, clock)


def outcome(handler, key=KEY, **headers):
    """Return the status, and for an error its text."""
    asked = request(headers={"X-API-Key": key} | headers)
    try:
        return handler(asked, answer()).status
    except HTTPError as error:
        return error.status, error.detail


SECTION = f"[acme]\nhash = {hash_of(KEY)}\n"


def test_a_key_admits_its_user_with_claims_and_no_backend_gets_it(file, clock):
    options = "scopes = read, write\nroles = partner\nplan = pro\n"
    handler = of_file(file, clock, SECTION + options, forward={"sub": "X-User", "plan": "X-Plan", "scope": "X-Scopes"})
    asked, behind = request(headers={"X-API-Key": KEY, "X-Plan": "forged"}), answer()
    assert handler(asked, behind).status == 200
    identity = asked.identity
    assert (identity.user, identity.kind, identity.id) == ("acme", "api_key", "api_key  acme")
    assert (identity.scopes, identity.roles, identity.claim("plan")) == ({"read", "write"}, {"partner"}, "pro")
    headers = behind.requests[0].headers
    assert (headers["X-User"], headers["X-Plan"], headers["X-Scopes"]) == ("acme", "pro", "read,write")
    assert "X-API-Key" not in headers


def test_what_is_rejected_and_why(file, clock):
    handler = of_file(file, clock, f"[a]\nhash={hash_of(KEY)}\ndisabled=yes\n[b]\nhash={hash_of(FOREIGN)}\n")
    rejected = {
        KEY: "it is disabled", OTHER: "it is unknown", FOREIGN + "x": "it is unknown",
        KEY[:-1] + "!": "it is mistyped", "short": "it is too short", "": "it is too short",
    }  # fmt: skip
    for key, reason in rejected.items():
        assert outcome(handler, key) == (401, f"the key is rejected: {reason}")
    assert outcome(handler, FOREIGN) == 200


def test_the_challenges(file, clock):
    handler = of_file(file, clock, SECTION)
    for headers, reason in [({}, "auth_missing"), ({"X-API-Key": OTHER}, "auth_invalid")]:
        with pytest.raises(HTTPError) as caught:
            handler(request(headers=headers), answer())
        assert (caught.value.reason, caught.value.headers["WWW-Authenticate"]) == (reason, 'Key realm="gproxy"')


def test_a_key_expires_although_it_is_remembered(file, clock):
    handler = of_file(file, clock, SECTION + "expires = 2027-01-16\n")  # NOW is a day before
    assert [outcome(handler) for _ in range(3)] == [200] * 3
    clock.advance(86_400)
    assert outcome(handler) == (401, "the key is rejected: it has expired")


def test_a_key_for_a_network(file, clock):
    handler = of_file(file, clock, SECTION + "networks = 192.0.2.0/24\n", max_failures=None)
    for _ in range(3):
        for client, expected in [("192.0.2.7", 200), ("198.51.100.7", 401)]:
            asked = request(headers={"X-API-Key": KEY})
            asked.client = client
            try:
                status = handler(asked, answer()).status
            except HTTPError as error:
                status = error.status
            assert status == expected


def test_a_change_of_the_file_is_in_force_at_once(file, clock):
    handler = of_file(file, clock, SECTION, max_failures=None)
    assert [outcome(handler), outcome(handler), outcome(handler, OTHER)[0]] == [200, 200, 401]
    changed(handler, file, SECTION + f"    {hash_of(OTHER)}\n")  # two keys while it is rotated
    assert [outcome(handler), outcome(handler, OTHER)] == [200, 200]
    changed(handler, file, f"[acme]\nhash = {hash_of(OTHER)}\n")
    assert [outcome(handler)[0], outcome(handler, OTHER)] == [401, 200]
    changed(handler, file, f"[acme]\nhash = {hash_of(OTHER)}\ndisabled = yes\n")
    assert outcome(handler, OTHER) == (401, "the key is rejected: it is disabled")


def test_a_bad_change_keeps_the_keys(file, clock, caplog):
    handler = of_file(file, clock, SECTION)
    changed(handler, file, "[acme]\nhash = " + OTHER)
    assert outcome(handler) == 200
    assert "keeping the previous content" in caplog.text
    assert OTHER not in caplog.text


def test_a_known_key_is_neither_hashed_nor_looked_up(file, clock, monkeypatch):
    handler = of_file(file, clock, SECTION)
    assert [outcome(handler), outcome(handler)] == [200, 200]
    monkeypatch.setattr(handler, "judge", None)
    assert [outcome(handler) for _ in range(3)] == [200] * 3


def test_a_lookup_is_asked_once_in_its_time(clock):
    asked = []

    def find(text):
        asked.append(text)
        return {"user": "acme", "plan": "pro", "scopes": ["a"]} if text == hash_of(KEY) else None

    handler = of_lookup(clock, find, cache=Seconds(60.0), negative_cache=Seconds(10.0))
    for _ in range(3):
        assert [outcome(handler), outcome(handler, OTHER)[0]] == [200, 401]
    assert asked == [hash_of(KEY), hash_of(OTHER)]
    clock.advance(10)
    assert [outcome(handler), outcome(handler, OTHER)[0]] == [200, 401]
    assert asked[2:] == [hash_of(OTHER)]
    clock.advance(50)
    outcome(handler)
    assert asked[3:] == [hash_of(KEY)]


def test_without_caches_each_request_asks(clock):
    asked = []
    handler = of_lookup(clock, asked.append, cache=Seconds(0.0), negative_cache=Seconds(0.0), max_failures=None)
    assert {outcome(handler)[0] for _ in range(3)} == {401}
    handler.find = lambda text: asked.append(text) or {"user": "acme"}
    assert {outcome(handler) for _ in range(3)} == {200}
    assert len(asked) == 6


def test_many_requests_with_a_key_wait_for_one_lookup(clock):
    asked = []

    def find(text):
        asked.append(text)
        gevent.sleep(0.01)
        return {"user": "acme"}

    handler = of_lookup(clock, find)
    greenlets = [gevent.spawn(outcome, handler) for _ in range(20)]
    gevent.joinall(greenlets)
    assert [greenlet.value for greenlet in greenlets] == [200] * 20
    assert asked == [hash_of(KEY)]


def broken(_):
    raise OSError("the database is gone")


def broken_twice(_):
    raise OSError("gone\n2026-01-01 a forged line")


@pytest.mark.parametrize(
    ("find", "reason"),
    [
        (broken, "mine:find failed: OSError: the database is gone"),
        (
            lambda _: {"plan": "pro"},
            "mine:find failed: ValueError: user: is missing; expected a text of printable characters",
        ),
        (broken_twice, "mine:find failed: OSError: gone 2026-01-01 a forged line"),
        (lambda _: gevent.sleep(5), "no answer within 0.05 s"),
    ],
)
def test_a_lookup_that_gives_no_answer_is_no_rejection(clock, caplog, find, reason):
    handler = of_lookup(clock, find, timeout=Seconds(0.05))
    assert outcome(handler) == (503, "identity is temporarily unavailable")
    assert reason in caplog.text
    handler.find = lambda _: {"user": "acme"}
    gevent.sleep(0.05)
    assert outcome(handler) == 200


def test_thirty_bad_keys_a_minute(file, clock):
    handler = of_file(file, clock, SECTION)
    assert handler.max_failures == Rate.parse("30/minute")
    assert outcome(handler) == 200
    statuses = [outcome(handler, f"{FOREIGN}{number}")[0] for number in range(31)]
    assert statuses == [401] * 30 + [429]
    assert outcome(handler) == 200


class Bearers(CredentialIdentifier):
    """Another member of an `any_of`, for tokens that begin with `t.`."""

    def recognises(self, request, taken=()):
        return self.has_content(request) and "t." in request.headers.get("Authorization", "")

    def verify(self, credential, request):
        return Identity(user=credential)


def test_among_alternatives_a_key_is_recognised_by_its_prefix_or_its_own_source(file, clock):
    bearer = (Source.parse("bearer"),)
    write(file, SECTION + f"    {hash_of(FOREIGN)}")
    tokens = Bearers(sources=bearer)
    keys = APIKeys(keys=file, sources=(*bearer, Source.parse("header:X-API-Key")))
    choice = AnyOf(of=("tokens", "keys"), members=(tokens, keys))
    for headers, user in [
        ({"Authorization": "Bearer t.1"}, "t.1"),
        ({"Authorization": f"Bearer {KEY}"}, "acme"),
        ({"X-API-Key": FOREIGN}, "acme"),
    ]:
        asked = request(headers=headers)
        assert choice(asked, answer()).status == 200
        assert asked.user == user
    with pytest.raises(HTTPError) as caught:  # neither a token nor a key of ours
        choice(request(headers={"Authorization": f"Bearer {FOREIGN}"}), answer())
    assert (caught.value.detail, len(caught.value.headers.all("WWW-Authenticate"))) == ("no handler accepts this credential", 2)  # fmt: skip


def test_what_explain_tells_of_a_key(file, clock):
    section = SECTION + "plan = pro\nnetworks = 10.0.0.0/8\n"
    disabled = f"[b]\nhash = {hash_of(OTHER)}\ndisabled = yes"
    handler = of_file(file, clock, section + disabled, scope=("read",))
    checks, _, identity = handler.examine(KEY)
    assert [(check.name, check.holds) for check in checks] == [
        ("form", True),
        ("use", True),
        ("networks", None),
        ("scope", False),
    ]
    assert identity.claim("plan") == "pro"
    for key, reason in [(OTHER, "it is disabled"), (FOREIGN, "it is unknown"), ("gk_x", "it is mistyped")]:
        failed = handler.examine(key).checks[-1 if key != OTHER else 1]
        assert (failed.holds, failed.reason) == (False, reason)
    assert [check.holds for check in of_lookup(clock, None).examine(KEY).checks] == [True, None]
    assert KEY not in str(handler.examine(KEY)) + str(handler.examine(FOREIGN))


def test_warnings_about_expired_keys(file):
    write(file, SECTION + f"expires = 2020-01-01\n[b]\nhash = {hash_of(OTHER)}\n")
    assert APIKeys(keys=file).warnings == [
        ("keys", f"{file}:1: the key of acme has expired; remove it or change expires")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "keys, lookup: expected one of the two"),
        ({"lookup": ModuleRef("a", "b"), "keys": "keys.ini"}, "keys, lookup: expected one of the two"),
        ({"lookup": ModuleRef("a", "b"), "cache": Seconds(-1.0)}, "cache: is negative; expected 0s or more"),
        ({"lookup": ModuleRef("a", "b"), "timeout": Seconds(0.0)}, "timeout: expected more than 0s"),
    ],
)
def test_mistakes_in_the_options(options, message):
    with pytest.raises(ValueError, match=message):
        APIKeys(**options)
