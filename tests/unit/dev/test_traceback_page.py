"""The response to an exception in dev, in the three kinds that clients may prefer."""

import json
from html.parser import HTMLParser

import pytest

from gproxy.dev.failure import Failure, Frame, RaisedError
from gproxy.dev.traceback_page import Report, response
from gproxy.http.errors import HTTPError
from gproxy.testing import request

EVIL = "<script>alert('&')</script>"


def frame(name, *, users=True, source=True):
    lines = [(1, "def f():"), (2, f"    raise {name}  # {EVIL}"), (3, "")]
    return Frame(f"{name}.py", 2, name, users, lines if source else ())


def report(*, text=EVIL, reload_failure="", frames=None):
    given = frames or [frame("json", users=False), frame("mine"), frame("outer")]
    errors = [RaisedError(f"KeyError: {text}", given), RaisedError("ValueError: b", [frame("why")], "caused by")]
    failure = Failure(
        errors,
        f"GET /{EVIL} HTTP/1.1",
        "shop",
        "127.0.0.1",
        [("X-Evil", EVIL)],
        [("tenant", [f"+ header X-Tenant: {EVIL}"])],
    )
    return Report(failure, HTTPError(500, "internal error"), "1f", reload_failure)


def answered(accept, **given):
    made = response(report(**given), request("GET", "/", {"Accept": accept}))
    return made, made.body.decode()


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [("text/html", "text/html; charset=utf-8"), ("text/plain", "text/plain; charset=utf-8"),
     ("application/json", "application/problem+json"), ("*/*", "application/problem+json")],
)  # fmt: skip
def test_the_kind_is_negotiated(accept, media_type):
    made, body = answered(accept, reload_failure="reload failed: m.py:1 no")
    assert (made.status, made.headers["Content-Type"]) == (500, media_type)
    assert (made.headers["Vary"], made.headers["Cache-Control"]) == ("Accept", "no-store")
    assert made.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "reload failed: m.py:1 no" in body
    assert "X-Tenant" in body
    assert body.index("mine") < body.index("outer") < body.index("why")


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_markup_is_escaped():
    _, body = answered("text/html")
    assert "<script" not in body
    page = Page(body)
    assert page.open == []
    assert set(page.tags) <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "br", "code", "pre", "b", "details",
        "summary", "table", "tr", "th", "td", "div",
    }  # fmt: skip
    assert page.text.count(EVIL) == 9


def test_frames_of_user_code_come_first_and_others_are_folded():
    _, body = answered("text/html")
    assert body.index("mine.py:2") < body.index("outer.py:2") < body.index("<details>") < body.index("json.py:2")
    assert body.count("<b>") == 4
    _, alone = answered("text/html", frames=[frame("json", users=False)])
    assert "<details open>" in alone


def test_the_members_of_the_json():
    _, body = answered("application/json")
    found = json.loads(body)
    assert [(one["file"], one["is_user_code"]) for one in found["traceback"]] == [
        ("mine.py", True), ("outer.py", True), ("json.py", False),
    ]  # fmt: skip
    assert (found["status"], found["request_id"], found["exception"]) == (500, "1f", f"KeyError: {EVIL}")
    assert found["causes"][0]["link"] == "caused by"
    assert "reload_failure" not in found
    assert found["changes"] == {"tenant": [f"+ header X-Tenant: {EVIL}"]}


def test_surrogates_are_no_failure():
    assert answered("text/html", text="\udc80")[1]
