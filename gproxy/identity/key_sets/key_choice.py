"""The choice of what verifies the tokens of a handler: a secret, a public key, or the key sets of issuers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from gproxy.config.types import Secret
from gproxy.identity.key_sets.key_source import KeySource
from gproxy.identity.key_sets.pem import public_key, usual_algorithm
from gproxy.identity.tokens.issuers import Issuer
from gproxy.identity.tokens.options import option
from gproxy.identity.tokens.signatures import Signatures

AUTO: Final = "auto"
#: The algorithms of `auto` for key sets. ES512, whose verification takes milliseconds, must be listed.
_USUAL: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
#: The option of a key, by whether the algorithms are symmetric; and what it is expected to be.
_NEEDS: Final = {True: ("secret", "auto, ${NAME} or file:PATH"), False: ("key", "the path of a PEM file")}


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """The keys that verify tokens. Exactly one of the fields has a value.

    sources: the places of key sets by the names of their issuers; "" for tokens of any issuer.
    """

    secret: Secret | None
    public: PublicKeyTypes | None
    sources: Mapping[str, KeySource]

    @classmethod
    def of(cls, secret: Secret | None, key: Path | None, jwks: KeySource | None, issuers: Sequence[Issuer]) -> Self:
        """Return the choice that these options make. Reads the file of `key`. Raises ValueError."""
        given = [name for name, value in (("secret", secret), ("key", key), ("jwks", jwks)) if value is not None]
        if len(given) > 1:
            raise ValueError(f"{', '.join(given)}: not both can verify tokens; expected one of {' and '.join(given)}")
        if given and any(issuer.jwks for issuer in issuers):
            raise ValueError(f"issuer: has jwks= beside {given[0]}; expected one of them")
        if not given and not issuers:
            wanted = "expected one of secret, key, jwks and issuer, to verify tokens by"
            raise ValueError(f"secret, key, jwks, issuer: is missing; {wanted}")
        public = None if key is None else option("key", public_key, key)
        return cls(secret, public, {} if secret or public else _sources(jwks, issuers))

    @property
    def is_auto(self) -> bool:
        """Return whether the secret is made when the handler opens."""
        return self.secret is not None and self.secret.reveal() == AUTO

    def signatures(self, listed: tuple[str, ...]) -> Signatures:
        """Return the signatures of the listed algorithms, with the secret or public key. Raises ValueError."""
        made = option("algorithms", Signatures, self._algorithms(listed))
        first = made.algorithms[0]
        if self.sources:
            if made.symmetric:
                raise ValueError(
                    f"algorithms: {first} needs a secret, and a key set has public keys; "
                    "remove the line, or name others such as RS256"
                )
        elif made.symmetric != (self.secret is not None):
            other, (needed, expected) = "key" if made.symmetric else "secret", _NEEDS[made.symmetric]
            raise ValueError(f"{other}: {first} does not use it; expected {needed}, with {expected}")
        elif self.public is not None:
            option("key", made.use, self.public)
        elif self.secret is not None and not self.is_auto:
            option("secret", made.use, self.secret.reveal())
        return made

    def _algorithms(self, listed: tuple[str, ...]) -> tuple[str, ...]:
        if AUTO not in listed:
            return listed
        if len(listed) > 1:
            raise ValueError(f"algorithms: {AUTO} chooses all of them; expected it alone, or names without it")
        if self.secret is not None:
            return ("HS256",)
        return _USUAL if self.public is None else (option("key", usual_algorithm, self.public),)


def _sources(jwks: KeySource | None, issuers: Sequence[Issuer]) -> dict[str, KeySource]:
    """Return the places of key sets by the names of their issuers. Raises ValueError."""
    if jwks is None:
        return {issuer.name: issuer.jwks or option("issuer, jwks", _discovered, issuer) for issuer in issuers}
    if len(issuers) > 1:
        raise ValueError("jwks: is the key set of a single issuer; expected jwks=URL behind each issuer")
    return {issuers[0].name if issuers else "": jwks}


def _discovered(issuer: Issuer) -> KeySource:
    """Return the place that the metadata of the issuer names. Raises ValueError if it cannot have metadata."""
    behind = "expected jwks=URL or jwks=file:PATH behind it"
    if issuer.places:
        raise ValueError(f"{issuer} stands for many issuers, so no metadata names its keys; {behind}")
    try:
        return KeySource.of_issuer(issuer.name)
    except ValueError:
        raise ValueError(f"{issuer} is no URL, so no metadata names its keys; {behind}{_as_url(issuer)}") from None


def _as_url(issuer: Issuer) -> str:
    """Return the hint for an issuer that is the name of a host."""
    return f", or the URL https://{issuer}" if "." in issuer.name and "://" not in issuer.name else ""
