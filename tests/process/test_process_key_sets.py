"""Key sets of real issuers over TLS, from outside: found, rotated, withdrawn, lost, hostile."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from secrets import token_hex
from typing import Any

import forked
import pytest

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor
from gproxy.testing.gateway import RunningGateway, eventually, free_port
from gproxy.testing.issuer import Issuer, SigningKey

INI = """
[server]
state_dir = {tmp}/state
workers = WORKERS
[gateway]
handlers = health, metrics, jwt, limit
[handler:health]
cache = 0s
[handler:jwt]
issuer = ISSUERS
audience = api
jwks_refresh = REFRESH
jwks_stale = STALE
forward = sub: X-User-ID
[handler:limit]
use = rate_limit
key = user
limit = 100000/minute
[outgoing]
timeout = TIMEOUT
tls_ca = AUTHORITY
[route:orders]
path = /
upstream = backend
[route:public]
path = /public
skip = jwt, limit
upstream = backend
[upstream:backend]
backends = BACKEND
max_fails = 0
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def issuer(authority):
    with Issuer(authority=authority) as issuer:
        yield issuer


@pytest.fixture
def backend():
    with Actor() as backend:
        yield backend


@pytest.fixture
def start(tmp_path, authority, backend):
    """Start a gateway that trusts these issuers; the folder stays the same."""

    @contextmanager
    def start(*issuers, refresh="5m", stale="24h", timeout="10s", workers=1, ini=INI):
        values = {
            "WORKERS": str(workers), "ISSUERS": ", ".join(issuers), "REFRESH": refresh, "STALE": stale,
            "TIMEOUT": timeout, "AUTHORITY": str(authority.path),
        }  # fmt: skip
        for name, value in (values | {"BACKEND": backend.url}).items():
            ini = ini.replace(name, value)
        with RunningGateway(ini, tmp_path) as gateway:
            yield gateway

    return start


def ask(gateway, token, path="/"):
    return gateway.get(path, f"Authorization: Bearer {token}")


def status(gateway, token, path="/"):
    return ask(gateway, token, path).status


def rows(gateway):
    """The rows of /health by the name of the set."""
    return gateway.health()["keys"]


def failures(gateway, issuer):
    return [line for line in gateway.errors.splitlines() if issuer.url in line and "cannot be fetched" in line]


@pytest.mark.parametrize("metadata", ["openid", "oauth"])
@pytest.mark.parametrize("path", ["", "/realms/a", "/a/b"])
def test_issuer_and_audience_are_enough(start, backend, authority, metadata, path):
    with Issuer(authority=authority, path=path, metadata=metadata) as issuer, start(issuer.url) as gateway:
        assert status(gateway, issuer.token("alice")) == 200
        assert backend.requests[-1]["x-user-id"] == "alice"
        assert status(gateway, issuer.token(aud="other")) == 401
        assert issuer.requests["keys"] == 1
        (row,) = rows(gateway).values()
        assert (row["state"], row["count"], row["last_error"]) == ("fresh", 1, "")


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES384", "EdDSA"])
def test_the_usual_algorithms_need_no_option(start, authority, algorithm):
    with Issuer(authority=authority, algorithm=algorithm) as issuer, start(issuer.url) as gateway:
        assert status(gateway, issuer.token()) == 200


def test_a_document_of_another_issuer_is_not_believed(start, issuer):
    issuer.document["issuer"] = f"{issuer.url}/"
    with start(issuer.url) as gateway:
        assert status(gateway, issuer.token()) == 503
        assert "differs by a slash at the end" in gateway.errors


def test_keys_on_an_internal_host_that_is_not_the_issuers_are_not_fetched(start, issuer):
    with Actor() as internal:
        issuer.document["jwks_uri"] = f"{internal.url}/keys"
        with start(issuer.url) as gateway:
            assert status(gateway, issuer.token()) == 503
            assert "internal address" in gateway.errors
        assert internal.connections == 0


