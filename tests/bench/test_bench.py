"""scripts/bench as a user runs it, briefly."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import compare, load, results, workers
from bench.figures import NotMeasuredError
from bench.scenarios import SCENARIOS
from bench.server import NotStartedError, Server
from gproxy.testing.gateway import free_port

ROOT = Path(__file__).parents[2]


def bench(*arguments):
    return subprocess.run(
        [ROOT / "scripts/bench", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50
    )


def test_it_measures_prints_and_plots(tmp_path):
    picture = tmp_path / "picture.svg"
    done = bench("--rounds", "1", "--seconds", "1", "--svg", picture, "small", "mix")
    assert (done.returncode, done.stderr) == (0, "")
    compared = r"( +\d+ +[\d.]+ +[\d.]+\.\.[\d.]+){2}( +[\d.]+){3}$"
    assert len(re.findall(rf"^  plain{compared}", done.stdout, re.M)) == 2, done.stdout
    assert len(re.findall(rf"^  gproxy{compared}", done.stdout, re.M)) == 2, done.stdout
    assert re.search(r"^\| 118 bytes of JSON( \| [\d.]+){2} \|$", done.stdout, re.M), done.stdout
    assert len(ET.parse(picture).findall(".//*[@class='bar']")) == 4


def test_an_app_in_the_gateway_is_compared_with_a_server_of_apps():
    done = bench("--rounds", "1", "--seconds", "1", "flask")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^\| Flask's hello world( \| [\d.]+){2} \|$", done.stdout, re.M), done.stdout


def test_a_peer_that_checks_no_tokens_is_not_measured_where_all_requests_have_one():
    peers = ["go", "nginx", "gproxy"]
    assert compare.asked(SCENARIOS["new-jwt"], peers) == compare.asked(SCENARIOS["jwt"], peers) == ["go", "gproxy"]
    assert compare.asked(SCENARIOS["varied"], peers) == peers
    assert compare.asked(SCENARIOS["jwt"], ["nginx", "plain", "gproxy"]) == ["nginx", "gproxy"]  # the yardstick stays


def test_only_peers_that_speak_http2_are_measured_over_it_and_nginx_if_there_is_no_other():
    h2, h1 = SCENARIOS["h2-small"], SCENARIOS["small"]
    assert compare.asked(h2, ["go-h2", "caddy", "nginx", "gproxy"]) == ["go-h2", "nginx", "gproxy"]
    assert compare.asked(h2, ["plain", "gproxy"]) == ["nginx", "gproxy"]
    assert compare.asked(h1, ["go-h2", "nginx", "gproxy"]) == ["nginx", "gproxy"]
    assert compare.asked(h1, ["go-h2", "gproxy"]) == ["plain", "gproxy"]


def test_http2_is_measured():
    done = bench("--rounds", "1", "--seconds", "1", "h2-varying", "h2-download-c1", "grpc-unary")
    assert (done.returncode, done.stderr) == (0, "")
    compared = r"( +\d+ +[\d.]+ +[\d.]+\.\.[\d.]+){2}( +[\d.]+){3}$"
    assert len(re.findall(rf"^  (?:nginx|gproxy){compared}", done.stdout, re.M)) == 6, done.stdout


def test_two_workers_are_compared_with_one(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "_ROUNDS", 1)
    monkeypatch.setattr(workers, "_SECONDS", 1)
    monkeypatch.setattr(workers, "PROXY_CORE", "another")  # on a machine with one core too
    figures = workers.check(tmp_path, 0)
    assert [figure.what.partition(":")[0] for figure in figures] == ["small", "varied"]
    assert all(0.2 < figure.value < 5 for figure in figures)


def test_two_workers_are_not_measured_on_one_core(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "PROXY_CORE", workers.OTHER_CORE)
    with pytest.raises(NotMeasuredError, match="two workers need two cores"):
        workers.check(tmp_path, 0)


def test_a_peer_that_answers_errors_fails_the_run(monkeypatch, capsys):
    sample = results.Sample(load.Load(100, 100.0, 1.0, 2.0, 7), 40.0, 50_000_000)
    monkeypatch.setattr(compare, "_measure_all", lambda *_: {"small": {"plain": [sample], "gproxy": [sample]}})
    assert compare.main([]) == 1
    assert capsys.readouterr().err == "bench: 14 requests failed\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["smal"], "no scenario smal; there are varied, varied-jwt"),
        (["--peer", "apache"], "invalid choice: 'apache'"),
        (["--rounds", "0"], "'0' is no number from 1 on"),
        (["scale", "sok"], "no check sok; there are start, routes"),
    ],
)
def test_mistakes_are_told(arguments, said):
    done = bench(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_scale_check_prints_what_it_found(tmp_path):
    done = bench("scale", "routes")
    assert re.search(r"^a match among 500 routes.* us +<= 3  (ok|FAILED)$", done.stdout, re.M), done.stdout
    assert done.returncode == ("FAILED" in done.stdout)


def test_a_port_that_somebody_else_serves_is_not_measured(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as stale:
        port = stale.getsockname()[1]
        with pytest.raises(NotStartedError, match=rf"port {port} is served by other processes: .{os.getpid()}"):
            Server("idle", [sys.executable, "-c", "import time; time.sleep(60)"], port, tmp_path).__enter__()


def test_a_server_that_ends_is_told_with_what_it_wrote(tmp_path):
    with pytest.raises(NotStartedError, match="loud did not start:\nno way"):
        Server("loud", ["echo", "no way"], free_port(), tmp_path).__enter__()


def test_the_scripts_are_good_bash():
    subprocess.run(["bash", "-n", ROOT / "scripts/bench"], check=True, timeout=10)
