"""Memory that the arbiter makes and every worker maps: what several processes must agree on."""

import os
from typing import Final

#: What is mapped at most, in bytes; only pages that are touched cost memory.
_SIZE: Final = 64 * 1024 * 1024


class SharedState:
    """A memory file, known by its descriptor, which is inherited. Bounded; it outlives any single worker."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def create(cls) -> "SharedState":
        """For the arbiter. Raises OSError."""
        fd = os.memfd_create("gproxy-state")
        os.ftruncate(fd, _SIZE)
        return cls(fd)
