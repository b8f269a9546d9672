"""Requests for another protocol on the same connection (RFC 9110 §7.8), WebSocket's among them (RFC 6455 §4).

Everything that such a request has to be is looked at before anything of it goes to an upstream, and so is the
upstream's 101 before anything of that goes to the client: after a 101 both ends take what comes for the new protocol,
and whoever is made to believe in one that the other end has not sent can smuggle requests.
"""
from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha1
from typing import Final

from attrs import frozen

from edgegw.wire.http1 import Field, RequestHead, ResponseHead

__all__ = ["WEBSOCKET", "Handshake", "HandshakeFault", "read_handshake"]

WEBSOCKET: Final = b"websocket"
_VERSION: Final = b"13"
#: RFC 6455 §1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_OTHER_VERSION: Final = b"sec-websocket-version: %b\r\nupgrade: websocket\r\nconnection: upgrade\r\n" % _VERSION


class HandshakeFault(Exception):
    """A request for a protocol that is let through, but not in the way that the protocol has it.

    :ivar status: what it is answered with: 400, or 426 for a version of WebSocket that is not spoken.
    :ivar lines: header lines of that answer, each with its CRLF.
    """

    def __init__(self, status: int, detail: str, lines: bytes = b"") -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.lines = lines


@frozen
class Handshake:
    """What an upstream is asked for, and has to answer.

    :ivar protocol: as the upstream is told it; compared without regard to case.
    :ivar key: ``Sec-WebSocket-Key``; ``None`` for other protocols.
    """

    protocol: bytes
    key: bytes | None = None

    @property
    def lines(self) -> bytes:
        """The header lines that ask for it, or tell of it, on one connection."""
        return b"connection: upgrade\r\nupgrade: %b\r\n" % self.protocol

    @property
    def accept(self) -> bytes:
        """What answers :attr:`key` (RFC 6455 §4.2.2); empty where there is none."""
        if self.key is None:
            return b""
        return b64encode(sha1(self.key + _GUID, usedforsecurity=False).digest())

    def fault(self, head: ResponseHead) -> str:
        """Say what is wrong with a 101; empty where it answers this handshake."""
        if not head.version or b"upgrade" not in head.options:
            return "status 101 without Connection: upgrade, or in HTTP/1.0"
        protocols = _values(head.fields, b"upgrade")
        if len(protocols) != 1 or protocols[0].lower() != self.protocol.lower():
            return "status 101 for another protocol than the one that was asked for"
        if self.key is not None and _values(head.fields, b"sec-websocket-accept") != [self.accept]:
            return "status 101 whose Sec-WebSocket-Accept does not answer the key"
        return ""


def read_handshake(head: RequestHead, allowed: Mapping[bytes, bytes]) -> Handshake | None:
    """Read what a request whose ``Connection`` names ``upgrade`` asks for.

    :param allowed: protocols that are let through, by their names in lower case.
    :returns: ``None`` where none of those is asked for, or in HTTP/1.0: the request is one like any other, without
        its ``Upgrade``.
    :raises HandshakeFault: one of those is asked for, and something is wrong about it.
    """
    values = _values(head.fields, b"upgrade")
    names = [name.strip(b" \t").lower() for value in values for name in value.split(b",")]
    if not head.version or allowed.keys().isdisjoint(names):
        return None
    if len(names) != 1:
        raise HandshakeFault(400, "an Upgrade that names more than one protocol")
    if head.length:
        raise HandshakeFault(400, "an upgrade of a request that has a body")
    protocol = allowed[names[0]]
    if names[0] != WEBSOCKET:
        return Handshake(protocol)
    if head.method != b"GET":
        raise HandshakeFault(400, "a WebSocket handshake with another method than GET")
    if _values(head.fields, b"sec-websocket-version") != [_VERSION]:
        raise HandshakeFault(426, "another version of WebSocket than 13", _OTHER_VERSION)
    keys = _values(head.fields, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise HandshakeFault(400, "not one Sec-WebSocket-Key of 16 bytes in base64")
    return Handshake(protocol, keys[0])


def _values(fields: list[Field], name: bytes) -> list[bytes]:
    return [value for field, value, _ in fields if field == name]


def _is_key(value: bytes) -> bool:
    try:
        return len(value) == 24 and len(b64decode(value, validate=True)) == 16
    except ValueError:
        return False
