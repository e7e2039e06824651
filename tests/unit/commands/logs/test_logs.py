"""What `gproxy logs` says when it cannot answer, and the forms of its output."""

import json
import re

import pytest

from gproxy.commands.logs import grouping
from unit.observe.access_files.exchanges import NOON, exchange, random_exchanges, written


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--status 6xx", "--status: expected statuses and classes, such as 5xx,404; found '6xx'"),
        ("--client 10.0.0", "--client: '10.0.0' is no address and no network; expected one such as 10.0.0.0/8"),
        ("--path /a?b=1", "--path: expected a path without a query: the field `path` has none"),
        ("--slower 500", "--slower: write 500s for seconds"),
        ("--since yesterday", "--since: expected 10m, 12:00, 2026-11-28 or 2026-11-28T12:00"),
        ("--since 25:00", "--since: expected 10m, 12:00, 2026-11-28 or 2026-11-28T12:00"),
        ("--until 2026-13-01", "--until: expected 10m, 12:00, 2026-11-28 or 2026-11-28T12:00"),
        ("--since 10m --until 20m", "--until is not after --since"),
        ("--follow --until 12:00", "--follow never ends: --until does not fit"),
        ("--slowest 0", "--slowest: expected a number from 1 to 10000"),
        ("--by route --count", "argument --count: not allowed with argument --by"),
        ("--by route --fields id", "--fields: --by and --count print no lines"),
        ("--by host", "argument --by: invalid choice: 'host'"),
        ("--referrer x", "unknown option --referrer"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_2(log, arguments, said):
    log.write(written([exchange()]))
    code, printed, error = log.run(*arguments.split(" "))
    assert (code, printed) == (2, "")
    assert error.startswith(f"gproxy logs: {said}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("log_format", "fields", "arguments", "said"),
    [
        ("ltsv", "time, status", "--user alice", "--user: lines have no field 'user'; name it in [log] fields"),
        ("json", "time, status", "--by route", "--by route: lines have no field 'route'; name it in [log] fields"),
        (
            "ltsv",
            "status, path",
            "--since 10m",
            "--since or --until: lines have no field 'time'; name it in [log] fields",
        ),
        ("ltsv", "time, status", "--slowest", "--slowest: lines have no field 'duration'; name it in [log] fields"),
        ("ltsv", "time, status", "--fields time,ua", "--fields: lines have no field 'ua'; name it in [log] fields"),
        ("combined", "default", "--slower 1s", "--slower: lines of format = combined have no field 'duration'; write"),
    ],
)
def test_a_field_that_the_lines_lack_is_an_error(log, log_format, fields, arguments, said):
    log.settings(log_format, more=f"fields = {fields}\n")
    names = ("time", "status") if "time" in fields else ("status", "path")
    log.write(written([exchange()], log_format, names))
    code, printed, error = log.run(*arguments.split(" "))
    assert (code, printed) == (2, "")
    assert error.startswith(f"gproxy logs: {said}")


@pytest.mark.parametrize(
    ("access", "said"),
    [
        ("off", "[log] access = off: there is no access log"),
        (
            "-",
            "[log] access = -: the lines go to standard output; add a file, such as log/access.log, to search them here",
        ),
        ("syslog:unix:/dev/log", "the lines go to a syslog server; add a file, such as log/access.log"),
        ("nowhere/access.log", "nowhere/access.log: No such file or directory"),
        ("missing.log", "missing.log: no such file; a relative path counts from the working directory"),
    ],
)
def test_a_log_without_files_is_exit_1(log, access, said, monkeypatch):
    monkeypatch.chdir(log.folder)
    log.settings(access=access)
    code, printed, error = log.run()
    assert (code, printed) == (1, "")
    assert said in error
    assert error.count("\n") == 1


def test_problems_of_the_settings_are_exit_2(log):
    log.settings("xml")
    assert log.run()[0] == 2
    (log.folder / "gproxy.ini").write_text("nonsense")
    assert log.run()[0] == 2


def test_one_file_among_several_targets_is_enough_and_problems_elsewhere_do_not_matter(log):
    log.settings(access=f"-, {log.path}", more="[route:a]\nupstream = none\n")
    log.write(written([exchange()]))
    assert log.lines("--count") == ["1"]


def test_a_damaged_packed_file_costs_its_rest_and_exit_1(log):
    exchanges = random_exchanges(3000)
    log.write(written(exchanges[2000:]))
    packed = log.write(written(exchanges[:2000]), "access.log.2026-11-28.gz")
    packed.write_bytes(packed.read_bytes()[:-2000])
    code, printed, error = log.run("--fields", "id")
    assert code == 1
    assert "access.log.2026-11-28.gz: the rest cannot be read" in error
    ids = printed.splitlines()
    assert ids[-1000:] == [one.id for one in exchanges[2000:]]
    packed.write_bytes(b"no gzip")
    code, printed, error = log.run("--fields", "id")
    assert (code, printed.splitlines()) == (1, [one.id for one in exchanges[2000:]])


def test_fields_are_separated_by_tabs_in_the_given_order(log):
    log.write(written([exchange(status=404, user="")]))
    assert log.lines("--fields", "status,user,path,duration") == ["404\t-\t/users\t0.01"]


def test_json_has_one_form_whatever_the_format(log):
    one = exchange(user='a"b', referer="", user_agent="x\\y", bytes_sent=7)
    expected = {
        "client": "192.0.2.1", "user": 'a"b', "method": "GET", "path": "/users", "protocol": "HTTP/1.1", "status": 200,
        "size": 7, "referer": "", "ua": "x\\y",
    }  # fmt: skip
    for log_format in ("ltsv", "json", "combined"):
        log.settings(log_format)
        log.write(written([one], log_format))
        (line,) = log.lines("--json")
        found = json.loads(line)
        assert {name: found[name] for name in expected} == expected
        assert re.fullmatch(r"2026-11-28T12:00:00(\.000)?\+00:00", found["time"])
    assert log.lines("--json", "--fields", "status,path") == ['{"status":200,"path":"/users"}']
    assert log.lines("--json", "--count") == ['{"count": 1}']


def test_the_table_is_aligned_and_shows_no_control_characters(log):
    log.settings("json")
    one = exchange(target="/a\x1b[31m", duration=2.5, bytes_sent=12)
    log.write(written([one, exchange(status=500)], "json"))
    assert log.lines("--by", "path") == [
        "    count   rate/s errors      p50      p95      p99        bytes  path",
        "        1     1.00   0.0%    2.50s    2.50s    2.50s           12  /a\\x1b[31m",
        "        1     1.00 100.0%   10.0ms   10.0ms   10.0ms            0  /users",
    ]


def test_figures_whose_fields_the_lines_lack_are_empty(log):
    log.write(written([exchange()], "ltsv", ("id", "path")))
    assert log.lines("--by", "path")[1].split() == ["1", "-", "-", "-", "-", "-", "-", "/users"]


def test_the_rate_is_that_of_the_period(log):
    log.write(written(random_exchanges(100, seconds=50)))
    found = log.groups("client", "--since", "2026-11-28T11:00", "--until", "2026-11-28T13:00")
    assert found["seconds"] == 7200
    assert sum(group["count"] for group in found["groups"]) == 100


def test_groups_and_durations_are_bounded(log, monkeypatch):
    monkeypatch.setattr(grouping, "_MOST_GROUPS", 5)
    monkeypatch.setattr(grouping, "_MOST_DURATIONS", 100)
    exchanges = [exchange(NOON + number, target=f"/{number % 10}", duration=number / 1000) for number in range(1, 1001)]
    log.write(written(exchanges))
    groups = log.groups("path")["groups"]
    assert {group["name"]: group["count"] for group in groups} == {
        "(others)": 500, "/1": 100, "/2": 100, "/3": 100, "/4": 100, "/5": 100
    }  # fmt: skip
    exact = sorted(one.duration for one in exchanges if one.target == "/3")
    (group,) = (group for group in groups if group["name"] == "/3")
    assert [group["p50"], group["p95"], group["p99"]] == pytest.approx([exact[49], exact[94], exact[98]], rel=0.01)


def test_a_line_without_an_end_counts_unless_it_is_torn(log):
    data = written([exchange(), exchange()])
    log.write(data[:-1])
    assert log.lines("--count") == ["2"]
    log.write(data[:-60])
    assert log.run("--count") == (0, "1\n", "gproxy logs: 1 broken line skipped\n")


def test_garbage_is_broken_and_no_new_layout(log):
    noise = b'\n\xff\xfe\nstatus:200\tstatus:200\nfoo:bar\n{}\n[1]\n{"time":1}\n' + b"x" * 300_000 + b"\n"
    log.write(written([exchange()]) + noise + written([exchange(status=500)]))
    code, printed, error = log.run("--by", "status", "--json")
    assert code == 0
    assert [group["name"] for group in json.loads(printed)["groups"]] == ["200", "500"]
    assert error == "gproxy logs: 8 broken lines skipped\n"
