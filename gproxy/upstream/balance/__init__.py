"""The balancing policies, and the table of their names in the settings."""

from collections.abc import Callable
from typing import Final

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.upstream.balance import hash_keys as keys
from gproxy.upstream.balance.latency import Latency
from gproxy.upstream.balance.least_conn import LeastConn
from gproxy.upstream.balance.policy import BalancingPolicy, First
from gproxy.upstream.balance.random import PowerOfTwo, Random
from gproxy.upstream.balance.rendezvous import Rendezvous
from gproxy.upstream.balance.round_robin import RoundRobin
from gproxy.upstream.balance.user import UserPolicy

__all__ = ["POLICIES", "BalancingPolicy", "UserPolicy", "built_in"]

#: By the value of `balance`. `weighted` is a synonym: round robin observes weights anyway.
POLICIES: Final[dict[str, Callable[[UpstreamSettings], BalancingPolicy]]] = {
    "round_robin": lambda _: RoundRobin(),
    "weighted": lambda _: RoundRobin(),
    "least_conn": lambda _: LeastConn(),
    "p2c": lambda _: PowerOfTwo(),
    "latency": lambda settings: Latency(settings.latency_decay),
    "random": lambda _: Random(),
    "first": lambda _: First(),
    "ip_hash": lambda _: Rendezvous(keys.client),
    "uri_hash": lambda _: Rendezvous(keys.path),
    "header_hash": lambda settings: Rendezvous(keys.header(settings.hash_key or "")),
    "cookie_hash": lambda settings: Rendezvous(keys.cookie(settings.hash_key or "")),
    "query_hash": lambda settings: Rendezvous(keys.query(settings.hash_key or "")),
}


def built_in(settings: UpstreamSettings) -> BalancingPolicy:
    """Return the built-in policy of these settings; `sticky` has one too, for clients without a cookie."""
    name = settings.sticky.fallback if settings.balance == "sticky" else settings.balance
    return POLICIES[str(name)](settings)
