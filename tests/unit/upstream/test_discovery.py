"""The backends of the settings, and those of names once they resolve."""

import pytest

from gproxy.config.ini.build import construct
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL
from gproxy.runtime import Runtime
from gproxy.upstream.discovery import Discovery, Network
from unit.upstream.backends import pool_of


class Settled(Runtime):
    """A runtime that settles a name instead of looking it up."""

    def spawn(self, function, *args):
        function.__self__.settled.set()
        return "greenlet"


class Scene:
    """A discovery that is never opened, with what it reports."""

    def __init__(self, *texts, **options):
        self.urls = tuple(map(BackendURL.parse, texts))
        self.reported = []
        settings = construct(UpstreamSettings, name="u", backends=self.urls, **options)
        self.discovery = Discovery(settings, self.reported.append, Settled(), Network(lookup=lambda *_: None))

    @property
    def names(self):
        return [backend.name for backend in self.discovery.all()]

    def resolve(self, number, *found):
        self.discovery._resolved(self.urls[number], [tuple(words.split()) for words in found])


def test_addresses_are_backends_and_a_name_is_one_without_an_address():
    scene = Scene("http://192.0.2.1:81", "http://a.test")
    assert scene.names == ["192.0.2.1:81", "a.test:80"]
    assert [len(backend.endpoint.targets) for backend in scene.discovery.all()] == [1, 0]


def test_only_names_are_resolved():
    scene = Scene("http://192.0.2.1:81", "http://a.test")
    assert list(scene.discovery._names) == [scene.urls[1]]


def test_a_name_becomes_one_backend_for_each_address_in_its_place():
    scene = Scene("http://192.0.2.1", "http://a.test:81", "http://192.0.2.9")
    scene.resolve(1, "192.0.2.2", "192.0.2.3 192.0.2.4")
    assert scene.names == ["192.0.2.1:80", "192.0.2.2:81", "192.0.2.3:81", "192.0.2.9:80"]
    assert scene.reported == [scene.discovery.all()]
    assert [len(backend.endpoint.targets) for backend in scene.discovery.all()] == [1, 1, 2, 1]


def test_a_backend_whose_address_stays_keeps_its_state():
    scene = Scene("http://a.test")
    scene.resolve(0, "192.0.2.1", "192.0.2.2")
    first, second = scene.discovery.all()
    scene.resolve(0, "192.0.2.3", "192.0.2.1 192.0.2.5")
    third, kept = scene.discovery.all()
    assert kept is first
    assert [address[0] for _, address in kept.endpoint.targets] == ["192.0.2.1", "192.0.2.5"]
    assert third not in (first, second)


def test_the_options_of_the_upstream_hold_for_each_backend():
    scene = Scene("http://192.0.2.1", "http://192.0.2.2 max_connections=3", max_connections=7)
    assert [backend.max_connections for backend in scene.discovery.all()] == [7, 3]


@pytest.mark.parametrize(
    ("options", "probed", "passes"),
    [
        ({"initial": "down", "health_path": "/up"}, False, False),
        ({"initial": "unknown", "health_path": "/up"}, False, True),
        ({"initial": "unknown"}, True, True),
    ],
)
def test_the_initial_health_counts_with_probes_only(options, probed, passes):
    (backend,) = Scene("http://192.0.2.1", **options).discovery.all()
    assert (backend.health.is_probed, backend.health.passes) == (probed, passes)


def test_a_name_without_an_address_is_not_healthy_once_opened():
    scene = Scene("http://192.0.2.1", "http://a.test")
    assert scene.discovery.open() == ["greenlet"]
    address, name = scene.discovery.all()
    assert address.is_healthy
    assert (name.health.passes, name.health.why) == (False, "dns_error")


def test_an_unreachable_backend_has_its_name_resolved_again():
    scene = Scene("http://192.0.2.1", "http://a.test")
    asked = []
    scene.discovery._names[scene.urls[1]].refresh_soon = lambda: asked.append("a.test")
    for backend in scene.discovery.all():
        scene.discovery.refresh_soon(backend)
    assert asked == ["a.test"]


def test_tls_backends_share_one_context():
    scene = Scene("https://192.0.2.1", "https://192.0.2.2", tls_name="a.test")
    one, other = (pool_of(backend).conn_kw for backend in scene.discovery.all())
    assert one["server_hostname"] == "a.test"
    assert one["ssl_context"] is other["ssl_context"]
