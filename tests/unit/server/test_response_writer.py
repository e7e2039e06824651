"""What a response looks like on the wire, and in how many sends it leaves."""

import time
from email.utils import parsedate_to_datetime

import gevent
import pytest

from gproxy.http.errors import ClientGone
from gproxy.http.headers import Headers
from gproxy.http.response import Response
from gproxy.server.response_writer import BrokenResponseError, ResponseWriter
from gproxy.testing.scripted_channel import END, RESET

pytestmark = pytest.mark.timeout(10)

DATE = {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}


@pytest.fixture
def send(scripted):
    """Send a response to a client with this script; the writer, and the script's channel."""

    def send(response, *script, method="GET", minor=1, keep=True):
        peer = scripted(*script)
        outgoing = ResponseWriter(peer.client)
        outgoing.reset(keep=keep)
        response.headers.setdefault("Date", DATE["Date"])
        outgoing.send(response, method, minor)
        return outgoing, peer

    return send


def head(*lines, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


DATED = f"Date: {DATE['Date']}"


# Bodies at hand


def test_head_and_body_leave_in_one_send(send):
    outgoing, peer = send(Response(200, b"hello", {"X": "y"}))
    assert peer.sends == [head("X: y", DATED, "Content-Length: 5") + b"hello"]
    assert peer.actions == []
    assert (outgoing.sent, outgoing.keep, outgoing.is_delimited, outgoing.head_sent) == (5, True, True, True)


def test_no_bytes_have_a_length_too(send):
    _, peer = send(Response(200))
    assert peer.sent == head(DATED, "Content-Length: 0")


def test_a_large_body_is_not_copied_behind_its_head(send):
    _, peer = send(Response(200, b"x" * 16384))
    assert peer.sends == [head(DATED, "Content-Length: 16384") + b"x" * 16384]
    assert peer.actions == ["sendmsg"]


def test_a_short_body_is(send):
    _, peer = send(Response(200, b"x" * 16383))
    assert peer.sends == [head(DATED, "Content-Length: 16383") + b"x" * 16383]
    assert peer.actions == []


def test_the_length_is_that_of_the_body_whatever_the_handler_says(send):
    _, peer = send(Response(200, b"hello", {"Content-Length": "7"}))
    assert peer.sent == head("Content-Length: 5", DATED) + b"hello"


def test_the_last_response_says_close(send):
    _, peer = send(Response(200, b"hello"), keep=False)
    assert peer.sends == [head(DATED, "Content-Length: 5", "Connection: close") + b"hello"]
    assert peer.actions == ["send_last"]


def test_callbacks_may_take_their_time_so_the_last_response_does_not_wait_for_the_end_behind_it(send):
    response = Response(200, b"hello")
    response.on_close(lambda: None)
    _, peer = send(response, keep=False)
    assert peer.actions == []


@pytest.mark.parametrize(("keep", "connection"), [(True, "keep-alive"), (False, "close")])
def test_http_1_0_is_told_either_way(send, keep, connection):
    _, peer = send(Response(200, b"hello"), minor=0, keep=keep)
    assert peer.sent == head(DATED, "Content-Length: 5", f"Connection: {connection}") + b"hello"


# Responses without a body


@pytest.mark.parametrize(
    ("response", "lines"),
    [
        (Response(200, b"hello"), [DATED, "Content-Length: 5"]),
        (Response(200, b"", {"Content-Length": "5"}), ["Content-Length: 5", DATED]),
        (Response(200, b""), [DATED]),
        (Response(200, iter([b"hello"])), [DATED]),
        (Response(200, iter([b"hello"]), {"Content-Length": "5"}), ["Content-Length: 5", DATED]),
    ],
    ids=["bytes", "backend", "nothing", "stream", "stream with length"],
)
def test_head_has_the_length_of_the_body_that_does_not_follow(send, response, lines):
    outgoing, peer = send(response, method="HEAD")
    assert peer.sends == [head(*lines)]
    assert (outgoing.sent, outgoing.keep, outgoing.head_sent) == (0, True, True)


def test_204_has_neither_body_nor_length(send):
    _, peer = send(Response(204, b"hello", {"Content-Length": "5"}))
    assert peer.sent == head(DATED, status="204 No Content")


@pytest.mark.parametrize("lines", [[], ["Content-Length: 5"]])
def test_304_has_no_body_and_the_length_that_the_handler_says(send, lines):
    headers = [tuple(line.split(": ")) for line in lines]
    _, peer = send(Response(304, b"hello", headers))
    assert peer.sent == head(*lines, DATED, status="304 Not Modified")


# Streams


def test_a_stream_leaves_in_chunks_its_head_at_once(send):
    outgoing, peer = send(Response(200, iter([b"he", b"", b"llo"])))
    assert peer.sends == [head(DATED, "Transfer-Encoding: chunked"), b"2\r\nhe\r\n", b"3\r\nllo\r\n", b"0\r\n\r\n"]
    assert (outgoing.sent, outgoing.keep, outgoing.is_delimited) == (5, True, True)


def test_a_stream_of_known_length_has_no_chunks(send):
    _, peer = send(Response(200, iter([b"he", b"llo"]), {"Content-Length": "5"}))
    assert peer.sends == [head("Content-Length: 5", DATED), b"he", b"llo"]


def test_a_stream_to_http_1_0_ends_with_the_connection(send):
    outgoing, peer = send(Response(200, iter([b"he", b"llo"])), minor=0)
    assert peer.sends == [head(DATED, "Connection: close"), b"he", b"llo"]
    assert (outgoing.keep, outgoing.is_delimited) == (False, False)


def test_a_stream_of_known_length_to_http_1_0_keeps_the_connection(send):
    outgoing, peer = send(Response(200, iter([b"hello"]), {"Content-Length": "5"}), minor=0)
    assert peer.sent == head("Content-Length: 5", DATED, "Connection: keep-alive") + b"hello"
    assert (outgoing.keep, outgoing.is_delimited) == (True, True)


def test_a_length_that_is_no_number_is_ignored(send):
    _, peer = send(Response(200, iter([b"hello"]), {"Content-Length": "five"}))
    assert peer.sent == head(DATED, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n"


class Forwarded:
    """A backend's body: its first piece came with the head."""

    def __init__(self, *pieces):
        self.trailers = [("T", "v")]
        self.at_hand = pieces[0]
        self._pieces = iter([piece for piece in pieces if piece])

    def __iter__(self):
        return self._pieces


def test_what_came_with_a_backends_head_leaves_with_ours(send):
    _, peer = send(Response(200, Forwarded(b"he", b"llo")))
    assert peer.sends == [
        head(DATED, "Transfer-Encoding: chunked") + b"2\r\nhe\r\n",
        b"3\r\nllo\r\n",
        b"0\r\nT: v\r\n\r\n",
    ]


def test_a_backends_body_that_comes_later_does_not_delay_the_head(send):
    _, peer = send(Response(200, Forwarded(b"", b"hello"), {"Content-Length": "5"}))
    assert peer.sends == [head("Content-Length: 5", DATED), b"hello"]


@pytest.mark.parametrize("piece", [bytearray(b"hello"), memoryview(b"hello")])
def test_what_is_like_bytes_is_sent(send, piece):
    outgoing, peer = send(Response(200, iter([piece]), {"Content-Length": "5"}))
    assert peer.sent == head("Content-Length: 5", DATED) + b"hello"
    assert outgoing.sent == 5


# Broken responses


def test_a_body_that_is_too_short(send):
    with pytest.raises(BrokenResponseError, match=r"response body has 2 bytes, expected 5 by its Content-Length"):
        send(Response(200, iter([b"he"]), {"Content-Length": "5"}))


@pytest.mark.parametrize("pieces", [[b"hello!"], [b"hello", b"!"]])
def test_a_body_that_is_too_long_does_not_reach_into_the_next_response(scripted, pieces):
    peer = scripted()
    outgoing = ResponseWriter(peer.client)
    outgoing.reset(keep=True)
    with pytest.raises(BrokenResponseError, match="exceeds its Content-Length of 5"):
        outgoing.send(Response(200, iter(pieces), {"Content-Length": "5"} | DATE), "GET", 1)
    assert peer.sent == head("Content-Length: 5", DATED) + b"".join(pieces[:-1])
    assert outgoing.head_sent


def test_a_body_that_yields_text(send):
    with pytest.raises(TypeError, match="response body yields str, expected bytes"):
        send(Response(200, iter(["hello"])))


def test_a_body_that_raises_leaves_no_last_chunk(scripted):
    def pieces():
        yield b"he"
        raise ValueError("broken")

    peer = scripted()
    outgoing = ResponseWriter(peer.client)
    outgoing.reset(keep=True)
    with pytest.raises(ValueError, match="broken"):
        outgoing.send(Response(200, pieces(), DATE), "GET", 1)
    assert peer.sent == head(DATED, "Transfer-Encoding: chunked") + b"2\r\nhe\r\n"
    assert (outgoing.head_sent, outgoing.sent) == (True, 2)


def test_a_client_that_has_reset_the_connection(send):
    with pytest.raises(ClientGone):
        send(Response(200, b"hello"), RESET)


def test_a_client_that_leaves_while_a_stream_has_nothing_to_say(scripted):
    def pieces():
        yield b"he"
        gevent.sleep(5)  # the client's end interrupts it
        yield b"llo"

    peer = scripted(END)
    outgoing = ResponseWriter(peer.client)
    outgoing.reset(keep=True)
    with pytest.raises(ClientGone):
        outgoing.send(Response(200, pieces(), DATE), "GET", 1)
    assert peer.sent.endswith(b"2\r\nhe\r\n")


# Fields of ours


def test_a_date_is_added_and_is_now(scripted):
    peer = scripted()
    ResponseWriter(peer.client).send(Response(200), "GET", 1)
    (date,) = (line[6:] for line in peer.sent.decode().split("\r\n") if line.startswith("Date: "))
    assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 5


def test_a_phrase_of_the_backends_own_is_kept(send):
    _, peer = send(Response.forwarded(200, "Fine", Headers(), b""))
    assert peer.sent.startswith(b"HTTP/1.1 200 Fine\r\n")


def test_a_status_without_a_phrase(send):
    _, peer = send(Response(299))
    assert peer.sent.startswith(b"HTTP/1.1 299 \r\n")


def test_a_handlers_hop_by_hop_fields_are_removed(send):
    headers = {"Connection": "X-Private", "Keep-Alive": "timeout=5", "Transfer-Encoding": "gzip", "Upgrade": "h2c"}
    _, peer = send(Response(200, b"hello", headers))
    assert peer.sent == head(DATED, "Content-Length: 5") + b"hello"


def test_426_names_the_protocol_to_upgrade_to(send):
    _, peer = send(Response(426, b"", {"Upgrade": "h2c", "Connection": "x"}))
    assert peer.sent == head(
        "Upgrade: h2c", DATED, "Content-Length: 0", "Connection: Upgrade", status="426 Upgrade Required"
    )


def test_a_tunnel_has_no_framing(send):
    headers = Headers([("Sec-WebSocket-Accept", "x"), ("Upgrade", "tcp")])
    outgoing, peer = send(Response.forwarded(101, "", headers, iter([b"\x81\0", b"\x88\0"])))
    upgrade = head(
        "Sec-WebSocket-Accept: x", "Upgrade: tcp", DATED, "Connection: Upgrade", status="101 Switching Protocols"
    )
    assert peer.sends == [upgrade, b"\x81\0", b"\x88\0"]
    assert (outgoing.keep, outgoing.sent) == (False, 4)


def test_the_next_response_begins_anew(scripted):
    peer = scripted()
    outgoing = ResponseWriter(peer.client)
    outgoing.reset(keep=True)
    outgoing.send(Response(200, iter([b"hello"]), DATE), "GET", 1)
    outgoing.reset(keep=True)
    assert (outgoing.head_sent, outgoing.sent, outgoing.is_delimited) == (False, 0, True)
    outgoing.send(Response(200, b"hi", DATE), "GET", 1)
    assert peer.sent.endswith(head(DATED, "Content-Length: 2") + b"hi")
