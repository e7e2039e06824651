"""The URLs that the gateway itself asks."""

import pytest

from gproxy.identity.outgoing.urls import check_url, is_internal, is_loopback


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.com", "https://id.example.com:8443/a/b?c=d", "https://10.0.0.1/", "http://localhost:8080/",
        "http://127.0.0.1/", "http://127.1.2.3/", "http://[::1]:80/",
    ],
)  # fmt: skip
def test_https_is_accepted_and_http_on_loopback(url):
    assert check_url(url).geturl() == url


@pytest.mark.parametrize(
    "url",
    [
        "", "id.example.com", "//id.example.com", "ftp://id.example.com", "file:///etc/passwd", "https://", "https:///a",
        "https://a:port/", "https://a:0/", "https://[::1", "https://a/ b", "https://a/\n", "https://ä.example",
        "https://user:password@a/", "https://a@b/", "https://a/#b", "https://a/#",
    ],
)  # fmt: skip
def test_other_texts_are_rejected(url):
    with pytest.raises(ValueError, match="; expected "):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["http://id.example.com/", "http://10.0.0.1/", "http://localhost.example.com/", "http://[::2]/"]
)
def test_http_beyond_loopback_needs_the_option(url):
    with pytest.raises(ValueError, match="insecure = yes"):
        check_url(url)
    check_url(url, insecure=True)


def test_a_message_has_nothing_of_the_url():
    for url in ("https://user:s3cret@host/", "s3cret", "http://s3cret.example/"):
        with pytest.raises(ValueError) as caught:
            check_url(url)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1",
        "fe80::1", "fe80::1%eth0", "fd00::1", "::", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1",
        "2002:0a00:0001::1",
    ],
)  # fmt: skip
def test_internal_addresses(host):
    assert is_internal(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8", "id.example.com"])
def test_public_addresses_and_names(host):
    assert not is_internal(host)


def test_loopback():
    assert all(map(is_loopback, ("localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("localhost.example", "10.0.0.1", "::2", "")))
