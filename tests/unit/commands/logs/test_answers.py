"""The answers of `gproxy logs` are those of a slow script, for every filter, format and kind of file."""

import json
import math
import re
from collections import defaultdict
from datetime import datetime
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network

import pytest

from gproxy.config.types.access_log import DEFAULT_FIELDS
from gproxy.observe.access_files import log_files
from unit.observe.access_files.exchanges import NOON, random_exchanges, written

from .conftest import at

FORMATS = ("ltsv", "json", "combined")
COMBINED = re.compile(
    r'(?P<client>\S+) - (?P<user>\S+) \[(?P<time>[^]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d+) (?P<size>\d+) '
    r'"(?P<referer>(?:[^"\\]|\\.)*)" "(?P<ua>(?:[^"\\]|\\.)*)"'
)
NUMBERS = ("status", "size", "duration")


def groups_of(log_format):
    """Return what the lines of a format can be grouped by."""
    return ["path", "client", "status", "minute"] + ["route", "reason", "backend"] * (log_format != "combined")


def slowly(line):
    """Parse a line without the code of the command. None: broken."""
    if line.startswith("{"):
        try:
            return json.loads(line)
        except ValueError:
            return None
    if line.startswith("time:"):
        pairs = [piece.partition(":") for piece in line.split("\t")]
        found = {name: "" if value == "-" else value for name, _, value in pairs}
        if len(found) < len(DEFAULT_FIELDS):
            return None
    elif match := COMBINED.fullmatch(line):
        found = {name: "" if value == "-" else value for name, value in match.groupdict().items()}
        found["method"], found["path"], _ = re.sub(r'\\(["\\])', r"\1", found["request"]).split(" ")
        found["time"] = datetime.strptime(found["time"], "%d/%b/%Y:%H:%M:%S %z").isoformat()
    else:
        return None
    return {name: float(value) if name in NUMBERS else value for name, value in found.items()}


def began(entry):
    return datetime.fromisoformat(entry["time"]).timestamp()


def is_in(client, network):
    return client != "unix" and ip_address(client) in ip_network(network)


#: Options, and the same question to a parsed line.
QUESTIONS = {
    "--status 5xx,404": lambda entry: entry["status"] >= 500 or entry["status"] == 404,
    "--status 2xx": lambda entry: 200 <= entry["status"] < 300,
    "--status 503 --status 304": lambda entry: entry["status"] in (503, 304),
    "--route users": lambda entry: entry["route"] == "users",
    "--route -": lambda entry: not entry["route"],
    "--path /users/*": lambda entry: fnmatchcase(entry["path"], "/users/*"),
    "--path */items": lambda entry: entry["path"].endswith("/items"),
    '--path /a"b': lambda entry: entry["path"] == '/a"b',
    "--path /ä --path /other": lambda entry: entry["path"] in ("/ä", "/other"),
    "--method post": lambda entry: entry["method"] == "POST",
    "--client 10.0.0.0/8": lambda entry: is_in(entry["client"], "10.0.0.0/8"),
    "--client 2001:db8::/32,192.0.2.7": lambda entry: entry["client"] in ("2001:db8::1", "192.0.2.7"),
    "--client ::ffff:10.0.0.0/104": lambda entry: is_in(entry["client"], "10.0.0.0/8"),
    "--client unix": lambda entry: entry["client"] == "unix",
    "--user alice": lambda entry: entry["user"] == "alice",
    "--backend 10.0.0.2:80": lambda entry: entry["backend"] == "10.0.0.2:80",
    "--reason timeout,bad_gateway": lambda entry: entry["reason"] in ("timeout", "bad_gateway"),
    "--id 1-77": lambda entry: entry["id"] == "1-77",
    "--slower 500ms": lambda entry: entry["duration"] > 0.5,
    "--status 5xx --user alice --path /users/*": lambda entry: (
        entry["status"] >= 500 and entry["user"] == "alice" and entry["path"].startswith("/users/")
    ),
    f"--since {at(NOON + 600)}": lambda entry: began(entry) >= NOON + 600,
    f"--until {at(NOON + 600)}": lambda entry: began(entry) < NOON + 600,
    f"--since {at(NOON + 1200)} --until {at(NOON + 1800)}": lambda entry: NOON + 1200 <= began(entry) < NOON + 1800,
    f"--since {at(NOON + 1200)} --until {at(NOON + 1260)} --status 404": lambda entry: (
        NOON + 1200 <= began(entry) < NOON + 1260 and entry["status"] == 404
    ),
}


@pytest.fixture(params=["one block", "many blocks"])
def sizes(request, monkeypatch):
    """So that a small file has many blocks, and a bisection has many steps."""
    if request.param == "many blocks":
        monkeypatch.setattr(log_files, "_BLOCK", 16 * 1024)
        monkeypatch.setattr(log_files, "_PROBE", 4 * 1024)
        monkeypatch.setattr(log_files, "_CLEAN", 64 * 1024)


def is_answerable(question, log_format):
    return log_format != "combined" or not re.search("--(route|backend|reason|id|slower)", question)


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.usefixtures("sizes")
def test_each_filter_selects_the_lines_that_a_script_selects(log, log_format):
    log.settings(log_format)
    data = written(random_exchanges(2000), log_format)
    log.write(data)
    parsed = [(line, slowly(line)) for line in data.decode().splitlines()]
    for question, is_wanted in QUESTIONS.items():
        if is_answerable(question, log_format):
            expected = [line for line, entry in parsed if is_wanted(entry)]
            assert log.lines(*question.split(" ")) == expected, question
            assert 0 < len(expected) < 2000


