"""Our parser of tokens held against PyJWT, on tokens that are nearly right; tests/fuzz does it for longer."""

import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from gproxy.identity.tokens.signatures import Signatures

FUZZ = Path(__file__).parents[2] / "fuzz"

HEADER = b'{"alg":"%s","typ":"JWT"}'
HEADERS = [
    b'{"alg":"%s","kid":7}', b'{"alg":"%s","kid":null}', b'{"kid":"a","alg":"%s"}', b'{"typ":"JWT"}', b'{"alg":"none"}', b'{"alg":"HS384"}',
    b'{"alg":null}', b'{"alg":["%s"]}', b'{"alg":"%s","alg":"none"}', b'{"alg":"none","alg":"%s"}', b'{"alg":"%s","kid":"a","kid":"b"}',
    b'{"alg":"%s","crit":["b64"],"b64":true}', b'{"alg":"%s","crit":["exp"],"exp":1}', b'{"alg":"%s","crit":[]}', b'{"alg":"%s","crit":null}',
    b'{"alg":"%s","b64":true}', b'{"alg":"%s","b64":false}', b'{"alg":"%s","crit":["b64"],"b64":false}', b' {"alg": "%s"}\r\n\t', b'\xef\xbb\xbf{"alg":"%s"}',
    b'{"alg":"%s","x":NaN}', b'{"alg":"%s"}x', b'{"alg":"%s"', b'["%s"]', b'"%s"', b"", b"null", b'{"alg":"%s","x":"\xe9"}', b'{"alg":"%s","x":"\xed\xa0\x80"}',
    b'{"alg":"%s","x":"\\ud800"}', b'{"\\u0061lg":"%s"}', b'{"alg":"%s","jwk":{"kty":"oct","k":"YQ"}}', b'{"alg":"%s","x":{"a":1,"a":2}}',
]  # fmt: skip
PAYLOADS = [
    b"{}", b"[]", b'"exp"', b"1", b"", b"null", b'{"exp":NaN}', b'{"exp":-Infinity}', b'{"exp":1,"exp":2}', b'{"a":{"b":1,"b":1}}', b'{"exp":1e999}',
    b'{"exp":' + b"9" * 5000 + b"}", b"[" * 4000, b'{"a":' * 1000 + b"1" + b"}" * 1000, '{"sub":"é"}'.encode(), b'{"sub":"\xe9"}', b'{"sub":"a\nb"}', b'{"sub":"a\\u0000"}',
    '{"sub":"a"}'.encode("utf-16"), '{"sub":"a"}'.encode("utf-16-le"), '{"sub":"a"}'.encode("utf-32-be"), b'\xef\xbb\xbf{"sub":"a"}', b'{"sub":"\xed\xa0\x80"}',
    b'\x0b{"sub":"a"}', '\u00a0{"sub":"a"}'.encode(), b'\n {"sub":"a"}\t', b"{'sub':'a'}", b'{"sub":"a",}', b'{"sub":"a"}{}', b'{"":1}', b'{"sub":"a"}\0',
]  # fmt: skip
CHARACTERS = b"AQgwBC-_+/=.~ \n\0\xe9"
KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "PS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.fixture(scope="module")
def oracle():
    sys.path.insert(0, str(FUZZ))
    try:
        return __import__("token_oracle")
    finally:
        sys.path.remove(str(FUZZ))


def accepting(oracle, algorithm):
    """The signatures of one algorithm, the key for PyJWT, and a function that signs."""
    signatures = Signatures((algorithm,))
    if algorithm == "HS256":
        signatures.use(oracle.SECRET.decode())
        return signatures, oracle.SECRET, oracle.mac
    private, reference = KEYS[algorithm], get_default_algorithms()[algorithm]
    signatures.use(private.public_key())
    return signatures, private.public_key(), lambda signed: reference.sign(signed, private)


def edits(rnd):
    """Mostly none, else some at the ends and anywhere."""
    if rnd.random() < 0.6:
        return b""
    places = [rnd.choice((0, 1, 2, rnd.randrange(256))) for _ in range(rnd.randrange(1, 4))]
    return b"".join(bytes((place, rnd.choice(CHARACTERS))) for place in places)


def nearly_right(rnd, algorithm):
    header = (rnd.choice(HEADERS) if rnd.random() < 0.5 else HEADER).replace(b"%s", algorithm.encode())
    payload = rnd.choice(PAYLOADS) if rnd.random() < 0.5 else b'{"sub":"alice","n":%d}' % rnd.randrange(1000)
    return header, payload, edits(rnd) if rnd.random() < 0.3 else b"", edits(rnd)


@pytest.mark.parametrize(
    ("algorithm", "count"), [("HS256", 6000), ("ES256", 500), ("EdDSA", 500), ("RS256", 200), ("PS256", 200)]
)
def test_what_we_accept_pyjwt_reads_alike_and_what_we_reject_has_a_reason(oracle, algorithm, count):
    signatures, key, sign = accepting(oracle, algorithm)
    rnd = random.Random(algorithm)
    accepted = 0
    for _ in range(count):
        text = oracle.token(*nearly_right(rnd, algorithm), sign)
        assert oracle.disagreement(text, signatures, key) == "", text
        accepted += oracle.ours(text, signatures) is not None
    assert count // 20 < accepted < count


def test_each_combination_of_header_and_payload(oracle):
    """Each reason for which we alone reject a token occurs."""
    signatures, key, sign = accepting(oracle, "HS256")
    found = Counter()
    for header in [HEADER, *HEADERS]:
        for payload in [b'{"sub":"a"}', *PAYLOADS]:
            text = oracle.token(header.replace(b"%s", b"HS256"), payload, b"", b"", sign)
            for changed in (text, text + b"="):
                assert oracle.disagreement(changed, signatures, key) == "", (header, payload)
                if oracle.ours(changed, signatures) is None and oracle.pyjwt(changed, key, ("HS256",)) is not None:
                    found.update(oracle.reasons(changed))
    assert found.keys() == {"padding", "extension", "encoding", "constant", "twice"}


@pytest.mark.parametrize("algorithm", ["HS256", "ES256", "EdDSA"])
def test_of_all_texts_beside_a_good_token_none_is_accepted(oracle, algorithm):
    """Also none with other bits behind the last byte."""
    signatures, _, sign = accepting(oracle, algorithm)
    good = oracle.token(HEADER.replace(b"%s", algorithm.encode()), b'{"sub":"alice"}', b"", b"", sign)
    assert oracle.ours(good, signatures) == {"sub": "alice"}
    for place in range(len(good)):
        for character in b"AQg-_=.":
            beside = [good[:place] + bytes((character,)) + good[place:], good[:place] + good[place + 1 :]]
            if good[place] != character:
                beside.append(good[:place] + bytes((character,)) + good[place + 1 :])
            for text in beside:
                assert text == good or oracle.ours(text, signatures) is None, text
