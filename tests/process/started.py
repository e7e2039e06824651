"""Processes that end with their block."""

import subprocess
from contextlib import contextmanager


@contextmanager
def started(command, **options):
    """Yield a process that is killed at the end, whatever fails: left to the collector, it would fail a later test."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()
