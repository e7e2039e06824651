"""Text to typed settings: `load` reads a file, checks all of it and says everything that is wrong with it at once.

Standard library only (but for certificates.py), and no part of gevent: this runs before anything is patched.
"""

from gproxy.config.ini.build import Option, build, options
from gproxy.config.ini.parser import RawSection, Value
from gproxy.config.load import load
from gproxy.config.problems import ConfigError, Problem
from gproxy.config.sections.route import RouteSettings
from gproxy.config.sections.server import ServerSettings
from gproxy.config.sections.settings import GatewaySettings, HandlerSettings, LogSettings, Settings
from gproxy.config.sections.tls import TLSSettings
from gproxy.config.sections.upstream import UpstreamSettings

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
