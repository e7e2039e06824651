"""The built-in handlers: one file each, with the options and the behaviour together."""

from typing import Final

#: The name of a handler in the settings file → MODULE:NAME; imported only if a chain uses the handler.
BUILT_IN: Final[dict[str, str]] = {
    "allow": "gproxy.handlers.allow:Allow",
    "any_of": "gproxy.handlers.any_of:AnyOf",
    "api_key": "gproxy.handlers.api_key:APIKeys",
    "basic": "gproxy.handlers.basic:Basic",
    "body_limit": "gproxy.handlers.body_limit:BodyLimit",
    "compress": "gproxy.handlers.compress:Compress",
    "concurrency": "gproxy.handlers.concurrency:Concurrency",
    "cors": "gproxy.handlers.cors:Cors",
    "forward_auth": "gproxy.handlers.forward_auth:ForwardAuth",
    "headers": "gproxy.handlers.headers:EditHeaders",
    "health": "gproxy.handlers.health:Health",
    "introspect": "gproxy.handlers.introspect:Introspect",
    "jwt": "gproxy.handlers.jwt:JWT",
    "metrics": "gproxy.handlers.metrics:Metrics",
    "mtls": "gproxy.handlers.mtls:MTLS",
    "rate_limit": "gproxy.handlers.rate_limit:RateLimit",
    "respond": "gproxy.handlers.respond:Respond",
}
