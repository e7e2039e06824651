import pytest

from gproxy.config.types.origin import Origin
from gproxy.http.errors import HTTPError
from gproxy.identity.cross_site import reject_cross_site
from gproxy.testing import request

OURS = "https://gateway.test"
FRIEND = "https://friend.test"


def asked(method, site, origin, upgrade=None):
    pairs = [("Sec-Fetch-Site", site), ("Origin", origin)]
    made = request(method, "/", [pair for pair in pairs if pair[1]])
    made.offered = (upgrade,) if upgrade else ()
    return made


@pytest.mark.parametrize(
    ("method", "site", "origin"),
    [
        ("GET", "cross-site", "https://evil.test"),
        ("HEAD", "cross-site", ""),
        ("OPTIONS", "cross-site", "https://evil.test"),
        ("POST", "same-origin", OURS),
        ("POST", "none", ""),
        ("POST", "", OURS),
        ("POST", "", "https://GATEWAY.test:443"),
        ("POST", "", ""),
        ("POST", "", FRIEND),
        ("POST", "cross-site", FRIEND),
    ],
)
def test_requests_that_a_user_makes(method, site, origin):
    reject_cross_site(asked(method, site, origin), [Origin.parse(FRIEND)])


@pytest.mark.parametrize(
    ("method", "site", "origin", "upgrade"),
    [
        ("POST", "cross-site", "https://evil.test", None),
        ("POST", "same-site", "https://other.gateway.test", None),
        ("DELETE", "cross-site", "", None),
        ("POST", "cross-site", OURS, None),
        ("POST", "", "https://evil.test", None),
        ("POST", "", "null", None),
        ("POST", "", "https://gateway.test:8443", None),
        ("GET", "cross-site", "https://evil.test", "websocket"),
        ("GET", "", "https://evil.test", "websocket"),
    ],
)
def test_requests_that_another_site_makes(method, site, origin, upgrade):
    with pytest.raises(HTTPError) as caught:
        reject_cross_site(asked(method, site, origin, upgrade), [Origin.parse(FRIEND)])
    assert (caught.value.status, caught.value.reason) == (403, "cross_site")
