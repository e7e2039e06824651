"""Values of `[log]`."""

import pytest

from gproxy.config.types import Address
from gproxy.config.types.access_log import DEFAULT_FIELDS, LogField, LogTarget, SkippedLines, expanded


@pytest.mark.parametrize("text", ["log/access.log", "/dev/null", "-", "off", "a:b", "syslog.txt"])
def test_targets_that_are_no_server(text):
    target = LogTarget.parse(text)
    assert (str(target), target.address, target.is_off) == (text, None, text == "off")
    assert target.is_file == (text not in ("-", "off"))


@pytest.mark.parametrize("text", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_files_that_are_standard_output(text):
    """Otherwise root's gateway would rename /dev/stdout to rotate it, if it leads to a file."""
    assert LogTarget.parse(text) == LogTarget("-")


@pytest.mark.parametrize(
    ("text", "address", "is_stream"),
    [
        ("syslog:loghost:514", Address("tcp", "loghost", 514), False),
        ("syslog:[::1]:514", Address("tcp", "::1", 514), False),
        ("syslog:tcp:10.0.0.1:601", Address("tcp", "10.0.0.1", 601), True),
        ("syslog:unix:/dev/log", Address("unix", path="/dev/log"), False),
    ],
)
def test_syslog_servers(text, address, is_stream):
    target = LogTarget.parse(text)
    assert (str(target), target.address, target.is_stream) == (text, address, is_stream)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("syslog", "write syslog:unix:/dev/log for the syslog of this machine"),
        ("syslog:", "the port is missing"),
        ("syslog:loghost", "the port is missing"),
        ("syslog:tcp:loghost", "the port is missing"),
        ("syslog::514", "the host or the port is missing"),
        ("syslog:loghost:0", "the host or the port is missing"),
        ("syslog:loghost:x", "the port must be a number up to 65535"),
        ("syslog:/dev/log", "a unix socket is written syslog:unix:/dev/log"),
        ("syslog:///dev/log", "a unix socket is written syslog:unix:/dev/log"),
        ("syslog:unix:", "unix: needs a path"),
        ("syslog:tcp:unix:/dev/log", "a unix socket is written syslog:unix:PATH"),
        ("syslog:fd:3", "expected HOST:PORT, tcp:HOST:PORT or unix:PATH behind syslog:"),
        ("syslog:loghost:514 tls", "expected HOST:PORT, tcp:HOST:PORT or unix:PATH behind syslog:"),
        ("syslog:udp:loghost:514", "UDP is written syslog:HOST:PORT"),
        ("syslog://loghost:514", "write syslog:loghost:514"),
        ("udp://loghost:514", "write syslog:loghost:514"),
        ("tcp://loghost:601", "write syslog:tcp:loghost:601"),
        ("http://loghost/log", "a URL is no target"),
        ("log/", "write the name of a file, such as log/access.log"),
    ],
)
def test_targets_that_are_rejected(text, message):
    with pytest.raises(ValueError) as error:
        LogTarget.parse(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/health", ("/health", "", 0, 999)),
        ("2xx", ("", "2xx", 200, 299)),
        ("304", ("", "304", 304, 304)),
        ("/health/ 2xx", ("/health/", "2xx", 200, 299)),
        ("/health   499", ("/health", "499", 499, 499)),
    ],
)
def test_skipped_lines(text, parts):
    skip = SkippedLines.parse(text)
    assert (skip.path, skip.statuses, skip.first, skip.last) == parts
    assert str(skip) == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("health", "a path starts with '/'"),
        ("2XX", ""),
        ("6xx", ""),
        ("200-299", ""),
        ("/health errors", ""),
        ("2xx /health", ""),
        ("/a?b", "a path has no query"),
        ("/health*", "a path has no '*'; /health stands for everything below it too"),
        ("/a/*/b 2xx", "a path has no '*'; /a stands for everything below it too"),
        ("/*", "a path has no '*'; / stands for everything below it too"),
    ],
)
def test_skipped_lines_that_are_rejected(text, message):
    with pytest.raises(ValueError) as error:
        SkippedLines.parse(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "text", ["default", "time", "user", "apptime", "query", "request.User-Agent", "response.x_y.z"]
)
def test_fields(text):
    field = LogField.parse(text)
    assert str(field) == text
    assert field.header == (text.split(".", 1)[1] if "." in text else "")


def test_default_stands_for_its_fields():
    fields = tuple(map(LogField.parse, ("query", "default", "request.A")))
    assert expanded(fields) == ("query", *DEFAULT_FIELDS, "request.A")


@pytest.mark.parametrize(
    "header",
    [
        "Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-API-Key", "api_key", "X-CSRF-Token", "X-Secret",
        "X-Password", "Session-Id", "WWW-Authenticate", "Cf-Access-Jwt-Assertion", "X-Bearer", "SAML-Assertion",
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", ["request", "response"])
def test_headers_that_may_carry_secrets_are_never_logged(side, header):
    with pytest.raises(ValueError, match=f"^{header} may carry a secret, by its name, and is never logged$"):
        LogField.parse(f"{side}.{header}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("request:Accept", "write request.Accept"),
        ("response_Content-Type", "write response.Content-Type"),
        ("REQUEST.Accept", "write request.Accept"),
        ("User-Agent", "write request.User-Agent or response.User-Agent for a header"),
        ("request.", "known are default, time"),
        ("request.A:B", "the name of a header has letters, digits, '-', '_' and '.' here"),
        ("statsu", "did you mean 'status'?"),
        ("$remote_addr", "known are default, time"),
    ],
)
def test_fields_that_are_rejected(text, message):
    with pytest.raises(ValueError) as error:
        LogField.parse(text)
    assert str(error.value).startswith(message)
