"""Coverage-guided fuzzing of the request grammar, with h11 and httptools as oracles: run by scripts/fuzz."""

import sys

import atheris

import gproxy  # noqa: F401 its finder of sources comes first, or it would bypass what instruments them

with atheris.instrument_imports(include=["gproxy.http"]):
    from oracle import disagreement


def one(data: bytes) -> None:
    problem = disagreement(data)
    if problem:
        raise AssertionError(f"{problem}\ninput: {data!r}")


atheris.Setup(sys.argv, one)
atheris.Fuzz()
