"""Backends with names: real questions to a name server whose answers change while requests go on."""

import ssl
import threading
from contextlib import ExitStack, contextmanager

import pytest

from gproxy.testing.authority import Authority
from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import RunningGateway, eventually, free_port
from gproxy.testing.names import NameServer

INI = """
[gateway]
handlers = health
timeout = 2s
[handler:health]
cache = 0s
[route:r]
upstream = u
[upstream:u]
backends = %s
dns_interval = %s
"""


class Cast:
    """Backends on several loopback addresses and one port, answering their address."""

    def __init__(self, stack):
        self.stack = stack
        self.port = free_port()

    def enter(self, address, **options):
        actor = Actor(reply(address.encode()), port=self.port, address=address, **options)
        return self.stack.enter_context(actor)


@pytest.fixture
def cast():
    with ExitStack() as stack:
        yield Cast(stack)


@pytest.fixture
def dns():
    with NameServer() as server:
        yield server


@contextmanager
def running(folder, dns, backends, options="", interval="1s"):
    """A gateway that leaves no lease behind."""
    with RunningGateway(INI % (backends, interval) + options, folder, environ=dns.environ) as gateway:
        yield gateway
        gateway.wait_until_idle()


def members(gateway):
    return {one["backend"].removeprefix("http://"): one for one in gateway.health()["upstreams"]["u"]}


def bodies(gateway, count):
    return [gateway.get("/").body.decode() for _ in range(count)]


def test_requests_are_balanced_over_all_addresses(tmp_path, cast, dns):
    dns.addresses["app.test"] = ["127.0.0.3", "127.0.0.2"]
    two, three = cast.enter("127.0.0.2"), cast.enter("127.0.0.3")
    with running(tmp_path, dns, f"http://app.test:{cast.port}", "host = backend") as gateway:
        assert bodies(gateway, 4) == ["127.0.0.2", "127.0.0.3"] * 2
        assert two.requests[0]["host"] == f"app.test:{cast.port}"
        assert {name: one["name"] for name, one in members(gateway).items()} == dict.fromkeys(
            (f"127.0.0.2:{cast.port}", f"127.0.0.3:{cast.port}"), "app.test"
        )
        gateway.get("/logged")
        assert gateway.line("/logged")["backend"] == f"127.0.0.2:{cast.port}"
        assert (two.connections, three.connections) == (1, 1)


def test_weights_and_other_backends_hold_beside_a_name(tmp_path, cast, dns):
    dns.addresses["app.test"] = ["127.0.0.2", "127.0.0.3"]
    for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
        cast.enter(address)
    urls = f"http://app.test:{cast.port} weight=2, http://127.0.0.4:{cast.port}"
    with running(tmp_path, dns, urls) as gateway:
        found = bodies(gateway, 10)
    assert {address: found.count(address) for address in found} == {"127.0.0.2": 4, "127.0.0.3": 4, "127.0.0.4": 2}


def test_an_address_that_comes_and_one_that_goes(tmp_path, cast, dns):
    """Who stays keeps its counters and its connection; who goes finishes what it has, and is not asked again."""
    dns.addresses["app.test"] = ["127.0.0.2", "127.0.0.3"]
    two, three = cast.enter("127.0.0.2"), cast.enter("127.0.0.3")
    cast.enter("127.0.0.4")
    asked, go = threading.Event(), threading.Event()
    with running(tmp_path, dns, f"http://app.test:{cast.port}") as gateway:
        bodies(gateway, 4)
        attempts = members(gateway)[f"127.0.0.3:{cast.port}"]["attempts"]
        two.act = lambda peer, request: (asked.set(), go.wait(10), reply(b"late")(peer, request))
        answers = []
        slow = threading.Thread(target=lambda: answers.append(gateway.get("/slow")))
        slow.start()
        assert asked.wait(5)
        dns.addresses["app.test"] = ["127.0.0.4", "127.0.0.3"]
        eventually(lambda: f"127.0.0.4:{cast.port}" in members(gateway), "the new address")
        found = members(gateway)
        assert found[f"127.0.0.2:{cast.port}"]["state"] == "leaving"
        assert found[f"127.0.0.2:{cast.port}"]["active"] == 1
        assert found[f"127.0.0.3:{cast.port}"]["attempts"] == attempts
        go.set()
        slow.join(5)
        assert answers[0].body == b"late"
        assert set(bodies(gateway, 6)) == {"127.0.0.3", "127.0.0.4"}
        assert three.connections == 1
        eventually(lambda: two.open == 0, "the connections to the old address closed")
        assert set(members(gateway)) == {f"127.0.0.3:{cast.port}", f"127.0.0.4:{cast.port}"}
        gateway.wait_for_line(f"app.test:{cast.port} resolves to 127.0.0.3, 127.0.0.4")


