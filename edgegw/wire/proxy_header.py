"""Reads HAProxy's PROXY protocol: whom a connection is for, as the proxy in front of the gateway says.

The specification is HAProxy's ``doc/proxy-protocol.txt``; sections are its.  :mod:`edgegw.wire.proxy_protocol` writes
what is read here.

Twisted's ``twisted.protocols.haproxy`` and the package ``proxy-protocol`` do not fit: the first drops headers that come
in pieces, takes any text for an address and forgets the entries; both raise what is not theirs, and bound nothing.
"""
from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from attrs import frozen

from edgegw.proxied import ProxiedTLS
from edgegw.wire.proxy_protocol import CERT_CONN, CERT_SESS, CLIENT_SSL, MAX_V1, SIGNATURE, Endpoints, TLVType

__all__ = ["BadProxyHeader", "NoProxyHeader", "ProxyHeader", "is_proxy_header", "parse_proxy_header"]

_V1: Final = b"PROXY "
_V1_UNKNOWN: Final = b"PROXY UNKNOWN"
#: Bytes before the addresses (§2.2).
_FIXED: Final = 16
#: The second half-byte of version 2's 13th byte.
_LOCAL, _PROXY = 0, 1
#: By the 14th byte: how many bytes the addresses take.  What is in none of these is unspecified, and refused.
_ADDRESS_SIZES: Final = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
#: Those whose addresses are a TCP connection's.
_TCP4, _TCP6 = 0x11, 0x21
_UNSPECIFIED: Final = 0x00
#: Bytes of a unique id at most (§2.2.5).
_MAX_UNIQUE_ID: Final = 128
#: The reflected polynomial of CRC32c (RFC 4960 appendix B).
_CRC32C: Final = 0x82F63B78


class NoProxyHeader(ValueError):
    """What came does not begin a header; the text says how it begins."""


class BadProxyHeader(ValueError):
    """What came begins a header and is none; the text says what is wrong."""


@frozen
class ProxyHeader:
    """A header.

    :ivar size: bytes that it takes; what follows is the client's.
    :ivar version: 1 or 2.
    :ivar local: whether the connection is the proxy's own, such as a health check (``LOCAL``).
    :ivar ends: the client's connection; ``None`` where the connection is the proxy's own, and where it is not one of
        TCP or unknown: it is then the proxy's address that counts (§2.1, §2.2).
    :ivar authority: the name that the client asked for (SNI); bytes that are no UTF-8 as ``\\xff``.
    :ivar alpn: what the proxy has negotiated with the client, each byte a character.
    :ivar unique_id: by which the proxy knows the connection, each byte a character.
    :ivar tls: what the proxy says of the client's TLS; ``None`` without TLS, and where it says nothing.
    """

    size: int
    version: int
    local: bool = False
    ends: Endpoints | None = None
    authority: str = ""
    alpn: str = ""
    unique_id: str = ""
    tls: ProxiedTLS | None = None


def is_proxy_header(data: bytes) -> bool:
    """Whether bytes begin a header for certain: no protocol behind the gateway begins so."""
    return data.startswith((_V1, SIGNATURE))


def parse_proxy_header(data: bytes, max_size: int) -> ProxyHeader | None:
    """Read a header from the beginning of a connection.

    :param data: what has come, maybe with what follows the header.
    :param max_size: bytes that one of version 2 may take; one of version 1 has :data:`MAX_V1` at most.
    :returns: ``None`` while more of it is to come.
    :raises NoProxyHeader: it is something else.
    :raises BadProxyHeader: it is malformed or too long.
    """
    if data.startswith(_V1):
        return _version_1(data[:MAX_V1])
    if data.startswith(SIGNATURE):
        return _version_2(data, max_size)
    if _V1.startswith(data) or SIGNATURE.startswith(data):
        return None
    raise NoProxyHeader(f"it begins with {bytes(data[:12])!r}")


# --- version 1 ----------------------------------------------------------------------------------


def _version_1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r")
    if end < 0 or end + 1 == len(data):
        if len(data) >= MAX_V1:
            raise BadProxyHeader(f"a line that does not end within {MAX_V1} bytes")
        if b"\n" in data:
            raise BadProxyHeader("a line that ends without CR")
        return None
    line = data[:end]
    if data[end + 1] != 0x0A or b"\n" in line:
        raise BadProxyHeader("a line with a lone CR or LF")
    size = end + 2
    if line == _V1_UNKNOWN or line.startswith(_V1_UNKNOWN + b" "):
        # What follows the word is to be ignored.
        return ProxyHeader(size, 1)
    fields = line.split(b" ")
    if len(fields) != 6:
        raise BadProxyHeader(f"{len(fields)} fields in place of 6")
    _, family, source, destination, source_port, destination_port = fields
    if family not in (b"TCP4", b"TCP6"):
        raise BadProxyHeader(f"an unknown family, {bytes(family)!r}")
    ends = Endpoints(
        (_address(source, family), _port(source_port)), (_address(destination, family), _port(destination_port))
    )
    return ProxyHeader(size, 1, ends=ends)


def _address(text: bytes, family: bytes) -> str:
    try:
        # Without zones, which mean something on one machine alone.
        if b"%" not in text:
            plain = text.decode("ascii")
            return str(IPv4Address(plain) if family == b"TCP4" else IPv6Address(plain))
    except ValueError:
        pass
    raise BadProxyHeader(f"{bytes(text)!r} is no address of {family.decode('ascii')}")


def _port(text: bytes) -> int:
    # bytes.isdigit() knows ASCII alone.
    if text.isdigit() and len(text) <= 5 and (len(text) == 1 or text[0] != 0x30):
        number = int(text)
        if number <= 65_535:
            return number
    raise BadProxyHeader(f"{bytes(text)!r} is no port")


