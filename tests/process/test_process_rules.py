"""Access rules and limits by plan: a table of requests against one file, and the same answers from `explain`."""

import hashlib
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import jwt
import pytest

from gproxy.commands.explain.request import answer as explained
from gproxy.gateway.build import build, load
from gproxy.runtime import Runtime
from gproxy.testing.gateway import RunningGateway, eventually
from gproxy.testing.redis import RunningRedis

SECRET = "0123456789abcdef0123456789abcdef"

RULES = f"""
[gateway]
handlers = jwt, allow
trusted_proxies = 127.0.0.0/8
[handler:jwt]
secret = {SECRET}
optional = yes
[handler:allow]
allow = method:GET|HEAD scope:orders.read       ; each item is a rule
    scope:orders.write role:clerk|lead 10.0.0.0/8
    role:admin, route:open anyone
    claim:plan=pro|gold method:OPTIONS
    user:bob method:DELETE route:orders
    claim:dept="Sales, EU" claim:level=3 2001:db8::/32
deny = user:mallory, 10.9.0.0/16
[route:orders]
path = /orders
respond = 200
[route:open]
path = /open
respond = 200
"""

READ = {"sub": "alice", "scope": "orders.read"}
WRITE = {"sub": "carol", "scope": "orders.write", "role": "clerk"}
LEAD = {"sub": "dora", "scope": "a orders.write", "roles": "x lead"}
ADMIN = {"sub": "root", "role": "admin"}
SALES = {"sub": "eve", "dept": "Sales, EU", "level": "3"}
OFFICE, BAD, HOME, SIX = "10.1.2.3", "10.9.1.1", "192.0.2.1", "2001:db8::7"

#: Method, path, client, claims; status, and the scopes that the challenge names.
TABLE = [
    ("GET", "/orders", HOME, None, 401, ""),
    ("HEAD", "/orders", HOME, None, 401, ""),
    ("POST", "/orders", HOME, None, 401, ""),
    ("POST", "/orders", OFFICE, None, 401, ""),
    ("GET", "/orders", BAD, None, 403, ""),
    ("GET", "/open", HOME, None, 200, ""),
    ("PUT", "/open/x", HOME, None, 200, ""),
    ("GET", "/open", BAD, None, 403, ""),
    ("GET", "/orders", HOME, READ, 200, ""),
    ("HEAD", "/orders", HOME, READ, 200, ""),
    ("GET", "/orders/7", OFFICE, READ, 200, ""),
    ("GET", "/orders", BAD, READ, 403, ""),
    ("POST", "/orders", HOME, READ, 403, ""),
    ("POST", "/orders", OFFICE, READ, 403, ""),
    ("GET", "/open", HOME, READ, 200, ""),
    ("GET", "/orders", HOME, {"sub": "alice"}, 403, "orders.read"),
    ("HEAD", "/orders", HOME, {"sub": "alice", "scope": "orders.reader"}, 403, "orders.read"),
    ("PUT", "/orders", HOME, {"sub": "alice"}, 403, ""),
    ("POST", "/orders", OFFICE, WRITE, 200, ""),
    ("PATCH", "/orders", OFFICE, LEAD, 200, ""),
    ("POST", "/orders", HOME, WRITE, 403, ""),
    ("GET", "/orders", OFFICE, WRITE, 200, ""),
    ("GET", "/orders", HOME, WRITE, 403, "orders.read"),
    ("POST", "/orders", OFFICE, {"sub": "x", "role": "clerk"}, 403, "orders.write"),
    ("POST", "/orders", OFFICE, {"sub": "x", "scope": "orders.write"}, 403, ""),
    ("POST", "/orders", OFFICE, {"sub": "x", "role": "Clerk", "scope": "orders.write"}, 403, ""),
    ("DELETE", "/orders", HOME, ADMIN, 200, ""),
    ("GET", "/orders", HOME, ADMIN, 200, ""),
    ("POST", "/orders", BAD, ADMIN, 403, ""),
    ("GET", "/orders", HOME, {"sub": "mallory", "role": "admin"}, 403, ""),
    ("GET", "/open", HOME, {"sub": "mallory"}, 403, ""),
    ("OPTIONS", "/orders", HOME, {"sub": "x", "plan": "gold"}, 200, ""),
    ("OPTIONS", "/orders", HOME, {"sub": "x", "plan": "free"}, 403, ""),
    ("OPTIONS", "/orders", HOME, None, 401, ""),
    ("DELETE", "/orders", HOME, {"sub": "bob"}, 200, ""),
    ("PUT", "/orders", HOME, {"sub": "bob"}, 403, ""),
    ("DELETE", "/orders", HOME, {"sub": "bobby"}, 403, ""),
    ("PUT", "/orders", SIX, SALES, 200, ""),
    ("PUT", "/orders", SIX, SALES | {"level": "4"}, 403, ""),
    ("PUT", "/orders", HOME, SALES, 403, ""),
]


