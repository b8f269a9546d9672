"""The chunked transfer coding (RFC 9112 §7.1), strictly.

Extensions are read and dropped; sizes are plain hexadecimal; every line ends in CRLF.  The decoder
gives data as it comes and holds no more than an unfinished line.
"""
from __future__ import annotations

import re

from edgegw.wire.http1 import Field, HTTPFault, read_fields

__all__ = ["LAST_CHUNK", "ChunkedDecoder", "encode_chunk", "encode_trailers"]

#: What ends a body without trailers.
LAST_CHUNK = b"0\r\n\r\n"

#: A size with its extensions is no longer than this.
MAX_SIZE_LINE = 256
MAX_TRAILER_BYTES = 16_384

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_EXTENSION = rb"[ \t]*+;[ \t]*+" + _TOKEN + rb"++(?:[ \t]*+=[ \t]*+(?:" + _TOKEN + rb"++|" + _QUOTED + rb"))?"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:" + _EXTENSION + rb")*+\r\n")
_TRAILERS = re.compile(rb"((?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n")

_AT_SIZE, _IN_DATA, _AFTER_DATA, _IN_TRAILERS, _DONE = range(5)


class ChunkedDecoder:
    """Takes a chunked body apart.

    :ivar done: whether the body and its trailers are complete.
    :ivar trailers: the trailer lines, when it is done.
    :ivar rest: bytes that came after the body, when it is done.
    """

    __slots__ = ("_held", "_left", "_state", "done", "rest", "trailers")

    def __init__(self) -> None:
        self._state = _AT_SIZE
        self._held = b""
        self._left = 0
        self.done = False
        self.trailers: list[Field] = []
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Give the payload that ``data`` contains.

        :raises HTTPFault: the coding is broken; nothing after that can be believed.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        at = 0
        end = len(data)
        pieces: list[bytes] = []
        while True:
            state = self._state
            if state == _IN_DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = _AFTER_DATA
            elif state == _AT_SIZE:
                match = _SIZE.match(data, at, at + MAX_SIZE_LINE)
                if match is None:
                    self._hold_line(data, at)
                    break
                at = match.end()
                left = int(match[1], 16)
                after = at + left
                if left and data[after : after + 2] == b"\r\n":
                    # Here whole: of chunks of a byte each there are tens of thousands in what is read at a time.
                    pieces.append(data[at:after])
                    at = after + 2
                    continue
                self._left = left
                self._state = _IN_DATA if left else _IN_TRAILERS
            elif state == _AFTER_DATA:
                if data[at : at + 2] != b"\r\n":
                    if end - at >= 2 or data[at:end] not in (b"", b"\r"):
                        raise HTTPFault(400, "a chunk longer than its size says")
                    self._held = data[at:]
                    break
                at += 2
                self._state = _AT_SIZE
            elif state == _IN_TRAILERS:
                if data.startswith(b"\r\n", at):
                    self.rest = data[at + 2 :]
                    self._state = _DONE
                    self.done = True
                    break
                last = data.find(b"\r\n\r\n", at, at + MAX_TRAILER_BYTES)
                match = _TRAILERS.match(data, at) if last >= 0 else None
                if match is None:
                    self._hold_trailers(data, at, last)
                    break
                self.trailers = read_fields(match[1])
                self.rest = data[match.end() :]
                self._state = _DONE
                self.done = True
                break
            else:
                raise HTTPFault(400, "data after the last chunk")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _hold_line(self, data: bytes, at: int) -> None:
        if data.find(b"\n", at, at + MAX_SIZE_LINE) >= 0 or len(data) - at >= MAX_SIZE_LINE:
            raise HTTPFault(400, "a chunk size or extension outside the grammar")
        self._held = data[at:]

    def _hold_trailers(self, data: bytes, at: int, last: int) -> None:
        if last >= 0 or len(data) - at >= MAX_TRAILER_BYTES:
            raise HTTPFault(400, "trailers outside the grammar or too long")
        self._held = data[at:]


def encode_chunk(data: bytes) -> bytes:
    """Give ``data`` as one chunk; it must not be empty, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_trailers(trailers: list[Field]) -> bytes:
    """Give the end of a body with its trailer lines."""
    return b"0\r\n" + b"".join(line for _, _, line in trailers) + b"\r\n"
