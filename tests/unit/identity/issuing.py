"""Key sets for tests of those who use them: bytes as an issuer publishes them, and keys by id."""

import json

from gproxy.identity.key_sets.fetched_key_set import Fetched
from gproxy.identity.key_sets.key_set import KeySet
from gproxy.identity.outgoing.client import OutgoingError
from gproxy.testing.issuer import SigningKey

AUTO = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
#: Made once: what differs between keys is the id.
PUBLIC = SigningKey.new("k", "ES256").public


def published(*kids):
    """The bytes of a set with these ids."""
    return json.dumps({"keys": [{**PUBLIC, "kid": kid} for kid in kids]}).encode()


class FakeIssuer:
    """Returns the set with `kids`, or fails with `error`; `before` runs within each fetch."""

    def __init__(self, *kids):
        self.kids = kids
        self.error = ""
        self.fetches = 0
        self.before = lambda: None
        self.kept = []

    def __call__(self, previous):
        self.fetches += 1
        self.before()
        if self.error:
            raise OutgoingError(self.error)
        data = published(*self.kids)
        return Fetched(KeySet.parse(data, previous), data)


def ids(keys):
    return sorted(key.kid for key in keys)
