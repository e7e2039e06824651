"""The balancing policies, and the table of their names in the settings."""

from typing import Final

from gproxy.upstream.balance.latency import Latency
from gproxy.upstream.balance.least_conn import LeastConn
from gproxy.upstream.balance.policy import BalancingPolicy, First
from gproxy.upstream.balance.random import PowerOfTwo, Random
from gproxy.upstream.balance.rendezvous import CookieHash, HeaderHash, IPHash, QueryHash, URIHash
from gproxy.upstream.balance.round_robin import RoundRobin
from gproxy.upstream.balance.user import UserPolicy

__all__ = ["POLICIES", "BalancingPolicy", "UserPolicy"]

#: By the value of `balance`. `weighted` is a synonym: round robin observes weights anyway.
POLICIES: Final[dict[str, type[BalancingPolicy]]] = {
    "round_robin": RoundRobin,
    "weighted": RoundRobin,
    "least_conn": LeastConn,
    "p2c": PowerOfTwo,
    "latency": Latency,
    "random": Random,
    "first": First,
    "ip_hash": IPHash,
    "uri_hash": URIHash,
    "header_hash": HeaderHash,
    "cookie_hash": CookieHash,
    "query_hash": QueryHash,
}
