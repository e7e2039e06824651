"""The grammar of access rules: words with blanks between them, all of which must hold."""

import re
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from gproxy.config.problems import suggest
from gproxy.config.types import Network
from gproxy.config.types.addresses import parse_network
from gproxy.http.header_names import is_token

#: The rest of a text has no half of a pair of double quotes, so the sign before it is outside of them.
_OUTSIDE: Final = r'(?=(?:[^"]*"[^"]*")*[^"]*$)'
_WORDS: Final = re.compile(rf"\s+{_OUTSIDE}")
_BARS: Final = re.compile(rf"\|{_OUTSIDE}")
_EQUALS: Final = re.compile(rf"={_OUTSIDE}")
#: RFC 6749 section 3.3: a scope stands in a challenge, too.
_is_scope: Final = re.compile(r"[!#-\[\]-~]+").fullmatch
_looks_like_address: Final = re.compile(r"[0-9.-]+(/.*)?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(/.*)?").fullmatch

#: Words for an address of the client.
ADDRESS: Final = "address"
ANYONE: Final = "anyone"
#: What a word tests, and how it is written.
_FORMS: Final = {
    "method": "method:GET",
    "route": "route:NAME",
    "user": "user or user:NAME",
    "role": "role:NAME",
    "scope": "scope:NAME",
    "issuer": "issuer:URL",
    "by": "by:HANDLER",
    "claim": "claim:NAME or claim:NAME=VALUE",
}
#: The kinds of words about an identity.
IDENTITY: Final = frozenset({"user", "role", "scope", "issuer", "by", "claim"})
#: What a request or an identity has one of: two such words in one rule contradict each other.
_SINGLE: Final = frozenset({ADDRESS, "method", "route", "user", "issuer", "by"})
#: Words of others, and what is written here.
_FOREIGN: Final = {
    **dict.fromkeys(("all", "any", "*", "everyone", "public"), ANYONE),
    **dict.fromkeys(("valid-user", "valid_user", "authenticated", "identity"), "user"),
}


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a rule: one of its `values` must be what the request or its identity has.

    `kind` is what it tests. `values` is empty for `anyone`, for `user` (any identity) and for `claim:NAME` (any value
    of the claim `name`). `handler` names the identity handler whose identity is tested; "": the request's.
    """

    kind: str
    values: tuple[str, ...] = ()
    name: str = ""
    handler: str = ""
    networks: tuple[Network, ...] = ()

    @property
    def is_about_identity(self) -> bool:
        """Return whether the word holds for some identities only."""
        return self.kind in IDENTITY


@dataclass(frozen=True, slots=True)
class Rule:
    """An access rule: it holds for a request if all its words do."""

    noun: ClassVar[str] = "a rule"
    example: ClassVar[str] = "role:admin method:GET"
    #: Between the rules of a list.
    separator: ClassVar[re.Pattern[str]] = re.compile(f",{_OUTSIDE}")

    text: str
    words: tuple[Word, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule. Raises ValueError, with the word and the nearest known one."""
        if text.count('"') % 2:
            raise ValueError("a double quote is not closed")
        words = tuple(map(_word, _WORDS.split(text.strip()))) if text.strip() else ()
        if not words:
            raise ValueError("a rule has one word or more")
        _check_single(words)
        return cls(" ".join(_WORDS.split(text.strip())), words)

    @classmethod
    def of(cls, value: Self | Network) -> Self:
        """Return the rule, or that which holds for the clients of a network."""
        if isinstance(value, cls):
            return value
        return cls.parse(str(value))

    @property
    def is_about_identity(self) -> bool:
        """Return whether the rule holds for some identities only."""
        return any(word.is_about_identity for word in self.words)

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks of a rule that tests the address of the client and nothing else; else none."""
        return self.words[0].networks if len(self.words) == 1 else ()

    def __str__(self) -> str:
        return self.text


def _word(text: str) -> Word:
    """Parse one word. Raises ValueError."""
    head, colon, rest = text.partition(":")
    handler, dot, kind = head.rpartition(".")
    if head in _FORMS or (dot and kind in _FORMS):
        handler, kind = ("", head) if head in _FORMS else (handler, kind)
        if head.startswith("."):
            raise ValueError(f"{text!r} begins with a dot; write HANDLER.{kind}, or {kind} alone")
        if handler and (kind not in IDENTITY or kind == "by"):
            raise ValueError(f"{text!r}: {kind} is not asked of a handler's identity; write {_FORMS[kind]}")
        return _WORD_OF.get(kind, _named)(kind, handler, rest, text) if colon else _alone(kind, handler, text)
    if text == ANYONE:
        return Word(ANYONE)
    return _address(text)


def _alone(kind: str, handler: str, text: str) -> Word:
    if kind != "user":
        raise ValueError(f"{text!r} has no value; write {_FORMS[kind]}")
    return Word("user", handler=handler)


def _named(kind: str, handler: str, rest: str, text: str) -> Word:
    values = _alternatives(rest, text)
    wrong = next((value for value in values if not _is_valid(kind, value)), None)
    if wrong is not None:
        raise ValueError(f"{text!r}: {_invalid(kind, wrong)}")
    return Word(kind, values, handler=handler)


def _claim(kind: str, handler: str, rest: str, text: str) -> Word:
    name, *value = _EQUALS.split(rest, maxsplit=1)
    if not _unquoted(name):
        raise ValueError(f"{text!r} has no name; write {_FORMS[kind]}")
    return Word(kind, _alternatives(value[0], text) if value else (), _unquoted(name), handler)


_WORD_OF: Final = {"claim": _claim}


def _is_valid(kind: str, value: str) -> bool:
    if kind == "method":
        return bool(is_token(value)) and value == value.upper()
    return kind != "scope" or _is_scope(value) is not None


def _invalid(kind: str, value: str) -> str:
    if kind == "method" and is_token(value):
        return f"methods are upper case; write method:{value.upper()}"
    return f"{value!r} is no {kind}"


def _alternatives(rest: str, text: str) -> tuple[str, ...]:
    """Return the values between the bars. Raises ValueError."""
    found = _BARS.split(rest)
    for value in found:
        if not _unquoted(value):
            raise ValueError(f"{text!r}: a value is empty")
        if value == "*":
            raise ValueError(f'{text!r}: * is no pattern; any is user or claim:NAME, and the sign itself is "*"')
        if value.partition(":")[0] in _FORMS and ":" in value and value is not found[0]:
            raise ValueError(f"{text!r}: '|' separates values; write {value!r} in a rule of its own")
    return tuple(map(_unquoted, found))


def _unquoted(text: str) -> str:
    return text.replace('"', "")


def _address(text: str) -> Word:
    """Parse networks with bars between them. Raises ValueError, also for each word that is none at all."""
    try:
        networks = tuple(map(parse_network, _BARS.split(text)))
    except ValueError as error:
        raise ValueError(_unknown(text, str(error))) from None
    return Word(ADDRESS, tuple(map(str, networks)), networks=networks)


def _unknown(text: str, network_hint: str) -> str:
    """Return the message about a word that does not exist."""
    head, colon, _ = text.partition(":")
    kind = head.rpartition(".")[2]
    name, equals, value = text.partition("=")
    meant = f"{name}:{value}" if equals and name in _FORMS else _FOREIGN.get(text.lower())
    if meant:
        return f"{text!r} is no word of a rule; write {meant}"
    if network_hint or _looks_like_address(text):
        return f"{text!r} is no address; {network_hint or 'expected one such as 10.0.0.0/8'}"
    if '"' in head:
        return f'{text!r}: double quotes enclose a value, as in role:"a b"'
    known = {f"{name}:" for name in _FORMS} if colon else {ANYONE, *_FORMS}
    return f"{text!r} is no word of a rule{suggest(f'{kind}:' if colon else text, known)}"


def _check_single(words: tuple[Word, ...]) -> None:
    """Raise ValueError for two words of which a request can meet only one."""
    seen: set[tuple[str, str]] = set()
    for word in words:
        if word.kind in _SINGLE and (word.kind, word.handler) in seen:
            raise ValueError(_twice(word))
        seen.add((word.kind, word.handler))


def _twice(word: Word) -> str:
    if word.kind == ADDRESS:
        return "all words of a rule must hold, and a client has one address; write A|B, or a comma between two rules"
    return f"all words of a rule must hold, and {word.kind} stands there twice; write {word.kind}:A|B for either"
