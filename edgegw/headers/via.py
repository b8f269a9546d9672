"""``Via``: which gateways a message has come through, and what each of them received (RFC 9110 §7.6.3)."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["via_line"]

# By what heads call their version.  HTTP/2 has no minor version; where one has to stand it is "0" (RFC 9110 §2.5).
# The grammar would take "2" too, but who reads Via looks for two numbers, and Apache and Caddy write them so.
_RECEIVED: Final = (b"1.0 ", b"1.1 ", b"2.0 ")


def via_line(before: Sequence[bytes], version: int, pseudonym: bytes | None) -> bytes:
    """Give the header line of a message that goes on; empty where there is nothing to say.

    :param before: the values that it came with.
    :param version: in which it came, as :class:`~edgegw.wire.http1.RequestHead` says it.
    :param pseudonym: what the gateway calls itself; ``None`` where it is not to be told of.
    """
    values = before if pseudonym is None else [*before, _RECEIVED[version] + pseudonym]
    return b"via: %b\r\n" % b", ".join(values) if values else b""
