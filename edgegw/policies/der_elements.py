"""DER written, where :mod:`edgegw.der` reads it."""
from __future__ import annotations

__all__ = ["element"]


def element(tag: int, contents: bytes) -> bytes:
    """Give contents with their tag and length before them (X.690 §8.1).

    :param tag: one byte.
    """
    size = len(contents)
    if size < 0x80:
        return bytes([tag, size]) + contents
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + contents
