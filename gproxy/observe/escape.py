"""What would break a line, made visible, so that no value forges a field, a line or a terminal command."""

import re

# C1 controls and the Unicode line ends too: a terminal obeys the first, str.splitlines() splits at the second.
# Surrogates have no UTF-8.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SPACE = re.compile(r"\s")


def escape(text: str) -> str:
    r"""`text` with every control character as `\xNN` (`\uNNNN` past Latin-1): one line that UTF-8 can encode."""
    return text if text.isprintable() else _UNSAFE.sub(_code, text)


def escape_word(text: str) -> str:
    """`text` as `escape` writes it and without any space, for formats that have neither quotes nor labels."""
    return _SPACE.sub(_code, escape(text))


def _code(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
