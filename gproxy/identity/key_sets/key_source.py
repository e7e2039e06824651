"""The places of key sets, as settings name them: a URL, a file, or an issuer whose metadata has the URL."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from gproxy.identity.key_sets.discovery import check_issuer
from gproxy.identity.key_sets.key_set import KeySet
from gproxy.identity.outgoing.urls import check_url

_FILE = "file:"


@dataclass(frozen=True, slots=True)
class KeySource:
    """The place of a key set; `name` is its URL, path or issuer, as logs and metrics show it."""

    noun: ClassVar[str] = "the place of a key set"
    example: ClassVar[str] = "https://id.example.com/keys or file:etc/ci.jwks"

    kind: Literal["url", "file", "issuer"]
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the place for a URL or `file:PATH`. Raises ValueError."""
        if text.startswith(_FILE):
            return cls("file", text.removeprefix(_FILE))
        check_url(text, insecure=True)  # `require` knows whether http:// is allowed
        return cls("url", text)

    @classmethod
    def of_issuer(cls, issuer: str) -> Self:
        """Return the place that the metadata of the issuer names. Raises ValueError if the issuer is not a URL."""
        check_issuer(issuer, insecure=True)
        return cls("issuer", issuer)

    @property
    def path(self) -> Path:
        """The path of a file."""
        return Path(self.name)

    def __str__(self) -> str:
        return f"{_FILE}{self.name}" if self.kind == "file" else self.name

    def require(self, *, insecure: bool) -> None:
        """Raise ValueError if the place may not be asked, because of http:// beyond loopback."""
        if self.kind != "file":
            check_url(self.name, insecure=insecure)

    def check(self, algorithms: Collection[str]) -> list[str]:
        """Read a file, and return warnings about it; open nothing else. Raises ValueError."""
        if self.kind != "file":
            return []
        usable = read_file(self.path).for_algorithms(algorithms)
        return [] if usable.keys else [f"{self.path} has no key for {', '.join(algorithms)}"]


def read_file(path: Path) -> KeySet:
    """Return the key set in a file. Raises ValueError."""
    try:
        return parse_file(path, path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None


def parse_file(path: Path, data: bytes, previous: KeySet | None = None) -> KeySet:
    """Return the key set in the content of a file. Raises ValueError, whose message begins with the path."""
    try:
        return KeySet.parse(data, previous.keys if previous else ())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
