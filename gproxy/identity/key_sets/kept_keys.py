"""Key sets in files of `state_dir`: with them a gateway verifies tokens from its start on, whatever the issuer does."""

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from gproxy.identity.key_sets.key_set import LARGEST, KeySet
from gproxy.identity.key_sets.key_source import KeySource

#: Bound of the first line, which has the place and the time.
_HEAD: Final = 4096


@dataclass(frozen=True, slots=True)
class KeptKeys:
    """A kept key set, and when it was fetched, in seconds since the epoch."""

    keys: KeySet
    fetched: float


def kept_keys(state_dir: Path, source: KeySource) -> KeptKeys | None:
    """Return the kept set of a place; None without one. Raises ValueError for a file that cannot be trusted or read."""
    path = _path(state_dir, source)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_mode & 0o022 or facts.st_uid not in {0, os.geteuid()}:
        os.close(descriptor)
        raise ValueError(f"{path} could have been written by others; expected a file of this user with mode 600")
    with open(descriptor, "rb") as file:  # noqa: PTH123 the flags are not those of Path.open
        data = file.read(_HEAD + LARGEST + 1)
    return _parse(path, data)


def keep(state_dir: Path, source: KeySource, data: bytes, fetched: float) -> None:
    """Keep the set, as it came, for this user only. Raises OSError."""
    path = _path(state_dir, source)
    if not state_dir.exists():
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = path.with_suffix(f".{os.getpid()}.new")
    with suppress(FileNotFoundError):
        written.unlink()  # of a worker that was killed meanwhile
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 Path.open cannot set the mode
        file.write(json.dumps({"source": source.name, "fetched": fetched}).encode() + b"\n" + data)
    written.replace(path)


def _path(state_dir: Path, source: KeySource) -> Path:
    return state_dir / f"keys-{sha256(f'{source.kind} {source.name}'.encode()).hexdigest()[:32]}.jwks"


def _parse(path: Path, data: bytes) -> KeptKeys:
    head, _, body = data.partition(b"\n")
    try:
        return KeptKeys(KeySet.parse(body), float(json.loads(head)["fetched"]))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is unusable: {error}") from None