def bearer(claims):
    return f"Authorization: Bearer {jwt.encode(claims | {'exp': int(time.time()) + 600}, SECRET)}"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with RunningGateway(RULES, tmp_path_factory.mktemp("rules")) as running:
        yield running


def test_a_table_of_forty_requests(gateway):
    assert len(TABLE) == 40
    found = []
    for method, path, client, claims, _, _ in TABLE:
        headers = [f"X-Forwarded-For: {client}"] + ([bearer(claims)] if claims else [])
        answer = gateway.get(path, *headers, method=method)
        challenge = answer["www-authenticate"] or ""
        scope = re.search(r'scope="([^"]*)"', challenge)
        assert challenge.startswith("Bearer realm=") is (answer.status == 401 or scope is not None)
        assert ('error="insufficient_scope"' in challenge) is (scope is not None)
        found.append((method, path, client, claims, answer.status, scope[1] if scope else ""))
    assert found == TABLE


def test_explain_gives_the_same_answers(gateway):
    settings = load(gateway.config)
    live = build(settings, Runtime.of(settings))
    found = []
    for method, path, client, claims, _, _ in TABLE:
        as_claims = ", ".join(f"{name}: {value}" for name, value in claims.items()) if claims else None
        lines = [f"X-Forwarded-For: {client}"]
        report = explained(method, path, lines, "127.0.0.1", settings, live, claims=as_claims)
        row = re.search(r"^  allow +(admitted|\d+).*?(?:with the scopes (.*))?$", report, re.M)
        status = 200 if row[1] == "admitted" else int(row[1])
        found.append((method, path, client, claims, status, row[2] or ""))
    assert found == TABLE


def test_explain_names_the_rule_and_its_line(gateway):
    settings = load(gateway.config)
    live = build(settings, Runtime.of(settings))
    report = explained("DELETE", "/orders", [], "127.0.0.1", settings, live, claims="sub: bob")
    line = RULES.split("\n").index("    user:bob method:DELETE route:orders") + 1
    assert f"admitted by the rule user:bob method:DELETE route:orders ({gateway.config}:{line})" in report


KEY = "an-old-key-of-another-gateway-0123456789"
PLANS = f"""
[server]
workers = 2
[gateway]
handlers = metrics, who, each_user, each_tenant, respond
[handler:metrics]
[handler:who]
use = any_of
of = keys, jwt
[handler:jwt]
secret = {SECRET}
[handler:keys]
use = api_key
keys = {{tmp}}/keys.ini
[handler:each_user]
use = rate_limit
key = user
limit = 10/hour
tier = plan
tiers = free: 20/hour, pro: 100/hour
[handler:each_tenant]
use = rate_limit
key = claim:tenant
limit = 1000/hour
tier = tenant_limit
policy = tenant
headers = legacy
[handler:respond]
body = fine
[route:all]
upstream = nobody
[upstream:nobody]
backends = http://127.0.0.1:9
[log]
access = log/access.log
"""


def write_keys(folder):
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    (folder / "keys.ini").write_text(f"[acme-prod]\nhash = sha256:{digest}\nplan = pro\ntenant = acme\n")
    (folder / "keys.ini").chmod(0o600)


@pytest.fixture(params=["workers", "redis"])
def limited(tmp_path, request):
    """Two workers, which count in the memory that they share, or in Redis."""
    write_keys(tmp_path)
    if request.param == "workers":
        with RunningGateway(PLANS, tmp_path) as gateway:
            yield gateway
        return
    (tmp_path / "redis").mkdir()
    with RunningRedis(tmp_path / "redis") as server:
        state = f"[state]\nredis = {server.url}\ntimeout = 5s\nlease = 1\n"
        with RunningGateway(PLANS + state, tmp_path) as gateway:
            yield gateway


def statuses(gateway, count, header):
    """Send so many requests, four at a time over new connections, and count the answers of each status."""
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda _: gateway.get("/", header), range(count))]
    found = {status: sum(answer.status == status for answer in answers) for status in (200, 429)}
    return found[200], found[429], answers


