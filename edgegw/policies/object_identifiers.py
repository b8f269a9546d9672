"""Object identifiers as people write them, ``1.3.6.1.5.5.7.3.2``, and as certificates hold them (X.690 §8.19)."""
from __future__ import annotations

import re

__all__ = ["oid_bytes"]

_DOTTED = re.compile(r"(?:[01]\.(?:[0-9]|[1-3][0-9])|2\.(?:0|[1-9][0-9]{0,38}))(?:\.(?:0|[1-9][0-9]{0,38})){0,62}")


def oid_bytes(text: str) -> bytes:
    """Give the contents of the DER of an object identifier.

    :param text: numbers with dots between.
    :raises ValueError: it is none.
    """
    if not _DOTTED.fullmatch(text):
        raise ValueError(f"{text!r} is no object identifier; write numbers with dots, such as 1.3.6.1.5.5.7.3.2")
    first, second, *others = map(int, text.split("."))
    encoded = bytearray()
    for number in (40 * first + second, *others):
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.append(number & 0x7F | 0x80)
        encoded += bytes(reversed(septets))
    return bytes(encoded)
