"""What of a response's headers goes to the client."""
from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from email.utils import formatdate

from edgegw.headers.request import IDENTITY_HEADERS, Field
from edgegw.headers.via import via_line

__all__ = ["ResponseHeaders", "http_date"]

_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"content-length",
    b"proxy-authenticate",
})
#: Of no use in a trailer and dangerous where trailers are merged into headers (RFC 9110 §6.5.1).
_NEVER_TRAILERS = _HOP_BY_HOP | frozenset({
    b"host", b"trailer", b"te", b"set-cookie", b"content-type", b"content-encoding", b"content-range", b"cache-control",
    b"location", b"authorization", b"www-authenticate", b"vary", b"age", b"expires", b"date", b"retry-after",
})

_date: tuple[int, bytes] = (0, b"")


def http_date() -> bytes:
    """Give the time as an HTTP date (RFC 9110 §5.6.7)."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True).encode("ascii"))
    return _date[1]


class ResponseHeaders:
    """The response header rules of one listener.

    :param secret: request headers that clients do not know of and responses may depend on: a ``Vary``
        that names one becomes ``*`` (RFC 9440 §2.4).
    """

    def __init__(self, secret: Iterable[bytes], via: str | None) -> None:
        self._secret = frozenset(secret)
        self._via = None if via is None else via.encode("ascii")

    def block(self, fields: Sequence[Field], options: frozenset[bytes], version: int = 1) -> tuple[bytes, bool]:
        """Give the header lines for the client, without framing, each with its CRLF.

        :param options: what the upstream's ``Connection`` names.
        :param version: in which the response came, as its head says it.
        :returns: the lines, and whether the same fields will give the same lines again.
        """
        kept: list[bytes] = []
        via: list[bytes] = []
        dated = False
        for name, value, line in fields:
            if name in _HOP_BY_HOP or name in options or name in IDENTITY_HEADERS:
                continue
            if name == b"date":
                dated = True
            elif name == b"via" and self._via is not None:
                via.append(value)
                continue
            elif name == b"vary" and self._secret and not self._secret.isdisjoint(
                token.strip(b" \t").lower() for token in value.split(b",")
            ):
                kept.append(b"vary: *\r\n")
                continue
            kept.append(line)
        if self._via is not None:
            kept.append(via_line(via, version, self._via))
        if not dated:
            kept.append(b"date: %b\r\n" % http_date())
        return b"".join(kept), dated

    @staticmethod
    def trailers(fields: Sequence[Field]) -> list[Field]:
        """Give the trailers that go on to the client."""
        return [field for field in fields if field[0] not in _NEVER_TRAILERS and field[0] not in IDENTITY_HEADERS]
