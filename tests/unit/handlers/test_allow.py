from ipaddress import ip_network

import pytest

from gproxy.handlers.allow import Allow
from gproxy.http.errors import HTTPError
from gproxy.http.identity import Identity
from gproxy.identity.rules.rule import Rule
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


def test_a_handler_without_any_rule_is_rejected():
    with pytest.raises(ValueError, match=r"^allow: "):
        Allow()


def rejection(handler, asked):
    behind = answer()
    with pytest.raises(HTTPError) as caught:
        handler(asked, behind)
    assert behind.requests == []
    error = caught.value
    return error.status, error.reason, error.detail, error.headers.all("www-authenticate")


def allow(*items):
    return Allow(allow=tuple(map(Rule.parse, items)))


def asking(identity=None, challenges=()):
    made = request()
    made.identity = identity
    if challenges:
        made.context["challenges"] = [*challenges]
    return made


def test_a_network_as_text_is_a_rule():
    assert allow("10.1.0.0/16")(request(client="10.1.2.3"), answer()).status == 200
    found = rejection(allow("10.1.0.0/16"), request(client="10.2.0.1"))
    assert found == (403, "forbidden", "client address is not allowed", [])


def test_an_identity_that_could_help_is_asked_for_with_all_challenges():
    asked = asking(challenges=['Bearer realm="a"', 'Key realm="a"'])
    found = rejection(allow("role:admin", "10.0.0.0/8"), asked)
    assert found == (401, "auth_missing", "a credential is required", ['Bearer realm="a"', 'Key realm="a"'])


def test_a_401_without_a_challenge_is_a_403():
    assert rejection(allow("role:admin"), asking())[:2] == (403, "auth_missing")


def test_an_identity_that_could_not_help_is_not_asked_for():
    found = rejection(allow("method:PUT user"), asking(challenges=["Bearer"]))
    assert found == (403, "forbidden", "request is not allowed", [])


class Bearer:
    scheme = "Bearer"

    def challenge(self, code="", description="", **more):
        return f"Bearer {code} {more}"


def test_missing_scopes_are_named_by_the_handler_that_found_the_identity():
    handler = allow("role:admin", "scope:orders.write", "mtls.scope:x")
    handler.challengers = {"jwt": Bearer()}
    found = rejection(handler, asking(Identity(user="alice", handler="jwt")))
    detail = "the credential does not have the required scope"
    assert found == (403, "auth_scope", detail, ["Bearer insufficient_scope {'scope': 'orders.write'}"])
    assert rejection(handler, asking(Identity(user="alice", handler="mtls"))) == (403, "auth_scope", detail, [])


def test_a_role_that_is_missing_too():
    assert rejection(allow("role:admin scope:x"), asking(Identity(user="alice")))[:2] == (403, "forbidden")


def test_deny_by_identity():
    handler = Allow(deny=(Rule.parse("user:mallory"),))
    assert handler(asking(), answer()).status == 200
    assert handler(asking(Identity(user="alice")), answer()).status == 200
    assert rejection(handler, asking(Identity(user="mallory")))[:2] == (403, "forbidden")
