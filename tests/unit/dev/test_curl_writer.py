"""The copy of a request as a command: a shell gives curl exactly what was sent."""

import subprocess

import pytest

from gproxy.dev.curl_writer import curl
from unit.dev.entries import body, entry, settings_of


def words(command):
    """The words that a shell makes of the command; `curl` is replaced by a program that prints them."""
    shell = f"curl() {{ printf '%s\\0' \"$@\"; }}\n{command}"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


def request(*headers, place=None):
    return {"line": "", "headers": [["Host", "localhost:8080"], *map(list, headers)], "body": place}


@pytest.fixture
def settings(tmp_path):
    return settings_of(tmp_path)


def test_a_plain_request(settings):
    assert words(curl(entry(), settings)) == [
        "--path-as-is", "http://localhost:8080/users/1", "-H", "User-Agent:", "-H", "Accept:",
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["it's", '"$(id)"', "`id`", "a\\b", "$HOME", "!x", "~", "a;b|c&d", "%s", "*"])
def test_no_character_has_a_meaning_for_the_shell(settings, value):
    sent = request(["X-Odd", value], ["Accept", "*/*"], ["User-Agent", "x"], place=0)
    target = f"/users/{value.replace(' ', '')}"
    given = entry(method="POST", request=sent, target=target, bodies=[body(f"{value}\n@{value}".encode())])
    found = words(curl(given, settings))
    assert found[1] == f"http://localhost:8080{target}"
    assert f"X-Odd: {value}" in found
    assert found[found.index("--data-raw") + 1] == f"{value}\n@{value}"
    assert "Content-Type:" in found, "curl would add one"


def test_another_host_is_a_field_and_the_connection_goes_to_the_gateway(settings):
    found = words(curl(entry(request={"line": "", "headers": [["host", "shop.example.com"]], "body": None}), settings))
    assert found[1] == "http://localhost:8080/users/1"
    assert found[3] == "Host: shop.example.com"


def test_methods_without_a_body(settings):
    assert words(curl(entry(method="DELETE"), settings))[2:4] == ["-X", "DELETE"]
    assert "--head" in words(curl(entry(method="HEAD"), settings))


@pytest.mark.parametrize(
    ("data", "problem"), [(body(b"x", is_whole=False), "longer than what is kept"), (body(b"\0\xff"), "is no text")]
)
def test_what_a_command_cannot_have(settings, data, problem):
    with pytest.raises(ValueError, match=problem):
        curl(entry(method="POST", request=request(place=0), bodies=[data]), settings)
