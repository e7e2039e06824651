"""Handlers of a user, for the cases about options of the chain."""

from dataclasses import dataclass


@dataclass
class Moded:
    """A handler with an option that the chain has too."""

    mode: str = "fast"

    def __call__(self, request, next):
        return next(request)


def plain(request, next):
    return next(request)
