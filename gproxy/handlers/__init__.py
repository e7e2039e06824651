"""What may stand in a chain: one file each, with options, behaviour and reason together."""

from typing import Final

#: A handler's name in the file -> where it is; imported by whoever builds a chain with it, and only then.
BUILT_IN: Final[dict[str, str]] = {
    "allow": "gproxy.handlers.allow:Allow",
    "body_limit": "gproxy.handlers.body_limit:BodyLimit",
    "compress": "gproxy.handlers.compress:Compress",
    "cors": "gproxy.handlers.cors:Cors",
    "headers": "gproxy.handlers.headers:EditHeaders",
    "health": "gproxy.handlers.health:Health",
    "jwt": "gproxy.handlers.jwt:JWT",
    "metrics": "gproxy.handlers.metrics:Metrics",
    "rate_limit": "gproxy.handlers.rate_limit:RateLimit",
    "respond": "gproxy.handlers.respond:Respond",
}
