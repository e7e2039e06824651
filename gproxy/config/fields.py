"""What a settings field says about the option that it is."""

from typing import Any, Final

#: The section's own name, which is no option.
NAME: Final[dict[str, Any]] = {"ini": False}


def doc(text: str) -> dict[str, Any]:
    """What the option means, for docs/config.md."""
    return {"doc": text}
