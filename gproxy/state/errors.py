"""What can happen when something has to be counted."""

from typing import Final


class StoreUnavailableError(Exception):
    """What counts does not answer, and the settings say that requests are refused then."""

    #: When to try again, in seconds.
    retry_after: Final = 1
