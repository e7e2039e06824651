"""Examination of a credential: every check with its result, for people who ask why it is rejected.

Requests never need this. `gproxy explain`, `gproxy token --read` and the lines of `level = debug` do: clients get one
fixed sentence, which is not enough for the people who run the gateway (istio/istio #15122). No text has a signature, a
key or a whole credential.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from gproxy.config.types.units import shortened
from gproxy.http.identity import Identity
from gproxy.http.request import Request
from gproxy.identity.errors import Unavailable, Untrusted

#: The longest shown value, in characters; it ends with an ellipsis.
LONGEST: Final = 200
_WIDTH: Final = 13
_ANSWERS: Final[dict[bool | None, str]] = {True: "yes", False: "no", None: "-"}


_log = logging.getLogger("gproxy")


class Check(NamedTuple):
    """A check of a credential. `holds` is None if nothing has checked it.

    `text` has what is expected and found; `reason` is that of the rejection, as clients read it.
    """

    name: str
    holds: bool | None
    text: str = ""
    reason: str = ""


class Examination(NamedTuple):
    """The checks of a credential, the facts that it claims about its origin, and the identity that it claims."""

    checks: Sequence[Check] = ()
    facts: Sequence[tuple[str, object]] = ()
    identity: Identity | None = None


def checked(name: str, test: Callable[[], object], values: str = "") -> Check:
    """Return the check that `test` makes: it raises Untrusted for a bad credential, and Unavailable without its keys.

    `values` are what is expected and what was found.
    """
    try:
        test()
    except Untrusted as reason:
        return Check(name, False, values, str(reason))
    except Unavailable as reason:
        return Check(name, None, f"not checked: {reason}")
    return Check(name, True, values)


def first_failure(checks: Iterable[Check]) -> Check | None:
    """Return the first check that does not hold, or None."""
    return next((check for check in checks if check.holds is False), None)


def lines(checks: Sequence[Check]) -> list[str]:
    """Return a line for each check: its name, `yes`, `no` or `-`, and its text."""
    texts = ("; ".join(filter(None, (check.reason, check.text))) for check in checks)
    return [
        f"{check.name:{_WIDTH}} {_ANSWERS[check.holds]:3}  {text}".rstrip()
        for check, text in zip(checks, texts, strict=True)
    ]


def shown(value: Any) -> str:  # noqa: ANN401 a claim may be anything
    """Return the value on one line: texts in quotes, control characters escaped, and at most LONGEST characters."""
    text = ", ".join(map(repr, value)) if isinstance(value, list) else repr(value)
    return shortened(text, LONGEST)


def beside(expected: Collection[str], found: Any, conjunction: str = "or") -> str:  # noqa: ANN401 a claim may be anything
    """Return what is expected beside what was found, with the small difference that eyes overlook."""
    wanted = shortened(f" {conjunction} ".join(map(repr, expected)), LONGEST)
    if found is None:
        return f"expected {wanted}; found none"
    texts = [text for text in (found if isinstance(found, list) else [found]) if isinstance(text, str)]
    small = next(filter(None, (difference(one, text) for one in expected for text in texts)), "")
    return f"expected {wanted}; found {shown(found)}{f' ({small})' if small else ''}"


def difference(expected: str, found: str) -> str:
    """Return the name of a small difference between two texts that are not equal, else an empty text."""
    return next((name for name, plain in _PLAIN if plain(expected) == plain(found)), "") if expected != found else ""


#: What two texts differ by, if they are equal without it.
_PLAIN: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("differs by a trailing slash", lambda text: text.rstrip("/")),
    ("differs by upper and lower case", str.casefold),
    ("differs by blanks at an end", str.strip),
    ("differs by http and https", lambda text: text.removeprefix("https:").removeprefix("http:")),
    ("differs by upper and lower case, blanks or a slash", lambda text: text.strip().rstrip("/").casefold()),
)


def summary(facts: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Yield `name=value` for each fact that there is."""
    return (f"{name}={shown(value)}" for name, value in facts if value is not None)


def log_rejection(
    request: Request, handler: str, reason: str, credential: str | None, examine: Callable[[str], Examination]
) -> None:
    """Log why the handler of this name rejects the credential. Cost nothing without `level = debug`."""
    if not _log.isEnabledFor(logging.DEBUG):
        return
    checks, facts, _ = examine(credential) if credential else Examination()
    # A check with another reason is beside the point: it was not reached, or time has passed.
    failed = first_failure(check for check in checks if check.reason in reason)
    parts = [reason, f"{failed.name}: {failed.text}" if failed and failed.text else "", " ".join(summary(facts))]
    _log.debug("request %s: [handler:%s] %s", request.id, handler, "; ".join(filter(None, parts)))
