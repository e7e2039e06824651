"""Input that no one may see: typed without echo, or a line of the standard input."""

import sys
from getpass import getpass


def is_person() -> bool:
    """Return whether a person types the standard input."""
    return sys.stdin is not None and sys.stdin.isatty()


def secret_line(prompt: str) -> str:
    """Return what a person types without echo, or the next line of the standard input.

    Raises ValueError if it is not UTF-8.
    """
    if is_person():
        return getpass(prompt)
    try:
        return sys.stdin.buffer.readline().decode().rstrip("\r\n") if sys.stdin else ""
    except UnicodeDecodeError:
        raise ValueError("the standard input is not UTF-8") from None
