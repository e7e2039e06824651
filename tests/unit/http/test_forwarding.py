from ipaddress import ip_network

import pytest

from gproxy.http.forwarding import connection_options, strip_hop_by_hop
from gproxy.http.header_names import RESPONSE_HOP_BY_HOP
from gproxy.http.headers import Headers
from gproxy.http.trust import Trust, client_address, is_local, is_trusted, strip_spoofed

TRUSTED = tuple(map(ip_network, ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"]))
IDENTITY = frozenset({"x-user-id", "remote-role"})


def test_connection_options():
    fields = Headers([("Connection", "Keep-Alive, x-a ,,"), ("connection", "CLOSE")])
    assert connection_options(fields) >= {"keep-alive", "x-a", "close"}
    assert connection_options(Headers()) == frozenset()


def test_what_is_meant_for_one_connection_is_removed():
    fields = Headers(
        {
            "Connection": "x-a, host, content-type", "X-A": "1", "Host": "a", "Content-Type": "t", "Keep-Alive": "1", "TE": "x",
            "Upgrade": "h2c", "Content-Length": "5", "Transfer-Encoding": "chunked", "Proxy-Authorization": "x", "X-B": "1",
        }
    )  # fmt: skip
    strip_hop_by_hop(fields, connection_options(fields))
    assert list(fields) == ["Host", "X-B"]


def test_a_response_keeps_its_length():
    fields = Headers(
        {"Content-Length": "5", "Connection": "content-length", "Transfer-Encoding": "x", "Upgrade": "h2c"}
    )
    strip_hop_by_hop(fields, connection_options(fields), RESPONSE_HOP_BY_HOP)
    assert list(fields) == ["Content-Length"]


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize(
    "name",
    ["X-User-ID", "x-user-id", "X_USER_ID", "X.User.ID", "X-User_ID", "X!User~ID", "Remote-Role", "remote_role", "remote.role",
     "X_Forwarded_For", "X.Forwarded.Proto", "X_Real_IP", "Content_Length", "Transfer_Encoding", "transfer.encoding"],
)  # fmt: skip
def test_fields_that_no_peer_may_send(name, trusted):
    fields = Headers({name: "evil", "X-Ok": "1"})
    strip_spoofed(fields, IDENTITY, trusted=trusted)
    assert list(fields) == ["X-Ok"]
    alone = Headers({name: "evil"})
    strip_spoofed(alone, IDENTITY, trusted=trusted)
    assert list(alone) == []


@pytest.mark.parametrize(
    ("header", "fields", "from_client", "from_proxy"),
    [
        ("X-Request-ID", {"X-Request-ID": "a1", "X_Request_ID": "b2", "X-C": "c"}, ("", ["X-C"]), ("a1", ["X-C"])),
        ("X-Request-ID", {"X-Request-ID": "a b"}, ("", []), ("", [])),
        ("X-C", {"X-Request-ID": "a1", "x_c": "b2", "x-c": "c"}, ("", ["X-Request-ID"]), ("c", ["X-Request-ID"])),
        ("Correlation", {"correlation": "c"}, ("", []), ("c", [])),
        ("", {"X-Request-ID": "a1", "X-C": "c"}, ("", ["X-Request-ID", "X-C"]), ("", ["X-Request-ID", "X-C"])),
    ],
)
def test_only_trusted_proxies_send_ids(header, fields, from_client, from_proxy):
    trust = Trust(TRUSTED, id_header=header)
    for peer, expected in (("192.0.2.1", from_client), ("10.0.0.1", from_proxy)):
        headers = Headers(fields)
        assert (trust.clean(peer, headers)[1], list(headers)) == expected


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-For", "X-FORWARDED-Anything", "Forwarded", "X-Real-IP", "Client-Cert", "Client-Cert-Chain",
        "X-Forwarded-Client-Cert",
    ],
)  # fmt: skip
def test_what_only_trusted_proxies_may_say(name):
    for trusted in (True, False):
        fields = Headers([(name, "1"), (name, "2")])
        strip_spoofed(fields, IDENTITY, trusted=trusted)
        assert fields.all(name) == (["1", "2"] if trusted else [])


@pytest.mark.parametrize("name", ["Client_Cert", "CLIENT.CERT", "Client-Cert_Chain", "X_Forwarded-Client-Cert"])
def test_a_certificate_in_another_spelling_comes_from_nobody(name):
    for trusted in (True, False):
        fields = Headers({name: ":AA==:"})
        strip_spoofed(fields, IDENTITY, trusted=trusted)
        assert list(fields) == []


@pytest.mark.parametrize(
    "name",
    [
        "X-User",
        "X-User-ID2",
        "My_Header",
        "Host",
        "Content-Length",
        "User-ID",
        "X-Forwarded",
        "Forwarded-For",
        "Client-Certs",
    ],
)
def test_what_anybody_may_say(name):
    fields = Headers({name: "1"})
    strip_spoofed(fields, IDENTITY, trusted=False)
    assert list(fields) == [name]


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.255.0.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:0db8:0:0::1"])
def test_trusted(peer):
    assert is_trusted(peer, TRUSTED)
    assert not is_trusted(peer, ())


@pytest.mark.parametrize("peer", ["127.0.0.2", "11.0.0.1", "::1", "2001:db9::1", "", "10.0.0", "10.0.0.1:80"])
def test_not_trusted(peer):
    assert not is_trusted(peer, TRUSTED)


@pytest.mark.parametrize(
    ("claimed", "client"),
    [
        ([], "127.0.0.1"),
        ([""], "127.0.0.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, 10.0.0.1"], "192.0.2.7"),
        (["192.0.2.8, 192.0.2.7"], "192.0.2.7"),
        (["10.0.0.2, 192.0.2.7, 10.0.0.1, 10.0.0.3"], "192.0.2.7"),
        (["192.0.2.8", "192.0.2.7", "10.0.0.1"], "192.0.2.7"),
        (["10.0.0.2, 10.0.0.1"], "10.0.0.2"),
        (["192.0.2.7:4711"], "192.0.2.7"),
        (["[2001:db9::7]:4711"], "2001:db9::7"),
        (["[2001:db9::7]"], "2001:db9::7"),
        (["2001:DB9:0::7"], "2001:db9::7"),
        (["2001:db9::7, 2001:db8::1"], "2001:db9::7"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, unknown"], "127.0.0.1"),
        (["192.0.2.7, _hidden, 10.0.0.1"], "10.0.0.1"),
        (["192.0.2.7, , 10.0.0.1"], "10.0.0.1"),
        (["192.0.2.7,"], "127.0.0.1"),
        (["\t192.0.2.7\t"], "192.0.2.7"),
        (["192.0.2.07"], "127.0.0.1"),
        (["192.0.2.256"], "127.0.0.1"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_not_trusted(claimed, client):
    assert client_address("127.0.0.1", Headers([("X-Forwarded-For", line) for line in claimed]), TRUSTED) == client


def test_an_untrusted_peer_is_the_client():
    fields = Headers({"X-Forwarded-For": "10.0.0.1"})
    assert client_address("192.0.2.9", fields, TRUSTED) == "192.0.2.9"
    assert client_address("127.0.0.1", fields, ()) == "127.0.0.1"


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("unix", True), ("192.0.2.1", False),
        ("10.0.0.1", False), ("fe80::1", False), ("fe80::1%eth0", False), ("localhost", False), ("", False),
        ("::ffff:127.0.0.1", True), ("::ffff:192.0.2.1", False), ("0.0.0.0", False), ("::", False),
    ],
)  # fmt: skip
def test_local_peers(peer, expected):
    assert is_local(peer) is expected
