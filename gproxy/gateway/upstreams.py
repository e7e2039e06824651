"""Settings of an upstream to a live one, with the user's own policy if it has one."""

from gproxy.config.sections.upstream import UpstreamSettings
from gproxy.config.types import ModuleRef
from gproxy.gateway import own_code
from gproxy.upstream.balance import Balancer, Own
from gproxy.upstream.sticky import StickyUpstream
from gproxy.upstream.upstream import Upstream


def live_upstream(settings: UpstreamSettings, policy: Balancer | None) -> Upstream:
    return StickyUpstream(settings) if settings.balance == "sticky" else Upstream(settings, policy)


def own_policy(reference: ModuleRef, complain: own_code.Complain) -> Balancer | None:
    """A function of (backends, request), or a class whose instances are; None with a complaint."""
    found = own_code.find(reference.module, reference.attribute, complain)
    if isinstance(found, type):
        found = own_code.instance(found, complain)
    if found is None:
        return None
    function = getattr(found, "pick", found)
    if not callable(function):
        complain(f"{reference} is neither a function nor a class")
    elif unfit := own_code.unfit(function, "backends", "request"):
        complain(f"{reference} {unfit}")
    else:
        return Own(str(reference), function)
    return None
