"""`[outgoing]`: what is the URL of a proxy, that its password is shown nowhere, and the file of authorities."""

import pytest

from gproxy.config.problems import OptionErrors
from gproxy.config.sections.outgoing import OutgoingSettings, ProxyURL
from gproxy.config.types import Seconds
from gproxy.testing.authority import Authority


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("http://proxy.example:3128", "proxy.example:3128"),
        ("http://me:s3cret@proxy.example/", "proxy.example:80"),
        ("https://proxy.example", "proxy.example:443"),
        ("http://[::1]:3128", "::1:3128"),
    ],
)
def test_the_url_of_a_proxy(text, where):
    url = ProxyURL.parse(text)
    assert (url.where, url.reveal()) == (where, text)
    assert repr(url) == str(url) == "***"


@pytest.mark.parametrize(
    "text", ["s3cret", "socks5://s3cret:1", "http://", "http://a/s3cret", "http://a?s3cret", "http://a:s3cret"]
)
def test_other_urls_are_rejected_without_being_quoted(text):
    with pytest.raises(ValueError) as caught:
        ProxyURL.parse(text)
    assert "s3cret" not in str(caught.value)


def test_defaults():
    settings = OutgoingSettings()
    assert (settings.timeout, settings.tls_ca, settings.proxy, settings.insecure) == (5, None, None, False)


def problem_of(**options):
    with pytest.raises(OptionErrors) as caught:
        OutgoingSettings(**options)
    ((names, text),) = caught.value.problems
    return f"{names[0]}: {text}"


def test_a_time_limit_is_needed():
    assert problem_of(timeout=Seconds(0)) == "timeout: must be more than 0"


def test_the_file_of_authorities_is_read(tmp_path):
    OutgoingSettings(tls_ca=Authority(tmp_path).path)
    missing, empty = tmp_path / "none.pem", tmp_path / "empty.pem"
    empty.write_text("")
    assert problem_of(tls_ca=missing) == f"tls_ca: {missing} cannot be read: no such file or directory"
    assert problem_of(tls_ca=empty) == f"tls_ca: {empty} holds no certificates in PEM form"
