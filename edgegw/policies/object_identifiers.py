"""Object identifiers as people write them, ``1.3.6.1.5.5.7.3.2``, and as certificates hold them (X.690 §8.19)."""
from __future__ import annotations

import re
from functools import lru_cache

from edgegw.der import DERError

__all__ = ["dotted", "oid_bytes"]

_DOTTED = re.compile(r"(?:[01]\.(?:[0-9]|[1-3][0-9])|2\.(?:0|[1-9][0-9]{0,38}))(?:\.(?:0|[1-9][0-9]{0,38})){0,62}")
#: Real ones have a dozen; decimal digits of a huge one would cost the square of its length.
_MOST_BYTES = 64


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


# Clients choose the identifiers in their certificates: the cache is bounded.
@lru_cache(maxsize=256)
def dotted(oid: bytes) -> str:
    """Give an object identifier as numbers with dots between.

    :param oid: the contents of its DER.
    :raises DERError: it is none, or longer than 64 bytes.
    """
    if not 0 < len(oid) <= _MOST_BYTES or oid[-1] & 0x80:
        raise DERError("an object identifier that is empty, cut short or too long")
    arcs: list[int] = []
    value = 0
    for byte in oid:
        if value == 0 and byte == 0x80:
            raise DERError("an object identifier in more bytes than it needs")
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))
