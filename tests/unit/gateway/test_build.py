"""Settings to live objects, and the mistakes of users' code."""

import pytest

from gproxy.config.ini.files import SourceFile
from gproxy.config.problems import ConfigError
from gproxy.gateway.build import build, load
from gproxy.http.request import request
from gproxy.runtime import Runtime
from gproxy.upstream.balance import UserPolicy
from gproxy.upstream.http1.pool import IdleConnections
from gproxy.upstream.http2.pool import HTTP2Pool
from gproxy.upstream.sticky import StickyUpstream
from gproxy.upstream.upstream import Upstream

OWN = """
from dataclasses import dataclass, field

from gproxy import Response
from gproxy.identity import Identifier


def adds(request, next):
    response = next(request)
    response.headers["X-Own"] = "yes"
    return response


@dataclass
class Named:
    text: str = "none"
    name: str = field(init=False, default="")

    def __call__(self, request, next):
        return Response(200, f"{self.name} {self.text}".encode())


class Identifies:
    identity_headers = frozenset()

    def __call__(self, request, next):
        return next(request)


@dataclass
class Incomplete(Identifier):
    def __post_init__(self):
        pass


class Plain:
    def __call__(self, request, next):
        return Response(200, b"plain")


class Broken:
    def __init__(self):
        raise ValueError("no")

    def __call__(self, request, next): ...


def wrong(request): ...


CONSTANT = 5


def pick(backends, request):
    return backends[-1]


class Picks:
    def pick(self, backends, request):
        return backends[0]
"""
BASE = "[log]\naccess = off\n"


@pytest.fixture
def loaded(tmp_path):
    (tmp_path / "own_of_test_build.py").write_text(OWN)

    def make(text, **options):
        path = tmp_path / "gproxy.ini"
        path.write_text(BASE + text)
        return load(path, **options)

    return make


@pytest.fixture
def built(loaded):
    def make(text):
        settings = loaded(text)
        return build(settings, Runtime.of(settings))

    return make


def jwt():
    return (
        "[route:r]\nrespond = 204\nhandlers = jwt\n[handler:jwt]\nsecret = 0123456789abcdef\nforward = sub: X-User-ID\n"
    )


def cors(origins):
    return f"[route:r]\nrespond = 204\nhandlers = cors\n\n[handler:cors]\norigins = {origins}\n"


def handler(reference, *options):
    lines = "\n".join(options)
    return f"[route:r]\nrespond = 204\nhandlers = h\n[handler:h]\nuse = own_of_test_build:{reference}\n{lines}\n"


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (handler("Named"), b"h none"),
        (handler("Named", "text = some"), b"h some"),
        (handler("Plain"), b"plain"),
    ],
)
def test_a_handler_of_the_users_own(built, text, body):
    gateway = built(text)
    assert gateway(request()).read() == body


@pytest.mark.parametrize(("reference", "keeps"), [("Identifies", False), ("Plain", True)])
def test_routes_keep_authorization_unless_a_handler_identifies_users(loaded, reference, keeps):
    forwards = "[route:f]\npath = /f\nupstream = u\n[upstream:u]\nbackends = http://a:1\n"
    routes = {route.name: route for route in loaded(handler(reference) + forwards).routes}
    assert routes["f"].keeps_authorization is keeps
    assert not routes["r"].keeps_authorization


def test_an_identity_header_is_no_field_of_the_log(loaded):
    fields = "fields = default,\n  request.X-User-ID, response.X-Role\n"
    jwt = "[gateway]\nhandlers = jwt\n[handler:jwt]\nsecret = sixteen-bytes-or-more\nforward = sub: X-User-Id\n"
    with pytest.raises(ConfigError) as raised:
        loaded(fields + jwt + "[route:r]\nrespond = 200\n")
    (problem,) = raised.value.problems
    message = "X-User-ID says who a user is, so no copy of it is logged; the field user has the user"
    assert str(problem).partition(": ")[2] == f"[log] fields: {message}"


def test_the_gateways_handlers_stand_before_the_routes(built):
    gateway = built("[gateway]\nhandlers = own\n" + handler("Plain") + "[handler:own]\nuse = own_of_test_build:adds\n")
    response = gateway(request())
    assert (response.read(), response.headers["X-Own"]) == (b"plain", "yes")


