"""A table of a million keys in 50 bytes each: no object for a key, nothing to sort, and nothing that is slow to free.

A dictionary takes 120 bytes for a key of 32 bytes and 200 with a text.
Here the keys of one beginning stand in one ``bytearray`` behind each other, and texts, of which many entries share a
few, in another.
"""
from __future__ import annotations

from typing import Final

__all__ = ["KEY_BYTES", "PackedTable"]

#: Keys are digests: their bits are evenly spread, and nobody finds two of them that are alike.
KEY_BYTES: Final = 32
_POSITION_BYTES: Final = 4
_RECORD: Final = KEY_BYTES + _POSITION_BYTES
#: The position of no text: no text stands there.
_NOTHING: Final = bytes(_POSITION_BYTES)
#: Different texts that are looked for among those that are there already.
_SHARED: Final = 65_536


class PackedTable:
    """Texts by keys of :data:`KEY_BYTES` bytes; grows, and forgets nothing."""

    __slots__ = ("_buckets", "_positions", "_size", "_texts")

    def __init__(self) -> None:
        # By the first fourteen bits.
        self._buckets: dict[int, bytearray] = {}
        self._texts = bytearray(b"\n")
        self._positions: dict[bytes, bytes] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, key: bytes, text: bytes = b"") -> bool:
        """Add a key with its text; False if the key is there already.

        :param text: without line feeds.
        """
        record = key + (self._position(text) if text else _NOTHING)
        number = key[0] << 6 | key[1] >> 2
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = bytearray(record)
        elif _find(bucket, key) < 0:
            bucket += record
        else:
            return False
        self._size += 1
        return True

    def get(self, key: bytes) -> bytes | None:
        """Give a key's text; ``None`` if the key is not there."""
        bucket = self._buckets.get(key[0] << 6 | key[1] >> 2)
        if bucket is None:
            return None
        at = _find(bucket, key)
        if at < 0:
            return None
        start = int.from_bytes(bucket[at + KEY_BYTES:at + _RECORD], "big")
        if not start:
            return b""
        return bytes(self._texts[start:self._texts.index(b"\n", start)])

    def finish(self) -> PackedTable:
        """Let go of what only adding needs."""
        self._positions = {}
        return self

    def _position(self, text: bytes) -> bytes:
        position = self._positions.get(text)
        if position is None:
            position = len(self._texts).to_bytes(_POSITION_BYTES, "big")
            self._texts += text
            self._texts += b"\n"
            if len(self._positions) < _SHARED:
                self._positions[text] = position
        return position


def _find(bucket: bytearray, key: bytes) -> int:
    """Give where a key's record begins, negative if it is not there."""
    at = bucket.find(key)
    while at > 0 and at % _RECORD:
        at = bucket.find(key, at + 1)
    return at