def test_each_plan_has_exactly_its_limit_over_two_workers(limited):
    key = f"X-API-Key: {KEY}"
    admitted, rejected, answers = statuses(limited, 101, key)
    assert (admitted, rejected) == (100, 1)
    assert {answer["ratelimit-policy"] for answer in answers} == {'"default";q=100;w=3600'}
    assert sorted(int(re.search(r"r=(\d+)", one["ratelimit"])[1]) for one in answers) == [0, *range(100)]
    (last,) = (answer for answer in answers if answer.status == 429)
    assert 0 < int(last["retry-after"]) <= 3600
    assert b"rate limit of 100/hour exceeded" in last.body
    assert statuses(limited, 25, bearer({"sub": "alice", "plan": "free"}))[:2] == (20, 5)
    assert statuses(limited, 15, bearer({"sub": "bob", "plan": "other"}))[:2] == (10, 5)
    line = limited.wait_for_line("tier: the claim plan is")
    assert '[handler:each_user] tier: the claim plan is "other", which is none of tiers' in line
    # An upgrade keeps the counts: 80 of 100 remain.
    assert statuses(limited, 85, bearer({"sub": "alice", "plan": "pro"}))[:2] == (80, 5)


def test_the_users_of_a_tenant_share_the_limit_that_their_claim_has(limited):
    def of(user):
        return bearer({"sub": user, "plan": "pro", "tenant": "small", "tenant_limit": "30/hour"})

    first = statuses(limited, 20, of("alice"))
    assert first[:2] == (20, 0)
    assert {answer["x-ratelimit-limit"] for answer in first[2]} == {"30"}
    assert statuses(limited, 15, of("bob"))[:2] == (10, 5)
    assert statuses(limited, 5, bearer({"sub": "carol", "plan": "pro", "tenant": "other"}))[:2] == (5, 0)


WINDOWS = f"""
[server]
workers = 2
[gateway]
handlers = jwt, rate_limit
[handler:jwt]
secret = {SECRET}
[handler:rate_limit]
key = claim:tenant
tier = plan
tiers = hourly: 20/hour, often: 5/100ms
[route:all]
path = /
respond = 200
"""


@pytest.mark.parametrize("lease", [0, 1], ids=["workers", "redis"])
def test_a_tenant_with_a_fast_user_keeps_the_count_of_its_slow_ones(tmp_path, lease):
    slow, fast = (bearer({"sub": plan, "tenant": "acme", "plan": plan}) for plan in ("hourly", "often"))
    with ExitStack() as stack:
        state = ""
        if lease:
            server = stack.enter_context(RunningRedis(tmp_path))
            state = f"[state]\nredis = {server.url}\ntimeout = 5s\nlease = {lease}\n"
        gateway = stack.enter_context(RunningGateway(WINDOWS + state, tmp_path))
        assert statuses(gateway, 15, slow)[0] == 15
        eventually(lambda: gateway.get("/", fast).status == 200, "the pause of a short window")
        assert statuses(gateway, 10, slow)[0] <= 4
        eventually(lambda: gateway.get("/", fast).status == 200, "the pause of a short window")
        assert statuses(gateway, 10, slow)[0] == 0


@pytest.mark.parametrize("lease", [0, 1, 10], ids=["workers", "redis", "leases"])
def test_a_burst_of_each_tier_is_a_bucket_of_its_own(tmp_path, lease):
    settings = WINDOWS.replace("hourly: 20/hour, often: 5/100ms", "hourly: 2/hour, often: 60/minute\nburst = 20")
    slow, fast = (bearer({"sub": plan, "tenant": "acme", "plan": plan}) for plan in ("hourly", "often"))
    with ExitStack() as stack:
        state = ""
        if lease:
            server = stack.enter_context(RunningRedis(tmp_path))
            state = f"[state]\nredis = {server.url}\ntimeout = 5s\nlease = {lease}\n"
        gateway = stack.enter_context(RunningGateway(settings + state, tmp_path))
        least = 20 - 2 * lease if lease > 1 else 20  # unspent permits of two workers
        assert least <= statuses(gateway, 30, slow)[0] <= 20
        assert statuses(gateway, 40, fast)[0] >= least
        assert statuses(gateway, 10, slow)[0] == 0


def test_equal_tenants_of_two_issuers_have_a_limit_each(tmp_path):
    settings = WINDOWS.replace("workers = 2", "workers = 1").replace("tier = plan\n", "limit = 3/hour\n")
    settings = settings.replace("tiers = hourly: 20/hour, often: 5/100ms\n", "")
    settings = settings.replace(f"secret = {SECRET}", f"secret = {SECRET}\nissuer = one, two")
    with RunningGateway(settings, tmp_path) as gateway:
        for issuer in ("one", "two"):
            first, second = (bearer({"iss": issuer, "sub": user, "tenant": "acme"}) for user in ("alice", "bob"))
            assert statuses(gateway, 2, first)[:2] == (2, 0)
            assert statuses(gateway, 3, second)[:2] == (1, 2)
