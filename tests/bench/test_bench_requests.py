"""The requests that the benchmark sends: valid, and no two alike where a scenario says so."""

import socket
import time
from functools import partial

import h11
import jwt
import pytest

from bench import load, requests
from bench.scenarios import REPEATED, VARIED, Scenario, backends
from gproxy.config.types import Secret
from gproxy.handlers.jwt import JWT
from gproxy.testing import answer
from gproxy.testing import request as received
from gproxy.testing.backends import Backend, Peer
from gproxy.testing.gateway import PATIENCE, Answer, Wire


def parsed(raw: bytes) -> tuple[h11.Request, bytes]:
    """Return the head and the body of what must be one valid request, and nothing behind it."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(raw)
    head = server.next_event()
    assert isinstance(head, h11.Request), head
    body = b""
    while isinstance(event := server.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage), event
    assert server.trailing_data == (b"", False)
    return head, body


def tokens(raws: list[bytes]) -> list[str]:
    """Return the token of each request."""
    return [dict(parsed(raw)[0].headers)[b"authorization"].decode().removeprefix("Bearer ") for raw in raws]


@pytest.mark.parametrize("raws", [requests.gets(2000), requests.gets(500, 500), requests.posts(500)])
def test_no_request_of_a_list_is_like_another_in_its_line_or_its_fields(raws):
    heads = [raw.partition(b"\r\n\r\n")[0] for raw in raws]
    lines, blocks = zip(*[head.split(b"\r\n", 1) for head in heads], strict=True)
    assert len(set(lines)) == len(set(blocks)) == len(raws)


@pytest.mark.parametrize(("raws", "unlike"), [(requests.gets(500), 3), (requests.gets(500, 500), 4)])
def test_ten_of_fourteen_fields_repeat_and_three_and_the_token_do_not(raws, unlike):
    values = [dict(parsed(raw)[0].headers) for raw in raws]
    counts = {name: len({fields[name] for fields in values}) for name in values[0]}
    assert len(counts) == 14 + unlike - 3
    assert list(counts.values()).count(len(raws)) == unlike
    assert list(counts.values()).count(1) == 10


@pytest.mark.parametrize("raws", [requests.gets(200), requests.gets(200, 20), requests.mix(50), requests.same()])
def test_each_request_is_valid(raws):
    for raw in raws:
        head, body = parsed(raw)
        assert (head.method, body) == (b"GET", b"") or (head.method == b"POST" and len(body) > 1000)


def test_a_post_has_about_2_kb_and_no_body_is_like_another():
    bodies = [parsed(raw)[1] for raw in requests.posts(500)]
    assert len(set(bodies)) == 500
    assert all(1500 < len(body) < 2500 for body in bodies)


def test_tokens_verify_and_as_many_are_different_as_there_should_be():
    found = tokens(requests.gets(300, 100))
    assert len(set(found)) == 100
    assert found[:100] == found[100:200] == found[200:]
    handler = JWT(secret=Secret(requests.SECRET))
    for number, token in enumerate(found[:100]):
        assert jwt.decode(token, requests.SECRET, ["HS256"])["sub"] == f"user-{number}"
        fields = {"Authorization": f"Bearer {token}"}
        assert handler(received("GET", "/", headers=fields), answer()).status == 200


def test_a_new_token_each_time_means_more_tokens_than_the_cache_has_by_default():
    make = VARIED["new-jwt"].requests
    assert isinstance(make, partial)
    assert make.args[0] == make.args[1] > 5 * JWT(secret=Secret(requests.SECRET)).cache  # requests and tokens


def test_a_mix_has_each_kind_once_in_a_turn():
    raws = requests.mix(40)
    turns = [raws[start : start + 6] for start in range(0, 240, 6)]
    for turn in turns:
        assert sorted(parsed(raw)[0].target.split(b"/")[1:3][-1] for raw in turn) == [
            b"1", b"100k", b"item", b"list.json", b"nowhere", b"orders",
        ]  # fmt: skip
    assert len({tuple(raw[:20] for raw in turn) for turn in turns}) > 20  # in changing order


def test_every_list_is_the_same_in_each_run():
    assert requests.gets(50) == requests.gets(50)
    assert requests.mix(5) == requests.mix(5)


def test_the_varied_scenarios_have_a_list_and_the_others_one_request():
    assert all(scenario.requests for scenario in VARIED.values())
    assert all(len(make()) == 1 for scenario in REPEATED.values() if (make := scenario.requests))


def test_a_run_goes_on_in_the_list_where_the_last_one_ended(tmp_path):
    def slowly(peer: Peer, backend: Backend) -> None:
        while (request := peer.read_request()) is not None:
            backend.requests.append(request)
            time.sleep(0.01)  # so that two runs do not reach the end of the list
            peer.send("HTTP/1.1 204 No Content\r\n\r\n")

    generator = load.Generator(VARIED["varied"], tmp_path)
    with Backend(slowly) as backend:
        runs = [generator.run(backend.port, 1) for _ in range(2)]
    assert all(run.requests > 100 and not run.errors for run in runs)
    sent = {request.head for request in backend.requests}
    assert len(sent) == len(backend.requests) >= sum(run.requests for run in runs)


def test_a_status_that_the_list_asks_for_is_no_error():
    scenario = Scenario("some of them for nothing", 16, not_found=6)
    assert scenario.unexpected(1000, 6000) == 0
    assert scenario.unexpected(1016, 6000) == scenario.unexpected(984, 6000) == 0
    assert scenario.unexpected(1020, 6000) == scenario.unexpected(980, 6000) == 4
    assert scenario.unexpected(0, 6000) == 984
    assert Scenario("all for something", 16).unexpected(3, 6000) == 3


def ask(port: int, raw: bytes) -> Answer:
    with Wire(socket.create_connection(("127.0.0.1", port), PATIENCE)) as wire:
        wire.send(raw)
        return wire.read_response()


def test_backends_answer_what_is_different_by_different_heads(tmp_path):
    with backends(tmp_path) as behind:
        one, other = (ask(behind.port, raw) for raw in requests.gets(2))
        same, again = (ask(behind.port, raw) for raw in requests.same() * 2)
        ordered, also = (ask(behind.port, raw) for raw in requests.posts(2))
    assert {response.status for response in (one, other, same, again, ordered, also)} == {200}
    for name in ("x-id", "set-cookie"):
        assert one[name] != other[name]
        assert ordered[name] != also[name]
        assert same[name] == again[name]
    assert {len(response.head) for response in (one, other, same)} == {len(one.head)}
