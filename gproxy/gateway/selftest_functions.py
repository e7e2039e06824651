"""The check of `[server] selftest` before anything runs: its functions exist, and its requests are well-formed."""

from collections.abc import Iterator

from gproxy.config.ini.convert import split
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem
from gproxy.config.types.selftest import SelfTestLine
from gproxy.gateway import user_code
from gproxy.http.errors import BadMessage
from gproxy.http.wire import parse_request_line


def selftest_problems(server: RawSection) -> list[Problem]:
    """Return the problems of the self-test in the section, besides those of its form, which the settings report."""
    value = server.options.get("selftest")
    if value is None or "selftest" in server.broken:
        return []
    found = [(below, text) for below, line in _well_formed(value.text) for text in _problems(line)]
    return [server.problem("selftest", text, below=below) for below, text in found]


def _well_formed(text: str) -> Iterator[tuple[int, SelfTestLine]]:
    """Yield the lines that have the form of one, each with its number of lines below the first."""
    for below, piece in split(text, SelfTestLine.separator):
        try:
            line = SelfTestLine.parse(piece)
        except ValueError:
            continue
        yield below, line


def _problems(line: SelfTestLine) -> list[str]:
    problems: list[str] = []
    if line.function is None:
        try:
            parse_request_line(f"{line.method} {line.target} HTTP/1.1".encode())
        except BadMessage as error:
            problems.append(f"{line.method} {line.target}: {error.detail}")
        return problems
    found = user_code.find(line.function.module, line.function.attribute, problems.append)
    if found is None:
        return problems
    if not callable(found):
        return [f"{line.function} is not callable; expected a function of (ask)"]
    problem = user_code.signature_problem(found, "ask")
    return [f"{line.function} {problem}"] if problem else []
