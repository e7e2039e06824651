"""What each section refuses by itself, and that every option is documented."""

from ipaddress import ip_network
from pathlib import Path
from typing import get_args

import pytest

from gproxy.config.ini.build import construct, option_values, options
from gproxy.config.ini.parser import RawSection
from gproxy.config.sections.balance import Balance
from gproxy.config.sections.policy import policy_options
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.settings import GatewaySettings, LogSettings, Settings
from gproxy.config.sections.state import StateSettings
from gproxy.config.sections.tls import TLSSettings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import Address, BackendURL, Bytes, Rotate, Seconds, Statuses
from gproxy.config.types.access_log import LogField, LogTarget, SkippedLines
from gproxy.config.types.path_pattern import RoutePath
from gproxy.config.types.patterns import Pattern, Rewrite
from gproxy.config.types.route_action import RedirectTarget, Share, SplitKey, UpstreamShare
from gproxy.upstream.balance import POLICIES

A, B, S = BackendURL("http", "a", 1), BackendURL("http", "b", 1), BackendURL("https", "a", 1)
FILE = LogTarget("a.log")
MOVED = RedirectTarget.parse("https://new.test{path}")
SECTIONS = [ServerSettings, GatewaySettings, RouteSettings, UpstreamSettings, TLSSettings, LogSettings, StateSettings]


def server(**given):
    return ServerSettings(**given)


def gateway(**given):
    return GatewaySettings(**given)


def route(**given):
    destination = {} if given.keys() & {"upstream", "redirect", "respond"} else {"upstream": (UpstreamShare("u"),)}
    if isinstance(path := given.get("path"), str):
        given["path"] = tuple(map(RoutePath.parse, path.split(" | ")))
    return RouteSettings("r", **destination, **given)


def upstream(**given):
    return construct(UpstreamSettings, **{"name": "u", "backends": (A,), **given})


def tls(**given):
    return TLSSettings("t", Path("t.pem"), **given)