def test_a_service_that_moves_is_found_before_the_interval_is_over(tmp_path, cast, dns):
    dns.addresses["app.test"] = ["127.0.0.2"]
    cast.enter("127.0.0.3")
    with running(tmp_path, dns, f"http://app.test:{cast.port}", interval="1h") as gateway:
        dns.addresses["app.test"] = ["127.0.0.3"]
        assert gateway.get("/").status == 502
        eventually(lambda: gateway.get("/").status == 200, "the new address")


def test_a_name_that_does_not_resolve_yet(tmp_path, cast, dns, stopwatch):
    cast.enter("127.0.0.2")
    with running(tmp_path, dns, f"http://app.test:{cast.port}", "health_path = /up") as gateway:
        with stopwatch:
            answer = gateway.get("/")
        assert (answer.status, answer["proxy-status"]) == (502, "gproxy; error=dns_error")
        assert stopwatch.seconds < 0.5
        [facts] = members(gateway).values()
        assert (facts["backend"], facts["state"]) == (f"http://app.test:{cast.port}", "unhealthy")
        assert facts["why"] == "dns_error"
        assert gateway.line("/")["reason"] == "dns_error"
        dns.addresses["app.test"] = ["127.0.0.2"]
        eventually(lambda: gateway.get("/").status == 200, "the name resolves")
        assert gateway.errors.count("does not resolve: ") == 1


def test_others_serve_beside_a_name_that_does_not_resolve(tmp_path, cast, dns):
    two = cast.enter("127.0.0.2")
    with running(tmp_path, dns, f"http://nowhere.test:{cast.port}, {two.url}") as gateway:
        assert bodies(gateway, 4) == ["127.0.0.2"] * 4
        assert gateway.line("/")["tries"] == "1"


@pytest.mark.parametrize("how", ["vanishes", "silent"])
def test_answers_that_stay_away_change_nothing(tmp_path, cast, dns, how):
    dns.addresses["app.test"] = ["127.0.0.2"]
    cast.enter("127.0.0.2")
    with running(tmp_path, dns, f"http://app.test:{cast.port}") as gateway:
        if how == "silent":
            dns.silent = True
        else:
            del dns.addresses["app.test"]
        gateway.wait_for_line("its last addresses stay")
        before = len(dns.asked)
        assert gateway.get("/").status == 200
        dns.silent = False
        eventually(lambda: len(dns.asked) > before, "asked again")
        dns.addresses["app.test"] = ["127.0.0.2"]
        eventually(lambda: gateway.errors.count("resolves to 127.0.0.2") == 2, "the name resolves again")
        assert gateway.errors.count("does not resolve") == 1


def test_a_silent_name_server_holds_up_nobody(tmp_path, dns, stopwatch):
    dns.silent = True
    with Actor() as backend, running(tmp_path, dns, f"http://app.test:1, {backend.url}") as gateway:
        with stopwatch:
            assert gateway.get("/").status == 200
        assert stopwatch.seconds < 0.5


def test_a_host_with_both_kinds_of_addresses_is_one_backend(tmp_path, cast, dns):
    """Whichever of the two it listens on."""
    dns.addresses["app.test"] = ["127.0.0.1", "::1"]
    with running(tmp_path, dns, f"http://app.test:{cast.port}") as gateway:
        assert len(members(gateway)) == 1
        for address in ("127.0.0.1", "::1"):
            with Actor(reply(address.encode()), port=cast.port, address=address):
                eventually(lambda address=address: gateway.get("/").body == address.encode(), address)


def test_ipv6_alone(tmp_path, cast, dns):
    dns.addresses["app.test"] = ["::1"]
    cast.enter("::1")
    with running(tmp_path, dns, f"http://app.test:{cast.port}") as gateway:
        assert bodies(gateway, 1) == ["::1"]
        assert list(members(gateway)) == [f"[::1]:{cast.port}"]


def test_certificates_are_for_the_name(tmp_path, cast, dns):
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("app.test"))
    dns.addresses["app.test"] = ["127.0.0.2"]
    cast.enter("127.0.0.2", tls=context)
    with running(tmp_path, dns, f"https://app.test:{cast.port}", f"tls_ca = {authority.path}") as gateway:
        assert gateway.get("/").status == 200


def test_probes_follow_the_addresses(tmp_path, cast, dns):
    dns.addresses["app.test"] = ["127.0.0.2"]
    two, three = cast.enter("127.0.0.2"), cast.enter("127.0.0.3")
    options = "health_path = /up\nhealth_interval = 50ms"
    with running(tmp_path, dns, f"http://app.test:{cast.port}", options):
        eventually(lambda: len(two.requests) > 2, "probes of the first")
        dns.addresses["app.test"] = ["127.0.0.3"]
        eventually(lambda: len(three.requests) > 2, "probes of the second")
        seen = len(two.requests)
        eventually(lambda: len(three.requests) > 6, "more probes of the second")
        assert len(two.requests) == seen
