"""The Huffman code of HPACK (RFC 7541 §5.2, appendix B), decoded strictly.

Strings are decoded a byte at a time: each node of the code's tree learns where a byte leads from it when
that byte first comes, so that usual text is one look-up per byte.
"""
from __future__ import annotations

from functools import lru_cache

__all__ = ["HuffmanFault", "decode_huffman", "encode_huffman"]

#: Bits of each symbol's code, the last of them EOS.  The code is canonical: the lengths say all of it.
_LENGTHS = bytes((
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6,
    6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8,
    13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15,
    11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23,
    23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21,
    22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27,
    26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23,
    22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
))
_EOS = 256


class HuffmanFault(ValueError):
    """EOS within a string, or padding that is longer than seven bits or not all ones."""


class _Node(dict[int, "tuple[_Node, bytes]"]):
    """A place in the code between two bytes; gives the next one and the text that a byte completes.

    :ivar complete: whether a string may end here: less than a byte of ones has come since the last symbol.
    """

    __slots__ = ("complete", "symbol", "zero_one")

    def __init__(self) -> None:
        self.zero_one: list[_Node | None] = [None, None]
        self.symbol = -1
        self.complete = False

    def __missing__(self, byte: int) -> tuple[_Node, bytes]:
        node = self
        text = b""
        for shift in range(7, -1, -1):
            following = node.zero_one[byte >> shift & 1]
            if following is None or following.symbol == _EOS:
                raise HuffmanFault("EOS in a Huffman-coded string")
            if following.symbol >= 0:
                text += bytes((following.symbol,))
                following = _ROOT
            node = following
        self[byte] = node, text
        return node, text


def _codes() -> list[int]:
    codes = [0] * len(_LENGTHS)
    code = 0
    before = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(_LENGTHS)):
        code <<= length - before
        codes[symbol] = code
        code += 1
        before = length
    return codes


def _tree() -> _Node:
    root = _Node()
    for symbol, code in enumerate(_CODES):
        node = root
        for shift in range(_LENGTHS[symbol] - 1, -1, -1):
            bit = code >> shift & 1
            following = node.zero_one[bit]
            if following is None:
                following = node.zero_one[bit] = _Node()
            node = following
        node.symbol = symbol
    node = root
    for _ in range(8):
        node.complete = True
        following = node.zero_one[1]
        assert following is not None
        node = following
    return root


_CODES = _codes()
_ROOT = _tree()


def decode_huffman(data: bytes) -> bytes:
    """Give the text of a string; what is short is remembered, for all connections.

    :raises HuffmanFault: see there.
    """
    return _decode_short(data) if len(data) <= 48 else _decode(data)


def _decode(data: bytes) -> bytes:
    node = _ROOT
    pieces = []
    for byte in data:
        node, text = node[byte]
        pieces.append(text)
    if not node.complete:
        raise HuffmanFault("a Huffman-coded string with wrong padding")
    return b"".join(pieces)


_decode_short = lru_cache(maxsize=2048)(_decode)


def encode_huffman(text: bytes) -> bytes:
    """Give the Huffman-coded form of a text.  The codec sends none: it costs more than the bytes it saves."""
    bits = 0
    count = 0
    for symbol in text:
        bits = bits << _LENGTHS[symbol] | _CODES[symbol]
        count += _LENGTHS[symbol]
    padding = -count % 8
    return ((bits << padding) | ((1 << padding) - 1)).to_bytes((count + padding) // 8, "big")
