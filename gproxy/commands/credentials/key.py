"""`gproxy key`: makes, lists and disables API keys in the file of an api_key handler."""

import argparse
import os
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from pathlib import Path

from gproxy.commands.credentials.file_edit import edit
from gproxy.commands.credentials.secret_line import secret_line
from gproxy.config.ini.files import parse_files, read_files
from gproxy.config.ini.parser import RawSection
from gproxy.config.problems import ConfigError, Problem
from gproxy.identity.errors import Untrusted
from gproxy.identity.secrets.api_keys import APIKey, check_form, hash_of, new_key
from gproxy.identity.secrets.key_file import MOST_HASHES, parse_keys, raise_problems, sections_of


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    actions = "new: print a new key and write its hash; list: the users; disable: a user; hash: that of standard input"
    parser.add_argument("action", choices=("new", "list", "disable", "hash"), help=actions)
    parser.add_argument("user", nargs="?", metavar="USER", help="section of the key, for new and disable")
    parser.add_argument("--handler", metavar="NAME", help="name of the api_key handler, if there are several")


def run(options: argparse.Namespace) -> int:
    """Run one of the actions. Return the exit code. Raises ArgumentError and ConfigError."""
    if options.action != "hash" and options.config is None:
        raise argparse.ArgumentError(None, "missing: --config")
    if (options.user is None) == (options.action in {"new", "disable"}):
        raise argparse.ArgumentError(None, f"{'missing' if options.user is None else 'unexpected'}: USER")
    try:
        result, note = act(options.action, options.config or "", options.handler, options.user or "")
    except (ValueError, OSError) as error:
        print(f"gproxy key: {error}", file=sys.stderr)
        return 2
    if result:
        print(result)
    if note:
        print(note, file=sys.stderr)
    return 0


def act(action: str, config: str, handler: str | None, user: str) -> tuple[str, str]:
    """Run one of the actions. Return what it prints, and a note about it.

    Raises ConfigError, ValueError and OSError.
    """
    if action == "hash":
        return hashed(secret_line("key: ")), ""
    path = key_file(config, handler)
    if action == "list":
        return listed(path, time.time()), ""
    if action == "disable":
        disable(path, user)
        return "", f"the keys of {user} are disabled in {path}"
    return new(path, user)


def key_file(config: str, name: str | None) -> Path:
    """Return the file of keys that the handler of this name has; without a name, that of the only one.

    Problems elsewhere in the settings do not matter. Raises ConfigError without settings, ValueError without a file.
    """
    problems: list[Problem] = []
    sections = parse_files(read_files(config, os.environ), os.environ, problems)
    if sections is None:
        raise ConfigError(problems)
    found = {section.name: section for section in sections if section.kind == "handler" and _use(section) == "api_key"}
    if name is not None and name not in found:
        raise ValueError(f"no api_key handler named '{name}'; expected one of: {', '.join(found) or 'none'}")
    if not found:
        raise ValueError(f"{config} has no section of an api_key handler")
    if len(found) > 1 and name is None:
        raise ValueError(f"several api_key handlers; choose one with --handler: {', '.join(found)}")
    section = found[name] if name else next(iter(found.values()))
    if "keys" not in section.options or "keys" in section.broken:
        hint = "; its lookup needs what `gproxy key hash` prints" if "lookup" in section.options else ""
        raise ValueError(f"[{section.title}] has no file of keys: keys = FILE{hint}")
    return Path(section.options["keys"].text)


def _use(section: RawSection) -> str:
    return section.options["use"].text if "use" in section.options else section.name


def new(path: Path, user: str) -> tuple[str, str]:
    """Make a key for the user and write its hash to the file. Return the key, and a note about it.

    Raises ValueError for a file with problems, and for a user who has two keys already.
    """
    key = new_key()
    edit(path, _checked(path, lambda text: with_hash(path, text, user, hash_of(key))))
    mine = [one for one in parse_keys(path, path.read_bytes()).values() if one.user == user]
    notes = [f"the hash of this key is in {path}; the key itself is shown only now"]
    if len(mine) > 1:
        notes.append(f"{user} has two good keys; remove the first hash once no client uses its key")
    if mine[0].disabled:
        notes.append(f"the keys of {user} are disabled: remove `disabled` from the section")
    return key, "\n".join(notes)


