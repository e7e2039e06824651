import gzip
import re
import sys
import zlib

import brotli
import pytest

from gproxy import Headers, Response
from gproxy.config.types import Bytes
from gproxy.handlers.compress import Compress
from gproxy.http.codings import coding
from gproxy.runtime import Runtime
from gproxy.testing import answer, request

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b'{"name": "alice", "balance": 12}\n' * 100
JSON = {"Content-Type": "application/json"}
GZIP = {"Accept-Encoding": "gzip, deflate, br"}


def through(behind, headers=GZIP, method="GET", **options):
    return Compress(**options)(request(method, "/", headers), behind)


def test_a_whole_body():
    response = through(answer(200, TEXT, JSON | {"Content-Length": str(len(TEXT)), "Accept-Ranges": "bytes"}))
    assert gzip.decompress(response.body) == TEXT
    assert len(response.body) < len(TEXT) / 10
    assert dict(response.headers.items()) == {
        "Content-Type": "application/json",
        "Vary": "Accept-Encoding",
        "Content-Encoding": "gzip",
    }


def test_the_same_body_gives_the_same_bytes():
    assert through(answer(200, TEXT, JSON)).body == through(answer(200, TEXT, JSON)).body


@pytest.mark.parametrize("status", [200, 201, 400, 404, 429, 500, 503])
def test_errors_are_compressed_too(status):
    response = through(answer(status, TEXT, {"Content-Type": "application/problem+json"}))
    assert response.headers["Content-Encoding"] == "gzip"


def test_digests_of_the_uncompressed_bytes_are_removed():
    response = through(answer(200, TEXT, JSON | {"Content-MD5": "x", "Digest": "y", "Repr-Digest": "z"}))
    assert {"content-md5", "digest", "repr-digest"}.isdisjoint(response.headers.names())


def test_each_piece_of_a_stream_is_flushed():
    pulled = []

    def pieces():
        for piece in (b"first ", b"", b"second ", b"third"):
            pulled.append(piece)
            yield piece

    body = iter(through(answer(200, pieces(), JSON)).body)
    decoder = zlib.decompressobj(31)
    assert pulled == []
    assert decoder.decompress(next(body)) == b"first "
    assert pulled == [b"first "]
    assert decoder.decompress(next(body)) == b"second "
    assert decoder.decompress(next(body)) == b"third"
    assert not decoder.eof
    assert decoder.decompress(next(body)) == b""
    assert decoder.eof
    assert next(body, None) is None


def test_a_body_that_breaks_off_is_not_ended():
    def pieces():
        yield TEXT
        raise ConnectionError("gone")

    body = iter(through(answer(200, pieces(), JSON)).body)
    decoder = zlib.decompressobj(31)
    assert decoder.decompress(next(body)) == TEXT
    with pytest.raises(ConnectionError, match="gone"):
        next(body)
    assert not decoder.eof


def test_closing_callbacks_stay():
    closed = []
    behind = answer(200, iter([TEXT]), JSON)

    def watched(asked):
        response = behind(asked)
        response.on_close(lambda: closed.append(True))
        return response

    assert gzip.decompress(through(watched).read()) == TEXT
    assert closed == [True]


class Threads(Runtime):
    def __init__(self):
        super().__init__()
        self.offloaded = []

    def offload(self, function, *args):
        self.offloaded.append(function)
        return function(*args)


def test_a_large_body_is_compressed_off_the_loop():
    threads = Threads()
    handler = Compress()
    handler.open(threads)
    quick = coding("gzip", 2).quick
    for size, offloaded in ((quick, 0), (quick + 1, 1)):
        response = handler(request(headers=GZIP), answer(200, b"x" * size, JSON))
        assert gzip.decompress(response.body) == b"x" * size
        assert len(threads.offloaded) == offloaded
    large = b"y" * (quick + 1)
    response = handler(request(headers=GZIP), answer(200, iter([b"small", large]), JSON))
    assert gzip.decompress(response.read()) == b"small" + large
    assert len(threads.offloaded) == 2


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, JSON | {"Content-Encoding": "gzip"}),
        (200, JSON | {"Content-Encoding": "br"}),
        (200, JSON | {"Cache-Control": "public, No-Transform"}),
        (200, {"Content-Type": "text/event-stream"}),
        (200, {"Content-Type": "text/event-stream; charset=utf-8"}),
        (200, {"Content-Type": "image/png"}),
        (200, {"Content-Type": "application/grpc+proto"}),
        (200, {"Content-Type": "multipart/byteranges; boundary=x"}),
        (200, {"Content-Type": "application/octet-stream"}),
        (200, {}),
        (101, JSON),
    ],
)
def test_responses_that_are_never_compressed_stay_unchanged(status, headers):
    response = through(lambda _: Response.forwarded(status, "", Headers(headers), TEXT))
    assert response.body == TEXT
    assert dict(response.headers.items()) == headers


@pytest.mark.parametrize("pattern", ["*/*", "text/*", "multipart/*", "application/grpc"])
def test_event_streams_and_multipart_are_never_compressed_even_if_listed(pattern):
    for kind in ("text/event-stream", "multipart/mixed", "application/grpc"):
        assert "vary" not in through(answer(200, TEXT, {"Content-Type": kind}), types=(pattern,)).headers


