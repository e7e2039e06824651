"""Monkey patching by gevent; import this first: modules that import ssl or threading earlier keep blocking ones."""

from importlib import metadata

from gevent import monkey


def _patch() -> None:
    """Patch all. Read the entry points of the installed packages once: gevent looks for plugins at each of 25 steps."""
    entry_points = metadata.entry_points
    metadata.entry_points = entry_points().select
    try:
        monkey.patch_all()
    finally:
        metadata.entry_points = entry_points


_patch()
