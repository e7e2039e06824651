"""Settings: `load` reads a file, checks the whole file and reports all of its problems together.

The package uses only the standard library (except certificates.py) and not gevent: it runs before any patching.
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
