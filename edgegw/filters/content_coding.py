"""Which responses are compressed, with which coding, and what their headers say then (RFC 9110 §8.4, §12.5.3)."""
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from edgegw.filters.header_changes import Field, field
from edgegw.model import Compression, Encoding

__all__ = ["CompressionRules", "accepted"]

_ELEMENT = re.compile(rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;[ \t]*[qQ]=([01](?:\.[0-9]{0,3})?)[ \t]*)?")
#: Elements of a list that are read.
_MOST_ELEMENTS: Final = 32
#: What is said of the bytes of a body as they stand, of parts of it, or that it is encoded already.
_UNTOUCHED: Final = frozenset({
    b"content-digest", b"content-encoding", b"content-md5", b"content-range", b"digest", b"repr-digest",
})
_CREDENTIALS: Final = frozenset({b"authorization", b"cookie"})
_VARY = field(b"vary", b"Accept-Encoding")


def accepted(values: Sequence[bytes], encodings: Sequence[Encoding]) -> Encoding | None:
    """Give the coding that a client likes best of several; ``None`` where it wants none, or likes no coding better.

    Where it likes some as much the first of ``encodings`` is taken.

    :param values: of ``Accept-Encoding``.
    """
    weights: dict[bytes, float] = {}
    for element in b",".join(values).split(b",", _MOST_ELEMENTS)[:_MOST_ELEMENTS]:
        match = _ELEMENT.fullmatch(element)
        if match is not None:
            weights.setdefault(match[1].lower(), 1.0 if match[2] is None else min(float(match[2]), 1.0))
    if not weights:
        return None
    others = weights.get(b"*", 0.0)
    best, most = None, weights.get(b"identity", 0.0)
    for encoding in encodings:
        weight = weights.get(encoding.value.encode("ascii"), others)
        if weight > 0 and (weight > most or (best is None and weight >= most)):
            best, most = encoding, weight
    return best


class CompressionRules:
    """The rules, ready for the data path."""

    def __init__(self, compression: Compression) -> None:
        self._encodings = compression.encodings
        self._types = frozenset(one.encode("ascii").lower() for one in compression.content_types)
        self._min_length = compression.min_length
        self._with_credentials = compression.with_credentials

    def could(self, request: Sequence[Field], status: int, fields: Sequence[Field], length: int) -> bool:
        """Whether a response would be compressed for a client that takes a coding.

        :param request: the client's header lines.
        :param length: bytes of the body; negative where it is not known.
        """
        if not (200 <= status <= 203 or 400 <= status <= 599) or 0 <= length < max(self._min_length, 1):
            return False
        for name, value, _ in request:
            if name == b"range" or (name in _CREDENTIALS and not self._with_credentials):
                return False
            if name == b"cache-control" and b"no-transform" in value.lower():
                return False
        typed = False
        untouched = _UNTOUCHED if self._with_credentials else _UNTOUCHED | {b"set-cookie"}
        for name, value, _ in fields:
            if name == b"content-type":
                typed = value.partition(b";")[0].strip(b" \t").lower() in self._types
            elif name in untouched or (name == b"cache-control" and b"no-transform" in value.lower()):
                return False
        return typed

    def choose(self, request: Sequence[Field]) -> Encoding | None:
        """Give the coding for a client."""
        return accepted([value for name, value, _ in request if name == b"accept-encoding"], self._encodings)

    @staticmethod
    def fields(fields: Sequence[Field], encoding: Encoding | None) -> list[Field]:
        """Give the header lines of a response that is compressed; without a coding, of one that could have been."""
        changed: list[Field] = []
        varies = False
        for one in fields:
            name, value, _ = one
            if name == b"vary":
                tokens = {token.strip(b" \t").lower() for token in value.split(b",")}
                varies = varies or not tokens.isdisjoint((b"*", b"accept-encoding"))
            elif encoding is not None and name == b"etag" and not value.startswith(b"W/"):
                # Not the same bytes any more (RFC 9110 §8.8.1).
                one = field(name, b"W/" + value)
            elif encoding is not None and name == b"accept-ranges":
                continue
            changed.append(one)
        if encoding is not None:
            changed.append(field(b"content-encoding", encoding.value.encode("ascii")))
        if not varies:
            changed.append(_VARY)
        return changed
