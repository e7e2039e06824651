"""Feature 1 and 2: which route, which backend, and one access line that says so."""

import threading

import pytest
from shipped import PUBLIC, UNLIMITED, problem, running


@pytest.mark.parametrize(
    ("path", "route"),
    [("/users", "users"), ("/users/", "users"), ("/users/x?a=/orders", "users"), ("/orders/1/users", "orders")],
)
def test_a_path_and_everything_below_it(ours, path, route):
    answer = ours.get(path, ours.bearer())
    assert answer.status == 200
    line = ours.line_of(answer)
    assert line["route"] == route
    assert line["backend"] in {f"localhost:{backend.port}" for backend in ours.backends}
    assert (line["method"], line["path"]) == ("GET", path.partition("?")[0])


@pytest.mark.parametrize("path", ["/", "/users2", "/user", "/Users", "/ordersusers", "/nothing"])
def test_no_route_is_404_and_reaches_nobody(ours, path):
    before = ours.received
    answer = ours.get(path, ours.bearer())
    assert answer.status == 404
    assert problem(answer)["title"] == "Not Found"
    line = ours.line_of(answer)
    assert (line["status"], line["route"], line["backend"], line["reason"]) == ("404", "-", "-", "no_route")
    assert ours.received == before


def test_the_longest_path_wins_then_host_method_headers(tmp_path):
    more = """
[route:deep]
path = /users/deep
upstream = orders
[route:writes]
path = /items
methods = POST, PUT
upstream = users
[route:reads]
path = /items
methods = GET
upstream = users
[route:hosted]
path = /orders
host = special.test
upstream = users
[route:headed]
path = /orders
headers = X-Beta: yes
upstream = users
"""
    with running(tmp_path, UNLIMITED, more=more) as ours:
        bearer = ours.bearer()

        def route_of(path, *headers, method="GET"):
            return ours.line_of(ours.get(path, bearer, *headers, method=method))["route"]

        assert route_of("/users/deep/er") == "deep"
        assert route_of("/users/deeper") == "users"
        assert route_of("/items", "Content-Length: 0", method="POST") == "writes"
        assert route_of("/items") == "reads"
        assert route_of("/items", method="HEAD") == "reads"
        assert route_of("/orders") == "orders"
        assert route_of("/orders", "X-Beta: yes") == "headed"
        with ours.connect() as wire:
            wire.send(f"GET /orders HTTP/1.1\r\nHost: special.test:80\r\n{bearer}\r\n\r\n")
            assert ours.line_of(wire.read_response())["route"] == "hosted"

        before = ours.received
        refused = ours.get("/items", bearer, method="DELETE")
        assert refused.status == 405
        assert refused["allow"] == "GET, HEAD, POST, PUT"
        problem(refused)
        assert ours.line_of(refused)["reason"] == "method"
        assert ours.received == before


def test_round_robin_alternates_whatever_else_is_going_on(tmp_path):
    with running(tmp_path, UNLIMITED, *PUBLIC) as ours:
        stop = threading.Event()

        def others():
            while not stop.is_set():
                ours.get("/orders")
                ours.get("/nothing")

        thread = threading.Thread(target=others)
        thread.start()
        try:
            with ours.connect() as wire:
                seen = []
                for _ in range(100):
                    wire.send("GET /users HTTP/1.1\r\nHost: a\r\n\r\n")
                    seen.append(wire.read_response().body)
            fresh = [ours.get("/users").body for _ in range(20)]
        finally:
            stop.set()
            thread.join()
        assert seen + fresh == [b"one", b"three"] * 60
        assert len(ours.two.requests) > 5


def test_uri_hash_keeps_one_path_on_one_backend(tmp_path):
    with running(tmp_path, UNLIMITED, *PUBLIC, ("round_robin", "uri_hash")) as ours:
        where = {n: {ours.get(f"/users/{n}").body for _ in range(3)} for n in range(20)}
        assert all(len(bodies) == 1 for bodies in where.values())
        assert {body for bodies in where.values() for body in bodies} == {b"one", b"three"}
