"""HAProxy's PROXY protocol: who a connection is for, said before its first byte.

The specification is HAProxy's ``doc/proxy-protocol.txt``; sections are its.  Version 1 (§2.1) is a line of text,
version 2 (§2.2) is binary and has room for more: type-length-value entries, of which TLS is one with entries of its
own.
"""
from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from attrs import frozen

__all__ = [
    "CERT_CONN",
    "CERT_SESS",
    "CLIENT_SSL",
    "MAX_V1",
    "SIGNATURE",
    "ClientTLS",
    "Endpoints",
    "TLVType",
    "encode_v1",
    "encode_v2",
    "encode_v2_local",
]

#: What version 2 begins with (§2.2).
SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
#: Bytes that a header of version 1 has at most, its line's end included (§2.1).
MAX_V1: Final = 107

_VERSION: Final = 0x20
_LOCAL: Final = _VERSION
_PROXY: Final = _VERSION | 1
_UNSPECIFIED, _TCP4, _TCP6 = 0x00, 0x11, 0x21

#: Bits of the ``client`` byte of :attr:`TLVType.SSL` (§2.2.6).
CLIENT_SSL, CERT_CONN, CERT_SESS = 1, 2, 4


class TLVType(IntEnum):
    """Types of entries (§2.2)."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    SSL_VERSION = 0x21
    SSL_CN = 0x22
    SSL_CIPHER = 0x23
    SSL_SIG_ALG = 0x24
    SSL_KEY_ALG = 0x25
    NETNS = 0x30


@frozen
class Endpoints:
    """The two ends of the client's connection.

    :ivar source: the client's IP address and port.
    :ivar destination: those that it has connected to.
    """

    source: tuple[str, int]
    destination: tuple[str, int]


@frozen
class ClientTLS:
    """What is told of the client's TLS.

    :ivar version: ``TLSv1.3``.
    :ivar cipher: the suite.
    :ivar certificate: whether the client has shown a certificate, in this handshake or in the one of the session that
        it has resumed.
    :ivar resumed: whether it has resumed one.
    :ivar verified: whether that certificate was verified.
    :ivar common_name: of the verified certificate's subject.
    """

    version: str
    cipher: str
    certificate: bool = False
    resumed: bool = False
    verified: bool = False
    common_name: str = ""


def encode_v1(ends: Endpoints | None) -> bytes:
    """Give a header of version 1.

    :param ends: ``None`` where there are none, or none that can be told: a Unix socket's, or a connection that the
        gateway makes for itself.
    :raises ValueError: an address is none.
    """
    if ends is None:
        return b"PROXY UNKNOWN\r\n"
    source, destination = _addresses(ends)
    family = "TCP4" if source.version == 4 else "TCP6"
    line = f"PROXY {family} {source} {destination} {ends.source[1]} {ends.destination[1]}\r\n"
    return line.encode("ascii")


def encode_v2(
    ends: Endpoints | None, tls: ClientTLS | None = None, authority: str = "", alpn: bytes = b""
) -> bytes:
    """Give a header of version 2 for a client's connection.

    :param ends: ``None`` where they cannot be told, as a Unix socket's.
    :param authority: the name that the client asked for (SNI).
    :param alpn: the protocol that was negotiated with it.
    :raises ValueError: an address is none, or it is all longer than 64 KiB.
    """
    entries = []
    if alpn:
        entries.append(_entry(TLVType.ALPN, alpn))
    if authority:
        entries.append(_entry(TLVType.AUTHORITY, authority.encode("utf-8")))
    if tls is not None:
        entries.append(_tls_entry(tls))
    if ends is None:
        return _header(_PROXY, _UNSPECIFIED, b"", entries)
    source, destination = _addresses(ends)
    ports = struct.pack("!HH", ends.source[1], ends.destination[1])
    family = _TCP4 if source.version == 4 else _TCP6
    return _header(_PROXY, family, source.packed + destination.packed + ports, entries)


def encode_v2_local() -> bytes:
    """Give a header of version 2 for a connection that the gateway makes for itself, such as a health check."""
    return _header(_LOCAL, _UNSPECIFIED, b"", ())


def _header(command: int, family: int, addresses: bytes, entries: Iterable[bytes]) -> bytes:
    rest = b"".join((addresses, *entries))
    if len(rest) > 0xFFFF:
        raise ValueError(f"a PROXY header of {len(rest)} bytes")
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def _entry(type_: TLVType, value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise ValueError(f"an entry of {len(value)} bytes in a PROXY header")
    return struct.pack("!BH", type_, len(value)) + value


def _tls_entry(tls: ClientTLS) -> bytes:
    flags = CLIENT_SSL
    if tls.certificate:
        # With a resumed session the certificate is the session's, and not one of this connection's.
        flags |= CERT_SESS if tls.resumed else CERT_CONN | CERT_SESS
    # 0 is for a certificate that was shown and verified (§2.2.6), and for nothing else.
    verify = 0 if tls.certificate and tls.verified else 1
    value = struct.pack("!BI", flags, verify) + _entry(TLVType.SSL_VERSION, tls.version.encode("ascii"))
    if verify == 0 and tls.common_name:
        value += _entry(TLVType.SSL_CN, tls.common_name.encode("utf-8", "backslashreplace"))
    value += _entry(TLVType.SSL_CIPHER, tls.cipher.encode("ascii"))
    return _entry(TLVType.SSL, value)


def _addresses(ends: Endpoints) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """Give both addresses in one family, without zones: an IPv4 address beside an IPv6 one is mapped into it."""
    source, destination = (_address(text) for text in (ends.source[0], ends.destination[0]))
    if source.version != destination.version:
        return _as_ipv6(source), _as_ipv6(destination)
    return source, destination


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _as_ipv6(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")
