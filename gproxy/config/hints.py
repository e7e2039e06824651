"""Hints for the mistakes of newcomers: words of other proxies with ours beside them, and other ways of writing values.

A hint is the end of a message: `; write bind = HOST:PORT in [server]`. It is empty if there is nothing to say.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from gproxy.config.problems import nearest, suggest

#: Signs that begin a quotation, those of word processors too, with what ends it.
_QUOTES: Final = {'"': '"', "'": "'", "“": "”", "„": "“”", "\u2018": "\u2019", "«": "»", "»": "«"}


def option(name: str, known: Iterable[str]) -> str:
    """Return the hint for an unknown option: the closest known one, our word for that of another proxy, or all."""
    known = sorted(known)
    if word := word_hint(name):
        return word
    return suggest(name, known)


def word_hint(name: str) -> str:
    """Return what is written here for a word of another proxy."""
    from gproxy.config.words import WORDS  # late: see there

    ours = WORDS.get(re.sub(r"[\s-]+", "_", name.lower()))
    return f"; write {ours}" if ours else ""


def section(kind: str, name: str, single: Iterable[str], named: Iterable[str]) -> str:
    """Return the hint for an unknown section: its likely spelling, or our section for that of another proxy."""
    from gproxy.config.words import SECTIONS  # late: see there

    single, named = (*single,), (*named,)
    match = re.fullmatch(r"""([A-Za-z]+?)s?[\s./:"'-]+([A-Za-z0-9_.-]+)["']?""", f"{kind}:{name}" if name else kind)
    if match and match[1].lower() in named:
        return f"; write [{match[1].lower()}:{match[2]}]"
    first = kind.split(maxsplit=1)[0].lower().replace("-", "_")
    if ours := SECTIONS.get(first):
        return f"; write {ours.replace('NAME', name or (match[2] if match else 'NAME'))}"
    if meant := nearest(first, (*single, *named)):
        return f"; did you mean [{meant}:{name or 'NAME'}]?" if meant in named else f"; did you mean [{meant}]?"
    return word_hint(first) or suggest(kind, (*single, *named))


def title(text: str) -> str:
    """Return the hint for an invalid `[section]`."""
    match = re.fullmatch(r"\[+\s*(\w+)(:[\w.-]+)?\s*\]*", text)
    if not match:
        return ""
    name = match[2] or (
        ":NAME" if match[1].lower().removesuffix("s") in {"route", "upstream", "handler", "tls"} else ""
    )
    return f"; write [{match[1].lower().removesuffix('s') if name else match[1]}{name}]"


def line(text: str) -> str:
    """Return the hint for a line that is no `option = value`; it quotes at most the line's first word."""
    if not text.strip("{};"):
        return "; a section ends where the next one begins, so there are no braces"
    if text[0] in '{"':
        return "; the settings are an INI file, with bind = :8080 below [server]"
    text = text.removeprefix("- ")
    if re.fullmatch(r"(?i:(?:route|upstream|handler)s?|server|gateway|log|state|tls):", text):
        return title(f"[{text[:-1]}]")
    words = text.rstrip("{;").split()
    for count in (3, 2, 1):
        if len(words) >= count and (hint := word_hint(" ".join(words[:count]).rstrip(":"))):
            return hint
    if match := re.match(r"([A-Za-z][A-Za-z0-9_-]{1,30})\s*:(?:\s|$)", text):
        return f"; write {match[1]} = VALUE, with an equals sign"
    return ""


def value(text: str) -> str:
    """Return the hint for an invalid value: quotes around it, a comment behind it that is none, a foreign variable."""
    from gproxy.config.words import VALUES  # late: see there

    found = [f"; {match.expand(hint)}" for pattern, hint in VALUES.items() if (match := re.fullmatch(pattern, text))]
    if is_quoted(text):
        found.append("; a value is written without quotes")
    if re.search(r"\s#", text):
        found.append("; a comment after a value begins with ';'")
    found += [f"; {name} is written {placeholder}" for name, placeholder in variables(text)]
    return "".join(found)


def item(text: str) -> str:
    """Return the hint for an invalid item of a list of words: two items without a comma between them, or a value's."""
    return value(text) or ("; the items of a list are separated by commas" if len(pieces(text)) > 1 else "")


def variables(text: str) -> Iterator[tuple[str, str]]:
    """Yield each variable of NGINX in the text, with the placeholder to write instead."""
    for name in dict.fromkeys(re.findall(r"\$([A-Za-z_]\w+)", text)):
        if meant := placeholder(name):
            yield f"${name}", meant


def placeholder(variable: str) -> str:
    """Return the placeholder with the value of NGINX's variable; empty if there is none."""
    from gproxy.config.words import VARIABLES  # late: see there

    return VARIABLES.get(variable, "")


def network(text: str) -> str:
    """Return the networks that an invalid one may mean."""
    from gproxy.config.words import NETWORKS  # late: see there

    if match := re.fullmatch(r"((?:[0-9]{1,3}\.){1,3})\*", text):
        numbers = match[1].count(".")
        return f"write {match[1]}{'.'.join('0' * (4 - numbers))}/{8 * numbers}"
    return f"write {NETWORKS[text]}" if text in NETWORKS else ""


def duplicate(option: str) -> str:
    """Return the hint for an option that a section has twice."""
    from gproxy.config.words import LISTS  # late: see there

    return "; write all values there, with commas between them" if option in LISTS else ""


def pieces(text: str) -> list[str]:
    """Return the items of a list that blanks or semicolons separate, in place of commas."""
    return [piece for piece in re.split(r"[\s;]+", text) if piece]


def is_quoted(text: str) -> bool:
    """Return whether quotes enclose the text."""
    return len(text) > 1 and text[-1] in _QUOTES.get(text[0], "")


def foreign_line(text: str) -> int:
    """Return the first line of a text that is no INI file, but one of another proxy, YAML or JSON; 0 for others."""
    lines = [line.strip() for line in text.splitlines()]
    written = [(number, line) for number, line in enumerate(lines, 1) if line and line[0] not in "#;"]
    if not written or any(line.startswith("[") for _, line in written):
        return 0
    number, first = written[0]
    return number if "=" not in first or "{" in first else 0
