import pytest

from gproxy.http.negotiate import error_kind, preferred_coding


@pytest.mark.parametrize(
    "header",
    [
        "gzip",
        "GZip",
        "gzip, deflate, br, zstd",
        "br;q=1.0, gzip;q=0.8, *;q=0.1",
        "*",
        "deflate, *;q=0.001",
        "identity;q=0.5,gzip",
        " , gzip ,, ",
        "x-gzip",
        "gzip ; q=0.5",
        "gzip;Q=1.000",
        "*;q=0, gzip",
        "identity, gzip",
    ],
)
def test_gzip_is_accepted(header):
    assert preferred_coding(header, ["gzip"]) == "gzip"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "identity",
        "br",
        "gzip;q=0",
        "gzip;q=0.000",
        "gzip;q=0, *",
        "*;q=0",
        "gzipped",
        "not-gzip",
        "gzip;q=2",
        "gzip;q=-1",
        "gzip;q=",
        "gzip;q=0.1234",
        "gzip;level=9",
        "gzip br",
        "gzip, b@r",
        "gzip;q=.5",
        "identity, gzip;q=0.9",
        "identity;q=0.5, *;q=0.1",
    ],
)
def test_gzip_is_not_accepted(header):
    assert preferred_coding(header, ["gzip"]) is None


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("gzip, deflate, br, zstd", "zstd"),  # browsers
        ("gzip, br", "br"),
        ("gzip;q=1, br;q=0.9", "gzip"),
        ("gzip;q=0.5, br;q=0.8, zstd;q=0.8", "zstd"),
        ("*", "zstd"),
        ("*;q=0.1, gzip;q=0.2", "gzip"),
        ("*, zstd;q=0, br;q=0", "gzip"),
        ("br;q=0.3, identity;q=0.5", None),
        ("deflate", None),
        (None, None),
    ],
)
def test_the_one_with_the_largest_weight_else_the_one_offered_first(header, chosen):
    assert preferred_coding(header, ("zstd", "br", "gzip")) == chosen


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "*/*",
        "application/*",
        "application/json",
        "Application/JSON",
        "application/problem+json",
        "application/vnd.api+json",
        "application/json; charset=utf-8; q=0.5",
        'text/plain, application/json;version="a;q=0"',
        "text/html;q=0.9, application/json",
        "text/html, application/json",
        "text/html;q=0.5, */*;q=0.5",
        "image/avif,image/webp,*/*;q=0.8",
        "text/html, what is this",
        f"text/html, {'x' * 1024}/x",
    ],
)
def test_json_unless_html_is_preferred(header):
    assert error_kind(header) == "json"


@pytest.mark.parametrize(
    "header",
    [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
        "text/html, application/xhtml+xml, image/jxr, */*;q=0.7",
        "text/html;q=0.9, application/json;q=0.1",
        "text/html;q=0.2, application/json;q=0",
        "text/html;q=0, text/html;q=0.2",
        "text/*",
        "text/html, image/png",
        "text/plain, , text/html",
        "text/*, application/*;q=0.9",
        "*/*, application/json;q=0.5",
    ],
)
def test_html_for_those_who_prefer_it(header):
    assert error_kind(header) == "html"


@pytest.mark.parametrize(
    "header",
    [
        "text/plain",
        "application/json;q=0",
        "*/*;q=0",
        "text/html;q=0, text/*;q=0, application/json;q=0.0, */*",
        "application/*;q=0, text/html;q=0",
        "application/xml",
        "image/png",
    ],
)
def test_text_for_those_who_accept_neither(header):
    assert error_kind(header) == "text"
