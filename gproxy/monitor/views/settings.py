"""The view of the settings: the options that the file sets, with their lines; secrets as `***`."""

from gproxy.monitor.views.model import Table, View
from gproxy.monitor.watched_gateway import WatchedGateway

_COLUMNS = (("Section", "text"), ("Option", "text"), ("Value", "wide"), ("Where", "text"))


def view(gateway: WatchedGateway) -> View:
    """Return the options."""
    return View(tables=[Table("settings", f"Settings of {gateway.settings.path}", _COLUMNS, [])])
