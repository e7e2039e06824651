"""Wycheproof's vectors of JSON Web Keys: of what a URL may publish, exactly what must be accepted is."""

import base64
import json

import pytest

from gproxy.identity.key_sets.key_set import KeySet
from gproxy.identity.tokens.signatures import ALGORITHMS
from unit.vectors import groups

CASES = {
    test["tcId"]: (group, test) for group in groups("wycheproof/json_web_key_test.json") for test in group["tests"]
}
#: Good keys that are shared secrets, which no URL may publish.
SECRETS = {2, 13, 14, 15}
#: An RSA key of a weak generator (ROCA), whose recognition is the issuer's matter.
ROCA = {7}
ASYMMETRIC = frozenset(ALGORITHMS) - {"HS256", "HS384", "HS512"}


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def is_accepted(group, test):
    keys = group.get("public") or group["private"]
    header, payload, signature = test["jws"].split(".")
    fields = json.loads(decoded(header))
    try:
        usable = KeySet.parse(json.dumps(keys).encode()).for_algorithms(ASYMMETRIC)
    except ValueError:
        return False
    found = usable.find(fields.get("kid"), fields["alg"])
    return any(key.verify(f"{header}.{payload}".encode(), decoded(signature)) for key in found)


@pytest.mark.parametrize("number", sorted(CASES))
def test_vector(number):
    group, test = CASES[number]
    expected = (test["result"] == "valid" and number not in SECRETS) or number in ROCA
    assert is_accepted(group, test) == expected, test["comment"]


def test_all_vectors_are_here():
    assert sorted(CASES) == list(range(1, 27))
