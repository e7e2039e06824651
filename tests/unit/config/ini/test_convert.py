"""Text to values of every supported type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any, Literal, NewType

import pytest

from gproxy.config.ini.convert import Mistake, convert
from gproxy.config.types import Address, BackendURL, Bytes, ModuleRef, Network, Rate, Rotate, Seconds, Secret, Workers


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Even:
    number: int

    @classmethod
    def parse(cls, text):
        if int(text) % 2:
            raise ValueError("that is odd")
        return cls(int(text))


Port = NewType("Port", int)


def never(message):
    pytest.fail(message)


@pytest.mark.parametrize(
    ("hint", "text", "expected"),
    [
        (str, " a, b".strip(), "a, b"),
        (str, "", ""),
        (Any, "x", "x"),
        (int, "-3", -3),
        (float, "0.5", 0.5),
        (bool, "YES", True),
        (bool, "on", True),
        (bool, "1", True),
        (bool, "off", False),
        (bool, "No", False),
        (Seconds, "500ms", 0.5),
        (Bytes, "1KiB", 1024),
        (Rate, "5/10s", Rate(5, Seconds(10))),
        (Address, ":80", Address("tcp", "", 80)),
        (BackendURL, "http://a", BackendURL("http", "a", 80)),
        (Rotate, "never", Rotate()),
        (ModuleRef, "a.b:C", ModuleRef("a.b", "C")),
        (Path, "var/x", Path("var/x")),
        (Secret, "x", Secret("x")),
        (Network, "::1", ip_network("::1")),
        (IPv4Network, "10.0.0.1", ip_network("10.0.0.1")),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], "2", 2),
        (Colour, "blue", Colour.BLUE),
        (Even, "4", Even(4)),
        (Port, "80", 80),
        (Seconds | None, "3s", 3.0),
        (Seconds | None, "none", None),
        (Seconds | None, "", None),
        (Network | None, "None", None),
        (Network | None, "10.0.0.0/8", ip_network("10.0.0.0/8")),
        (Workers, "auto", "auto"),
        (Workers, "4", 4),
        (tuple[int, ...], "1, 2,\n3\n\n", (1, 2, 3)),
        (tuple[str, ...], "", ()),
        (list[Seconds], "1s 2s".replace(" ", ","), [1.0, 2.0]),
        (frozenset[str], "a, b, a", frozenset("ab")),
        (set[str], "a\nb", {"a", "b"}),
        (Sequence[str], "a", ("a",)),
        (tuple, "a, b", ("a", "b")),
        (tuple[Network, ...], "::1, 10.0.0.0/8", (ip_network("::1"), ip_network("10.0.0.0/8"))),
        (tuple[str, ...] | None, "a,b", ("a", "b")),
        (dict[str, str], "sub: X-User-ID, role: X-User-Role", {"sub": "X-User-ID", "role": "X-User-Role"}),
        (dict[str, str], "a: 1\nb: x:y", {"a": "1", "b": "x:y"}),
        (
            dict[str, str],
            "Cache-Control: no-cache, no-store, Vary: Accept",
            {"Cache-Control": "no-cache, no-store", "Vary": "Accept"},
        ),
        (
            dict[str, str],
            "https://e.example/roles: X-Roles, sub: X-User, https://e.example/tenant:X-Tenant",
            {"https://e.example/roles": "X-Roles", "sub": "X-User", "https://e.example/tenant": "X-Tenant"},
        ),
        (dict[str, str], "cognito:groups: X-Groups, sub:X-User", {"cognito:groups": "X-Groups", "sub": "X-User"}),
        (dict[str, str], "sub: X, a:b:c:  Y: Z, t:12:30", {"sub": "X", "a:b:c": "Y: Z", "t": "12:30"}),
        (dict[str, str], "Link: <https://a>, <https://b>", {"Link": "<https://a>, <https://b>"}),
        (dict[str, str], "", {}),
        (dict[str, int], "a: 1", {"a": 1}),
        (Mapping[str, str], "a: 1", {"a": "1"}),
    ],
)
def test_values(hint, text, expected):
    value = convert(hint, text, never)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("hint", "text", "expected"),
    [
        (int, "x", [(0, "expected a whole number such as 3; found 'x'")]),
        (int, "", [(0, "expected a whole number such as 3; found nothing")]),
        (int, "1_000", [(0, "expected a whole number such as 3; found '1_000'")]),
        (float, "nan", [(0, "expected a number such as 0.5; found 'nan'")]),
        (bool, "maybe", [(0, "expected yes or no; found 'maybe'")]),
        (Path, "", [(0, "expected a path such as var/gproxy; found nothing")]),
        (Seconds, "3", [(0, "expected a time such as 3s; found '3'; write 3s for seconds")]),
        (Seconds | None, "3", [(0, "expected a time such as 3s; found '3'; write 3s for seconds")]),
        (Seconds | Literal["off"], "3", [(0, "expected a time such as 3s or off; found '3'; write 3s for seconds")]),
        (Network, "x", [(0, "expected a network such as 10.0.0.0/8; found 'x'")]),
        (IPv4Network, "::1", [(0, "expected a network such as 10.0.0.0/8; found '::1'")]),
        (Literal["ltsv", "json"], "jsn", [(0, "expected ltsv or json; found 'jsn'; did you mean 'json'?")]),
        (Literal["ltsv", "json"], "xml", [(0, "expected ltsv or json; found 'xml'")]),
        (Colour, "rad", [(0, "expected red or blue; found 'rad'; did you mean 'red'?")]),
        (Even, "3", [(0, "expected Even; found '3'; that is odd")]),
        (
            tuple[int, ...],
            "1, a\n2\nb",
            [(0, "expected a whole number such as 3; found 'a'"), (2, "expected a whole number such as 3; found 'b'")],
        ),
        (dict[str, str], "a: 1\nb", [(1, "expected NAME: VALUE; found 'b'")]),
        (dict[str, str], "https://a", [(0, "expected NAME: VALUE; found 'https://a'")]),
        (dict[str, str], "a: 1, a: 2", [(0, "'a' is given twice")]),
        (dict[str, int], "a: 1\nb: x", [(1, "expected a whole number such as 3; found 'x'")]),
        (object, "x", [(0, "cannot be set in a file")]),
        (tuple[int, str], "1, x", [(0, "cannot be set in a file")]),
        (str | int | list[object], "x", None),
        (
            BackendURL,
            "http://u:hunter2@a",
            [
                (
                    0,
                    "expected a backend's URL such as http://localhost:5001; found 'http://***@a'; a user or password in the URL is not supported",
                )
            ],
        ),
        (int, "x" * 100, [(0, f"expected a whole number such as 3; found '{'x' * 60}'")]),
    ],
)
def test_mistakes(hint, text, expected):
    if expected is None:
        assert convert(hint, text, never) == text
        return
    with pytest.raises(Mistake) as error:
        convert(hint, text, never)
    assert list(error.value.pieces) == expected


def test_secret_from_a_file(tmp_path):
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text("hunter2\n\n")
    assert convert(Secret, f"file:{path}", never) == Secret("hunter2\n")
    assert convert(tuple[Secret, ...], f"file:{path}, x", never) == (Secret("hunter2\n"), Secret("x"))


def test_secret_file_that_others_can_read(tmp_path):
    path = tmp_path / "key"
    path.touch()
    path.write_text("x")
    path.chmod(0o640)
    heard = []
    assert convert(Secret | None, f"file:{path}", heard.append) == Secret("x")
    assert heard == [f"{path} is readable by users other than its owner (mode 0640); run chmod 600"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "{} cannot be read: no such file or directory"),
        (b"\xff", "{} cannot be read: the content is not UTF-8 text"),
        (b"\n", "a secret must not be empty"),
    ],
)
def test_secret_file_that_gives_nothing(tmp_path, content, reason):
    path = tmp_path / "key"
    if content is not None:
        path.touch(0o600)
        path.write_bytes(content)
    with pytest.raises(Mistake) as error:
        convert(Secret, f"file:{path}", never)
    assert str(error.value) == f"expected a secret such as ${{NAME}} or file:PATH; {reason.format(path)}"


@pytest.mark.parametrize("hint", [Literal["auto"] | Secret, dict[str, Secret], tuple[Secret, ...] | None])
def test_secret_is_never_quoted(hint):
    with pytest.raises(Mistake) as error:
        convert(hint, "file:/hunter2/x" if hint != dict[str, Secret] else "hunter2", never)
    assert "found" not in str(error.value)
