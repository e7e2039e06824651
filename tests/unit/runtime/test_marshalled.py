"""Records as bytes: values of all types that a handler may have set."""

import marshal
from http import HTTPStatus
from types import MappingProxyType

from gproxy.runtime.marshalled import marshalled


class Text(str):  # noqa: SLOT000 as template engines have one
    def __str__(self):
        raise ValueError("not this one")


class Share(float):
    pass


def test_plain_records_are_written_as_they_are():
    records = [("kind", 1.5, {"a": "b", "c": [1, None, True, b"d"], "e": ("f", {"g": 2})})]
    assert marshal.loads(marshalled(records)) == records


def test_values_of_subclasses_become_plain_and_others_their_types():
    fields = MappingProxyType({Text("name"): Text("value"), "status": HTTPStatus.CREATED, "share": Share(0.5)})
    record = ("kind", 1.5, {"fields": fields, "kept": bytearray(b"x"), "found": [Text("a"), object(), True, None]})
    (found,) = marshal.loads(marshalled([record]))
    assert found == [
        "kind", 1.5, {"fields": {"name": "value", "status": 201, "share": 0.5}, "kept": b"x",
                      "found": ["a", "(object)", True, None]},
    ]  # fmt: skip
