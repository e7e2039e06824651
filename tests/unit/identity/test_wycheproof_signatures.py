"""Wycheproof's signatures, also those of RFC 7520, with six named exceptions."""

import base64
import json

import pytest

from gproxy.identity.errors import Untrusted
from gproxy.identity.key_sets.key_set import KeySet
from gproxy.identity.tokens import signatures
from gproxy.identity.tokens.signatures import ALGORITHMS, Signatures, UnverifiedToken
from unit.vectors import groups

PUBLIC = tuple(algorithm for algorithm in ALGORITHMS if not algorithm.startswith("HS"))
#: Good signatures, whose key names another algorithm than the token: a key has one algorithm (RFC 8725 section 3.1).
ANOTHER_ALGORITHM = {346, 350}
#: Errors of the file. The first two are called bad and are equal to good ones; the others have a `?` in their base64url.
ERRORS_OF_THE_FILE = {367, 370, 372, 373}
CASES = {
    case["tcId"]: (group.get("public") or group["private"], case)
    for group in groups("wycheproof/json_web_signature_test.json")
    for case in group["tests"]
}


def parse(ours, text):
    """Return the token as `parse` does, except that its payload need not be JSON."""
    try:
        header, payload, signature = text.encode().split(b".")
        signatures._decode(payload)
        signed = header + b"." + payload
        return UnverifiedToken(header, ours._judge_header(header), {}, signed, signatures._decode(signature))
    except ValueError:
        raise Untrusted("it is malformed") from None


def verify(key, text):
    """Verify by a secret as `secret =` does it, by another key as a key set does it. Raises Untrusted."""
    if key["kty"] == "oct":
        ours = Signatures((key["alg"],))
        ours.use(base64.urlsafe_b64decode(key["k"] + "=="))
        ours.verify(parse(ours, text))
        return
    ours = Signatures(PUBLIC)
    token = parse(ours, text)
    # RFC 7520 writes ES521 for ES512 in its keys.
    key = {name: value for name, value in key.items() if (name, value) != ("alg", "ES521")}
    try:
        usable = KeySet.parse(json.dumps({"keys": [key]}).encode()).for_algorithms(PUBLIC)
    except ValueError:
        raise Untrusted("no key is usable") from None
    ours.verify_by(usable.find(token.header.kid, token.header.algorithm), token)


@pytest.mark.parametrize("number", sorted(CASES))
def test_a_signature(number):
    key, case = CASES[number]
    is_good = (case["result"] == "valid") != (number in ANOTHER_ALGORITHM | ERRORS_OF_THE_FILE)
    if is_good:
        verify(key, case["jws"])
    else:
        with pytest.raises(Untrusted):
            verify(key, case["jws"])
