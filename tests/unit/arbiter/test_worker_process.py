"""How the end of a worker process is described and judged."""

import pytest

from gproxy.arbiter.worker_process import ExitStatus


@pytest.mark.parametrize(
    ("status", "clean", "text"),
    [
        (0, True, "exited with status 0"),
        (10 << 8, False, "exited with status 10"),
        (9, False, "was killed by SIGKILL"),
        (60, False, "was killed by signal 60"),
    ],
)
def test_an_exit_status(status, clean, text):
    found = ExitStatus.of(status)
    assert (found.is_clean, str(found)) == (clean, text)
