import json
import logging
import os
import re
import socket
import warnings

import pytest

from gproxy.observe import log

LOGGERS = ("gproxy", "py.warnings", "urllib3.connectionpool", "root")


@pytest.fixture(autouse=True)
def _loggers_as_before():
    before = [
        (logger, logger.level, logger.propagate, logger.handlers[:]) for logger in map(logging.getLogger, LOGGERS)
    ]
    yield
    logging.captureWarnings(False)
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers


def test_a_line_has_time_level_name_message(capsys):
    log.setup("info")
    logging.getLogger("gproxy.log").error("lost %d", 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ERROR gproxy\.log lost 3\n", capsys.readouterr().err)


def test_lines_of_a_worker_have_its_process_id(capsys):
    log.setup("info", worker=True)
    logging.getLogger("gproxy").warning("slow")
    assert capsys.readouterr().err.endswith(f" WARNING gproxy[{os.getpid()}] slow\n")


def test_setup_sets_the_level_and_may_be_repeated(capsys):
    log.setup("debug")
    log.setup("warning")
    logging.getLogger("gproxy").info("not this")
    logging.getLogger("gproxy").warning("this once")
    assert capsys.readouterr().err.count("this") == 1


def test_records_of_user_code_are_logged(capsys):
    logging.getLogger().handlers.clear()  # pytest's
    log.setup("warning")
    log.setup("info")
    logging.getLogger("handlers").debug("not this")
    logging.getLogger("handlers").info("this")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO handlers this\n", capsys.readouterr().err)


def test_a_configured_root_logger_stays_unchanged():
    other = logging.StreamHandler()
    logging.getLogger().handlers[:] = [other]
    log.setup("info")
    assert logging.getLogger().handlers == [other]


def test_unknown_level():
    with pytest.raises(ValueError, match="LOUD"):
        log.setup("loud")


def test_a_message_cannot_forge_a_line(capsys):
    log.setup("info")
    logging.getLogger("gproxy").error("path %s", "/\n2026-11-23 01:38:01,123 ERROR gproxy forged\x1b[2J")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.endswith("path /\\x0a2026-11-23 01:38:01,123 ERROR gproxy forged\\x1b[2J\n")


def test_a_traceback_keeps_its_lines_but_cannot_forge_a_log_line(capsys):
    log.setup("info")
    try:
        raise ValueError("bad\n2026-11-23 01:38:01,123 ERROR gproxy forged\x1b")
    except ValueError:
        logging.getLogger("gproxy").exception("request 0f3a", stack_info=True)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith("ERROR gproxy request 0f3a")
    assert rest[0] == "  Traceback (most recent call last):"
    assert "  2026-11-23 01:38:01,123 ERROR gproxy forged\\x1b" in rest
    assert all(line.startswith("  ") for line in rest)


def test_warnings_go_to_the_log(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log.setup("info")
        warnings.warn("old ways", UserWarning, stacklevel=1)
    err = capsys.readouterr().err
    assert " WARNING py.warnings " in err
    assert "UserWarning: old ways" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("part", ["connection", "connectionpool", "response"])
def test_full_pools_and_what_urllib3_thinks_of_responses_are_not_logged(part):
    log.setup("debug")
    assert not logging.getLogger(f"urllib3.{part}").isEnabledFor(logging.WARNING)


@pytest.fixture(params=["pipe", "socket"])
def ends(request, monkeypatch):
    """The read end of standard error."""
    if request.param == "pipe":
        reader, writer = os.pipe()
    else:
        reader, writer = (one.detach() for one in socket.socketpair())
    with open(reader, "rb", buffering=0) as end, open(writer, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        log.setup("info")
        yield end
        log.setup("error")  # so that its own way there is closed


def read(end):
    """Return all lines that are there."""
    os.set_blocking(end.fileno(), False)
    return b"".join(iter(lambda: end.read(1 << 20) or b"", b"")).decode().splitlines()


@pytest.fixture
def waits(monkeypatch):
    """The waits for a slow reader, and what happens in each: nothing. None takes any time."""

    class Waits(list):
        happens = staticmethod(lambda: None)

    waits = Waits()

    def wait(signals, seconds):
        waits.append(seconds)
        waits.happens()

    monkeypatch.setattr("signal.sigtimedwait", wait)
    return waits


def test_a_pipe_without_a_reader_drops_lines_and_does_not_block(ends, waits):
    for number in range(2000):
        logging.getLogger("gproxy").error("%d %s", number, "x" * 1000)
    assert sum(waits) == pytest.approx(0.02)  # for all lines together
    lines = read(ends)
    assert 20 < len(lines) < 1000
    assert lines[0].split()[4] == "0"
    logging.getLogger("gproxy").error("again")
    rest, *others = [line for line in read(ends) if "xxx" not in line]
    lost = re.fullmatch(r".* ERROR gproxy\.log the reader of this log was too slow, (\d+) lines? lost", rest)
    assert int(lost[1]) + len(lines) == pytest.approx(2000, abs=1)  # one may have been cut
    assert [line.split()[-1] for line in others] == ["again"]


def test_a_slow_reader_gets_every_line(ends, waits):
    """The reader reads a little in each wait, and nothing else."""
    got = []
    waits.happens = lambda: got.append(ends.read(4096))
    for number in range(1000):
        logging.getLogger("gproxy").error("%d %s", number, "x" * 1000)
    logging.getLogger("gproxy").error("the end")
    early = b"".join(got).decode()
    assert early.count("\n") > 500
    lines = (early + "\n".join(read(ends))).splitlines()
    assert [line.split()[4] for line in lines] == [*map(str, range(1000)), "the"]


ORIGIN = log.Origin("7f3a", "GET", "/users", "users", "tenant")


def test_a_message_begins_with_the_id_of_its_request_once(capsys):
    log.setup("info", worker=True, locate=lambda: ORIGIN)
    logging.getLogger("gproxy").warning("slow")
    logging.getLogger("gproxy").warning("7f3a GET /users: slow")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("] 7f3a slow")
    assert second.endswith("] 7f3a GET /users: slow")


def test_pythons_warnings_have_the_id_too(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log.setup("info", locate=lambda: ORIGIN)
        warnings.warn("old ways", UserWarning, stacklevel=1)
    assert "py.warnings 7f3a " in capsys.readouterr().err


def test_a_record_is_logged_if_nobody_can_say_whose_it_is(capsys):
    log.setup("info", locate=lambda: {}["nothing"])
    logging.getLogger("gproxy").warning("slow")
    assert capsys.readouterr().err.endswith(" slow\n")


def test_secrets_are_masked_in_messages_and_tracebacks(capsys):
    log.setup("info", hide=log.masking({"hunter22", "hunter22-and-more"}))
    try:
        raise ValueError("it is hunter22-and-more")
    except ValueError:
        logging.getLogger("gproxy").exception("failed with %s", "hunter22")
    text = capsys.readouterr().err
    assert "failed with ***\n" in text
    assert "ValueError: it is ***\n" in text
    assert "hunter" not in text.replace('raise ValueError("it is', "")


def test_json_has_one_object_a_line_for_every_logger(capsys):
    logging.getLogger().handlers.clear()  # pytest's
    log.setup("info", "json", names={"worker": 1, "generation": 4}, locate=lambda: ORIGIN)
    logging.getLogger("gproxy").warning("first\nline")
    logging.getLogger("a.library").error("second")
    logging.getLogger("py.warnings").warning("third")
    log.log_with_stack(logging.ERROR, "hung", ["File a", "File b"], names={"worker": 2})
    made = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [one["logger"] for one in made] == ["gproxy", "a.library", "py.warnings", "gproxy"]
    assert [one.get("request_id") for one in made] == ["7f3a", "7f3a", "7f3a", None]
    assert [one["worker"] for one in made] == [1, 1, 1, 2]
    assert made[3]["stack"] == ["File a", "File b"]


def test_a_level_for_a_time_holds_over_a_setup_whose_level_returns_in_the_end():
    gproxy, mine = logging.getLogger("gproxy"), logging.getLogger("mine")
    log.setup("info")
    log.hold_level("gproxy", "debug")
    assert gproxy.level == logging.DEBUG
    log.setup("debug")
    log.setup("error")
    assert gproxy.level == logging.DEBUG
    log.hold_level("mine", "debug")
    assert (gproxy.level, mine.level) == (logging.ERROR, logging.DEBUG)
    log.hold_level("", "")
    assert mine.level == logging.NOTSET
