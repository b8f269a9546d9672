"""HPACK decoding (RFC 7541): field blocks to fields, within bounds.

What a field is worth is judged once, when it comes as a literal, and kept with it in the table: a field that
is referred to again costs one look-up.  A whole block that refers only to what is known leaves the table as
it is, which :attr:`Decoder.generation` shows, so that the caller can keep what it made of the block.

The table holds fields as :data:`edgegw.wire.http1.Field`, with the line that they are in HTTP/1.1.
"""
from __future__ import annotations

from collections.abc import Callable

from edgegw.wire.http1 import Field

from .hpack_static import STATIC_FIELDS
from .huffman import HuffmanFault, decode_huffman

__all__ = ["ENTRY_OVERHEAD", "Decoder", "Entry", "HPACKBomb", "HPACKFault"]

#: What each field counts beside its bytes, in tables and lists (RFC 7541 §4.1, RFC 9113 §6.5.2).
ENTRY_OVERHEAD = 32

#: Table size updates of a block: the smallest since the one before, and the last (RFC 7541 §4.2).
_MOST_UPDATES = 2

#: A field, what the judge said of it, and its size.
Entry = tuple[Field, int, int]

_FIRST_DYNAMIC = len(STATIC_FIELDS) + 1


class HPACKFault(ValueError):
    """A block that cannot be decoded: the connection's table is lost (COMPRESSION_ERROR)."""


class HPACKBomb(HPACKFault):
    """A list so much over the limit that it is not decoded to its end."""


class Decoder:
    """The decoding half of a connection's compression.

    :param judge: says what a field is, from its name and value.
    :param max_list: bytes of a list; of a longer one the fields after that are dropped and
        :attr:`oversized` is set.  At four times as many decoding is given up.
    :param max_literals: fields of a block that are not in the table, beyond which it is given up: each costs a
        hundred times what the four bytes cost that it may take.
    :ivar oversized: whether the last list was over the limit.
    :ivar generation: changes whenever the table does.
    """

    def __init__(
        self, judge: Callable[[bytes, bytes], int], max_list: int, max_table: int = 4096, max_literals: int = 2000
    ) -> None:
        self._judge = judge
        self._max_list = max_list
        self._max_literals = max_literals
        self._most = max_list * 4
        # Index 0 is nobody's, then the static table, then the dynamic one, newest first.
        self._table: list[Entry] = [((b"", b"", b""), 0, 0), *(self._entry(*field) for field in STATIC_FIELDS)]
        self._size = 0
        self._allowed = max(max_table, 4096)
        self._max_size = 4096
        self._must_shrink = False
        self.oversized = False
        self.generation = 0

    def allow(self, max_table: int) -> None:
        """Take the table's size that the peer has acknowledged.

        If it is below the size in use, the next block must begin by saying so (RFC 7541 §4.2).
        """
        self.generation += 1
        self._allowed = max_table
        self._must_shrink = self._max_size > max_table

    def decode(self, block: bytes) -> list[Entry]:
        """Give the fields of a block.

        :raises HPACKFault: the block is broken.
        """
        table = self._table
        entries: list[Entry] = []
        append = entries.append
        limit = self._max_list
        total = 0
        literals = self._max_literals
        at = 0
        end = len(block)
        if self._must_shrink or (end and block[0] & 0xE0 == 0x20):
            at = self._resize(block)
        self.oversized = False
        try:
            while at < end:
                byte = block[at]
                if byte >= 0x80:
                    if byte == 0xFF:
                        byte, at = _integer(block, at, 0x7F)
                    else:
                        byte &= 0x7F
                        at += 1
                    if not byte:
                        raise HPACKFault("a field of index 0")
                    entry = table[byte]
                elif byte >= 0x40:
                    entry, at = self._literal(block, at, 0x3F)
                    self._insert(entry)
                    literals -= 1
                    if literals < 0:
                        raise HPACKBomb(f"more than {self._max_literals} literals in a block")
                elif byte >= 0x20:
                    raise HPACKFault("a table size update after a field")
                else:
                    entry, at = self._literal(block, at, 0x0F)
                    literals -= 1
                    if literals < 0:
                        raise HPACKBomb(f"more than {self._max_literals} literals in a block")
                total += entry[2]
                if total <= limit:
                    append(entry)
                elif total > self._most:
                    raise HPACKBomb(f"a field list of more than {self._most} bytes")
                else:
                    self.oversized = True
        except IndexError:
            raise HPACKFault("an index beyond the table, or the end of the block within a field") from None
        except HuffmanFault as fault:
            raise HPACKFault(str(fault)) from None
        return entries

    def _entry(self, name: bytes, value: bytes) -> Entry:
        line = b"%b: %b\r\n" % (name, value)
        return (name, value, line), self._judge(name, value), len(line) + ENTRY_OVERHEAD - 4

    def _literal(self, block: bytes, at: int, prefix: int) -> tuple[Entry, int]:
        index = block[at] & prefix
        if index == prefix:
            index, at = _integer(block, at, prefix)
        else:
            at += 1
        if index:
            name = self._table[index][0][0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return self._entry(name, value), at

    def _insert(self, entry: Entry) -> None:
        self.generation += 1
        table = self._table
        self._evict(self._max_size - entry[2])
        if entry[2] <= self._max_size:
            table.insert(_FIRST_DYNAMIC, entry)
            self._size += entry[2]

    def _evict(self, keep: int) -> None:
        table = self._table
        while self._size > keep and len(table) > _FIRST_DYNAMIC:
            self._size -= table.pop()[2]

    def _resize(self, block: bytes) -> int:
        """Follow the table size updates at the beginning of a block; give where the fields begin."""
        at = 0
        self.generation += 1
        smallest = self._max_size
        updates = 0
        try:
            while at < len(block) and block[at] & 0xE0 == 0x20:
                updates += 1
                if updates > _MOST_UPDATES:
                    raise HPACKFault(f"more than {_MOST_UPDATES} table size updates in one block")
                size, at = _integer(block, at, 0x1F)
                if size > self._allowed:
                    raise HPACKFault(f"a table size of {size} where {self._allowed} is allowed")
                smallest = min(smallest, size)
                self._max_size = size
                self._evict(size)
        except IndexError:
            raise HPACKFault("the end of the block within a table size update") from None
        if self._must_shrink and smallest > self._allowed:
            raise HPACKFault("no table size update where the table had to shrink")
        self._must_shrink = False
        return at


def _integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """Give the integer of which the first byte is at ``at`` (RFC 7541 §5.1), and where it ends."""
    value = block[at] & prefix
    at += 1
    if value < prefix:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 28:
            raise HPACKFault("an integer that is too long")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """Give the string that begins at ``at`` (RFC 7541 §5.2), and where it ends."""
    byte = block[at]
    length = byte & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, 0x7F)
    else:
        at += 1
    end = at + length
    if end > len(block):
        raise HPACKFault("a string longer than its block")
    data = block[at:end]
    return (decode_huffman(data) if byte & 0x80 else data), end
