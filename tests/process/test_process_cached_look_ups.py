"""Look-ups that requests share, from outside: in a recording, in its replay, in the inspector and in a copied test."""

import json
from pathlib import Path

import pytest
from test_process_inspector import Dev, run_pytest
from test_process_record_and_replay import kinds, recording, replay, run

from gproxy.testing.backends import Actor, reply
from gproxy.testing.gateway import RunningGateway, eventually

CODE = (Path(__file__).parents[2] / "examples/overview/overview.py").read_text()
INI = """
[gateway]
timeout = 3s
[route:overview]
path = ~ /overview/[\\w-]+
handlers = overview
respond = 404
[upstream:users]
backends = http://127.0.0.1:{users}
[upstream:orders]
backends = http://127.0.0.1:{orders}
[handler:overview]
use = overview:Overview
users = users
orders = orders
"""
ADMIN = "[server]\nstate_dir = {tmp}/var\n[admin]\nbind = unix:{tmp}/admin.sock\n"
AS_RECORDED = ("--config", "gproxy.ini", "--backends", "recorded")

pytestmark = pytest.mark.timeout(120)


def service(peer, request):
    """The users and plans, and the orders."""
    path = request.line.split(" ")[1]
    reply(json.dumps({"path": path, "items": [1, 2]}).encode(), "Content-Type: application/json")(peer, request)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The folder of a recording of five requests for two names."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "overview.py").write_text(CODE)
    with Actor(service) as users, Actor(service) as orders:
        ini = ADMIN + INI.format(users=users.port, orders=orders.port)
        with RunningGateway(ini, folder) as gateway:
            eventually((folder / "admin.sock").exists, "the admin listener")
            with recording(gateway, "--bodies", "--limit", "5"):
                for name in ("bob", "bob", "carol", "bob", "carol"):
                    assert gateway.get(f"/overview/{name}").status == 200
    return folder


def lines(folder):
    """The first line of the recording, and its exchanges."""
    first, *rest = (folder / "recording.jsonl").read_text().splitlines()
    return first, [json.loads(line) for line in rest]


def rewritten(folder, first, exchanges):
    """Another recording in the folder, with these exchanges."""
    (folder / "other.jsonl").write_text("\n".join([first, *map(json.dumps, exchanges)]) + "\n")
    return run(folder, "replay", "other.jsonl", *AS_RECORDED)


def targets(exchange, *, shared):
    return [one["request"]["target"] for one in exchange["attempts"] if one.get("shared", False) is shared]


def test_a_recording_has_the_attempts_of_a_look_up_with_the_request_that_began_it(recorded):
    _, exchanges = lines(recorded)
    assert [targets(one, shared=True) for one in exchanges] == [["/plans/bob"], [], ["/plans/carol"], [], []]
    assert {len(targets(one, shared=False)) for one in exchanges} == {2}


def test_unchanged_code_replays_without_a_difference(recorded):
    status, text, errors = replay(recorded, *AS_RECORDED)
    assert (status, errors, text.splitlines()[0]) == (0, "", "5 of 5 exchanges replayed")


def test_a_result_that_the_recorded_gateway_had_already_comes_from_another_exchange(recorded):
    """The look-up of bob comes with the last request for bob, as if the result before it was made before the recording."""
    first, exchanges = lines(recorded)
    attempts = exchanges[0]["attempts"]
    (look_up,) = [one for one in attempts if one.get("shared")]
    attempts.remove(look_up)
    exchanges[3]["attempts"].insert(0, look_up)
    status, text, _ = rewritten(recorded, first, exchanges)
    assert (status, text.splitlines()[-1]) == (0, "no difference")


def test_a_look_up_that_no_exchange_has_is_a_difference(recorded):
    first, exchanges = lines(recorded)
    status, text, _ = rewritten(recorded, first, [exchanges[1], *exchanges[3:]])
    assert status == 1
    assert "asked a backend that the recording did not" in text


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('"orders": count', '"orders": 7', {("body $.orders", 5)}),
        ('f"/plans/{name}"', 'f"/plan/{name}"', {("request to users: line", 2)}),
        (
            "lambda: self.plan(name)",
            'lambda: f"/plans/{name}"',
            {("did not ask a backend that the recording asked", 2)},
        ),
    ],
)
def test_a_changed_handler_is_its_difference_only(recorded, old, new, found):
    (recorded / "overview.py").write_text(CODE.replace(old, new))
    try:
        status, text, _ = replay(recorded, *AS_RECORDED, "--json")
    finally:
        (recorded / "overview.py").write_text(CODE)
    assert (status, {one[1:] for one in kinds(text)}) == (1, found)


def test_the_inspector_shows_a_look_up_and_its_request_copied_as_a_test_passes(tmp_path):
    (tmp_path / "overview.py").write_text(CODE)
    with Actor(service) as users, Actor(service) as orders:
        ini = INI.format(users=users.port, orders=orders.port)
        with Dev(tmp_path, ini) as dev:
            dev.gateway.get("/overview/bob?first")
            dev.gateway.get("/overview/bob?second")
            first, second = dev.latest("/overview/bob?first"), dev.latest("/overview/bob?second")
            copied = dev.inspected(f"/{first['number']}/copy?as=pytest")
    assert [one["request"]["line"].split()[1] for one in first["attempts"] if one["shared"]] == ["/plans/bob"]
    assert [one["shared"] for one in second["attempts"]] == [False, False]
    project = tmp_path / "project"
    project.mkdir()
    for name in ("gproxy.ini", "overview.py"):
        (project / name).write_text((tmp_path / name).read_text())
    (project / "test_copied.py").write_text(copied)
    code, output = run_pytest(project)
    assert (code, "1 passed" in output) == (0, True), output
