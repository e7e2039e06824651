"""Times, sizes, rates and rotation."""

import pytest

from gproxy.config.types.units import (
    Rate,
    Rotate,
    parse_bytes,
    parse_percent,
    parse_seconds,
    plural,
    shortened,
    write_bytes,
    write_percent,
    write_seconds,
)

SECONDS = [("500ms", 0.5), ("3s", 3.0), ("2m", 120.0), ("1h", 3600.0), ("1d", 86400.0), ("1.5s", 1.5), ("1ms", 0.001)]
BYTES = [("10MB", 10_000_000), ("512KiB", 524_288), ("1GiB", 2**30), ("100", 100), ("0", 0), ("3KB", 3000)]


@pytest.mark.parametrize(("text", "expected"), [*SECONDS, ("0", 0.0), ("0s", 0.0), ("3 s", 3.0)])
def test_seconds(text, expected):
    assert parse_seconds(text) == expected
    assert isinstance(parse_seconds(text), float)


@pytest.mark.parametrize(("text", "value"), [*SECONDS, ("0s", 0), ("90s", 90), ("75s", 75), ("14d", 14 * 86400)])
def test_seconds_written(text, value):
    assert write_seconds(value) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "write 3s for seconds"),
        ("1.5", "write 1.5s for seconds"),
        ("3x", "the units are ms, s, m, h, d"),
        ("3S", "the units are ms, s, m, h, d"),
        *((text, "") for text in ("", "-3s", "s", "1e3s", "nan", "inf", "٣s", "1_0s", "9" * 400 + "s")),
    ],
)
def test_not_seconds(text, message):
    with pytest.raises(ValueError) as error:
        parse_seconds(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "expected"), [*BYTES, ("100B", 100), ("1.5KB", 1500), ("10mb", 10**7), ("1kib", 1024)]
)
def test_bytes(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(("text", "value"), BYTES)
def test_bytes_written(text, value):
    assert write_bytes(value) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10M", "the units are B, KB, MB, GB, KiB, MiB, GiB"),
        ("1.5B", "the size must be a whole number of bytes"),
        ("-1", ""),
        ("", ""),
        ("MB", ""),
    ],
)
def test_not_bytes(text, message):
    with pytest.raises(ValueError) as error:
        parse_bytes(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "limit", "window", "written"),
    [
        ("100/minute", 100, 60, "100/minute"),
        ("10/s", 10, 1, "10/second"),
        ("5/10s", 5, 10, "5/10s"),
        ("1000/2h", 1000, 7200, "1000/2h"),
        ("1 / day", 1, 86400, "1/day"),
        ("7/500ms", 7, 0.5, "7/500ms"),
    ],
)
def test_rate(text, limit, window, written):
    rate = Rate.parse(text)
    assert (rate.limit, rate.window, str(rate)) == (limit, window, written)
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize(
    "text", ["", "100", "100/", "/s", "0/s", "5/0s", "5/10", "5/fortnight", "-1/s", "1.5/s", "a/s"]
)
def test_not_a_rate(text):
    with pytest.raises(ValueError):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("daily, 10MB", Rotate(True, 10_000_000)),
        ("10MB,daily", Rotate(True, 10_000_000)),
        ("daily\n10MB", Rotate(True, 10_000_000)),
        ("daily", Rotate(True)),
        ("1KiB", Rotate(False, 1024)),
        ("never", Rotate(False, None)),
    ],
)
def test_rotate(text, expected):
    assert Rotate.parse(text) == expected
    assert Rotate.parse(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "hourly", "daily, daily", "1MB, 2MB", "0", "never, daily", "daily,"])
def test_not_a_rotation(text):
    with pytest.raises(ValueError):
        Rotate.parse(text)


@pytest.mark.parametrize(
    ("text", "value"), [("20%", 0.2), ("0%", 0.0), ("100%", 1.0), ("0.1%", 0.001), ("12.5%", 0.125)]
)
def test_percent(text, value):
    assert parse_percent(text) == value
    assert write_percent(value) == text


@pytest.mark.parametrize(
    ("text", "message"), [("101%", "a percentage must be at most 100%"), ("20", ""), ("-1%", ""), ("", "")]
)
def test_not_percent(text, message):
    with pytest.raises(ValueError) as error:
        parse_percent(text)
    assert str(error.value) == message


@pytest.mark.parametrize(("count", "text"), [(0, "0 lines"), (1, "1 line"), (2, "2 lines"), (1000, "1000 lines")])
def test_plural(count, text):
    assert plural(count, "line") == text


@pytest.mark.parametrize(("most", "text"), [(6, "routes"), (5, "rout…")])
def test_shortened(most, text):
    assert shortened("routes", most) == text
