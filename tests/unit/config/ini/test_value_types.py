"""What a type is called, and how its values are written back."""

from enum import Enum
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

import pytest

from gproxy.config.ini.value_types import describe, type_text, write
from gproxy.config.types import Address, Bytes, Network, Rate, Seconds, Secret, Workers


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("hint", "described", "short"),
    [
        (Seconds, "a time such as 3s", "time"),
        (Seconds | None, "a time such as 3s or none", "time or none"),
        (Network, "a network such as 10.0.0.0/8", "network"),
        (Network | None, "a network such as 10.0.0.0/8 or none", "network or none"),
        (Workers, "a whole number such as 3 or auto", "whole number or auto"),
        (tuple[Rate, ...], "a list, each a rate such as 100/minute", "list, each a rate"),
        (dict[str, str], "pairs such as name: value, name: value", "pairs such as name: value, name: value"),
        (Literal["a", "b", "c"], "a, b or c", "a, b or c"),
        (Colour, "red or blue", "red or blue"),
        (object, "nothing that a file can hold", "nothing that a file can hold"),
    ],
)
def test_descriptions(hint, described, short):
    assert describe(hint) == described
    assert type_text(hint) == short


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (Seconds, 0.5, "500ms"),
        (Seconds | None, 3600.0, "1h"),
        (Seconds | None, None, "none"),
        (Bytes, 32768, "32KiB"),
        (bool, True, "yes"),
        (Workers, "auto", "auto"),
        (tuple[str, ...], ("a", "b"), "a, b"),
        (frozenset[int], {3, 1, 2}, "1, 2, 3"),
        (tuple[Address, ...], (Address("tcp", "::1", 80),), "[::1]:80"),
        (tuple[Network, ...], (ip_network("10.0.0.0/8"),), "10.0.0.0/8"),
        (dict[str, str], {"a": "b", "c": "d"}, "a: b, c: d"),
        (Colour, Colour.RED, "red"),
        (Path, Path("var"), "var"),
        (Secret, Secret("x"), "***"),
        (Any, 3, "3"),
    ],
)
def test_written(hint, value, expected):
    assert write(hint, value) == expected
