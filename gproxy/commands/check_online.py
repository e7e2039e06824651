"""`gproxy check --online`: asks the issuers and endpoints of the settings, as the gateway will, one line for each."""

import secrets
from collections.abc import Collection, Iterator
from typing import NamedTuple

from gproxy.config.sections.settings import Settings
from gproxy.handlers.introspect import Introspect
from gproxy.handlers.jwt import JWT
from gproxy.identity.errors import Unavailable, Untrusted
from gproxy.identity.key_sets.key_sets import KeySets, fetcher
from gproxy.identity.key_sets.key_source import KeySource
from gproxy.identity.outgoing.client import Outgoing, OutgoingError
from gproxy.runtime import Runtime

#: The number of key ids in a line.
_SHOWN = 10


class Outcome(NamedTuple):
    """The result of asking one place."""

    what: str
    is_good: bool
    text: str

    def __str__(self) -> str:
        return f"{self.what}: {'ok' if self.is_good else 'FAILED'}: {self.text}"


def outcomes(settings: Settings, runtime: Runtime) -> Iterator[Outcome]:
    """Yield the result of each discovery document, key set and introspection endpoint, each place once."""
    places: dict[KeySource, set[str]] = {}
    for found in settings.handlers.values():
        if isinstance(found.handler, JWT):
            for source in found.handler.key_sources.values():
                places.setdefault(source, set()).update(found.handler.accepted_algorithms)
    for source, algorithms in places.items():
        yield from _key_set(source, algorithms, runtime)
    for found in settings.handlers.values():
        if isinstance(found.handler, Introspect):
            yield _introspection(found.name, found.handler, runtime)


def _key_set(source: KeySource, algorithms: Collection[str], runtime: Runtime) -> Iterator[Outcome]:
    if source.kind == "file":
        return  # read already
    sets = runtime.single(KeySets)
    try:
        source.require(insecure=runtime.outgoing.insecure)
        if source.kind == "issuer":
            place = sets.metadata(source.name).url("jwks_uri")
            yield Outcome(f"metadata of {source.name}", True, f"keys are at {place.url}")
    except (ValueError, Unavailable) as error:
        yield Outcome(f"metadata of {source.name}", False, str(error).removeprefix(f"metadata of {source.name}: "))
        return
    yield _fetched(source, algorithms, sets, runtime)


def _fetched(source: KeySource, algorithms: Collection[str], sets: KeySets, runtime: Runtime) -> Outcome:
    what = f"keys of {source.name}"
    try:
        fetched = fetcher(source, runtime.single(Outgoing), sets.metadata)(())
    except OutgoingError as error:
        return Outcome(what, False, str(error))
    usable = sorted(
        ascii(key.kid)[1:-1][:60] if key.kid else "(no id)" for key in fetched.keys.for_algorithms(algorithms).keys
    )
    if not usable:
        return Outcome(what, False, f"no key for {', '.join(sorted(algorithms))}")
    more = f" and {len(usable) - _SHOWN} more" if len(usable) > _SHOWN else ""
    return Outcome(what, True, f"{', '.join(usable[:_SHOWN])}{more}")


def _introspection(name: str, handler: Introspect, runtime: Runtime) -> Outcome:
    what = f"introspection of [handler:{name}]"
    try:
        handler.open(runtime)
        handler.ask(f"gproxy-check-{secrets.token_urlsafe(12)}", handler.timeout)
    except Untrusted:
        return Outcome(what, True, "a nonsense token is not active")
    except (ValueError, Unavailable) as error:
        return Outcome(what, False, str(error))
    return Outcome(what, False, "the endpoint takes a nonsense token for an active one")
