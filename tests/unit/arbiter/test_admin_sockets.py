"""The sockets of `[admin]`: who may connect to a unix socket at any moment."""

import grp
import os
import stat

from gproxy.arbiter.monitor import admin_sockets
from gproxy.config.sections.admin import AdminSettings
from gproxy.config.types import Address


def test_nobody_but_the_owner_may_connect_until_the_socket_has_its_group(tmp_path, monkeypatch):
    path = tmp_path / "admin.sock"
    seen = []

    def chown(name, user, group):
        seen.append((stat.S_IMODE(os.stat(name).st_mode), user, group))

    monkeypatch.setattr(os, "chown", chown)
    address = Address.parse(f"unix:{path}")
    admin = AdminSettings(bind=(address,), mode="0660", group=grp.getgrgid(os.getgid()).gr_name)
    sockets = admin_sockets.open_sockets(admin, {})
    assert seen == [(0o600, -1, os.getgid())]
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    admin_sockets.close_sockets(sockets, {})