def log(**given):
    return LogSettings(**given)


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (server, {"bind": ()}, "bind: expected at least one"),
        (server, {"bind": (Address("fd", fd=3),) * 2}, "bind: 'fd:3' is listed twice"),
        (server, {"workers": 0}, "workers: must be at least 1"),
        (server, {"worker_timeout": Seconds(0.5)}, "worker_timeout: expected at least 1s, or 0s for never"),
        (server, {"max_fields": 0}, "max_fields: must be at least 1"),
        (server, {"head_timeout": Seconds(0)}, "head_timeout: must be more than 0"),
        (server, {"body_timeout": Seconds(0)}, "body_timeout: must be more than 0"),
        (server, {"idle_timeout": Seconds(0)}, "idle_timeout: must be more than 0"),
        (server, {"write_timeout": Seconds(0)}, "write_timeout: must be more than 0"),
        (server, {"min_rate": Bytes(-1)}, "min_rate: must be at least 0"),
        (server, {"max_head": Bytes(0)}, "max_head: must be more than 0"),
        (server, {"max_connections": -1}, "max_connections: must be at least 0"),
        (gateway, {"timeout": Seconds(0)}, "timeout: must be more than 0"),
        (gateway, {"handlers": ("a", "a", "a")}, "handlers: 'a' is listed twice\nhandlers: 'a' is listed twice"),
        (gateway, {"trusted_proxies": (ip_network("::/0"),) * 2}, "trusted_proxies: '::/0' is listed twice"),
        (route, {"path": "users"}, "path: a path starts with '/'; found 'users'; write path = /users, which matches everything below it too"),
        (route, {"path": ""}, "path: a path starts with '/'; found ''; write path = /, which matches everything below it too"),
        *(
            (route, {"path": f"/a{sign}b"}, f"path: a path to match is decoded and has no query, so {sign!r} is not allowed")
            for sign in "%?#\\"
        ),
        *(
            (route, {"path": path}, "path: request paths are normalized, so a path with '//', '/./' or '/../' matches nothing")
            for path in ("//a", "/a//b", "/..", "/a/./b", "/a/../b")
        ),
        (route, {"path": "/a b"}, "path: a path must not contain spaces or control characters"),
        (route, {"timeout": Seconds(0)}, "timeout: must be more than 0"),
        (route, {"methods": ("get",)}, "methods: methods are upper case; write GET"),
        (route, {"methods": ("G T",)}, "methods: 'G T' is not a method; the items of a list are separated by commas"),
        (route, {"methods": ("GET", "GET")}, "methods: 'GET' is listed twice"),
        (route, {"host": ("http://a",)}, "host: 'http://a' is not a host name such as api.example.com or *.example.com; write a: a host to match has no scheme and no port"),
        (route, {"host": ("a:80",)}, "host: 'a:80' is not a host name such as api.example.com or *.example.com; write a: a host to match has no scheme and no port"),
        (route, {"host": ("a.b", "A.b")}, "host: 'A.b' is listed twice"),
        (route, {"headers": {"X Y": ""}}, "headers: 'X Y' is not a header's name"),
        (route, {"headers": {"X": "", "x": ""}}, "headers: 'x' is listed twice"),
        (route, {"keep": ("a:",)}, "keep: 'a:' is not a header's name"),
        (route, {"skip": ("a", "a")}, "skip: 'a' is listed twice"),
        (route, {"cookies": {"a b": Pattern("")}}, "cookies: 'a b' is not a cookie's name"),
        (route, {"upstream": ()}, "upstream, app, root, redirect, respond: is missing; expected upstream =, app =, root =, redirect = or respond ="),
        (route, {"upstream": (UpstreamShare("u"),), "respond": 200}, "respond: a route has one of upstream =, app =, root =, redirect = or respond =; found upstream too"),
        (route, {"redirect": MOVED, "respond": 200}, "respond: a route has one of upstream =, app =, root =, redirect = or respond =; found redirect too"),
        (route, {"upstream": (UpstreamShare("u", 0), UpstreamShare("v", 0))}, "upstream: every weight is 0"),
        (route, {"upstream": (UpstreamShare("u"), UpstreamShare("u", 3))}, "upstream: 'u' is listed twice"),
        (route, {"redirect": MOVED, "mirror": "u"}, "mirror, upstream: has no meaning without upstream ="),
        (route, {"redirect": MOVED, "stream": True}, "stream: cannot be combined with redirect ="),
        (route, {"mirror_share": Share(1)}, "mirror_share, mirror: has no meaning without mirror ="),
        (route, {"status": 301}, "status, redirect: has no meaning without redirect ="),
        (route, {"body": "x"}, "body, respond: has no meaning without respond ="),
        (route, {"respond": 600}, "respond: expected a status from 200 to 599; found 600"),
        (route, {"respond": 204, "body": "x"}, "body: a 204 response has no body"),
        (route, {"respond": 200, "content_type": "a\tb"}, "content_type: expected a media type such as text/html; found 'a\\tb'"),
        (route, {"respond": 200, "strip_prefix": True}, "strip_prefix: cannot be combined with respond ="),
        (route, {"rewrite": Rewrite.parse("/a -> /b"), "add_prefix": "/x"}, "add_prefix: cannot be combined with rewrite ="),
        (route, {"add_prefix": "x"}, "add_prefix: a path starts with '/'; found 'x'"),
        (upstream, {"backends": ()}, "backends: expected at least one"),
        (upstream, {"backends": (A, B, BackendURL("http", "a", 1, weight=3))}, "backends: 'http://a:1' is listed twice"),
        (upstream, {"backends": (BackendURL("http", "a", 1, weight=0),)}, "backends: every weight is 0"),
        *((upstream, {name: Seconds(0)}, f"{name}: must be more than 0") for name in ("connect_timeout", "first_byte_timeout", "read_timeout", "per_try_timeout", "idle_timeout", "dns_interval", "health_interval", "health_timeout", "fail_window", "eject_time", "queue_timeout", "breaker_errors", "breaker_window", "breaker_open")),
        *((upstream, {name: -1}, f"{name}: must be at least 0") for name in ("retries", "replay", "spool", "hedge", "max_connections", "keepalive", "max_age", "max_fails", "max_requests", "queue")),
        *((upstream, {name: 0}, f"{name}: must be at least 1") for name in ("rise", "fall", "breaker_requests")),
        *((upstream, {"breaker_quantile": value}, "breaker_quantile: must be more than 0 and less than 1") for value in (0.0, 1.0, 95.0)),
        (upstream, {"health_status": ()}, "health_status: expected at least one"),
        (upstream, {"health_host": "a b"}, "health_host: expected a host such as api.example.com; found 'a b'"),
        (upstream, {"health_headers": {"X-A": "a\r\nb"}}, "health_headers: the value of X-A has a character that is not allowed in a header"),
        (upstream, {"health_headers": {"Host": "a"}}, "health_headers: Host is set by the gateway"),
        (upstream, {"health_headers": {"X-A": "a", "x-a": "b"}}, "health_headers: 'x-a' is listed twice"),
        (upstream, {"initial": "down"}, "initial: down needs a health_path or health = grpc, or nothing would ever bring a backend up"),
        (upstream, {"queue": 1}, "queue: nothing is limited; it needs max_requests or max_connections"),
        (upstream, {"retry_backoff": Seconds(-1)}, "retry_backoff: must be at least 0"),
        (upstream, {"retry_backoff": Seconds(1)}, "retry_backoff: must not be more than retry_backoff_max"),
        (upstream, {"retry_on": (Statuses(399, 503),)}, "retry_on: expected statuses from 400 to 599; found 399-503"),
        (upstream, {"retry_on": (Statuses(503, 503),) * 2}, "retry_on: '503' is listed twice"),
        (upstream, {"retry_methods": ("get",)}, "retry_methods: methods are upper case; write GET"),
        (upstream, {"retry_header": "X Y"}, "retry_header: 'X Y' is not a header's name"),
        (upstream, {"deadline_header": "Via"}, "deadline_header: Via is reserved: the gateway sets this header itself"),
        (upstream, {"retry_header": "X-A", "deadline_header": "x-a"}, "deadline_header: retry_header has the same name"),
        (route, {"retries": -1}, "retries: must be at least 0"),
        (route, {"retry_on": (Statuses(304, 304),)}, "retry_on: expected statuses from 400 to 599; found 304"),
        (upstream, {"health_path": "x"}, "health_path: a path starts with '/'; found 'x'"),
        (upstream, {"health_path": "/a b"}, "health_path: spaces, control and non-ASCII characters must be percent-encoded, as in %20"),
        (upstream, {"host": "a b"}, "host: expected client, backend or a host such as api.example.com; found 'a b'"),
        (upstream, {"host": "*.a"}, "host: expected client, backend or a host such as api.example.com; found '*.a'"),
        (tls, {"hosts": ("a:1",)}, "hosts: 'a:1' is not a host name such as api.example.com or *.example.com; write a: a host to match has no scheme and no port"),
        (tls, {"hosts": ("a", "A")}, "hosts: 'A' is listed twice"),
        (tls, {"hsts": Seconds(-1)}, "hsts: must be at least 0"),
        (tls, {"client_auth": "required"}, "client_ca: is missing; client_auth = required needs the authorities to trust"),
        (tls, {"client_ca": Path("ca")}, "client_auth: is off, so client_ca has no effect; write optional or required"),
        (tls, {"forward": {"subject": "X-S"}}, "forward: has no effect without client_auth = optional or required"),
        *(
            (tls, {"client_auth": "optional", "client_ca": Path("ca"), "forward": forward}, f"forward: {message}")
            for forward, message in (
                ({"name": "X-S"}, "'name' is not one of subject, issuer, serial, fingerprint, certificate, cn, dns, email, uri, xfcc"),
                ({"subject": "X S"}, "'X S' is not a header's name"),
                ({"subject": "Host"}, "Host is a reserved header"),
                ({"subject": "X-Forwarded-For"}, "X-Forwarded-For is a reserved header"),
                ({"subject": "X-S", "issuer": "x-s"}, "two entries have the same header"),
            )
        ),
        (upstream, {"tls_name": "a:1", "backends": (S,)}, "tls_name: expected a host name such as api.example.com; found 'a:1'"),
        (upstream, {"tls_name": "*.a", "backends": (S,)}, "tls_name: expected a host name such as api.example.com; found '*.a'"),
        (upstream, {"tls_verify": False, "tls_name": "a"}, "tls_name: no backend of this upstream is https://\ntls_verify: no backend of this upstream is https://"),
        (log, {"keep": -1}, "keep: must be at least 0"),
        (log, {"access": ()}, "access: expected a file, - for standard output, syslog:ADDRESS, or off"),
        (log, {"access": (FILE, FILE)}, "access: 'a.log' is listed twice"),
        (log, {"skip": (SkippedLines("/a"), SkippedLines("/a"))}, "skip: '/a' is listed twice"),
        (log, {"fields": ()}, "fields: expected at least one"),
        (log, {"fields": (LogField("default"), LogField("path"))}, "fields: 'path' is listed twice"),
        (log, {"fields": (LogField("request.A"), LogField("request.a"))}, "fields: 'request.a' is listed twice"),
        (log, {"format": "combined", "fields": (LogField("path"),)}, "fields: format = combined has the fields of Apache's format; write format = ltsv or format = json"),
        (log, {"access": (FILE, LogTarget("off"))}, "access: off cannot be combined with other targets"),
    ],
)  # fmt: skip
def test_refused(make, given, message):
    with pytest.raises(ValueError) as error:
        make(**given)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (server, {"workers": "auto", "grace": Seconds(0), "max_body": Bytes(0)}),
        (
            route,
            {
                "path": (RoutePath("/a..b/ü"),),
                "methods": ("GET", "X-CUSTOM"),
                "host": ("*.example.com", "[::1]", "10.0.0.1"),
            },
        ),
        (route, {"redirect": MOVED, "status": 301, "strip_prefix": True, "add_prefix": "/v2"}),
        (route, {"respond": 200, "body": "x", "content_type": "text/html"}),
        (route, {"upstream": (UpstreamShare("u", 0), UpstreamShare("v")), "split_by": SplitKey("ip"), "mirror": "w"}),
        (upstream, {"backends": (A, BackendURL("http", "b", 1, weight=0)), "retries": 0, "max_fails": 0}),
        (
            upstream,
            {
                "retry_on": ("reset", Statuses(502, 504)),
                "retry_budget": None,
                "retry_backoff": Seconds(0),
                "retry_header": "X-N",
            },
        ),
        (route, {"retries": 0, "retry_on": (), "hedge": Seconds(0)}),
        (upstream, {"host": "api.example.com:8080", "health_path": "/h?deep=1"}),
        (upstream, {"initial": "down", "health_path": "/h", "queue": 5, "max_connections": 3}),
        (upstream, {"queue": 5, "backends": (BackendURL("http", "b", 1, max_connections=2),)}),
        (log, {"fields": (LogField("tls"), LogField("default"), LogField("request.A"), LogField("response.A"))}),
        (log, {"fields": (LogField("default"),), "format": "combined"}),
        (log, {"access": (LogTarget("-"), FILE, LogTarget.parse("syslog:a:514")), "keep": 0}),
    ],
)
def test_accepted(make, given):
    settings = make(**given)
    assert given.items() <= option_values(settings).items()


