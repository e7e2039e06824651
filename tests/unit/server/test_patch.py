"""The patch of gevent, in a process of its own."""

import os
import subprocess
import sys

COUNTED = """
from importlib import metadata
asked, real = [], metadata.entry_points
def entry_points(**group):
    asked.append(group)
    return real(**group)
metadata.entry_points = entry_points
import gproxy.server.patch
from gevent.monkey import is_module_patched
print(asked, metadata.entry_points is entry_points, is_module_patched("ssl"))
"""


def said(code, **environ):
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environ}, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_packages_are_read_once_however_many_there_are():
    assert said(COUNTED) == "[{}] True True\n"


def test_a_plugin_of_gevent_runs(tmp_path):
    """A package may have one, for instance for a library with its own threads."""
    metadata = tmp_path / "plugin-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[gevent.plugins.monkey.did_patch_all]\nplugin = plugin:run\n")
    (tmp_path / "plugin.py").write_text("def run(event):\n    print(type(event).__name__)\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    assert said("import gproxy.server.patch", PYTHONPATH=path) == "GeventDidPatchAllEvent\n"
