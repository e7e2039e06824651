from ipaddress import ip_network

import pytest

from gproxy.handlers.allow import Allow
from gproxy.http.errors import HTTPError
from gproxy.testing import answer, request

OFFICE = ip_network("10.1.0.0/16")
PRINTER = ip_network("10.1.0.9/32")
V6 = ip_network("2001:db8::/32")


@pytest.mark.parametrize("client", ["10.1.2.3", "2001:db8::1", "::ffff:10.1.2.3"])
def test_admitted(client):
    assert Allow(allow=(OFFICE, V6), deny=(PRINTER,))(request(client=client), answer()).status == 200


@pytest.mark.parametrize("client", ["10.2.0.1", "10.1.0.9", "2001:db9::1", "unix", ""])
def test_not_admitted(client):
    behind = answer()
    with pytest.raises(HTTPError) as caught:
        Allow(allow=(OFFICE, V6), deny=(PRINTER,))(request(client=client), behind)
    assert (caught.value.status, caught.value.reason) == (403, "forbidden")
    assert behind.requests == []


def test_a_peer_on_a_unix_socket_is_in_no_network():
    with pytest.raises(HTTPError):
        Allow(allow=(OFFICE,))(request(client="unix"), answer())


def test_deny_alone_admits_the_others():
    handler = Allow(deny=(OFFICE,))
    assert handler(request(client="192.0.2.1"), answer()).status == 200
    assert handler(request(client="unix"), answer()).status == 200
    with pytest.raises(HTTPError):
        handler(request(client="10.1.2.3"), answer())


def test_the_client_address_of_trusted_proxies_counts_and_no_header():
    with pytest.raises(HTTPError):
        Allow(allow=(OFFICE,))(request(client="192.0.2.1", headers={"X-Forwarded-For": "10.1.2.3"}), answer())


def test_a_handler_without_any_network_is_rejected():
    with pytest.raises(ValueError, match=r"^allow: "):
        Allow()
