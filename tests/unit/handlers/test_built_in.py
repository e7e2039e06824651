import dataclasses
import importlib
from pathlib import Path

import pytest

from gproxy import handlers
from gproxy.handlers import BUILT_IN


@pytest.mark.parametrize("where", BUILT_IN.values(), ids=BUILT_IN)
def test_every_handler_exists_and_every_option_is_documented(where):
    module, _, name = where.partition(":")
    cls = getattr(importlib.import_module(module), name)
    assert callable(cls)
    assert cls.__doc__
    for option in dataclasses.fields(cls):
        assert not option.init or option.metadata.get("doc"), option.name


def test_every_file_is_a_handler():
    files = {path.stem for path in Path(handlers.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(BUILT_IN)
