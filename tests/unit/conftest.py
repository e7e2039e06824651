"""What unit tests of several folders share."""

import time

import pytest
from hypothesis import settings

import gproxy
from gproxy.testing.scripted_channel import ScriptedChannel
from unit.identity import vectors

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
    "server/test_client_channel.py",
    "server/test_connection.py",
    "server/test_context.py",
    "server/test_proxy_protocol_connection.py",
    "server/test_tls_channel.py",
    "server/test_tls_connection.py",
    "upstream/balance/test_policy.py",
    "upstream/http1/test_channel.py::test_a_client_that_sends_more_does_not",
)


def pytest_collection_modifyitems(items):
    if not gproxy.is_compiled:
        return
    for item in items:
        if any(f"tests/unit/{name}" in item.nodeid for name in INTERPRETED_ONLY):
            item.add_marker(
                pytest.mark.skip(reason="compiled code takes no stand-in; the interpreted run has this test")
            )


def pytest_terminal_summary(terminalreporter):
    for line in vectors.not_run():
        terminalreporter.write_line(line)
