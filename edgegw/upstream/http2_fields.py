"""A request as it stands on an HTTP/1.1 wire, as the fields of an HTTP/2 request.

An exchange speaks of requests in one way, whatever the upstream speaks: its line, its header lines, its body with the
framing that the header lines tell of.  The lines of one client's requests are mostly the same but for the last one,
which is the request's id: those before it are taken apart once.
"""
from __future__ import annotations

from typing import Final

from edgegw.headers.request import IDENTITY_HEADERS
from edgegw.wire.http1 import HTTPFault, read_fields
from edgegw.wire.http2 import FORBIDDEN

__all__ = ["Pair", "RequestFields"]

#: A field's name, lower-case, and its value.
Pair = tuple[bytes, bytes]

#: Blocks of lines that are remembered, and the longest of them.
_MOST_KEPT: Final = 128
_LONGEST_KEPT: Final = 4096
#: Names with these prefixes tell who the client is, too; as many of them as are remembered.
_IDENTITY_PREFIXES: Final = (b"x-ssl-client-", b"ssl-client-")
_MOST_NAMES: Final = 64

_GET: Final = (b":method", b"GET")


class _Block:
    """Header lines that were taken apart."""

    __slots__ = ("authority", "chunked", "fields")

    def __init__(self, lines: bytes) -> None:
        self.authority: Pair = (b":authority", b"")
        self.chunked = False
        fields: list[Pair] = []
        for name, value, _ in read_fields(lines):
            if name == b"host":
                self.authority = (b":authority", value)
            elif name == b"transfer-encoding":
                self.chunked = True
            elif name not in FORBIDDEN:
                fields.append((name, value))
        self.fields = tuple(fields)


class RequestFields:
    """Takes requests apart.

    :param scheme: ``http`` or ``https``, as the connection to the upstream is.
    :ivar never_indexed: names that no table of HPACK may keep (RFC 9440 §3): another client's requests share it.
    """

    def __init__(self, scheme: bytes) -> None:
        self.never_indexed = IDENTITY_HEADERS
        self._scheme: Pair = (b":scheme", scheme)
        self._kept: dict[bytes, _Block] = {}
        self._prefixed = 0

    def never_index(self, names: frozenset[bytes]) -> None:
        """Let no table have the headers with these names."""
        self.never_indexed |= names

    def read(self, data: bytes) -> tuple[list[Pair], bool, bytes]:
        """Give the fields, whether the body is in chunks, and what there is of the body.

        :param data: a whole head, which the gateway has written itself, and what follows it.
        :raises HTTPFault: it is none.
        """
        line_end = data.find(b"\r\n")
        end = data.find(b"\r\n\r\n", line_end) + 2
        parts = data[:line_end].split(b" ")
        if line_end < 0 or end < 2 or len(parts) != 3:
            raise HTTPFault(400, "no request head")
        method, target, _ = parts
        last = data.rfind(b"\r\n", line_end, end - 2) + 2
        block = self._block(data[line_end + 2 : last])
        fields = [
            _GET if method == b"GET" else (b":method", method), self._scheme, block.authority, (b":path", target),
            *block.fields,
        ]
        chunked = block.chunked
        name, _, value = data[last : end - 2].partition(b":")
        name = name.lower()
        if name == b"host":
            fields[2] = (b":authority", value.strip(b" \t"))
        elif name == b"transfer-encoding":
            chunked = True
        elif name not in FORBIDDEN:
            self._mark(name)
            fields.append((name, value.strip(b" \t")))
        return fields, chunked, data[end + 2 :]

    def read_once(self, data: bytes) -> list[Pair]:
        """Give the fields of a request without a body whose lines are never the same again."""
        line, _, lines = data.partition(b"\r\n")
        method, target, _ = line.split(b" ")
        block = _Block(lines)
        for name, _ in block.fields:
            self._mark(name)
        return [(b":method", method), self._scheme, block.authority, (b":path", target), *block.fields]

    def _block(self, lines: bytes) -> _Block:
        block = self._kept.get(lines)
        if block is None:
            block = _Block(lines)
            for name, _ in block.fields:
                self._mark(name)
            if len(lines) <= _LONGEST_KEPT:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                self._kept[lines] = block
        return block

    def _mark(self, name: bytes) -> None:
        """Never index a name that begins as those of identity headers do."""
        if name.startswith(_IDENTITY_PREFIXES) and name not in self.never_indexed and self._prefixed < _MOST_NAMES:
            self._prefixed += 1
            self.never_indexed |= {name}