def test_a_new_key_is_accepted_at_once_with_one_fetch_for_each_worker(start, issuer):
    with start(issuer.url, workers=2) as gateway:
        # A worker that starts after the other serves with the kept set, and fetches it meanwhile.
        eventually(lambda: issuer.requests["keys"] == 2, "the fetch of each worker's start")
        gateway.wait_for_answers_of(2)
        assert status(gateway, issuer.token()) == 200
        issuer.rotate()
        started = time.monotonic()
        assert status(gateway, issuer.token()) == 200
        assert time.monotonic() - started < 1
        tokens = [issuer.token(f"user{n}") for n in range(200)]
        with ThreadPoolExecutor(40) as pool:
            assert set(pool.map(lambda token: status(gateway, token), tokens)) == {200}
        assert issuer.requests["keys"] <= 4
        assert "401" not in {line["status"] for line in gateway.access()}


def test_a_flood_of_random_keys_costs_few_fetches_and_delays_no_known_token(start, issuer):
    with start(issuer.url) as gateway:
        known = issuer.token()
        assert status(gateway, known) == 200
        before = issuer.requests["keys"]
        done = threading.Event()
        times, found = [], set()

        def measure():
            while not done.is_set():
                began = time.monotonic()
                found.add(status(gateway, known))
                times.append(time.monotonic() - began)

        measuring = threading.Thread(target=measure)
        measuring.start()
        began = time.monotonic()
        forged = [issuer.token(header={"kid": token_hex(8)}) for _ in range(2000)]
        with ThreadPoolExecutor(20) as pool:
            statuses = set(pool.map(lambda token: status(gateway, token), forged))
        seconds = time.monotonic() - began
        done.set()
        measuring.join()
        assert statuses == {401}
        assert issuer.requests["keys"] - before <= seconds / 30 + 1
        assert found == {200}
        assert sorted(times)[len(times) * 99 // 100] < 0.5


def test_a_lost_issuer_costs_nothing_until_its_keys_are_too_old(start, issuer):
    with start(issuer.url, refresh="1s", stale="5s") as gateway:
        known, new = issuer.token(), issuer.token("bob")
        assert status(gateway, known) == 200
        issuer.stop()
        eventually(lambda: rows(gateway)[issuer.url]["state"] == "stale", "a failed fetch")
        assert gateway.health()["status"] == "degraded"
        assert [status(gateway, token) for token in (known, new)] == [200, 200]
        assert status(gateway, issuer.token(header={"kid": "unknown"})) == 503
        eventually(lambda: status(gateway, known) != 200, "the end of the keys")
        answer = ask(gateway, known)
        assert (answer.status, answer["retry-after"], answer["www-authenticate"]) == (503, "1", None)
        assert gateway.line("/")["reason"] == "auth_unavailable"
        assert rows(gateway)[issuer.url]["state"] == "missing"
        assert gateway.get("/public").status == 200
        issuer.start()
        eventually(lambda: status(gateway, known) == 200, "the return of the issuer")
        assert rows(gateway)[issuer.url]["state"] == "fresh"
        assert gateway.health()["status"] == "up"
    assert len(failures(gateway, issuer)) == 1
    assert gateway.errors.count("fetched again after") == 1


def test_a_start_without_the_issuer_and_without_a_kept_set(start, issuer):
    issuer.stop()
    with start(issuer.url) as gateway:
        assert f"keys of {issuer.url} are missing: requests with its tokens get 503" in gateway.errors
        assert {status(gateway, issuer.token()) for _ in range(20)} == {503}
        assert gateway.get("/public").status == 200
        assert gateway.get("/").status == 401  # no token: keys would not help
        issuer.start()
        eventually(lambda: status(gateway, issuer.token()) == 200, "the issuer")


def test_a_start_waits_five_seconds_at_most_for_an_issuer_that_hangs(start, issuer):
    issuer.fail("hang", "metadata")
    began = time.monotonic()
    with start(issuer.url, timeout="60s") as gateway:
        assert 4.5 < time.monotonic() - began < 14
        assert gateway.get("/public").status == 200
        assert status(gateway, issuer.token()) == 503
        issuer.recover()
        eventually(lambda: status(gateway, issuer.token()) == 200, "the issuer")


@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_a_start_without_the_issuer_serves_with_the_kept_set(start, issuer, how):
    with start(issuer.url) as gateway:
        assert status(gateway, issuer.token()) == 200
        kept = list((gateway.folder / "state").glob("*.jwks"))
        assert [path.stat().st_mode & 0o777 for path in kept] == [0o600]
    token = issuer.token("bob")
    if how == "stopped":
        issuer.stop()
    else:
        issuer.fail("hang", "metadata")
    with start(issuer.url) as gateway:
        assert {status(gateway, token) for _ in range(5)} == {200}
        gateway.reload()
        assert {status(gateway, token) for _ in range(5)} == {200}
        assert "are missing" not in gateway.errors


def test_a_kept_set_that_others_may_write_is_ignored(start, issuer):
    with start(issuer.url) as gateway:
        (kept,) = (gateway.folder / "state").glob("*.jwks")
    kept.chmod(0o666)
    issuer.stop()
    with start(issuer.url) as gateway:
        assert "could have been written by others" in gateway.errors
        assert status(gateway, issuer.token()) == 503


def test_a_withdrawn_key_ends_its_tokens_and_no_others(start, issuer):
    old = issuer.token()
    issuer.rotate()
    new = issuer.token()
    with start(issuer.url, refresh="1s") as gateway:
        assert [status(gateway, token) for token in (old, new)] == [200, 200]
        issuer.withdraw("k1")
        eventually(lambda: status(gateway, old) == 401, "the next refresh")
        assert status(gateway, new) == 200
        assert f"keys of {issuer.url}: -k1" in gateway.errors
        assert "its key is unknown" in ask(gateway, old).body.decode()


def private(_):
    key = SigningKey.new("k1", "ES256")
    return {**key.public, "d": "AAAA"}


def secret(_):
    return {"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "kid": "k1", "alg": "HS256"}


def for_encryption(issuer):
    return {**issuer.key("k1").public, "use": "enc"}


HOSTILE: list[Any] = [
    "status",
    "hang",
    "trickle",
    "huge",
    "redirect",
    "garbage",
    "empty",
    private,
    secret,
    for_encryption,
]


def test_hostile_issuers_change_nothing(start, authority):
    with ExitStack() as stack:
        issuers = [stack.enter_context(Issuer(authority=authority)) for _ in HOSTILE]
        gateway = stack.enter_context(start(*(issuer.url for issuer in issuers), refresh="1s", timeout="1s"))
        tokens = [issuer.token() for issuer in issuers]
        assert {status(gateway, token) for token in tokens} == {200}
        memory = gateway.health()["memory"]
        for how, issuer in zip(HOSTILE, issuers, strict=True):
            if isinstance(how, str):
                issuer.fail(how)
            else:
                issuer.published = [how(issuer)]
        before = [issuer.requests["keys"] for issuer in issuers]
        enough = [count + 4 for count in before]
        eventually(lambda: all(i.requests["keys"] >= n for i, n in zip(issuers, enough, strict=True)), "fetches")
        assert {status(gateway, token) for token in tokens} == {200}
        assert {status(gateway, issuer.token("bob")) for issuer in issuers} == {200}
        assert gateway.health()["memory"] - memory < 16_000_000
        for how, issuer in zip(HOSTILE, issuers, strict=True):
            assert len(failures(gateway, issuer)) == 1, how
            assert rows(gateway)[issuer.url]["state"] == "stale"
            issuer.published = [issuer.key("k1").public]
            issuer.recover()
        eventually(lambda: {row["state"] for row in rows(gateway).values()} == {"fresh"}, "recovery")
        assert gateway.health()["status"] == "up"


def test_a_token_is_verified_by_the_keys_of_its_own_issuer_only(start, authority):
    limited = INI.replace("100000/minute", "1/minute")
    with (
        Issuer(authority=authority) as a,
        Issuer(authority=authority) as b,
        start(a.url, b.url, ini=limited) as gateway,
    ):
        assert status(gateway, b.token(iss=a.url)) == 401
        assert status(gateway, a.token(iss=b.url)) == 401
        assert status(gateway, a.token(iss="https://other.example")) == 401
        assert [status(gateway, a.token("alice")), status(gateway, a.token("alice"))] == [200, 429]
        assert [status(gateway, b.token("alice")), status(gateway, b.token("alice"))] == [200, 429]


def test_a_file_of_keys_is_replaced_within_two_seconds(start, issuer, tmp_path):
    path = tmp_path / "ci.jwks"

    def write():
        path.write_text(json.dumps({"keys": issuer.published}))

    write()
    with start(f"{issuer.url} jwks=file:{path}") as gateway:
        old = issuer.token()
        assert status(gateway, old) == 200
        issuer.rotate()
        issuer.withdraw("k1")
        assert status(gateway, issuer.token()) == 401
        write()
        eventually(lambda: status(gateway, issuer.token()) == 200, "the new file")
        assert status(gateway, old) == 401
        assert issuer.requests == {}


def test_a_mistake_in_a_file_of_keys_is_in_health_and_no_token_is_called_bad_for_it(start, issuer, tmp_path):
    path = tmp_path / "ci.jwks"
    good = json.dumps({"keys": issuer.published})
    path.write_text(good)
    with start(f"{issuer.url} jwks=file:{path}") as gateway:
        known = issuer.token()
        assert status(gateway, known) == 200
        path.write_text(good[:-9])
        gateway.wait_for_line("keeping the previous content")
        report = gateway.health()
        row = report["keys"][str(path)]
        assert (report["status"], row["state"], row["count"]) == ("degraded", "stale", 1)
        assert "the key set is not strict JSON" in row["last_error"]
        issuer.rotate()
        assert (status(gateway, known), status(gateway, issuer.token())) == (200, 503)
        path.write_text(json.dumps({"keys": issuer.published}))
        eventually(lambda: status(gateway, issuer.token()) == 200, "the mended file")
        report = gateway.health()
        row = report["keys"][str(path)]
        assert (report["status"], row["state"], row["last_error"]) == ("up", "fresh", "")


def test_metrics_count_keys_and_fetches(start, issuer):
    with start(issuer.url, refresh="1s") as gateway:
        name = f'{{issuer="{issuer.url}"}}'
        assert gateway.metric(f"gproxy_keys{name}") == 1
        issuer.fail("status")
        failed = f'gproxy_keys_fetches_total{{issuer="{issuer.url}",outcome="failed"}}'
        eventually(lambda: gateway.metric(failed) >= 1, "a failed fetch")
        assert gateway.metric(f"gproxy_keys_age_seconds{name}") > 0


def test_an_issuer_over_http_beyond_loopback_is_a_problem_of_the_start(start):
    with pytest.raises(AssertionError, match="insecure = yes"), start("http://192.0.2.1"):
        pass


def test_check_opens_nothing(start, issuer, tmp_path, authority):
    import sys

    values = {
        "WORKERS": "1",
        "ISSUERS": issuer.url,
        "REFRESH": "5m",
        "STALE": "24h",
        "TIMEOUT": "5s",
        "AUTHORITY": str(authority.path),
    }
    ini = INI.replace("{tmp}", str(tmp_path)).replace("BACKEND", f"http://127.0.0.1:{free_port()}")
    for name, value in values.items():
        ini = ini.replace(name, value)
    (tmp_path / "check.ini").write_text(ini)
    command = [sys.executable, "-m", "gproxy", "check", "--config", "check.ini"]
    done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert issuer.requests == {}


def test_a_reload_without_the_issuer_and_without_a_kept_set(start, issuer):
    with start(issuer.url) as gateway:
        known = issuer.token()
        assert status(gateway, known) == 200
        issuer.stop()
        for kept in (gateway.folder / "state").glob("*.jwks"):
            kept.unlink()
        gateway.reload()
        assert {status(gateway, token) for token in [known, issuer.token("bob")] * 5} == {503}
        assert gateway.get("/public").status == 200
        assert gateway.get("/").status == 401  # no token: keys would not help
        issuer.start()
        eventually(lambda: status(gateway, known) == 200, "the issuer")
