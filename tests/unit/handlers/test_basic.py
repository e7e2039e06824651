"""Users with passwords: what admits, what is hashed how often, and what a changed file does."""

import os
from base64 import b64encode
from itertools import count

import bcrypt
import gevent.event
import pytest

from gproxy.config.types import Rate
from gproxy.handlers import basic
from gproxy.handlers.basic import Basic
from gproxy.http.errors import HTTPError
from gproxy.identity.secrets import passwords
from gproxy.runtime import Runtime
from gproxy.testing import Clock, answer, request

NOW = 1_800_000_000.0
stamps = count(1)


def quick(password):
    """Return a bcrypt hash of the lowest cost."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


ALICE, BOB = f"alice:{quick('secret')}\n", f"bob:{quick('geheim: ü')}\n"


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "users"


@pytest.fixture
def compared(monkeypatch):
    """The passwords that were hashed."""
    found = []
    original = passwords.is_right

    def is_right(password, text):
        found.append(password)
        return original(password, text)

    monkeypatch.setattr(basic, "is_right", is_right)
    return found


def write(file, text):
    file.write_text(text)
    os.utime(file, ns=(0, next(stamps)))


def made(file, clock, text=ALICE + BOB, **options):
    write(file, text)
    handler = Basic(users=file, **options)
    runtime = Runtime(clock=clock)
    runtime.spawn = lambda *_: None  # the tests look at the file themselves
    handler.open(runtime)
    handler._run = lambda function, *arguments: function(*arguments)
    return handler


def changed(handler, file, text):
    write(file, text)
    for _ in range(2):
        handler._file.look(Runtime(), "handler:basic")


def credential(pair):
    return b64encode(pair if isinstance(pair, bytes) else pair.encode()).decode()


def asking(pair, client="192.0.2.9"):
    asked = request(headers={"Authorization": f"Basic {credential(pair)}"})
    asked.client = client
    return asked


def outcome(handler, pair, client="192.0.2.9"):
    """Return the status, and for an error its text."""
    try:
        return handler(asking(pair, client), answer()).status
    except HTTPError as error:
        return error.status, error.detail


WRONG = (401, "the login is rejected: user or password is wrong")


def test_a_user_with_a_password(file, clock):
    handler = made(file, clock, forward={"sub": "X-User"})
    for pair, user in [("alice:secret", "alice"), ("bob:geheim: ü", "bob")]:
        asked, behind = asking(pair), answer()
        assert handler(asked, behind).status == 200
        assert (asked.user, asked.identity.kind, behind.requests[0].headers["X-User"]) == (user, "basic", user)
    assert outcome(handler, "alice:Secret") == outcome(handler, "carol:secret") == outcome(handler, ":") == WRONG


@pytest.mark.parametrize(
    "pair", [b"alice", b"alice:se\ncret", b"\x01:x", b"alice:secret\x7f", b"alice:\xff", "alice:secret".encode("utf-16")]
)  # fmt: skip
def test_what_rfc_7617_excludes_is_malformed(file, clock, compared, pair):
    assert outcome(made(file, clock), pair) == (401, "the login is rejected: it is malformed")
    assert compared == []


@pytest.mark.parametrize("text", ["", "!!!", "YWxpY2U 6c2VjcmV0"])
def test_what_is_no_base64_is_malformed(file, clock, text):
    with pytest.raises(HTTPError, match="it is malformed"):
        made(file, clock)(request(headers={"Authorization": f"Basic {text}"}), answer())


def test_the_challenge(file, clock):
    for headers, reason in [({}, "auth_missing"), ({"Authorization": "Basic eDp5"}, "auth_invalid")]:
        with pytest.raises(HTTPError) as caught:
            made(file, clock)(request(headers=headers), answer())
        challenge = caught.value.headers["WWW-Authenticate"]
        assert (caught.value.reason, challenge) == (reason, 'Basic realm="gproxy", charset="UTF-8"')


def test_a_pair_is_hashed_once_in_its_time(file, clock, compared):
    handler = made(file, clock, max_failures=None)
    for _ in range(3):
        assert outcome(handler, "alice:secret") == 200
        assert outcome(handler, "alice:wrong") == WRONG
    assert compared == ["secret", "wrong"]
    clock.advance(60)
    assert (outcome(handler, "alice:secret"), outcome(handler, "alice:wrong")) == (200, WRONG)
    assert compared[2:] == ["wrong"]
    clock.advance(240)
    assert outcome(handler, "alice:secret") == 200
    assert compared[3:] == ["secret"]


def test_no_password_stays_in_memory(file, clock):
    handler = made(file, clock)
    for _ in range(3):
        outcome(handler, "alice:secret")
        outcome(handler, "alice:mistaken")
    kept = repr([vars(handler._cache), vars(handler._rejected)])
    texts = ("secret", "mistaken", *map(credential, ("alice:secret", "alice:mistaken")))
    assert not [text for text in texts if text in kept]
    assert Basic(users=file).digest("x") != Basic(users=file).digest("x")


def test_an_unknown_user_costs_a_hash_of_the_kinds_that_the_file_has(file, clock, compared):
    handler = made(file, clock, max_failures=None)
    for number in range(20):
        assert outcome(handler, f"user{number}:x{number}") == WRONG
    assert len(compared) == 20
    decoys = {handler._file.content.decoy(f"user{number}", b"key") for number in range(20)}
    assert len(decoys) == 2
    assert len({handler._file.content.decoy("user1", b"key") for _ in range(20)}) == 1


def test_a_file_without_users_admits_none_and_hashes_nothing(file, clock, compared):
    assert outcome(made(file, clock, "# none yet\n"), "alice:secret") == WRONG
    assert compared == []


def test_a_password_that_bcrypt_would_cut_is_rejected_for_known_and_unknown_users(file, clock, compared):
    handler = made(file, clock, f"alice:{quick('x' * 72)}")
    assert outcome(handler, f"alice:{'x' * 72}") == 200
    for user in ("alice", "carol"):
        error = (401, "the login is rejected: the password exceeds the limit of 72 bytes")
        assert outcome(handler, f"{user}:{'x' * 73}") == outcome(handler, f"{user}:{'ü' * 37}") == error
    assert compared == ["x" * 72]


def test_a_change_of_the_file_is_in_force_at_once(file, clock):
    handler = made(file, clock)
    assert [outcome(handler, "alice:secret"), outcome(handler, "alice:new")] == [200, WRONG]
    changed(handler, file, f"alice:{quick('new')}")
    assert [outcome(handler, "alice:secret"), outcome(handler, "alice:new")] == [WRONG, 200]
    changed(handler, file, BOB)
    assert outcome(handler, "alice:new") == WRONG


def test_a_password_that_changes_while_it_is_hashed_is_hashed_again(file, clock):
    handler = made(file, clock)

    def offload(function, *arguments):
        handler._run = lambda function, *arguments: function(*arguments)
        result = function(*arguments)
        changed(handler, file, f"alice:{quick('new')}")
        return result

    handler._run = offload
    assert outcome(handler, "alice:secret") == WRONG


def blocked(handler):
    """Let hashing block until `go` is set; return `go` and the list of the running hashes."""
    go, running, most = gevent.event.Event(), [], []

    def offload(function, *arguments):
        running.append(arguments)
        most.append(len(running))
        go.wait()
        gevent.sleep(0)
        running.remove(arguments)
        return function(*arguments)

    handler._run = offload
    return go, most


def test_two_hashes_at_a_time_thirty_two_wait_and_further_ones_get_503(file, clock):
    handler = made(file, clock, max_failures=None)
    go, most = blocked(handler)
    pairs = [f"alice:secret{number}" for number in range(34)]
    waiting = [gevent.spawn(outcome, handler, pair) for pair in pairs]
    gevent.sleep(0)
    assert outcome(handler, "alice:secret") == (503, "identity is temporarily unavailable")
    go.set()
    gevent.joinall(waiting)
    assert {greenlet.value for greenlet in waiting} == {WRONG}
    assert max(most) == 2
    assert outcome(handler, "alice:secret") == 200


def test_many_requests_with_a_pair_wait_for_one_hash(file, clock, compared):
    handler = made(file, clock)
    go, _ = blocked(handler)
    waiting = [gevent.spawn(outcome, handler, "alice:secret") for _ in range(20)]
    gevent.sleep(0)
    go.set()
    gevent.joinall(waiting)
    assert [greenlet.value for greenlet in waiting] == [200] * 20
    assert compared == ["secret"]


def test_who_exceeds_the_limit_while_others_wait_is_hashed_no_more(file, clock, compared):
    """Guesses that arrive together pass the first look; a second one follows when it is their turn."""
    handler = made(file, clock)
    assert handler.max_failures == Rate.parse("10/minute")
    waiting = [gevent.spawn(outcome, handler, f"alice:guess{number}") for number in range(30)]
    other = gevent.spawn(outcome, handler, "alice:secret", "198.51.100.1")
    gevent.joinall([*waiting, other])
    assert 10 <= len(compared) - 1 <= 12
    statuses = [greenlet.value[0] for greenlet in waiting]
    assert (statuses.count(401), statuses.count(429)) == (len(compared) - 1, 30 - len(compared) + 1)
    assert other.value == 200


def test_what_explain_tells_of_a_pair_without_a_hash(file, clock, compared):
    handler = made(file, clock)
    for text, expected in [
        (credential("alice:x"), [("form", True), ("user", True), ("password", None)]),
        (credential("carol:x"), [("form", True), ("user", False)]),
        ("!", [("form", False)]),
    ]:
        assert [(check.name, check.holds) for check in handler.examine(text).checks] == expected
    assert compared == []


def test_a_client_that_leaves_cancels_nothing_for_others(file, clock, compared):
    handler = made(file, clock)
    go, _ = blocked(handler)
    leaves, stays = (gevent.spawn(outcome, handler, "alice:secret") for _ in range(2))
    gevent.sleep(0)
    leaves.kill()
    go.set()
    assert stays.get() == 200
    assert compared == ["secret"]
