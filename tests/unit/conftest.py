"""What unit tests of several folders share."""

import time

import pytest
from hypothesis import settings

import gproxy
from gproxy.testing.scripted_channel import ScriptedChannel
from unit import vectors

# A busy machine may take any time for an example.
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


@pytest.fixture
def scripted():
    """Make ScriptedChannels that are closed after the test."""
    made = []

    def make(*script, **options):
        made.append(ScriptedChannel(script, **options))
        return made[-1]

    yield make
    for channel in made:
        channel.close()


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


#: Files, or single tests, with stand-ins that compiled code does not take: it asks for the very class.
INTERPRETED_ONLY = (
    "server/http2/",
    "server/test_client_channel.py",
    "server/test_connection.py",
    "server/test_context.py",
    "server/test_dispatch.py",
    "server/test_multiplexed.py",
    "server/test_proxy_protocol_connection.py",
    "server/test_tls_channel.py",
    "server/test_tls_connection.py",
    "upstream/balance/test_policy.py",
    "upstream/forwarder/test_grpc_attempt.py",
    "upstream/http1/test_channel.py::test_a_client_that_sends_more_does_not",
    "upstream/http1/test_channel.py::test_pieces_are_as_large_as_the_client_wants_them",
    "upstream/http2/test_response_stream.py::test_pieces_are_as_large_as_the_client_wants_them",
    "upstream/http2/test_backend_stream.py::test_misuse_before_the_request",
)


#: Folders and files whose subject is never compiled: a second run, beside the compiled hot path, would show nothing new.
NEVER_COMPILED = ("arbiter/", "commands/", "config/", "jobs/", "state/shared/", "testing/test_plugin.py")


def pytest_collection_modifyitems(config, items):
    """Leave what compiled code does not change to the interpreted run: scripts/test has both. Leave out absent vectors."""
    names = tuple(f"tests/unit/{name}" for name in INTERPRETED_ONLY + NEVER_COMPILED)
    left = [
        item
        for item in items
        if (gproxy.is_compiled and item.nodeid.startswith(names))
        or (item.path.name.startswith(("test_wycheproof_", "test_hpack_stories")) and not item.module.CASES)
    ]
    if left:
        config.hook.pytest_deselected(items=left)
        gone = set(left)
        items[:] = [item for item in items if item not in gone]


def pytest_terminal_summary(terminalreporter):
    for line in vectors.not_run():
        terminalreporter.write_line(line)
