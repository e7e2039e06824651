"""Which page an error response gets, and how values are written into it."""

import json

import pytest

from gproxy.config.types.error_page import PLACEHOLDERS, ErrorPage
from gproxy.config.types.template import Template
from gproxy.gateway.error_pages import ErrorPages

VALUES = {"status": "404", "title": "Not Found", "detail": '<a> & "b"\n', "id": "i"}


def page(kind, text):
    return ErrorPage(f"e.{kind}", kind, Template.parse(text, PLACEHOLDERS))


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("html", 404, "404"),
        ("html", 403, "4xx"),
        ("text", 404, "4xx as text"),
        ("html", 599, "5xx"),
    ],
)
def test_the_page_of_the_status_goes_before_that_of_its_digit(kind, status, text):
    mine = {"404": [page("html", "404")], "4xx": [page("html", "4xx"), page("text", "4xx as text")]}
    pages = ErrorPages({**mine, "5xx": [page("html", "5xx")]})
    assert pages.fill(kind, status, VALUES)[1] == text


def test_the_built_in_pages():
    pages = ErrorPages({})
    media_type, text = pages.fill("html", 404, VALUES)
    assert media_type == "text/html; charset=utf-8"
    assert "<h1>404 Not Found</h1>\n<p>&lt;a&gt; &amp; &quot;b&quot;\n</p>\n<p>Request <code>i</code></p>" in text
    assert pages.fill("text", 404, VALUES)[1].startswith("404 Not Found: <a>")
    assert pages.fill("json", 404, VALUES) is None


def test_the_built_in_text_omits_an_empty_detail():
    assert ErrorPages({}).fill("text", 404, {**VALUES, "detail": ""})[1] == "404 Not Found (i)\n"


def test_values_are_written_as_the_kind_needs_it():
    filled = {kind: ErrorPages({"4xx": [page(kind, "{detail}")]}).fill(kind, 400, VALUES) for kind in ("html", "text")}
    assert filled["html"] == ("text/html; charset=utf-8", "&lt;a&gt; &amp; &quot;b&quot;\n")
    assert filled["text"] == ("text/plain; charset=utf-8", VALUES["detail"])


def test_a_page_in_json_is_in_place_of_problem_details():
    pages = ErrorPages({"5xx": [page("json", '{"error": {"code": {status}, "text": "{detail}"}}')]})
    media_type, text = pages.fill("json", 503, VALUES)
    assert media_type == "application/json"
    assert json.loads(text) == {"error": {"code": 404, "text": VALUES["detail"]}}
