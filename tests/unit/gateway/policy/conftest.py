"""A chain with one handler, which does what the test says."""

import pytest

from gproxy.config.sections.chain import ChainOptions
from gproxy.gateway.chain import compose
from gproxy.gateway.error_responses import ErrorResponses
from gproxy.gateway.policy.steps import PolicySteps
from gproxy.runtime import Runtime
from gproxy.testing import Clock, answer, request


class Scene:
    """The step of one handler, which does what `act` says, with options of the chain."""

    own_path = ""

    def __init__(self, report=(), **options):
        self.clock = Clock()
        self.act = lambda request, following: following(request)
        self.errors = ErrorResponses()
        runtime = Runtime(monotonic=self.clock)
        handlers = {"one": self}
        self.steps = PolicySteps(handlers, self.errors, runtime, {"one": ChainOptions(**options)}, "both")
        self.chain = compose([step for _, step in self.steps.chain(["one"], report)], self.next, self.errors)
        self.last = answer(200, b"theirs", {"X-Theirs": "yes"})
        self.calls = 0

    def next(self, request):
        return self.last(request)

    def __call__(self, request, following):
        self.calls += 1
        return self.act(request, following)

    def fail(self, error):
        def act(request, following):
            raise error

        self.act = act

    def ask(self, made=None):
        asked = made or request()
        return asked, self.chain(asked)


def late(error):
    def act(request, following):
        following(request)
        raise error

    return act


@pytest.fixture
def report():
    return Scene(mode="report")


@pytest.fixture
def opened():
    return Scene(on_error="open")
