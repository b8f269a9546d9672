"""HPACK encoding (RFC 7541): fields to blocks.

A field gets into the table when it is sent for the second time: values that never come again (dates, lengths,
identifiers) then evict nothing that does.  Literals are sent as they are, without Huffman coding, which would
cost more CPU than the few bytes are worth that are sent once.

What tells one client from another or opens doors is never indexed, neither here nor by whoever forwards it:
on a connection that carries many clients' requests the table would be an oracle (RFC 7541 §7.1, RFC 9440 §3).
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .hpack_decoder import ENTRY_OVERHEAD
from .hpack_static import STATIC_FIELDS

__all__ = ["SENSITIVE", "Encoder"]

#: Names that are never indexed, whatever the caller says.
SENSITIVE = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"})
_NONE: frozenset[bytes] = frozenset()

_FIRST_DYNAMIC = len(STATIC_FIELDS) + 1
#: Names whose last value is remembered, and the longest such value.
_MOST_REMEMBERED = 128
_LONGEST_REMEMBERED = 512

Pair = tuple[bytes, bytes]


def _integer(value: int, prefix: int, pattern: int) -> bytes:
    """Give an integer with the bits that stand before it in its first byte (RFC 7541 §5.1)."""
    if value < prefix:
        return bytes((pattern | value,))
    value -= prefix
    encoded = bytearray((pattern | prefix,))
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_INDEXED = [_integer(index, 0x7F, 0x80) for index in range(256)]
_LENGTH = [_integer(length, 0x7F, 0) for length in range(1024)]
# Static fields have the negative of their index where those of the table have their number.
_STATIC = {field: -index for index, field in reversed([*enumerate(STATIC_FIELDS, 1)])}
_STATIC_NAMES = {name: index for index, (name, _) in reversed([*enumerate(STATIC_FIELDS, 1)])}


def _length(length: int) -> bytes:
    return _LENGTH[length] if length < 1024 else _integer(length, 0x7F, 0)


class Encoder:
    """The encoding half of a connection's compression.

    :param max_table: bytes of the table that are used even if the peer allows more.
    """

    def __init__(self, max_table: int = 4096) -> None:
        self._most = max_table
        self._max_size = 4096
        self._size = 0
        # The fields of the table, newest last, with their sizes; each has a number, counted up.
        self._entries: deque[tuple[Pair, int]] = deque()
        self._newest = 0
        self._numbers: dict[Pair, int] = _STATIC.copy()
        self._names: dict[bytes, int] = {}
        self._remembered: dict[bytes, bytes] = {}
        self._updates: list[int] = []
        self._asked: frozenset[bytes] = _NONE
        self._never = SENSITIVE
        self._same: object = None
        self._same_block = b""
        if max_table < 4096:
            self.allow(max_table)

    def allow(self, max_table: int) -> None:
        """Take the size that the peer allows; the next block says so (RFC 7541 §4.2)."""
        size = min(max_table, self._most)
        if size == self._max_size:
            return
        self._max_size = size
        self._same = None
        self._evict(size)
        # Of several changes the smallest has to be told, and the last.
        smallest = min([size, *self._updates])
        self._updates = [size] if smallest == size else [smallest, size]

    def encode(self, fields: Iterable[Pair], never_indexed: frozenset[bytes] = _NONE) -> bytes:
        """Give the block of fields; their names are in lower case, those of pseudo-headers first.

        The same tuple (not an equal one) again and again costs nothing once everything in it is in the table.
        """
        if fields is self._same and never_indexed is self._asked:
            return self._same_block
        pieces: list[bytes] = []
        append = pieces.append
        settled = type(fields) is tuple
        if self._updates:
            pieces.extend(_integer(size, 0x1F, 0x20) for size in self._updates)
            self._updates = []
            settled = False
        if never_indexed is not self._asked:
            self._asked = never_indexed
            self._never = SENSITIVE | never_indexed
        never = self._never
        numbers = self._numbers
        for pair in fields:
            name, value = pair
            if name in never:
                append(self._literal(name, value, 0x0F, 0x10))
                continue
            number = numbers.get(pair)
            if number is not None:
                index = self._newest - number + _FIRST_DYNAMIC if number > 0 else -number
                append(_INDEXED[index] if index < 256 else _integer(index, 0x7F, 0x80))
                continue
            settled = False
            if self._remembered.get(name) == value:
                append(self._literal(name, value, 0x3F, 0x40))
                self._insert(pair)
            else:
                append(self._literal(name, value, 0x0F, 0))
                if len(value) <= _LONGEST_REMEMBERED:
                    if len(self._remembered) >= _MOST_REMEMBERED:
                        self._remembered.clear()
                    self._remembered[name] = value
        block = b"".join(pieces)
        if settled:
            self._same = fields
            self._same_block = block
        return block

    def _literal(self, name: bytes, value: bytes, prefix: int, pattern: int) -> bytes:
        index = _STATIC_NAMES.get(name)
        if index is None:
            number = self._names.get(name)
            if number is None:
                return b"%c%b%b%b%b" % (pattern, _length(len(name)), name, _length(len(value)), value)
            index = self._newest - number + _FIRST_DYNAMIC
        return b"%b%b%b" % (_integer(index, prefix, pattern), _length(len(value)), value)

    def _insert(self, pair: Pair) -> None:
        name, value = pair
        size = len(name) + len(value) + ENTRY_OVERHEAD
        self._same = None
        self._evict(self._max_size - size)
        if size <= self._max_size:
            self._newest += 1
            self._entries.append((pair, size))
            self._numbers[pair] = self._names[name] = self._newest
            self._size += size

    def _evict(self, keep: int) -> None:
        entries = self._entries
        while self._size > keep and entries:
            number = self._newest - len(entries) + 1
            pair, size = entries.popleft()
            self._size -= size
            del self._numbers[pair]
            if self._names[pair[0]] == number:
                del self._names[pair[0]]
