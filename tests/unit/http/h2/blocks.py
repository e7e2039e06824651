"""Field blocks for tests: any bytes as literals, decoded by the real decoder."""

from gproxy.http.field_names import FieldNames
from gproxy.http.h2.hpack_decoder import DecodedBlock, HPACKDecoder
from gproxy.http.request_fields import FieldRules
from gproxy.http.trust import Trust

RULES = FieldRules(Trust(()), max_fields=100, max_body=0)


def _text(text: str) -> bytes:
    data = text.encode("latin-1")
    if len(data) < 127:
        return bytes([len(data)]) + data
    size, prefix = len(data) - 127, [127]
    while size >= 128:
        prefix.append(size % 128 + 128)
        size //= 128
    return bytes([*prefix, size]) + data


def encoded(*fields: tuple[str, str]) -> bytes:
    """The fields as literals that enter no table, without Huffman coding."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)


def block(*fields: tuple[str, str], names: FieldNames = RULES.names, max_size: int = 1 << 20) -> DecodedBlock:
    return HPACKDecoder(names, max_size, 10_000).decode(encoded(*fields))
