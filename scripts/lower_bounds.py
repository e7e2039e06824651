"""Print pip constraints that pin each dependency of gproxy to the lower bound in pyproject.toml.

`scripts/pythons lowest` installs with them. The extras that only developers use keep their newest versions.
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
_DEVELOPERS = frozenset({"test", "bench", "docs"})
_requirement = re.compile(r"(?P<name>[\w.-]+)(\[[\w,-]+\])?>=(?P<lowest>[\d.]+)(,[^;]*)?(?P<marker>;.*)?").fullmatch


def constraints(pyproject: Path = PYPROJECT) -> list[str]:
    """Return one `name==version` for each dependency. Raises ValueError for one without a lower bound."""
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project["optional-dependencies"].items()
    requirements = project["dependencies"] + [one for name, extra in extras if name not in _DEVELOPERS for one in extra]
    pins = []
    for requirement in requirements:
        match = _requirement(requirement)
        if match is None:
            raise ValueError(f"{pyproject.name}: {requirement!r} has no lower bound; expected NAME>=VERSION")
        pins.append(f"{match['name']}=={match['lowest']}{match['marker'] or ''}")
    return pins


if __name__ == "__main__":
    sys.stdout.write("".join(f"{pin}\n" for pin in constraints()))