@pytest.mark.parametrize(
    ("accept", "status", "body", "more"),
    [
        (None, 200, TEXT, {}),
        ("identity", 200, TEXT, {}),
        ("gzip;q=0, *", 200, TEXT, {}),
        ("gzip", 200, TEXT[:511], {}),
        ("gzip", 200, b"", {}),
        ("gzip", 206, TEXT, {"Content-Range": "bytes 0-9/100"}),
        ("gzip", 206, TEXT, {}),
        ("gzip", 200, TEXT, {"Content-Range": "bytes 0-9/100"}),
        ("gzip", 204, b"", {}),
        ("gzip", 205, b"", {}),
        ("gzip", 200, [b"short"], {"Content-Length": "5"}),
        ("gzip", 200, TEXT, {"ETag": "unquoted"}),
    ],
)
def test_the_uncompressed_variant_varies_too(accept, status, body, more):
    response = through(answer(status, body, JSON | more), {"Accept-Encoding": accept} if accept else {})
    assert response.body == body
    assert dict(response.headers.items()) == JSON | more | {"Vary": "Accept-Encoding"}


def test_a_response_with_two_etags_is_not_compressed():
    headers = [*JSON.items(), ("ETag", '"a"'), ("ETag", '"b"')]
    assert "content-encoding" not in through(answer(200, TEXT, headers)).headers


@pytest.mark.parametrize("body", [b"", TEXT])
def test_a_response_to_head_has_the_fields_of_get(body):
    response = through(answer(200, body, JSON | {"Content-Length": "3300", "ETag": '"a"'}), method="HEAD")
    assert response.body == b""
    assert dict(response.headers.items()) == JSON | {
        "ETag": '"a-gzip"',
        "Vary": "Accept-Encoding",
        "Content-Encoding": "gzip",
    }


def test_a_response_to_head_whose_get_is_not_compressed():
    response = through(answer(200, b"", JSON | {"Content-Length": "33", "ETag": '"a"'}), method="HEAD")
    assert dict(response.headers.items()) == JSON | {"Content-Length": "33", "ETag": '"a"', "Vary": "Accept-Encoding"}


@pytest.mark.parametrize(
    ("status", "body", "more"),
    [
        (200, b"short", {}),
        (200, [b"short"], {"Content-Length": "5"}),
        (200, b"", {"Content-Length": "0"}),
        (416, TEXT, {"Content-Range": "bytes */9000"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_head_and_get_leave_the_same_responses_unchanged(method, status, body, more):
    response = through(answer(status, body, JSON | more), method=method, min_size=Bytes(6))
    assert "content-encoding" not in response.headers
    assert response.body == body


def test_a_stream_of_known_length_that_is_long_enough():
    response = through(answer(200, iter([TEXT]), JSON | {"Content-Length": str(len(TEXT))}))
    assert "content-length" not in response.headers
    assert gzip.decompress(response.read()) == TEXT


def test_min_size():
    assert "content-encoding" in through(answer(200, TEXT[:512], JSON)).headers
    assert "content-encoding" in through(answer(200, b"xx", JSON), min_size=Bytes(0)).headers
    assert "content-encoding" not in through(answer(200, b"", JSON), min_size=Bytes(0)).headers


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], "Accept-Encoding"),
        (["Origin"], "Origin, Accept-Encoding"),
        (["Origin", "Cookie"], "Origin, Cookie, Accept-Encoding"),
        (["accept-encoding, Origin"], "accept-encoding, Origin"),
        (["*"], "*"),
        (["X-Accept-Encoding"], "X-Accept-Encoding, Accept-Encoding"),
    ],
)
def test_vary_is_merged(before, after):
    response = through(answer(200, TEXT, [*JSON.items(), *(("Vary", value) for value in before)]))
    assert response.headers.all("vary") in ([after], re.split("; ", after))


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "text/plain; charset=utf-8",
        "Application/JSON;charset=utf-8",
        "application/problem+json",
        "application/vnd.api+json",
        "application/javascript",
        "image/svg+xml",
        "application/xhtml+xml",
        "application/wasm",
    ],
)
def test_listed_types(content_type):
    assert "content-encoding" in through(answer(200, TEXT, {"Content-Type": content_type})).headers


def test_twice_in_a_chain_compresses_once():
    inner, outer = Compress(), Compress()
    response = outer(request(headers=GZIP), lambda asked: inner(asked, answer(200, TEXT, JSON)))
    assert gzip.decompress(response.body) == TEXT
    assert response.headers.all("content-encoding") == ["gzip"]
    assert response.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(("tag", "sent"), [('"abc"', '"abc-gzip"'), ('W/"abc"', 'W/"abc"'), ('""', '"-gzip"')])
def test_etags(tag, sent):
    response = through(answer(200, TEXT, JSON | {"ETag": tag}))
    assert response.headers["ETag"] == sent
    assert response.headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize("name", ["If-None-Match", "If-Match"])
