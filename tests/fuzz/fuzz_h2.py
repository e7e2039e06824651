"""Coverage-guided fuzzing of HTTP/2 sessions, with the library h2 as oracle: run by scripts/fuzz.

An input has the frames of a client after its preface and its SETTINGS.
"""

import sys

import atheris

import gproxy  # noqa: F401 its finder of sources comes first, or it would bypass what instruments them

with atheris.instrument_imports(include=["gproxy.http"]):
    from h2_oracle import disagreement


def one(data: bytes) -> None:
    problem = disagreement(data)
    if problem:
        raise AssertionError(f"{problem}\ninput: {data!r}")


atheris.Setup(sys.argv, one)
atheris.Fuzz()
