"""Fixtures for tests of picking: upstreams built from a line, and a controlled clock and random generator."""

from pathlib import Path

import pytest

from gproxy.config.ini.build import construct, option_names
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import BackendURL
from gproxy.http.request import request
from gproxy.runtime import Runtime
from gproxy.upstream.balance import POLICIES
from gproxy.upstream.http1.connect import Endpoint
from gproxy.upstream.upstream import Upstream


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Script:
    """A random whose draws are given."""

    def __init__(self):
        self.draws = []

    def random(self):
        return self.draws.pop(0)


def policy_of(options):
    """Take the options of the built-in policy out of `options`, and return the policy."""
    balance = options.get("balance", "round_robin")
    cls = POLICIES[options.get("sticky_fallback", "round_robin") if balance == "sticky" else balance]
    return construct(cls, **{name: options.pop(name) for name in option_names(cls) if name in options})


class Group:
    """An upstream of backends named by letters, and what there is to ask of it."""

    def __init__(self, words, kind=Upstream, policy=None, state_dir=Path("var"), **options):
        urls = (BackendURL.parse(f"http://{word}") for word in words.split(","))
        built_in = policy_of(options)
        settings = construct(UpstreamSettings, name="u", backends=tuple(urls), **options)
        self.clock = Clock()
        self.script = Script()
        runtime = Runtime(monotonic=self.clock, rng=self.script, state_dir=state_dir)
        runtime.spawn = lambda *_: None
        self.upstream = kind(settings, policy or built_in, runtime)
        self.upstream._discovery._names.clear()  # letters are not resolved
        for backend in self.upstream.backends:
            backend.endpoint = Endpoint(["127.0.0.1"], 80)

    def __getitem__(self, name):
        return next(backend for backend in self.upstream.backends if backend.name == f"{name}:80")

    def pick(self, asked=None, tried=""):
        found = self.upstream.rotation.pick(asked or request(), [self[name] for name in tried])
        return found.name[:-3] if found else None

    def picks(self, count, asked=None):
        return "".join(self.pick(asked) for _ in range(count))

    def lose(self, *names):
        for name in names:
            self[name].health.mark_probe(False)
        self.upstream.rotation.refresh()

    def regain(self, *names):
        for name in names:
            self[name].health.mark_probe(True)
        self.upstream.rotation.refresh()


@pytest.fixture
def group():
    return Group


class ScriptedEndpoint:
    """An endpoint that returns sockets that follow scripts, or raises; `peers` are those it has connected to."""

    def __init__(self, scripted, outcomes):
        self._scripted = scripted
        self._outcomes = list(outcomes)
        self.peers = []
        self.timeouts = []

    def connect(self, timeout):
        self.timeouts.append(timeout)
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        self.peers.append(self._scripted(*outcome))
        return self.peers[-1].socket


@pytest.fixture
def scripted_endpoint(scripted):
    """Make endpoints with an outcome for each connect: the script of the backend, or an exception.

    A test has to close the connections: a watcher of a closed descriptor would see the events of a later test.
    """
    made = []

    def make(*outcomes):
        made.append(ScriptedEndpoint(scripted, outcomes))
        return made[-1]

    yield make
    assert all("close" in peer.actions for endpoint in made for peer in endpoint.peers)