def disable(path: Path, user: str) -> None:
    """Disable the keys of a user. Raises ValueError for an unknown user, and for a file with problems."""
    edit(path, _checked(path, lambda text: with_disabled(path, text, user)))


def listed(path: Path, now: float) -> str:
    """Return the users of a file, a line each: state, number of keys, expiry and scopes. Raises ValueError."""
    keys = parse_keys(path, path.read_bytes())
    users: dict[str, list[APIKey]] = {}
    for key in keys.values():
        users.setdefault(key.user, []).append(key)
    rows = [("user", "state", "keys", "expires", "scopes")]
    rows += [
        (user, _state(found[0], now), str(len(found)), _date(found[0].expires), " ".join(found[0].scopes) or "-")
        for user, found in users.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def hashed(text: str) -> str:
    """Return the hash of a key. Raises ValueError for a text that is no key."""
    try:
        check_form(text)
    except Untrusted as reason:
        raise ValueError(f"the key is rejected: {reason}") from None
    return hash_of(text)


def with_hash(path: Path, text: str, user: str, digest: str) -> str:
    """Return the text of a file of keys with one more hash of the user, in a new section if the user has none."""
    section = _section(path, text, user)
    if section is None:
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        result = f"{text}{gap}[{user}]\nhash = {digest}\n"
        if _section(path, result, user) is None:
            raise ValueError(f"{user!r} cannot be the name of a section; expected a name such as acme-prod")
        return result
    value = section.options.get("hash")
    if value is None:
        return _inserted(text, section.line, f"hash = {digest}")
    count = len([one for line in value.text.split("\n") for one in line.split(",") if one.strip()])
    if count >= MOST_HASHES:
        raise ValueError(f"{path}:{value.line}: {user} has two keys; remove the hash of the old one first")
    return _inserted(text, value.line + value.text.count("\n"), f"    {digest}")


def with_disabled(path: Path, text: str, user: str) -> str:
    """Return the text of a file of keys in which the user is disabled. Raises ValueError for an unknown user."""
    section = _section(path, text, user)
    if section is None:
        raise ValueError(f"{path} has no section [{user}]")
    value = section.options.get("disabled")
    if value is None:
        return _inserted(text, section.line, "disabled = yes")
    lines = _lines(text)
    before, equals, after = lines[value.line - 1].partition("=")
    lines[value.line - 1] = before + equals + after.replace(value.text, "yes", 1) if equals else "    yes\n"
    return "".join(lines)


def _section(path: Path, text: str, user: str) -> RawSection | None:
    return next((one for one in sections_of(path, text.encode(), []) if one.title == user), None)


def _lines(text: str) -> list[str]:
    """Return the lines with their ends, as the parser counts them."""
    return [line for line in re.split(r"(?<=\n)|(?<=\r)(?!\n)", text) if line]


def _inserted(text: str, line: int, added: str) -> str:
    """Return the text with a line behind the one of this number."""
    lines = _lines(text)
    if not lines[line - 1].endswith(("\n", "\r")):
        lines[line - 1] += "\n"
    end = "\r\n" if lines[line - 1].endswith("\r\n") else "\n"
    return "".join([*lines[:line], added + end, *lines[line:]])


def _checked(path: Path, change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    """Return a change of the file's bytes. Raises ValueError if the file has problems, before or after it."""

    def changed(data: bytes) -> bytes:
        problems: list[Problem] = []
        sections_of(path, data, problems)
        raise_problems(problems)
        result = change(data.decode("utf-8-sig")).encode()
        parse_keys(path, result)
        return result

    return changed


def _state(key: APIKey, now: float) -> str:
    if key.disabled:
        return "disabled"
    return "expired" if key.expires <= now else "good"


def _date(expires: float) -> str:
    return "-" if expires == inf else f"{datetime.fromtimestamp(expires, UTC):%Y-%m-%d %H:%M}"
