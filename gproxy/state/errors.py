"""Exceptions of counting."""

from typing import Final


class StoreUnavailableError(Exception):
    """A store that does not answer while the settings reject requests without one."""

    #: The delay before a retry, in seconds.
    retry_after: Final = 1
