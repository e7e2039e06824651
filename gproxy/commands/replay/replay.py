"""`gproxy replay`: sends recorded requests again, and reports how the responses differ from the recorded ones."""

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from gproxy.commands.replay.children import ChildError, from_recorded_backends, running_gateway
from gproxy.commands.replay.target import Pace, Target, TargetError, send_all
from gproxy.config.types.units import plural
from gproxy.http.header_names import is_field_value, is_token
from gproxy.recording.body_diff import Ignored
from gproxy.recording.diff import Diff
from gproxy.recording.diff_report import SHOWN, DiffReport, FailOn, Replayed
from gproxy.recording.json_lines import RecordError
from gproxy.recording.record import RecordedExchange
from gproxy.recording.replaying import Answer, Choice, Plan, ReplayRequest, Source, is_safe, judged

_SPEED: Final = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?)x")
T = TypeVar("T")
Answers = list[tuple[ReplayRequest, Answer]]


class NotReplayedError(Exception):
    """A replay that could not run; the message says why."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("file", metavar="FILE", help="a recording of gproxy record, plain or .gz, or a HAR file")
    parser.add_argument("--against", metavar="URL", help="send the requests to this server")
    parser.add_argument(
        "--config", metavar="FILE", help="start a gateway with these settings, and send the requests to it"
    )
    parser.add_argument(
        "--backends",
        choices=["recorded"],
        help="with --config: the recorded responses of the backends answer, in virtual time and without sockets",
    )
    parser.add_argument("--only", metavar="METHOD,...", default="", help="send only requests with these methods")
    parser.add_argument(
        "--unsafe", action="store_true", help="send requests with other methods than GET, HEAD and OPTIONS, too"
    )
    parser.add_argument(
        "--speed", metavar="1x|max", default="max", help="1x: as far apart as recorded; max: at once (default: max)"
    )
    parser.add_argument("--concurrency", metavar="N", type=int, default=8, help="requests at a time (default: 8)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="'NAME: VALUE'", help="set a header of each request; repeatable"
    )
    parser.add_argument(
        "--sign", action="store_true", help="sign tokens for the recorded users with the secret in the settings"
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="header:NAME,json:$.PATH",
        help="do not compare these fields and parts of JSON; repeatable",
    )
    parser.add_argument(
        "--fail-on",
        metavar="KIND,...",
        default="diff",
        help="what makes the exit code 1: diff, any; status, another one; slower:20%%, times (default: diff)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Replay, and print the report. Return 0 if all is equal, 1 if not, 2 if the replay could not run."""
    _check(options)
    try:
        fail_on = _parsed("--fail-on", FailOn.parse, options.fail_on)
        ignored = _parsed("--ignore", Ignored.parse, options.ignore)
        choice = Choice(_methods(options.only), options.unsafe, tuple(map(_change, options.set)))
        report = _replay(options, choice, ignored)
    except ValueError as error:
        raise argparse.ArgumentError(None, str(error)) from None
    except (RecordError, ChildError, TargetError, NotReplayedError) as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        _failed("interrupted")
        os._exit(2)  # threads still wait for responses
    except OSError as error:
        return _failed(f"{error.filename or options.file}: {error.strerror}")
    print(report.as_json() if options.json else report.as_text())
    return 1 if report.fails(fail_on) else 0


def _failed(text: str) -> int:
    print(f"gproxy replay: {text}".translate(SHOWN), file=sys.stderr)
    return 2


def _check(options: argparse.Namespace) -> None:
    """Raise ArgumentError for options that do not fit together."""
    wrong = (
        (not options.against and not options.config, "missing: --against URL, or --config FILE"),
        (
            options.against and options.config and not options.sign,
            "--against and --config: give one of them; both with --sign, which takes the secret from the settings",
        ),
        (options.backends and (options.against or not options.config), "--backends: is for --config alone"),
        (options.sign and not options.config, "--sign: needs --config, whose jwt handler has the secret"),
        (options.backends and "slower" in options.fail_on, "--fail-on slower: recorded backends have no real times"),
        (options.concurrency < 1, "--concurrency: expected 1 or more"),
    )
    for is_wrong, text in wrong:
        if is_wrong:
            raise argparse.ArgumentError(None, text)


def _parsed(name: str, parse: Callable[[Any], T], given: object) -> T:
    """Return what an option means. Raises ArgumentError."""
    try:
        return parse(given)
    except ValueError as error:
        raise argparse.ArgumentError(None, f"{name}: {error}") from None


