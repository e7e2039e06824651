"""What the tests with cases from files share."""

from contextlib import ExitStack

import pytest
from forked_gateway import forked_gateways


@pytest.fixture(scope="module", autouse=True)
def forks():
    """All gateways of these tests start by forks."""
    with forked_gateways():
        yield


@pytest.fixture(scope="module")
def stages(request, tmp_path_factory):
    """One gateway and one backend for each file of cases, started for its first case by the module's `start`."""
    with ExitStack() as stack:
        running = {}

        def stage(case):
            if case.file not in running:
                stack.close()
                running.clear()
                running[case.file] = request.module.start(case, stack, tmp_path_factory.mktemp(case.file))
            return running[case.file]

        yield stage