def test_defaults_of_the_product():
    assert {option.name: option.default_text for cls in (ServerSettings, LogSettings) for option in options(cls)} == {
        "bind": "0.0.0.0:8080",
        "workers": "1",
        "threads": "10",
        "worker_timeout": "30s",
        "grace": "30s",
        "stop_delay": "0s",
        "reload": "no",
        "watch": "",
        "http2": "yes",
        "max_streams": "128",
        "head_timeout": "10s",
        "body_timeout": "30s",
        "idle_timeout": "75s",
        "write_timeout": "30s",
        "min_rate": "240",
        "max_head": "32KiB",
        "max_fields": "100",
        "max_body": "0",
        "max_connections": "0",
        "max_connections_per_address": "0",
        "buffers": "64MiB",
        "block_log": "100ms",
        "selftest": "",
        "probation": "0s",
        "probation_errors": "5%",
        "state_dir": "var",
        "access": "log/access.log",
        "format": "ltsv",
        "fields": "default",
        "skip": "",
        "rotate": "daily, 10MB",
        "keep": "14",
        "compress": "no",
        "level": "info",
        "errors": "text",
    }


def test_defaults_of_the_state():
    assert {option.name: option.default_text for option in options(StateSettings)} == {
        "redis": "none",
        "timeout": "50ms",
        "on_failure": "open",
        "lease": "1",
        "prefix": "gproxy:",
        "max_connections": "16",
        "tls_ca": "none",
    }


