"""Text to typed settings: `load` reads a file, checks all of it and says everything that is wrong with it at once.

Standard library only (but for certificates.py), and no part of gevent: this runs before anything is patched.
"""

from gproxy.config.coerce import Option, build, options
from gproxy.config.load import load
from gproxy.config.problems import ConfigError, Problem
from gproxy.config.read import RawSection, Value
from gproxy.config.routes import RouteSettings
from gproxy.config.sections import GatewaySettings, HandlerSettings, LogSettings, ServerSettings, Settings
from gproxy.config.tls import TLSSettings
from gproxy.config.upstreams import UpstreamSettings

__all__ = [
    "ConfigError",
    "GatewaySettings",
    "HandlerSettings",
    "LogSettings",
    "Option",
    "Problem",
    "RawSection",
    "RouteSettings",
    "ServerSettings",
    "Settings",
    "TLSSettings",
    "UpstreamSettings",
    "Value",
    "build",
    "load",
    "options",
]