def _methods(text: str) -> frozenset[str]:
    return frozenset(name.strip().upper() for name in text.split(",") if name.strip())


def _change(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not is_token(name.strip()) or not is_field_value(value.strip()):
        raise ValueError(f"--set: expected 'NAME: VALUE'; found {text!r}")
    return name.strip(), value.strip()


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    match = _SPEED.fullmatch(text)
    if not match or not float(match[1]):
        raise ValueError(f"--speed: expected max, or a factor such as 1x; found {text!r}")
    return float(match[1])


def _replay(options: argparse.Namespace, choice: Choice, ignored: Ignored) -> DiffReport:
    pace = Pace(_speed(options.speed))
    source = Source.read(Path(options.file))
    if options.backends and not any(one.attempts or one.route for one in source.exchanges):
        raise NotReplayedError(f"{options.file} does not know what backends answered; expected a file of gproxy record")
    plan = Plan(choice, source.pseudonym, _signer(options))
    requests = plan.requests(source.exchanges)
    answers = _answers(options, plan, requests, pace) if requests else []
    report = _judge(source, plan, answers, Diff(ignored, source.pseudonym))
    if not answers:
        raise NotReplayedError(f"no request was sent: {_reasons(plan)}")
    if report.denied == len(answers):
        raise NotReplayedError(
            "all requests were rejected: the recording does not have their credentials; give --sign, or --set "
            "'Authorization: …'"
        )
    return report


def _reasons(plan: Plan) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(plan.skipped.items()))


def _signer(options: argparse.Namespace) -> Callable[[RecordedExchange], str] | None:
    if not options.sign:
        return None
    from gproxy.commands.replay.signer import Signer  # late: it loads user code

    return Signer(options.config, in_virtual_time=bool(options.backends))


def _answers(options: argparse.Namespace, plan: Plan, requests: list[ReplayRequest], pace: Pace) -> Answers:
    if options.backends:
        return list(
            zip(requests, from_recorded_backends(options.config, options.file, options.ignore, requests), strict=True)
        )
    if options.against:
        return _sent(options.against, options.concurrency, requests, pace, Consent(plan, options.against))
    with running_gateway(options.config) as url:
        return _sent(url, options.concurrency, requests, pace, lambda _: True)


def _sent(
    url: str, concurrency: int, requests: list[ReplayRequest], pace: Pace, may_send: Callable[[ReplayRequest], bool]
) -> Answers:
    target = Target(url)
    try:
        target.probe()
        answers = send_all(requests, target.send, concurrency, pace, may_send)
    finally:
        target.close()
    errors = [answer.error for _, answer in answers if answer.side is None]
    if errors and len(errors) == len(answers):
        raise NotReplayedError(f"{url} does not answer: {errors[0]}")
    return answers


class Consent:
    """The question before each request that may change something. Without a terminal, the answer is no."""

    def __init__(self, plan: Plan, url: str) -> None:
        self._plan = plan
        self._url = url
        self._always: bool | None = None if sys.stdin is not None and sys.stdin.isatty() else False
        self._why_not = "with a method that is not safe (asking needs a terminal)"

    def __call__(self, request: ReplayRequest) -> bool:
        """Return whether the request may be sent."""
        if is_safe(request):
            return True
        is_wanted = self._ask(request) if self._always is None else self._always
        if not is_wanted:
            self._plan.skipped[self._why_not] += 1
        return is_wanted

    def _ask(self, request: ReplayRequest) -> bool:
        size = f" ({plural(len(request.body), 'byte')})" if request.body else ""
        print(f"send {request.line}{size} to {self._url}? [y]es, [N]o, [a]ll, n[o]ne: ", end="", file=sys.stderr)
        sys.stderr.flush()
        answer = sys.stdin.readline().strip().lower()[:1]
        self._why_not = "that were declined"
        if answer in ("a", "o"):
            self._always = answer == "a"
        return answer in ("y", "a")


def _judge(source: Source, plan: Plan, answers: Answers, diff: Diff) -> DiffReport:
    """Return the report about the answers."""
    report = DiffReport(len(source.exchanges), plan.skipped, list(plan.notes()))
    for request, answer in answers:
        exchange = source.exchanges[request.number - 1]
        comparison = judged(exchange, answer, diff, is_anonymous=request.number in plan.anonymous)
        before = None if answer.seconds is None else exchange.duration
        report.add(Replayed(request.number, request.line, exchange.route, comparison, before, answer.seconds))
    return report