def torn(data, every):
    """Break every so many lines off, as a full disk does."""
    lines = data.splitlines(keepends=True)
    return b"".join(
        line[: len(line) // 2] + b"\n" if number % every == 7 else line for number, line in enumerate(lines)
    )


def test_rotated_packed_torn_and_mixed_files_are_one_log_in_order_of_time(log):
    exchanges = random_exchanges(4000)
    names = ("access.log.2026-11-27.gz", "access.log.2026-11-28", "access.log.2026-11-28.1.gz", "access.log")
    formats = ("ltsv", "json", "json", "ltsv")
    parts = []
    for number, (name, log_format) in enumerate(zip(names, formats, strict=True)):
        data = torn(written(exchanges[number * 1000 : number * 1000 + 1000], log_format), 100)
        parts.append(data)
        log.write(data, name)
    log.write(b"another program's", "access.log.bak")
    log.write(b"half", "access.log.2026-11-28.2.gz.part")
    parsed = [(line, slowly(line)) for line in b"".join(parts).decode().splitlines()]
    assert sum(entry is None for _, entry in parsed) == 40
    for question, is_wanted in QUESTIONS.items():
        code, printed, _ = log.run(*question.split(" "))
        assert code == 0
        assert printed.splitlines() == [line for line, entry in parsed if entry and is_wanted(entry)], question
    code, _, said = log.run("--count")
    assert (code, said) == (0, "gproxy logs: 40 broken lines skipped\n")


def test_a_reload_that_changes_the_format_or_the_fields_changes_no_answer(log):
    fields = ("duration", "status", "time", "id", "path", "size", "route", "user", "query", "request.Accept")
    exchanges = random_exchanges(900)
    for one in exchanges[600:]:
        one.noted = ["a=1", "text/*"]
    log.write(written(exchanges[:300]) + written(exchanges[300:600], "json") + written(exchanges[600:], "ltsv", fields))
    assert log.ids("--status", "500") == [one.id for one in exchanges if one.status == 500]
    assert log.ids("--path", "/users/*") == [one.id for one in exchanges if one.target.startswith("/users/")]
    assert sum(group["count"] for group in log.groups("route")["groups"]) == 900
    assert {group["name"] for group in log.groups("route")["groups"]} == {"users", "other", "-"}


@pytest.mark.parametrize(("log_format", "by"), [(one, by) for one in FORMATS for by in groups_of(one)])
def test_groups_have_the_figures_that_a_script_has(log, log_format, by):
    log.settings(log_format)
    data = written(random_exchanges(2000), log_format)
    log.write(data)
    groups = defaultdict(list)
    entries = [slowly(line) for line in data.decode().splitlines()]
    for entry in entries:
        name = entry["time"][:16] + entry["time"][-6:] if by == "minute" else entry[by]
        groups[str(int(name)) if by == "status" else name or "-"].append(entry)
    found = log.groups(by)
    seconds = max(map(began, entries)) - min(map(began, entries))
    assert found["seconds"] == pytest.approx(seconds)
    assert {group["name"] for group in found["groups"]} == set(groups)
    for group in found["groups"]:
        members = groups[group["name"]]
        assert group["count"] == len(members)
        assert group["bytes"] == sum(entry["size"] for entry in members)
        assert group["errors"] == pytest.approx(
            sum(entry["status"] >= 500 for entry in members) / len(members), abs=1e-6
        )
        assert group["rate"] == pytest.approx(len(members) / (60 if by == "minute" else seconds), abs=1e-3)
        durations = sorted(entry.get("duration", 0) for entry in members)
        expected = [durations[max(0, math.ceil(share * len(members)) - 1)] for share in (0.5, 0.95, 0.99)]
        assert [group["p50"], group["p95"], group["p99"]] == (expected if log_format != "combined" else [None] * 3)
    counts = [group["count"] for group in found["groups"]]
    names = [group["name"] for group in found["groups"]]
    assert names == sorted(names) if by == "minute" else counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("log_format", ["ltsv", "json"])
def test_slowest_are_the_slowest_in_their_order(log, log_format):
    log.settings(log_format)
    exchanges = random_exchanges(1000)
    log.write(written(exchanges, log_format))
    ordered = sorted(exchanges, key=lambda one: -round(one.duration, 6))
    assert log.ids("--slowest") == [one.id for one in ordered[:10]]
    assert log.ids("--slowest", "3", "--status", "404") == [one.id for one in ordered if one.status == 404][:3]


def test_many_requests_that_end_together_do_not_mislead_the_search_by_time(log, monkeypatch):
    """A reload ends old streams at once: their lines have old times in the middle of new ones."""
    monkeypatch.setattr(log_files, "_PROBE", 4 * 1024)
    monkeypatch.setattr(log_files, "_BLOCK", 16 * 1024)
    log.settings("combined")
    exchanges = random_exchanges(3000, seconds=36_000)
    for one in exchanges[1300:1900]:
        one.started, one.duration = NOON - 5000, 30_000
    log.write(written(exchanges, "combined"))
    for number in range(900, 1300, 50):
        since = int(exchanges[number].started)
        wanted = sum(int(one.started) >= since for one in exchanges)
        assert log.lines("--count", "--since", at(since)) == [str(wanted)]
