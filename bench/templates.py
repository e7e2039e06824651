"""Settings files of the peers: text with @names@ in it, in bench/peers."""

import re
from pathlib import Path

TEMPLATES = Path(__file__).parent / "peers"


def fill(template, folder, **values):
    """A copy in the folder, with each @name@ replaced; where it is. Raises KeyError for a name without a value."""
    known = {"folder": folder, **values}
    text = re.sub(r"@(\w+)@", lambda name: str(known[name[1]]), (TEMPLATES / template).read_text())
    path = folder / f"{values['port']}-{template}"
    path.write_text(text)
    return path
