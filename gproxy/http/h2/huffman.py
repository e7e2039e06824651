"""The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B).

Decoding looks at 12 bits at a time: a table of 4,096 rows has the one or two characters that begin there, because the
codes of usual characters have 5 to 7 bits. A longer code is found by its place among the codes of its length.
"""

from typing import Final

from gproxy.http.h2.tables import CODE_LENGTHS, END_LENGTH


class HPACKError(Exception):
    """A block that cannot be decoded: the tables of both sides are no longer the same, so the connection ends."""


#: The number of bits that one look-up decodes.
_WINDOW: Final = 12
_WINDOW_MASK: Final = 0xFFF
#: The symbol after the last byte: the end of a string.
_END: Final = 256
_LENGTHS: Final = [*CODE_LENGTHS, END_LENGTH]
#: All symbols in the order of their codes.
_SYMBOLS: Final = sorted(range(_END + 1), key=lambda symbol: (_LENGTHS[symbol], symbol))


#: By length: the place of the first code of this length in `_SYMBOLS`.
_PLACES: Final = [sum(size < length for size in _LENGTHS) for length in range(END_LENGTH + 1)]


def _first_codes() -> list[int]:
    """Return, by length, the first code of this length."""
    first = [0]
    for length in range(1, END_LENGTH + 1):
        first.append((first[-1] + _LENGTHS.count(length - 1)) << 1)
    return first


_FIRST: Final = _first_codes()
#: By length: the code behind the last one of this length, filled up to the bits of the longest code.
_ENDS: Final = [first + _LENGTHS.count(length) << (END_LENGTH - length) for length, first in enumerate(_FIRST)]
#: The code of each byte.
_CODES: Final = [_FIRST[size] + _SYMBOLS.index(one) - _PLACES[size] for one, size in enumerate(CODE_LENGTHS)]


def _windows() -> tuple[list[str], bytes]:
    """Return what the bits of each window begin with: one or two characters, and the number of their bits.

    Both are empty where a longer code begins.
    """
    texts = [""] * (1 << _WINDOW)
    sizes = bytearray(1 << _WINDOW)
    short = [(chr(one), _CODES[one], size) for one, size in enumerate(CODE_LENGTHS) if size <= _WINDOW]
    pairs = [
        (text + other, code << more | further, size + more)
        for text, code, size in short
        for other, further, more in short
        if size + more <= _WINDOW
    ]
    for text, code, size in short + pairs:
        count = 1 << (_WINDOW - size)
        begin = code * count
        texts[begin : begin + count] = [text] * count
        sizes[begin : begin + count] = bytes([size]) * count
    return texts, bytes(sizes)


_WINDOWS: Final = _windows()
_TEXTS: Final = _WINDOWS[0]
_SIZES: Final = _WINDOWS[1]


def decode(data: bytes, pos: int, end: int) -> str:
    """Return the text whose code is `data[pos:end]`. Raises HPACKError."""
    parts: list[str] = []
    texts, sizes = _TEXTS, _SIZES  # PERF: a global of a compiled file is looked up each time
    held = bits = 0
    while True:
        while bits < _WINDOW:
            if pos == end:
                _finish(parts, held, bits)
                return "".join(parts)
            held = (held & _WINDOW_MASK) << 8 | data[pos]
            pos += 1
            bits += 8
        window = held >> (bits - _WINDOW) & _WINDOW_MASK
        size = sizes[window]
        if size:
            parts.append(texts[window])
            bits -= size
        else:
            symbol, pos, held, bits = _long_code(data, pos, end, held & ((1 << bits) - 1), bits)
            parts.append(chr(symbol))


def _long_code(data: bytes, pos: int, end: int, held: int, bits: int) -> tuple[int, int, int, int]:
    """Return the symbol whose code has more bits than a window, and what `pos`, `held` and `bits` are after it."""
    while bits < END_LENGTH and pos < end:
        held = held << 8 | data[pos]
        pos += 1
        bits += 8
    spare = bits - END_LENGTH
    code = held >> spare if spare >= 0 else (held + 1 << -spare) - 1
    length = _WINDOW + 1
    while code >= _ENDS[length]:
        length += 1
    if length > bits:
        raise HPACKError("a Huffman code is cut off, or its padding is longer than 7 bits")
    symbol = _SYMBOLS[_PLACES[length] + (code >> (END_LENGTH - length)) - _FIRST[length]]
    if symbol == _END:
        raise HPACKError("a Huffman code has the end of a string within the string")
    return symbol, pos, held, bits - length


def _finish(parts: list[str], held: int, bits: int) -> None:
    """Decode the last bits, which are less than a window, and check the padding."""
    while bits:
        rest = _WINDOW - bits
        window = (held << rest | ((1 << rest) - 1)) & _WINDOW_MASK
        size = _SIZES[window]
        if not size or size > bits:  # ones begin no short code, so a code that goes on into the padding is cut off
            break
        parts.append(_TEXTS[window])
        bits -= size
    ones = (1 << bits) - 1
    if bits > 7 or held & ones != ones:
        raise HPACKError("the padding of a Huffman code is not up to 7 bits of ones")


#: The codes of texts that are sent again and again, on all connections; cleared when full.
_encoded: Final[dict[str, bytes]] = {}
#: The number of texts that are kept, and the longest of them in characters.
_MOST: Final = 1024
_LONGEST: Final = 64


def encode(text: str) -> bytes:
    """Return the code of a text in latin-1; it is kept if the text is short."""
    found = _encoded.get(text)
    if found is None:
        found = _encode(text.encode("latin-1"))
        if len(text) <= _LONGEST:
            if len(_encoded) >= _MOST:
                _encoded.clear()
            _encoded[text] = found
    return found


def _encode(data: bytes) -> bytes:
    out: list[int] = []
    held = bits = 0
    for byte in data:
        size = CODE_LENGTHS[byte]
        held = held << size | _CODES[byte]
        bits += size
        while bits >= 8:
            bits -= 8
            out.append(held >> bits & 0xFF)
        held &= 0xFF
    if bits:
        out.append((held << (8 - bits) | (0xFF >> bits)) & 0xFF)
    return bytes(out)
