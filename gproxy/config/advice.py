"""Warnings about settings that are valid but do not do what they seem to say; most come from other proxies."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from gproxy.config.ini.build import changed, option_values
from gproxy.config.ini.convert import split
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import Problem
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.settings import LogSettings
from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import Seconds
from gproxy.config.types.access_log import LogTarget
from gproxy.config.types.units import write_seconds

#: Options of an upstream that a route's timeout ends.
_WITHIN_TIMEOUT: Final = ("connect_timeout", "first_byte_timeout", "per_try_timeout", "queue_timeout")

#: Texts that mean something else to other programs than a file of this name.
_NO_FILES: Final = ("stdout", "stderr", "none", "no", "yes", "on")


def ended_earlier(
    routes: Iterable[tuple[RouteSettings, Seconds]], upstreams: Iterable[tuple[UpstreamSettings, RawSection]]
) -> Iterator[Problem]:
    """Yield a warning for each time limit of an upstream that ends with the `timeout` of all routes that use it.

    `routes` are the routes with their timeouts.
    """
    longest: dict[str, tuple[Seconds, str]] = {}
    for route, timeout in routes:
        for share in route.upstream:
            longest[share.name] = max(longest.get(share.name, (Seconds(0), "")), (timeout, route.name))
    for upstream, section in upstreams:
        timeout, name = longest.get(upstream.name, (Seconds(0), ""))
        values, set_options = option_values(upstream), {*changed(upstream)}
        for option in _WITHIN_TIMEOUT:
            if name and option in set_options and (values[option] or 0) > timeout:
                yield section.problem(option, f"ends after {write_seconds(timeout)}, the timeout of [route:{name}]")


def log_targets(log: LogSettings, section: RawSection) -> Iterator[Problem]:
    """Yield a warning for each file of the access log that cannot be written, and each missing socket of syslog."""
    value = section.options.get("access")
    lines = [below for below, _ in split(value.text)] if value else [0]
    for target, below in zip(log.access, lines, strict=False):
        if message := _target_problem(target):
            yield section.problem("access", message, below=below)


def _target_problem(target: LogTarget) -> str:
    if target.text in _NO_FILES:
        return f"{target.text} is a file's name; write - for standard output, or off for no log"
    if target.is_file:
        return _folder_problem(Path(target.text).absolute().parent)
    path = target.address.path if target.address else ""
    return (
        f"{path} does not exist; lines wait until a syslog server makes it" if path and not Path(path).exists() else ""
    )


def _folder_problem(wanted: Path) -> str:
    found = next(folder for folder in (wanted, *wanted.parents) if folder.exists())
    if not found.is_dir():
        return f"{found} is not a folder"
    if not os.access(found, os.W_OK | os.X_OK):
        what = "cannot be written to" if found == wanted else f"cannot be made: {found} is not writable"
        return f"the folder {wanted} {what} by this user"
    return ""


def include_folders(patterns: Sequence[str], path: Path, section: RawSection) -> Iterator[Problem]:
    """Yield a warning for each pattern of `include` in a folder that does not exist; in others it may match nothing."""
    for pattern in patterns:
        folder = (path.parent / pattern).parent
        if not glob.has_magic(str(folder)) and not folder.is_dir():
            yield section.problem("include", f"{pattern} matches nothing: {folder} is not a folder")