def choice(members):
    return (
        f"[route:r]\nrespond = 204\nhandlers = who\n[handler:who]\nuse = any_of\nof = {members}\n"
        "[handler:jwt]\nsecret = 0123456789abcdef\n[handler:cors]\norigins = *\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (handler("missing"), "has no 'missing'"),
        (handler("CONSTANT"), "own_of_test_build:CONSTANT is not callable"),
        (handler("wrong"), "own_of_test_build:wrong cannot be called with (request, next)"),
        (handler("Broken"), "cannot create Broken: ValueError: no"),
        (handler("Plain", "text = some"), "own_of_test_build:Plain is not a dataclass, so it has no options"),
        (handler("Named", "txt = some"), "did you mean 'text'?"),
        (
            "[gateway]\nrequest_id_header = x-user-id\n" + jwt(),
            "[gateway] request_id_header: x-user-id is already a header of [handler:jwt]; expected another one",
        ),
        (
            cors("https://a.test\n  a.test"),
            "[handler:cors] origins: expected an origin such as https://app.example.com",
        ),
        (cors("https://a.test\n  a.test"), "found 'a.test'; write https://a.test"),
        (cors("~ .*\ncredentials = yes"), "credentials: any site could act for the user, as origins has ~ .*"),
        (handler("Incomplete"), "cannot create Incomplete: TypeError: its __post_init__ must call super()."),
        (choice("jwt, cors"), "[handler:who] of: cors is no identity handler for one kind of credential"),
        (choice("jwt, who"), "[handler:who] of: who is no identity handler for one kind of credential"),
        (choice("jwt, jw"), "[handler:who] of: unknown handler 'jw'; did you mean 'jwt'?"),
        (choice("jwt"), "[handler:who] of: expected two or more different handlers"),
        (cors("null\nmethods = get"), "methods: methods are upper case; write GET"),
    ],
)
def test_each_mistake_is_a_problem_of_the_settings(loaded, text, message):
    with pytest.raises(ConfigError) as raised:
        loaded(text)
    assert message in str(raised.value)


def test_a_routes_max_body_is_its_own_handler(built):
    gateway = built("[route:r]\nrespond = 204\nmax_body = 3B\n")
    asked = request("POST", body=b"four")
    assert gateway(asked).status == 413
    assert gateway(request("POST", body=b"3 b")).status == 204


def test_a_route_has_the_gateways_timeout_unless_it_has_its_own(built):
    gateway = built(
        "[gateway]\ntimeout = 7s\n[route:a]\npath = /a\nrespond = 204\n[route:b]\npath = /b\nrespond = 204\ntimeout = 2s\n"
    )
    assert {route.name: route.timeout for route in gateway.router.routes} == {"a": 7.0, "b": 2.0}


def test_the_settings_may_be_given_instead_of_read(loaded):
    settings = loaded("[nonsense]\n", files=[SourceFile("g.ini", f"{BASE}[route:r]\nrespond = 204\n".encode())])
    assert build(settings, Runtime.of(settings))(request()).status == 204


UPSTREAM = "[route:r]\nupstream = u\n[upstream:u]\nbackends = http://192.0.2.1, http://192.0.2.2\n"


@pytest.mark.parametrize(
    ("option", "kind"), [("", Upstream), ("balance = sticky\nsticky_secret = 0123456789abcdef\n", StickyUpstream)]
)
def test_the_kind_of_upstream(built, option, kind):
    gateway = built(UPSTREAM + option)
    assert [type(upstream) for upstream in gateway.upstreams] == [kind]


@pytest.mark.parametrize(
    ("scheme", "http2", "offers", "fallback"),
    [
        ("http", "yes", None, False),
        ("https", "yes", ("h2",), False),
        ("https", "auto", ("h2", "http/1.1"), True),
        ("https", "no", ("http/1.1",), None),
    ],
)
def test_the_connections_of_an_upstream(built, scheme, http2, offers, fallback):
    text = f"[route:r]\nupstream = a\n[upstream:a]\nbackends = {scheme}://192.0.2.1\nhttp2 = {http2}\n"
    connections = built(text).upstreams[0].backends[0].connections
    assert isinstance(connections, IdleConnections if fallback is None else HTTP2Pool)
    if fallback is None:
        pool = connections.pool
    else:
        pool = connections._sockets.pool
        assert (connections._fallback is not None) == fallback
    context = pool.conn_kw.get("ssl_context")
    assert (None if context is None else context.offers) == offers
    if fallback:
        assert connections._fallback.pool.conn_kw["ssl_context"].offers == ("http/1.1",)


def test_all_parts_have_the_runtime_that_the_gateway_is_built_with(loaded):
    settings = loaded(UPSTREAM + "breaker = on\n")
    runtime = Runtime.of(settings)
    gateway = build(settings, runtime)
    (upstream,) = gateway.upstreams
    parts = (upstream.passive, upstream.breaker, upstream._discovery)
    assert {gateway.runtime, upstream.runtime, *(part._runtime for part in parts)} == {runtime}


def test_a_policy_of_the_users_own(built):
    gateway = built(UPSTREAM + "balance = own_of_test_build:pick\n")
    assert gateway.upstreams[0].rotation.pick(request()).name == "192.0.2.2:80"


@pytest.mark.parametrize(
    ("attribute", "problem"),
    [
        ("pick", None),
        ("Picks", None),
        ("CONSTANT", "own_of_test_build:CONSTANT is not callable; expected a function or a class"),
        ("wrong", "own_of_test_build:wrong cannot be called with (backends, request)"),
        ("Broken", "cannot create Broken: ValueError: no"),
    ],
)
def test_a_policy_is_a_function_or_a_class(loaded, attribute, problem):
    text = UPSTREAM + f"balance = own_of_test_build:{attribute}\n"
    if problem is None:
        (upstream,) = loaded(text).upstreams.values()
        assert type(upstream.policy) is UserPolicy
    else:
        with pytest.raises(ConfigError) as error:
            loaded(text)
        (found,) = error.value.problems
        assert found.option == "balance"
        assert found.message.startswith(problem)


