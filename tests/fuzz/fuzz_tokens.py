"""Coverage-guided fuzzing of the form of tokens, with PyJWT as oracle: run by scripts/fuzz.

An input has the header, the payload, edits that are signed and edits that are not, separated by line feeds.
"""

import sys

import atheris

import gproxy  # noqa: F401 its finder of sources comes first, or it would bypass what instruments them

with atheris.instrument_imports(include=["gproxy.identity.tokens.signatures"]):
    from token_oracle import SECRET, disagreement, token

    from gproxy.identity.tokens.signatures import Signatures

SIGNATURES = Signatures(("HS256",))
SIGNATURES.use(SECRET.decode())


def one(data: bytes) -> None:
    header, payload, signed_edits, edits, *_ = [*data.split(b"\n"), b"", b"", b""]
    text = token(header, payload, signed_edits, edits)
    problem = disagreement(text, SIGNATURES)
    if problem:
        raise AssertionError(f"{problem}\ntoken: {text!r}")


atheris.Setup(sys.argv, one)
atheris.Fuzz()
