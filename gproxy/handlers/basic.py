"""Authentication by user and password (RFC 7617), with the hashes of a file in the form of htpasswd."""

import secrets
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from gproxy.config.types import Rate, Seconds
from gproxy.http.identity import Identity
from gproxy.http.request import Request
from gproxy.http.trust import network_of
from gproxy.identity.calls import Calls
from gproxy.identity.credential_identifier import CredentialIdentifier, Verified
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.examination import Check, Examination
from gproxy.identity.secrets.low_threads import LowThreads
from gproxy.identity.secrets.password_file import Users, parse_users
from gproxy.identity.secrets.passwords import BCRYPT_BYTES, is_right, is_too_long
from gproxy.identity.sources import BASIC, Source
from gproxy.identity.watched_file import WatchedFile
from gproxy.runtime import Runtime

#: Passwords that are hashed at the same time, in threads; those that wait for a turn; the longest wait, in seconds.
_RUNNING: Final = 2
_WAITING: Final = 32
_PATIENCE: Final = 60.0
#: Bound of the good pairs that are remembered; for how many seconds they are, and bad ones.
_ENTRIES: Final = 10_000
_GOOD_FOR: Final = 300.0
_BAD_FOR: Final = 60.0


#: The same text for unknown users and wrong passwords.
_WRONG: Final = "user or password is wrong"


class _Guess(NamedTuple):
    """A password to compare with a hash."""

    password: str
    text: str


@dataclass(kw_only=True)
class Basic(CredentialIdentifier):
    """Authentication by password: admits requests with a user and a password of the file `users`.

    Hashing takes tenths of seconds, in threads. Good pairs are remembered for 5 minutes and bad ones for one, as keyed
    digests. A change of the file is in force within 2 s. Raises HTTPError 401 for a missing or wrong pair, 429 after
    `max_failures`, and 503 while too many passwords wait to be hashed.
    """

    kind: ClassVar[str] = "basic"
    scheme: ClassVar[str] = "Basic"
    wanted: ClassVar[str] = "a user with a password"
    given: ClassVar[str] = "the login"
    keeps_texts: ClassVar[bool] = False

    users: Path = field(metadata={"doc": "file of users, which `gproxy password` and htpasswd write"})
    sources: tuple[Source, ...] = field(default=(BASIC,), metadata={"doc": "where user and password may be: basic"})
    max_failures: Rate | None = field(
        default=Rate(10, Seconds(60.0)),
        metadata={"doc": "bad pairs that one client address may send; none: no limit"},
    )

    def __post_init__(self) -> None:
        """Check the options, and read the file of users. Raises ValueError."""
        super().__post_init__()
        self._file: WatchedFile[Users] = WatchedFile(
            "users", self.users, parse_users, lambda _: self.forget(lambda _: True),
            maker=f"gproxy password USER --file {self.users}",
        )  # fmt: skip
        #: What `gproxy check` warns of: option and text.
        self.warnings = (
            [] if len(self._file.content) else [("users", f"{self.users} has no users, so no password is valid")]
        )
        #: So nothing that is kept shows a password, not even to those who try many.
        self._secret = secrets.token_bytes(32)
        self._hashes: Calls[tuple[bytes, str, str], _Guess, bool] = Calls(
            self._hash, most=_RUNNING, timeout=_PATIENCE, check=self.failures.check
        )
        self._threads: LowThreads | None = None
        self._run: Callable[..., bool] = _here
        self.start_cache(_ENTRIES, _BAD_FOR)

    def open(self, runtime: Runtime) -> None:
        """Watch the file of users."""
        super().open(runtime)
        self._threads = LowThreads(_RUNNING)
        self._run = self._threads.run
        self._file.open(runtime, f"handler:{self.name}")

    def close(self) -> None:
        """Stop to watch the file, and end the threads."""
        self._file.close()
        if self._threads is not None:
            self._threads.close()

    def digest(self, credential: str) -> bytes:
        """Return a digest that only this process can compute."""
        return blake2b(credential.encode("utf-8", "surrogatepass"), digest_size=32, key=self._secret).digest()

    def challenge(self, code: str = "", description: str = "", **more: str) -> str:
        """Return the value of WWW-Authenticate (RFC 7617 section 2.1)."""
        return super().challenge(code, description, charset="UTF-8", **more)

    def verify(self, credential: str, request: Request) -> Verified:
        """Return the identity of the user. Raises Untrusted, and Unavailable if too many passwords wait."""
        user, password = _pair(credential)
        users = self._file.content
        text = users.find(user)
        compared = text or users.decoy(user, self._secret)
        if compared is None:
            raise Untrusted(_WRONG)
        if is_too_long(password, compared):
            raise Untrusted(f"the password exceeds the limit of {BCRYPT_BYTES} bytes")
        is_good = self._is_right(credential, _Guess(password, compared), request)
        if self._file.content.find(user) != text:  # changed while it was hashed
            return self.verify(credential, request)
        if text is None or not is_good:
            raise Untrusted(_WRONG)
        return Verified(Identity(user, {"sub": user}), self._clock() + _GOOD_FOR)

    def examine(self, credential: str) -> Examination:
        """Return the checks of a pair, without that of the password, which takes too long."""
        try:
            user, _ = _pair(credential)
        except Untrusted as reason:
            return Examination([Check("form", False, reason=str(reason))])
        if self._file.content.find(user) is None:
            return Examination([Check("form", True), Check("user", False, f"is not in {self.users}", _WRONG)])
        checks, identity = self.examine_identity(Identity(user, {"sub": user}))
        password = Check("password", None, "not checked: only a running gateway hashes it")
        return Examination([Check("form", True), Check("user", True), password, *checks], (), identity)

    def _is_right(self, credential: str, guess: _Guess, request: Request) -> bool:
        """Compare in a thread; several requests of an address with one pair wait for one result."""
        if len(self._hashes) >= _RUNNING + _WAITING:
            raise Unavailable("too many passwords wait to be hashed")
        key = (self.digest(credential), guess.text, network_of(request.client))
        return self._hashes.result(key, guess, min(_PATIENCE, request.deadline.remaining()), request)

    def _hash(self, guess: _Guess, _: float) -> bool:
        return self._run(is_right, guess.password, guess.text)


def _here(function: Callable[..., bool], *arguments: object) -> bool:
    return function(*arguments)


def _pair(credential: str) -> tuple[str, str]:
    """Return user and password (RFC 7617 section 2). Raises Untrusted."""
    try:
        text = a2b_base64(credential, strict_mode=True).decode()
    except (Base64Error, ValueError):
        raise Untrusted("it is malformed") from None
    user, colon, password = text.partition(":")
    if not colon or any(sign < " " or sign == "\x7f" for sign in text):
        raise Untrusted("it is malformed")
    return user, password
