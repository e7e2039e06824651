"""The error log as JSON: every record is one line that parses, and no secret is in it."""

import json
import logging

import pytest

from gproxy.observe.json_log import JSONFormatter
from gproxy.observe.log import Origin


def formatted(record, hide=lambda text: text, names=None):
    line = JSONFormatter(names or {"worker": 2, "generation": 7}, hide).format(record)
    assert "\n" not in line
    return json.loads(line)


def record(message="slow %s", *args, exc_info=None, stack=None, **extra):
    log = logging.getLogger("gproxy.test")
    return log.makeRecord(log.name, logging.WARNING, "", 0, message, args, exc_info, extra=extra, sinfo=stack)


def caught(raising):
    try:
        raising()
    except Exception as error:  # noqa: BLE001 a test raises what it likes
        return type(error), error, error.__traceback__
    raise AssertionError("it raises nothing")


def test_the_fields_of_a_record():
    made = formatted(record("slow %s", "backend", origin=Origin("7f", "GET", "/", "users", "tenant", "0af7")))
    assert made.pop("time").startswith("20")
    assert made.pop("pid") > 0
    assert made == {
        "level": "warning", "logger": "gproxy.test", "worker": 2, "generation": 7, "message": "slow backend",
        "request_id": "7f", "trace_id": "0af7", "route": "users", "handler": "tenant",
    }  # fmt: skip


def test_what_is_empty_is_left_away():
    made = formatted(record("plain"), names={"worker": None, "generation": None})
    assert set(made) == {"time", "level", "logger", "pid", "message"}


def test_a_line_about_another_process_has_its_worker():
    made = formatted(
        record("hung", worker=3, generation=9, stack="File a\nFile b"), names={"worker": None, "generation": None}
    )
    assert (made["worker"], made["generation"], made["stack"]) == (3, 9, ["File a", "File b"])


def fails():
    raise ValueError("no\nsuch \u2028 thing \ud800")


def test_a_traceback_is_part_of_the_line():
    made = formatted(record("failed", exc_info=caught(fails)))["exception"]
    assert made["type"] == "ValueError"
    assert made["message"] == "no\nsuch \u2028 thing \ud800"
    assert made["stack"][-1].startswith(f"{__file__}:")
    assert 'in fails: raise ValueError("no' in made["stack"][-1]
    assert "cause" not in made


def test_the_cause_is_in_the_exception():
    def outer():
        try:
            fails()
        except ValueError as error:
            raise json.JSONDecodeError("bad", "{", 0) from error

    made = formatted(record("failed", exc_info=caught(outer)))["exception"]
    assert made["type"] == "json.decoder.JSONDecodeError"
    assert made["cause"]["type"] == "ValueError"


def test_odd_exceptions_have_a_line_too():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def mute():
        raise Mute

    def recurse():
        recurse()

    made = formatted(record("failed", exc_info=caught(mute)))["exception"]
    assert made["message"].startswith("<the exception has no text")
    assert len(formatted(record("failed", exc_info=caught(recurse)))["exception"]["stack"]) == 100
    assert "exception" not in formatted(record("failed", exc_info=(None, None, None)))


@pytest.mark.parametrize("text", ["tab\there", "\x1b[31m", "ü", "\udcff", '"quoted" \\'])
def test_any_text_survives(text):
    assert formatted(record("%s", text))["message"] == text


def test_secrets_are_masked_everywhere():
    def leaks():
        raise ValueError("password is hunter22")

    made = formatted(
        record("with %s", "hunter22", exc_info=caught(leaks), stack="File hunter22"),
        hide=lambda text: text.replace("hunter22", "***"),
    )
    assert "hunter22" not in json.dumps(made)
    assert made["exception"]["message"] == "password is ***"
