"""What unit tests of several folders share."""

import pytest

from gproxy.testing.scripted_channel import ScriptedChannel


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
