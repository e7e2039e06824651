"""Lines with chosen fields, and what is noted for them."""

import json
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.config.types.access_log import DEFAULT_FIELDS, FURTHER_FIELDS
from gproxy.http.headers import Headers
from gproxy.http.request import Received, request
from gproxy.http.response import Response
from gproxy.http.tls import TLS
from gproxy.observe.access_fields import LONGEST, NotedFields, line_format
from gproxy.observe.access_line import FORMATS, combined, json_line, ltsv

from .conftest import LABELS, TEXTS, exchange

HEADERS = ("request.Accept", "response.Content-Type")
ALL = (*DEFAULT_FIELDS, *FURTHER_FIELDS, *HEADERS)
NOTED = ["14", "a=1&b", "https", "TLSv1.3", "text/*", "text/html"]
ACCOUNT = SimpleNamespace(handler_times="jwt=0.1ms")
TEXT = st.text(st.characters(exclude_categories=()), max_size=20)


@pytest.mark.parametrize("name", FORMATS)
def test_the_default_fields_are_today_s_lines(name):
    assert DEFAULT_FIELDS == LABELS
    assert line_format(name, DEFAULT_FIELDS) is FORMATS[name]


def test_unknown_format():
    with pytest.raises(ValueError, match="ltsv, json, combined"):
        line_format("xml", DEFAULT_FIELDS)


def test_ltsv_with_all_fields_continues_the_default_line():
    one = exchange(apptime=0.0123456, account=ACCOUNT, trace_ids=("a" * 32, "", ""), noted=NOTED)
    assert line_format("ltsv", ALL)(one) == "\t".join(
        [
            ltsv(one),
            "apptime:0.012346",
            "grpc:14",
            "handlers:jwt=0.1ms",
            "query:a=1&b",
            "report:-",
            "scheme:https",
            "tls:TLSv1.3",
            f"trace:{'a' * 32}",
            "request.Accept:text/*",
            "response.Content-Type:text/html",
        ]
    )


def test_json_with_all_fields_continues_the_default_line():
    one = exchange(apptime=0.0123456, account=ACCOUNT, trace_ids=("a" * 32, "", ""), noted=NOTED)
    further = {
        "apptime": 0.012346,
        "grpc": "14",
        "handlers": "jwt=0.1ms",
        "query": "a=1&b",
        "report": "",
        "scheme": "https",
        "tls": "TLSv1.3",
        "trace": "a" * 32,
        "request.Accept": "text/*",
        "response.Content-Type": "text/html",
    }
    line = line_format("json", ALL)(one)
    assert line == json_line(one)[:-1] + "," + json.dumps(further, separators=(",", ":"))[1:]


def test_a_report_ends_the_lines_that_have_all_default_fields():
    silent, one = exchange(), exchange(report="limit=429,jwt=401")
    for fields in (DEFAULT_FIELDS, (*DEFAULT_FIELDS, "apptime")):
        ltsv_line, json_of = line_format("ltsv", fields), line_format("json", fields)
        assert ltsv_line(one) == f"{ltsv_line(silent)}\treport:limit=429,jwt=401"
        assert json_of(one) == f'{json_of(silent)[:-1]},"report":"limit=429,jwt=401"}}'
    assert line_format("ltsv", ("status",))(one) == "status:200"
    assert line_format("ltsv", ("report", "status"))(one) == "report:limit=429,jwt=401\tstatus:200"
    assert line_format("combined", DEFAULT_FIELDS)(one) == line_format("combined", DEFAULT_FIELDS)(silent)


@pytest.mark.parametrize("field", DEFAULT_FIELDS)
def test_each_default_field_alone_is_that_of_the_default_line(field):
    one = exchange(user="alice", referer="http://r/", reason="because")
    place = DEFAULT_FIELDS.index(field)
    assert line_format("ltsv", (field,))(one) == ltsv(one).split("\t")[place]
    value = json.loads(json_line(one))[field]
    assert json.loads(line_format("json", (field,))(one)) == {field: value}


def test_the_order_is_that_of_the_list():
    assert line_format("ltsv", ("tls", "status", "query", "path"))(exchange(noted=["TLSv1.2", "q"])) == (
        "tls:TLSv1.2\tstatus:200\tquery:q\tpath:/users/1"
    )


