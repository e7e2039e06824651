"""Answers of the resolver to backends."""

import socket
from random import Random

import pytest

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL, Seconds
from gproxy.runtime import Runtime
from gproxy.upstream.balance.round_robin import RoundRobin
from gproxy.upstream.discovery import Network
from gproxy.upstream.dns import ResolvedName, arrange
from gproxy.upstream.upstream import Upstream


@pytest.mark.parametrize(
    ("found", "backends"),
    [
        ([], []),
        (["10.0.0.2", "10.0.0.1", "10.0.0.2"], [("10.0.0.1",), ("10.0.0.2",)]),
        (["::2", "::1"], [("::1",), ("::2",)]),
        (["::1", "10.0.0.1"], [("::1", "10.0.0.1")]),
        (["10.0.0.1", "::1"], [("10.0.0.1", "::1")]),
        (["::1", "10.0.0.1", "10.0.0.2"], [("10.0.0.1", "::1"), ("10.0.0.2", "::1")]),
        (["::1", "::2", "10.0.0.2", "10.0.0.1"], [("::1", "10.0.0.1"), ("::2", "10.0.0.2")]),
    ],
)
def test_arrange(found, backends):
    assert arrange(found) == backends


class Directory:
    """A resolver to direct; what is an exception is raised."""

    def __init__(self, **answers):
        self.answers = answers

    def __call__(self, host):
        answer = self.answers[host]
        if isinstance(answer, Exception):
            raise answer
        return answer


GONE = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
URL = BackendURL("http", "app", 80)


def name(directory, heard):
    return ResolvedName(
        URL,
        interval=10.0,
        upstream="u",
        lookup=directory,
        changed=lambda url, found: heard.append((url, found)),
        random=Random(1),
    )


def test_only_changes_are_heard_of(caplog):
    caplog.set_level("INFO", "gproxy")
    heard = []
    directory = Directory(app=["10.0.0.1", "10.0.0.2"])
    one = name(directory, heard)
    one.look()
    directory.answers["app"] = ["10.0.0.2", "10.0.0.1"]
    one.look()
    assert heard == [(URL, [("10.0.0.1",), ("10.0.0.2",)])]
    directory.answers["app"] = ["10.0.0.2"]
    one.look()
    assert heard[1:] == [(URL, [("10.0.0.2",)])]
    assert [record.getMessage() for record in caplog.records] == [
        "upstream u: app:80 resolves to 10.0.0.1, 10.0.0.2",
        "upstream u: app:80 resolves to 10.0.0.2",
    ]


def test_a_failure_is_logged_once_and_changes_nothing(caplog):
    caplog.set_level("INFO", "gproxy")
    heard = []
    directory = Directory(app=GONE)
    one = name(directory, heard)
    for answer in (GONE, GONE, ["10.0.0.1"], GONE, GONE, ["10.0.0.1"]):
        directory.answers["app"] = answer
        one.look()
    assert heard == [(URL, [("10.0.0.1",)])]
    assert [record.getMessage() for record in caplog.records] == [
        "upstream u: app:80 does not resolve: [Errno -2] Name or service not known",
        "upstream u: app:80 resolves to 10.0.0.1",
        "upstream u: app:80 does not resolve: [Errno -2] Name or service not known; its last addresses stay in use",
        "upstream u: app:80 resolves to 10.0.0.1",
    ]


def upstream(directory, *backends, **options):
    settings = UpstreamSettings("u", tuple(map(BackendURL.parse, backends)), max_age=Seconds(9), **options)
    return Upstream(settings, RoundRobin(), Runtime(), network=Network(lookup=directory))


def look(one):
    for known in one._discovery._names.values():
        known.look()


def names(one):
    return [backend.name for backend in one.backends]


def test_backends_follow_the_addresses():
    directory = Directory(app=["10.0.0.1", "10.0.0.2"])
    one = upstream(directory, "http://first", "http://app:81 weight=3 max_connections=7 backup", "http://[::1]:82")
    directory.answers["first"] = ["10.9.9.9"]
    assert names(one) == ["first:80", "app:81", "[::1]:82"]
    look(one)
    assert names(one) == ["10.9.9.9:80", "10.0.0.1:81", "10.0.0.2:81", "[::1]:82"]
    assert [(b.weight, b.max_connections, b.is_backup) for b in one.backends[1:3]] == [(3, 7, True)] * 2
    stays = one.backends[2]
    directory.answers["app"] = ["10.0.0.3", "10.0.0.2"]
    look(one)
    assert names(one) == ["10.9.9.9:80", "10.0.0.2:81", "10.0.0.3:81", "[::1]:82"]
    assert one.backends[1] is stays


def test_what_does_not_resolve_is_there_but_not_healthy():
    one = upstream(Directory(app=GONE), "http://app:81", "http://10.0.0.1")
    one.open()
    one.close()
    assert [backend.is_healthy for backend in one.backends] == [False, True]
    assert one.snapshot()[0]["why"] == "dns_error"


def test_the_address_in_reserve_may_change_alone():
    directory = Directory(app=["10.0.0.1", "::1"])
    one = upstream(directory, "http://app:81")
    look(one)
    (backend,) = one.backends
    assert [address[0] for _, address in backend.endpoint.targets] == ["10.0.0.1", "::1"]
    directory.answers["app"] = ["10.0.0.1", "::2"]
    look(one)
    assert one.backends == [backend]
    assert [address[0] for _, address in backend.endpoint.targets] == ["10.0.0.1", "::2"]


def test_a_removed_backend_with_active_attempts_is_still_shown():
    directory = Directory(app=["10.0.0.1"])
    one = upstream(directory, "http://app:81")
    look(one)
    (backend,) = one.backends
    backend.active += 1
    directory.answers["app"] = ["10.0.0.2"]
    look(one)
    assert [(facts["backend"], facts["state"]) for facts in one.snapshot()] == [
        ("http://10.0.0.2:81", "healthy"),
        ("http://10.0.0.1:81", "leaving"),
    ]
    backend.active -= 1
    assert [facts["backend"] for facts in one.snapshot()] == ["http://10.0.0.2:81"]


def test_a_backend_added_later_starts_slowly():
    """No backend starts slowly at the start of the upstream."""
    directory = Directory(app=["10.0.0.1"])
    one = upstream(directory, "http://app:81", slow_start=Seconds(60))
    one.open()
    one.close()
    assert not one.rotation._slow_start.warming
    directory.answers["app"] = ["10.0.0.1", "10.0.0.2"]
    look(one)
    assert [backend.name for backend in one.rotation._slow_start.warming] == ["10.0.0.2:81"]
