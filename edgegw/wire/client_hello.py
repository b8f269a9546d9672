"""The first message of a TLS client (RFC 8446 §4.1.2), read without being consumed.

:func:`parse_client_hello` gives a value, ``None`` for "more bytes are needed", or raises.  It reads
what choosing a listener needs; everything else of the message is OpenSSL's to judge.
"""
from __future__ import annotations

from attrs import field, frozen

from edgegw.names import canonical_name

__all__ = ["BadClientHello", "ClientHello", "NotTLS", "parse_client_hello"]

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_MAX_RECORD = 16_384
# Every look at an incomplete message walks through its records again.
_MAX_RECORDS = 64
#: Extensions; IANA has registered a quarter of that, and each may stand there once.
_MAX_EXTENSIONS = 256
_SERVER_NAME = 0
_ALPN = 16
_SUPPORTED_VERSIONS = 43
_HOST_NAME = 0


class BadClientHello(ValueError):
    """TLS, but not a ClientHello that can be read."""


class NotTLS(BadClientHello):
    """Not TLS at all."""


@frozen
class ClientHello:
    """What a client says before anything is agreed; none of it is authenticated.

    :ivar server_name: SNI (RFC 6066 §3) in canonical form; ``None`` without one.
    :ivar alpn: the protocols that it offers (RFC 7301), its preference first.
    :ivar size: bytes of the handshake message.
    :ivar versions: the versions of TLS that it speaks, as numbers (0x0304 is 1.3), its preference first, GREASE
        (RFC 8701) among them; its highest alone where it gives no list.
    :ivar message: the handshake message, of which :mod:`edgegw.wire.fingerprints` makes more.
    """

    server_name: str | None
    alpn: tuple[bytes, ...]
    size: int
    versions: tuple[int, ...] = ()
    message: bytes = field(default=b"", eq=False, repr=False)


def parse_client_hello(data: bytes, limit: int) -> ClientHello | None:
    """Read a ClientHello from the beginning of a connection, over as many records as it takes.

    :param limit: the most bytes, record headers included, that it may be long.
    :raises NotTLS: the bytes are no TLS record.
    :raises BadClientHello: they are, but hold no readable ClientHello, or one longer than ``limit``.
    """
    message = _reassemble(data, limit)
    if message is None:
        return None
    try:
        return _parse_message(message)
    except IndexError:
        raise BadClientHello("a length in the ClientHello points beyond its end") from None


def _reassemble(data: bytes, limit: int) -> bytes | None:
    at = 0
    message = b""
    for _ in range(_MAX_RECORDS):
        header = data[at : at + 5]
        if header and header[0] != _HANDSHAKE:
            raise NotTLS(_what_begins_with(header))
        if len(header) > 1 and header[1] != 3:
            raise NotTLS("the record's version is not TLS")
        if len(header) == 5:
            length = header[3] << 8 | header[4]
            if not 0 < length <= _MAX_RECORD:
                raise BadClientHello(f"a record of {length} bytes")
            message += data[at + 5 : at + 5 + length]
            at += 5 + length
            if message and message[0] != _CLIENT_HELLO:
                raise BadClientHello(f"handshake message {message[0]} where a ClientHello must be")
            if len(message) >= 4:
                size = 4 + int.from_bytes(message[1:4], "big")
                if size > limit:
                    raise BadClientHello(f"a ClientHello of {size} bytes")
                if len(message) >= size:
                    return message[:size]
        if len(header) < 5 or at >= len(data):
            if len(data) > limit:
                raise BadClientHello(f"no complete ClientHello in {limit} bytes")
            return None
    raise BadClientHello(f"a ClientHello in more than {_MAX_RECORDS} records")


def _what_begins_with(header: bytes) -> str:
    # RFC 6101 §E: a length with its highest bit set, the message's type, and the version that is offered.
    if header[0] & 0x80 and header[2:3] == b"\x01" and header[3:4] in (b"\x00", b"\x03"):
        return "the connection begins with a ClientHello of SSL 2.0"
    return f"the connection begins with byte 0x{header[0]:02x}, not with a TLS handshake"


def _parse_message(message: bytes) -> ClientHello:
    at = 4 + 2 + 32  # message header, legacy_version, random
    at += 1 + message[at]  # legacy_session_id
    at += 2 + (message[at] << 8 | message[at + 1])  # cipher_suites
    at += 1 + message[at]  # legacy_compression_methods
    server_name: str | None = None
    alpn: tuple[bytes, ...] = ()
    versions: tuple[int, ...] = (message[4] << 8 | message[5],)
    if at < len(message):
        end = at + 2 + (message[at] << 8 | message[at + 1])
        at += 2
        if end != len(message):
            raise BadClientHello("the extensions do not end where the message does")
        seen_name = False
        number = 0
        while at < end:
            number += 1
            if number > _MAX_EXTENSIONS:
                raise BadClientHello(f"more than {_MAX_EXTENSIONS} extensions")
            kind = message[at] << 8 | message[at + 1]
            length = message[at + 2] << 8 | message[at + 3]
            at += 4
            body = message[at : at + length]
            if len(body) != length:
                raise BadClientHello("an extension ends beyond the message")
            at += length
            if kind == _SERVER_NAME:
                if seen_name:
                    raise BadClientHello("two server_name extensions")
                seen_name = True
                server_name = _server_name(body)
            elif kind == _ALPN:
                alpn = _protocols(body)
            elif kind == _SUPPORTED_VERSIONS:
                versions = _versions(body)
    elif at > len(message):
        raise BadClientHello("the message ends too early")
    return ClientHello(server_name, alpn, len(message), versions, message)


def _server_name(body: bytes) -> str | None:
    # One name of one type is all that RFC 6066 lets a client send.
    if len(body) < 5 or (body[0] << 8 | body[1]) != len(body) - 2 or body[2] != _HOST_NAME:
        raise BadClientHello("server_name is not one host name")
    if (body[3] << 8 | body[4]) != len(body) - 5:
        raise BadClientHello("server_name has a wrong length")
    name = canonical_name(body[5:].decode("latin-1"))
    if name is None:
        raise BadClientHello("server_name is not a host name")
    return name


def _protocols(body: bytes) -> tuple[bytes, ...]:
    if len(body) < 2 or (body[0] << 8 | body[1]) != len(body) - 2:
        raise BadClientHello("the protocol list has a wrong length")
    at = 2
    found = []
    while at < len(body):
        size = body[at]
        name = body[at + 1 : at + 1 + size]
        if size == 0 or len(name) != size:
            raise BadClientHello("a protocol name has a wrong length")
        found.append(name)
        at += 1 + size
    return tuple(found)


def _versions(body: bytes) -> tuple[int, ...]:
    # RFC 8446 §4.2.1
    if len(body) < 3 or body[0] != len(body) - 1 or body[0] % 2:
        raise BadClientHello("the list of versions has a wrong length")
    return tuple(body[at] << 8 | body[at + 1] for at in range(1, len(body), 2))