def test_defaults_of_an_upstream():
    assert {option.name: option.default_text for option in options(UpstreamSettings)} == {
        "backends": None,
        "balance": "round_robin",
        "slow_start": "0s",
        "sticky_cookie": "none",
        "sticky_fallback": "round_robin",
        "sticky_ttl": "none",
        "sticky_same_site": "Lax",
        "sticky_secure": "auto",
        "sticky_secret": "none",
        "connect_timeout": "1s",
        "first_byte_timeout": "none",
        "read_timeout": "none",
        "per_try_timeout": "none",
        "http2": "no",
        "http2_connections": "8",
        "retries": "1",
        "retry_on": "connect, stale, reset",
        "retry_methods": "GET, HEAD, OPTIONS, TRACE, PUT, DELETE",
        "retry_backoff": "25ms",
        "retry_backoff_max": "250ms",
        "retry_after": "no",
        "retry_budget": "20%",
        "retry_header": "none",
        "replay": "64KiB",
        "spool": "0",
        "hedge": "0s",
        "buffer_request": "64KiB",
        "buffer_response": "256KiB",
        "deadline_header": "none",
        "max_connections": "0",
        "keepalive": "32",
        "idle_timeout": "55s",
        "max_age": "0s",
        "dns_interval": "10s",
        "host": "client",
        "tls_ca": "none",
        "tls_name": "none",
        "tls_cert": "none",
        "tls_key": "none",
        "tls_verify": "yes",
        "tls_min_version": "1.2",
        "health": "http",
        "health_service": "",
        "health_path": "none",
        "health_interval": "10s",
        "health_timeout": "1s",
        "health_status": "200-399",
        "health_body": "none",
        "health_host": "none",
        "health_headers": "",
        "initial": "unknown",
        "rise": "2",
        "fall": "3",
        "max_fails": "3",
        "fail_window": "10s",
        "fail_statuses": "502-504",
        "eject_time": "5s",
        "max_requests": "0",
        "queue": "0",
        "queue_timeout": "1s",
        "breaker": "no",
        "breaker_errors": "50%",
        "breaker_latency": "0s",
        "breaker_quantile": "0.95",
        "breaker_window": "10s",
        "breaker_requests": "20",
        "breaker_open": "5s",
    }


