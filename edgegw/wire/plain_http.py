"""HTTP without TLS on a port that speaks TLS: how it is told, and what it is answered.

Browsers and command lines send it where somebody wrote ``http://`` for ``https://``.  Closing without a word would
leave them to guess.
"""
from __future__ import annotations

from typing import Final

__all__ = ["ANSWER", "ends_like_http", "looks_like_http"]

_TEXT: Final = b"This port speaks TLS, and the request came without it: use https:// in place of http://.\n"
#: What such a request is answered with, over HTTP/2 with prior knowledge too; the connection ends behind it.
ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
    % (len(_TEXT), _TEXT)
)

_LONGEST_METHOD: Final = 20
_SHORTEST_METHOD: Final = 3
_SCHEMES: Final = (b"http://", b"https://")
_VERSIONS: Final = (b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0")
_UPPER_CASE: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTERS_AND_DIGITS: Final = frozenset(_UPPER_CASE + _UPPER_CASE.lower() + b"0123456789")


def looks_like_http(data: bytes) -> bool | None:
    """Whether a connection begins with a request line (RFC 9112 §3), or with HTTP/2's preface (RFC 9113 §3.4).

    A method of capitals, a space, and what can begin a target are enough.

    :returns: ``None`` where more bytes are needed; never for more than 28 of them.
    """
    method, space, target = data[: _LONGEST_METHOD + 9].partition(b" ")
    if method.strip(_UPPER_CASE) or len(method) > _LONGEST_METHOD:
        return False
    if not space:
        return None
    if len(method) < _SHORTEST_METHOD:
        return False
    if not target:
        return None
    if method == b"CONNECT":
        return target[0] in _LETTERS_AND_DIGITS or target[0] == 0x5B
    if target[0] in b"/*":
        return True
    lower = target.lower()
    if lower.startswith(_SCHEMES):
        return True
    return None if any(scheme.startswith(lower) for scheme in _SCHEMES) else False


def ends_like_http(data: bytes) -> bool:
    """Whether what follows the first bytes of a connection, which are gone, is the rest of a request line.

    Its version tells; a line that has not come whole is none.
    """
    line, end, _ = data.partition(b"\n")
    return bool(end) and line.rstrip(b"\r").endswith(_VERSIONS)