@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ('"abc-gzip"', '"abc"'),
        ('"a-gzip", W/"b", "c-gzip"', '"a", W/"b", "c"'),
        ('"abc"', '"abc"'),
        ("*", "*"),
    ],
)
def test_the_backend_sees_its_own_etags(name, sent, seen):
    behind = answer(200, TEXT, JSON)
    through(behind, GZIP | {name: sent})
    assert behind.requests[0].headers[name] == seen


@pytest.mark.parametrize(
    ("sent", "returned"), [('"abc-gzip"', '"abc-gzip"'), ('"abc"', '"abc"'), ('"x-gzip"', '"abc"')]
)
def test_a_304_has_the_etag_that_the_client_stored(sent, returned):
    response = through(answer(304, b"", {"ETag": '"abc"'}), GZIP | {"If-None-Match": sent})
    assert response.headers["ETag"] == returned
    assert response.headers["Vary"] == "Accept-Encoding"
    assert "content-encoding" not in response.headers


def test_a_304_does_not_have_the_length_of_another_representation():
    headers = {"ETag": '"abc"', "Content-Length": "3300"}
    assert "content-length" not in through(answer(304, b"", headers), GZIP | {"If-None-Match": '"abc-gzip"'}).headers
    assert through(answer(304, b"", headers), GZIP | {"If-None-Match": '"abc"'}).headers["Content-Length"] == "3300"


def test_a_304_of_another_type_does_not_vary():
    assert "vary" not in through(answer(304, b"", {"Content-Type": "image/png"})).headers


DECODERS = {
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "br": lambda: brotli.Decompressor().process,
    "zstd": lambda: zstd.ZstdDecompressor().decompress,
}
EVERY = pytest.mark.parametrize("name", DECODERS)
ALL = {"Accept-Encoding": "gzip, deflate, br, zstd"}


@EVERY
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_levels(name, level):
    response = through(answer(200, TEXT, JSON | {"ETag": '"abc"'}), ALL, codings=(name,), level=level)
    assert response.headers["Content-Encoding"] == name
    assert response.headers["ETag"] == f'"abc-{name}"'
    assert DECODERS[name]()(response.body) == TEXT
    assert len(response.body) < len(TEXT) / 10


@EVERY
def test_every_piece_can_be_decoded_on_arrival(name):
    response = through(answer(200, iter([b"first ", b"second"]), JSON), ALL, codings=(name,))
    decode, pieces = DECODERS[name](), iter(response.body)
    assert decode(next(pieces)) == b"first "
    assert decode(next(pieces)) == b"second"
    assert decode(next(pieces)) == b""
    assert next(pieces, None) is None


@EVERY
def test_a_piece_that_is_large_for_its_coding_is_compressed_off_the_loop(name):
    threads = Threads()
    handler = Compress(codings=(name,))
    handler.open(threads)
    large = TEXT * (coding(name, 2).quick // len(TEXT) + 1)
    assert DECODERS[name]()(handler(request(headers=ALL), answer(200, large, JSON)).body) == large
    packed = handler(request(headers=ALL), answer(200, iter([large, b"end"]), JSON)).read()
    assert DECODERS[name]()(packed) == large + b"end"
    assert len(threads.offloaded) == 2


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [("gzip, br, zstd", "br"), ("gzip", "gzip"), ("br;q=0.5, gzip;q=0.8", "gzip"), ("zstd", None), ("*", "br")],
)
def test_of_several_codings_the_largest_weight_wins_else_the_first(accepted, chosen):
    response = through(answer(200, TEXT, JSON), {"Accept-Encoding": accepted}, codings=("br", "gzip"))
    assert response.headers.get("content-encoding") == chosen
    assert response.headers["Vary"] == "Accept-Encoding"


def test_the_tags_of_every_coding_that_is_offered_are_undone():
    behind = answer(304, b"", {"ETag": '"abc"'})
    sent = '"abc-br", "x-gzip", "y-zstd"'
    response = through(behind, ALL | {"If-None-Match": sent}, codings=("gzip", "br"))
    assert behind.requests[0].headers["If-None-Match"] == '"abc", "x", "y-zstd"'
    assert response.headers["ETag"] == '"abc-br"'


def test_all_problems_of_the_options_at_once():
    with pytest.raises(ValueError) as caught:
        Compress(types=("text",), level=12, codings=("gzip", "brotli"))
    assert str(caught.value).splitlines() == [
        "types: 'text' is not a media type; expected text/* or application/json",
        "level: expected 0 to 3, not 12",
        "codings: 'brotli' is unknown; some of gzip, br, zstd are expected; write br",
    ]


def test_a_coding_whose_library_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "brotli", None)
    with pytest.raises(ValueError, match=re.escape("codings: br needs pip install 'gproxy[br]'")):
        Compress(codings=("br", "gzip"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("level", 4),
        ("level", -1),
        ("codings", ("gzip", "deflate")),
        ("codings", ()),
        ("types", ("json",)),
        ("types", ("a b/c",)),
    ],
)
def test_wrong_options(option, value):
    with pytest.raises(ValueError, match=f"^{option}: "):
        Compress(**{option: value})
