"""Feature 8: not one request is lost when a busy gateway is told to stop."""

import signal
import time

import pytest
from hammer import load
from shipped import PUBLIC, UNLIMITED, response, running


def taking(seconds):
    def script(peer, backend):
        while peer.read_request() is not None:
            time.sleep(seconds)
            peer.send(response(b"x" * 2000))

    return script


# Fast ones make many connections at the moment of the stop, slow ones have requests under way in it.
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("seconds", [0, 0.002, 0.03, 0.3])
def test_term_in_the_middle(tmp_path, seconds, workers):
    count = ("workers = 1", f"workers = {workers}")
    with running(tmp_path, UNLIMITED, *PUBLIC, count, scripts=[taking(seconds)] * 3) as ours:
        with load(ours.port) as clients:
            time.sleep(0.5)
            ours.signal(signal.SIGTERM)
            for client in clients:
                client.join(15)
            assert not any(client.enough.is_set() for client in clients)
        assert ours.wait() == 0
        assert "nothing was cut" in ours.wait_for_line("stopped after")
        answered = sum(client.answered for client in clients)
        assert len(ours.access(answered)) == answered