LATE = (
    "gproxy.ini:24: [handler:turns] burst: the last request of a burst would wait 1.9s; it gets 429 on [route:quick], "
    "where a request waits at most half of 3s"
)
TURNS = """
[gateway]
handlers = turns
timeout = 3s
[route:quick]
path = /quick
upstream = one
[route:slow]
path = /slow
upstream = one
timeout = 20s
[route:none]
path = /none
upstream = one
skip = turns
timeout = 1s
[upstream:one]
backends = http://192.0.2.1
[handler:turns]
use = rate_limit
limit = 10/second
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("burst = 20", None),
        ("burst = 16\ndelay = 1", None),
        ("burst = 20\ndelay = 1", LATE),
    ],
)
def test_a_burst_that_waits_longer_than_a_route_lets_it_is_a_warning(loaded, options, message):
    warnings = [str(warning) for warning in loaded(TURNS + options).warnings]
    assert [warning.rpartition("/")[2] if "/" in warning else warning for warning in warnings] == (
        [message] if message else []
    )


BY_USER = """
[gateway]
handlers = {}
[route:free]
path = /free
upstream = one
skip = jwt
[route:slow]
path = /slow
upstream = one
[upstream:one]
backends = http://192.0.2.1
[handler:jwt]
secret = 0123456789abcdef0123456789abcdef
[handler:own]
use = own_of_test_build:adds
[handler:few]
use = {}
limit = {}
key = {}
"""
EARLY = (
    "key: counts by address on [route:slow], where jwt identifies the user later; write jwt before few in handlers",
)


@pytest.mark.parametrize(
    ("handlers", "options", "messages"),
    [
        ("few, jwt", ("rate_limit", "9/s", "user"), EARLY),
        ("few, jwt", ("concurrency", "9", "user"), EARLY),
        ("few, jwt, own", ("concurrency", "9", "user"), EARLY),
        ("few, jwt", ("concurrency", "9", "ip"), ()),
        ("jwt, few", ("concurrency", "9", "user"), ()),
        ("own, few, jwt", ("concurrency", "9", "user"), ()),
        ("few, own, jwt", ("concurrency", "9", "user"), ()),
    ],
)
def test_a_limit_by_user_before_the_handler_that_knows_users_is_a_warning(loaded, handlers, options, messages):
    warnings = [f"{each.option}: {each.message}" for each in loaded(BY_USER.format(handlers, *options)).warnings]
    assert tuple(warning for warning in warnings if warning.startswith("key:")) == messages


@pytest.mark.parametrize(
    ("options", "line", "message"),
    [
        ("burst = 0", 24, "burst: expected at least 1; found 0"),
        ("burst = 5\ndelay = 6", 25, "delay: expected 1 to 5, the burst; found 6"),
        ("burst = 5\ndelay = 0", 25, "delay: expected 1 to 5, the burst; found 0"),
        ("delay = 5", 24, "delay: needs burst, the most requests that are admitted at once or wait"),
        ("burst = 5\ndelay = 100ms", 25, "delay: expected a whole number such as 3; found '100ms'"),
        ("burst = yes", 24, "burst: expected a whole number such as 3; found 'yes'"),
    ],
)
def test_a_wrong_burst_has_its_line(loaded, options, line, message):
    with pytest.raises(ConfigError) as caught:
        loaded(TURNS + options)
    assert [str(problem).rpartition("gproxy.ini")[2] for problem in caught.value.problems] == [
        f":{line}: [handler:turns] {message}"
    ]


CREDENTIALS = """
[gateway]
handlers = IDENTITY
[handler:jwt]
secret = a secret of at least thirty-two bytes
[handler:service]
use = headers
request = X-Env: test
    AUTHORIZATION: Basic c2hvcDpzM2NyZXQ=
[route:users]
path = /users
upstream = one
handlers = service
[route:orders]
path = /orders
upstream = one
handlers = service
keep = Authorization
[route:open]
path = /open
upstream = one
[route:fixed]
path = /fixed
respond = 204
handlers = service
[upstream:one]
backends = http://192.0.2.1
"""


DROPPED = ":11: [handler:service] request: Authorization is removed before [route:users] forwards; write keep = "


@pytest.mark.parametrize(("identity", "messages"), [("jwt", [f"{DROPPED}Authorization there"]), ("", [])])
def test_credentials_that_a_handler_sets_and_no_backend_gets_are_a_warning(loaded, identity, messages):
    text = CREDENTIALS.replace("IDENTITY", identity)
    if not identity:
        text = text.replace("[handler:jwt]\nsecret = a secret of at least thirty-two bytes\n", "")
    assert [str(warning).rpartition("gproxy.ini")[2] for warning in loaded(text).warnings] == messages
