"""How the gateways of the documentation's tests start."""

import pytest
from forked_gateway import forked_gateways


@pytest.fixture(scope="module", autouse=True)
def forks(request):
    """All gateways of these tests start by forks, but for those of the first steps of a user."""
    if request.path.stem == "test_getting_started":
        yield
        return
    with forked_gateways():
        yield
