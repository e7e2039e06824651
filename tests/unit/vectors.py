"""Public test vectors of others, which lie beside the project and are no part of it."""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2].parent / "shared/data"
#: Each file or folder that tests read, with its number of vectors.
FILES = {
    "wycheproof/json_web_key_test.json": 26,
    "wycheproof/json_web_signature_test.json": 401,
    "hpack": 585,
}


def groups(name):
    """Return the groups of vectors in a file of Wycheproof; an empty list where the folder does not exist."""
    path = FOLDER / name
    return json.loads(path.read_text())["testGroups"] if path.exists() else []


def stories():
    """Return the files of http2jp/hpack-test-case; an empty list where the folder does not exist."""
    return sorted((FOLDER / "hpack").glob("*/*.json"))


def not_run():
    """Return a line for each file whose vectors cannot be run."""
    return [f"not run: {count} vectors of {name}" for name, count in FILES.items() if not (FOLDER / name).exists()]
