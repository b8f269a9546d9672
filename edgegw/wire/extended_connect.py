"""Extended CONNECT of HTTP/2 (RFC 8441) and upgrades of HTTP/1.1 (RFC 9110 §7.8), each told as the other.

Both ask for the same.  A client's extended CONNECT becomes the upgrade that it would have been over HTTP/1.1, so that
one set of rules, policies and checks is there for both; what of it is HTTP/1.1's own is made up here and never seen by
the client.  The other way round, for an upstream that speaks HTTP/2, what is HTTP/1.1's own is left out, and made up
for the answer.
"""
from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from secrets import token_bytes
from typing import Final

from edgegw.wire import http1
from edgegw.wire.http1 import Field
from edgegw.wire.http2 import FORBIDDEN, RequestHead
from edgegw.wire.upgrades import WEBSOCKET, Handshake

__all__ = ["agreement", "as_connect", "as_upgrade", "without_upgrade"]

_UPGRADE: Final = frozenset({b"upgrade"})
#: What proves over HTTP/1.1 that a server of WebSocket has read the handshake; HTTP/2 has no use for it (RFC 8441 §5).
_PROOF: Final = frozenset({b"sec-websocket-key", b"sec-websocket-accept"})
_CONNECT: Final = (b":method", b"CONNECT")

#: A field's name, lower-case, and its value.
_Pair = tuple[bytes, bytes]


def as_upgrade(head: RequestHead) -> http1.RequestHead:
    """Give the upgrade that an extended CONNECT would have been over HTTP/1.1: GET, and for WebSocket with a new key.

    Nothing is kept by its ``block``, which is empty.  Its length is what a ``content-length`` says, which is not to be
    there, and otherwise 0: what follows is no body.
    """
    added = [(b"connection", b"upgrade"), (b"upgrade", head.protocol)]
    fields = head.fields
    if head.protocol.lower() == WEBSOCKET:
        fields = [one for one in fields if one[0] not in _PROOF]
        added.append((b"sec-websocket-key", b64encode(token_bytes(16))))
    request = head.again(b"GET", head.target, head.size)
    request.fields = [*fields, *(_field(name, value) for name, value in added)]
    request.block = request.rest = b""
    request.options = _UPGRADE
    request.length = max(head.length, 0)
    request.expects_continue = False
    return request


def as_connect(fields: Sequence[_Pair], handshake: Handshake) -> list[_Pair]:
    """Give the fields of an extended CONNECT.

    :param fields: of the upgrade, as those of an HTTP/2 request: ``:method`` and the three others first.
    """
    return [
        _CONNECT, *fields[1:4], (b":protocol", handshake.protocol),
        *(one for one in fields[4:] if handshake.key is None or one[0] not in _PROOF),
    ]


def agreement(fields: Iterable[Field], handshake: Handshake) -> http1.ResponseHead:
    """Give the 101 that a response of success to an extended CONNECT would have been over HTTP/1.1.

    :param fields: of the response.
    """
    kept = [one for one in fields if one[0] not in _PROOF and one[0] != b"content-length"]
    if handshake.key is not None:
        kept.append(_field(b"sec-websocket-accept", handshake.accept))
    return http1.ResponseHead(101, b"Switching Protocols", 1, kept, b"")


def without_upgrade(lines: bytes) -> list[_Pair]:
    """Give the fields of header lines, each with its CRLF, that belong into the answer to an extended CONNECT."""
    return [
        (name, value) for name, value, _ in http1.read_fields(lines) if name not in _PROOF and name not in FORBIDDEN
    ]


def _field(name: bytes, value: bytes) -> Field:
    return name, value, b"%b: %b\r\n" % (name, value)
