"""`gproxy reload` and `gproxy rollback`: they wait for the outcome, and exit 1 with the place of what is wrong."""

import json
import sys

import forked
import pytest
from greeter import CODE, command, running


@pytest.fixture
def gateway(tmp_path):
    with running(tmp_path, "one") as found:
        yield found


def test_reload_and_rollback_wait_for_the_generation_and_name_it(gateway, tmp_path):
    (tmp_path / "greeting.py").write_text(CODE % "second")
    assert command(gateway, "reload") == (0, "reloaded: generation 2 serves\n", "")
    assert gateway.get("/").body == b"second"
    assert command(gateway, "rollback", "--json") == (0, '{"generation": 3}\n', "")


def test_a_reload_that_moves_the_admin_listener_has_succeeded(gateway, tmp_path):
    gateway.config.write_text(gateway.config.read_text().replace("admin.sock", "moved.sock"))
    done = command(gateway, "reload", where=("--admin", f"unix:{tmp_path}/admin.sock"))
    assert done == (0, "reloaded: generation 2 serves\n", "")


@pytest.mark.parametrize(
    ("code", "place"),
    [("def greet(request, next:\n", "greeting.py"), ("import json\nimport nowhere\n", "greeting.py:2")],
)
def test_reload_of_broken_code_exits_1_with_its_place_while_the_old_code_answers(gateway, tmp_path, code, place):
    (tmp_path / "greeting.py").write_text(code)
    status, printed, reasons = command(gateway, "reload")
    assert (status, printed) == (1, "")
    assert reasons.startswith("reload failed; the current generation keeps serving:\n")
    assert f"{gateway.config}:7: [handler:greet] use: cannot import greeting" in reasons
    assert place in reasons
    assert gateway.get("/").body == b"one"


def test_the_reasons_of_a_failed_reload_are_json_too(gateway, tmp_path):
    (tmp_path / "greeting.py").write_text("import nowhere\n")
    status, printed, reasons = command(gateway, "reload", "--json")
    assert status == 1
    (reason,) = json.loads(printed)["reasons"]
    assert "cannot import greeting" in reason
    assert reason in reasons


def test_rollback_of_the_first_generation_exits_1(gateway):
    status, printed, reasons = command(gateway, "rollback")
    assert (status, printed) == (1, "")
    assert "rollback failed" in reasons


def test_both_name_what_is_missing_without_an_admin_listener(tmp_path):
    (tmp_path / "gproxy.ini").write_text("[route:all]\npath = /\nrespond = 204\n")
    for name in ("reload", "rollback"):
        done = forked.run(
            [sys.executable, "-m", "gproxy", name, "--config", "gproxy.ini"],
            capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 1
        assert "[admin] bind" in done.stderr