def test_defaults_of_the_policies():
    assert {option.name: option.default_text for option in policy_options(POLICIES)} == {
        "hash_key": "none",
        "latency_decay": "10s",
    }


def test_defaults_of_tls():
    assert {option.name: option.default_text for option in options(TLSSettings)} == {
        "certificate": None,
        "key": "none",
        "hosts": "",
        "min_version": "TLSv1.2",
        "ciphers": "ECDHE+AESGCM:ECDHE+CHACHA20",
        "client_ca": "none",
        "client_crl": "none",
        "client_auth": "off",
        "forward": "",
        "hsts": "0s",
    }


def test_defaults_of_gateway_and_route():
    assert GatewaySettings() == GatewaySettings(handlers=(), timeout=Seconds(3), total_timeout=None, trusted_proxies=())
    assert {option.name: option.default_text for option in options(RouteSettings)} == {
        "upstream": "",
        "path": "/",
        "exact": "no",
        "handlers": "",
        "skip": "",
        "report": "",
        "public": "no",
        "timeout": "none",
        "total_timeout": "none",
        "upgrades": "websocket",
        "stream": "no",
        "max_body": "0",
        "retries": "none",
        "retry_on": "none",
        "hedge": "none",
        "sample": "none",
        "buffer_request": "none",
        "buffer_response": "none",
        "methods": "",
        "host": "",
        "scheme": "none",
        "headers": "",
        "cookies": "",
        "query": "",
        "client": "",
        "listener": "",
        "tunnel_timeout": "1h",
        "strip_prefix": "no",
        "restore_prefix": "yes",
        "add_prefix": "",
        "rewrite": "none",
        "keep": "",
        "split_by": "none",
        "mirror": "",
        "mirror_share": "100%",
        "redirect": "none",
        "status": "307",
        "respond": "none",
        "body": "",
        "content_type": "text/plain; charset=utf-8",
        "app": "none",
        "fallthrough": "none",
        "offload": "no",
        "root": "none",
        "index": "index.html",
        "fallback": "none",
        "precompressed": "br, zstd, gzip",
        "cache": "0s",
        "hidden": "no",
    }


@pytest.mark.parametrize("cls", SECTIONS)
def test_every_option_is_documented(cls):
    assert [option.name for option in options(cls) if not option.doc] == []


def test_every_option_of_a_policy_is_documented():
    assert all(option.doc for option in policy_options(POLICIES))


def test_every_policy_of_the_table_can_be_written():
    assert {*POLICIES, "sticky"} == set(get_args(Balance))


def test_section_that_the_file_does_not_have(tmp_path):
    there = RawSection("route", "a", "f", 3)
    log = LogSettings(rotate=Rotate())
    settings = Settings(tmp_path, ServerSettings(), GatewaySettings(), (), {}, {}, log, (), (there,))
    assert settings.section("route", "a") is there
    assert settings.section("server") == RawSection("server", "", str(tmp_path), 0)