# --- version 2 ----------------------------------------------------------------------------------


def _version_2(data: bytes, max_size: int) -> ProxyHeader | None:
    if len(data) > 12 and data[12] not in (0x20 | _LOCAL, 0x20 | _PROXY):
        raise BadProxyHeader(f"an unknown version or command, {data[12]:#04x}")
    if len(data) < _FIXED:
        return None
    size = _FIXED + int.from_bytes(data[14:16], "big")
    if size > max_size:
        raise BadProxyHeader(f"a header of {size} bytes")
    if data[12] == 0x20 | _LOCAL:
        # The family and all that follows is to be ignored, but for its length.
        return None if len(data) < size else ProxyHeader(size, 2, True)
    family = data[13]
    addresses = _ADDRESS_SIZES.get(family)
    if addresses is None:
        raise BadProxyHeader(f"an unknown family or protocol, {family:#04x}")
    if size < _FIXED + addresses:
        raise BadProxyHeader(f"{size - _FIXED} bytes where the addresses alone have {addresses}")
    if len(data) < size:
        return None
    header = bytes(data[:size])
    try:
        return _with_entries(header, _FIXED + addresses, _ends(header, family))
    except _NoEntries:
        if family != _UNSPECIFIED:
            raise
        # Addresses of whatever kind may stand here, and are to be ignored.
        return ProxyHeader(size, 2)


def _ends(header: bytes, family: int) -> Endpoints | None:
    if family == _TCP4:
        source, destination, source_port, destination_port = struct.unpack_from("!4s4sHH", header, _FIXED)
        return Endpoints((str(IPv4Address(source)), source_port), (str(IPv4Address(destination)), destination_port))
    if family == _TCP6:
        source, destination, source_port, destination_port = struct.unpack_from("!16s16sHH", header, _FIXED)
        return Endpoints((str(IPv6Address(source)), source_port), (str(IPv6Address(destination)), destination_port))
    return None


class _NoEntries(BadProxyHeader):
    """Bytes that are not one type-length-value entry after the other."""


def _entries(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Give the type of each entry, where its value begins, and where it ends."""
    while at < end:
        start = at + 3
        if start > end:
            raise _NoEntries("an entry without a length")
        stop = start + int.from_bytes(data[at + 1 : start], "big")
        if stop > end:
            raise _NoEntries("an entry that is longer than what it is in")
        yield data[at], start, stop
        at = stop


def _with_entries(header: bytes, at: int, ends: Endpoints | None) -> ProxyHeader:
    found: dict[int, tuple[int, int]] = {}
    for type_, start, stop in _entries(header, at, len(header)):
        if type_ in _TOLD:
            if type_ in found:
                raise BadProxyHeader(f"two entries of the type {type_:#04x}")
            found[type_] = (start, stop)
    if not found:
        return ProxyHeader(len(header), 2, ends=ends)
    checksum = found.get(TLVType.CRC32C)
    if checksum is not None:
        _check(header, *checksum)

    def value(type_: int) -> bytes:
        start, stop = found.get(type_, (0, 0))
        return header[start:stop]

    unique_id = value(TLVType.UNIQUE_ID)
    if len(unique_id) > _MAX_UNIQUE_ID:
        raise BadProxyHeader(f"a unique id of {len(unique_id)} bytes")
    return ProxyHeader(
        len(header), 2, False, ends,
        value(TLVType.AUTHORITY).decode("utf-8", "backslashreplace"),
        value(TLVType.ALPN).decode("latin-1"),
        unique_id.decode("latin-1"),
        None if TLVType.SSL not in found else _tls(value(TLVType.SSL)),
    )


#: Entries that are read; others are skipped.
_TOLD: Final = frozenset(map(int, (
    TLVType.ALPN, TLVType.AUTHORITY, TLVType.CRC32C, TLVType.UNIQUE_ID, TLVType.SSL,
)))  # fmt: skip


def _tls(value: bytes) -> ProxiedTLS | None:
    if len(value) < 5:
        raise BadProxyHeader(f"an entry about TLS of {len(value)} bytes")
    flags, verify = struct.unpack_from("!BI", value)
    texts: dict[int, str] = {}
    for type_, start, stop in _entries(value, 5, len(value)):
        if type_ in texts:
            raise BadProxyHeader(f"two entries of the type {type_:#04x} about TLS")
        texts[type_] = value[start:stop].decode("utf-8", "backslashreplace")
    if not flags & CLIENT_SSL:
        return None
    return ProxiedTLS(
        texts.get(TLVType.SSL_VERSION, ""),
        texts.get(TLVType.SSL_CIPHER, ""),
        bool(flags & CERT_CONN),
        bool(flags & CERT_SESS),
        verify,
        texts.get(TLVType.SSL_CN, ""),
    )


# --- the checksum ---------------------------------------------------------------------------------


def _check(header: bytes, start: int, stop: int) -> None:
    """Compare the checksum with the header's own, in which it counts as four zeros (§2.2.3)."""
    if stop - start != 4:
        raise BadProxyHeader(f"a checksum of {stop - start} bytes")
    given = int.from_bytes(header[start:stop], "big")
    if crc32c(header[:start] + bytes(4) + header[stop:]) != given:
        raise BadProxyHeader("a wrong checksum")


def _table() -> Iterator[int]:
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_CRC32C if byte & 1 else 0)
        yield byte


_TABLE: Final = tuple(_table())


def crc32c(data: bytes) -> int:
    """Give the CRC32c of bytes (RFC 4960 appendix B)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