def test_missing_values():
    one = exchange(user="")
    assert line_format("ltsv", ("apptime", "query", "user"))(one) == "apptime:-\tquery:-\tuser:-"
    assert line_format("json", ("apptime", "query", "user"))(one) == '{"apptime":null,"query":"","user":""}'


def test_combined_has_its_own_fields():
    assert line_format("combined", DEFAULT_FIELDS) is combined


@given(st.lists(TEXT, min_size=6, max_size=6), st.dictionaries(st.sampled_from(TEXTS), TEXT))
def test_no_value_forges_a_field(noted, texts):
    line = line_format("ltsv", ALL)(exchange(noted=noted, **texts))
    assert [field.partition(":")[0] for field in line.split("\t")] == list(ALL)
    assert not re.search("[\x00-\x08\x0a-\x1f\x7f]", line)
    assert len(line.splitlines()) == 1
    line.encode("utf-8")
    line = line_format("json", ALL)(exchange(noted=noted, **texts))
    assert line.isascii()
    assert [*json.loads(line)] == list(ALL)


def test_quotes_and_control_characters_are_escaped():
    one = exchange(noted=['"a"\t\r\n\\'])
    assert line_format("ltsv", ("query",))(one) == 'query:"a"\\x09\\x0d\\x0a\\'
    assert line_format("json", ("query",))(one) == '{"query":"\\"a\\"\\t\\r\\n\\\\"}'


def noted(names, asked, response=None):
    """Return what is noted of the request and of the response."""
    notes = NotedFields.of(names)
    notes.note_request(asked)
    if response is not None:
        notes.note_response(asked.exchange, response)
    return asked.exchange.noted


def test_nothing_is_noted_for_fields_of_the_exchange():
    assert NotedFields.of((*DEFAULT_FIELDS, "apptime")) is None


def test_values_of_request_and_response():
    asked = request("GET", "/a?b=1&c=2?", {"Accept": "text/*", "X-A": "1"})
    response = Response(200, b"", {"Content-Type": "text/html"})
    names = ("query", "status", "response.content-type", "request.X-A", "request.x-b", "response.X-C", "scheme", "tls")
    assert noted(names, asked, response) == ["b=1&c=2?", "text/html", "1", "", "", "http", ""]


def test_without_a_response_the_request_s_values_are_there():
    """The client has left."""
    asked = request("GET", "/a?b=1")
    assert noted(("response.Content-Type", "query"), asked) == ["", "b=1"]


def test_headers_count_as_the_client_has_sent_them():
    asked = request("GET", "/", [("X-A", "1"), ("Content-Length", "0"), ("x-a", "2")])
    del asked.headers["Content-Length"]
    asked.headers["X-A"] = "changed"
    assert noted(("request.X-A", "request.Content-Length"), asked) == ["1, 2", "0"]


def test_tls_and_the_scheme_that_a_trusted_proxy_names():
    asked = request("GET", "/", {"X-Forwarded-Proto": "https"})
    received = asked.received
    asked.received = Received("GET", "/", 1, Headers(), received.peer, TLS("TLSv1.3", "x", "a"))
    assert noted(("scheme", "tls"), asked) == ["https", "TLSv1.3"]


@pytest.mark.parametrize("name", ["Referer", "location", "Content-Location"])
@pytest.mark.parametrize("secret", ["?secret=1", "#access_token=1", "?a=1#secret", "#a?secret"])
def test_urls_have_no_query_and_no_fragment(name, secret):
    asked = request("GET", "/", {name: f"http://a/b{secret}"})
    response = Response(307, b"", {name: f"/c{secret}"})
    assert noted((f"request.{name}", f"response.{name}"), asked, response) == ["http://a/b", "/c"]


def test_long_values_are_cut():
    asked = request("GET", "/?" + "q" * 5000, {"X-A": "x" * LONGEST, "X-B": "y" * (LONGEST + 1)})
    query, fits, cut = noted(("query", "request.X-A", "request.X-B"), asked)
    assert (query, fits, cut) == ("q" * 1023 + "…", "x" * 1024, "y" * 1023 + "…")
