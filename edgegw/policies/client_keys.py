"""Whose connections or requests are counted together: keys for :class:`edgegw.policies.token_buckets.TokenBuckets`."""
from __future__ import annotations

from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address
from secrets import token_bytes
from typing import Final

from edgegw.api import Certificate

__all__ = ["UNIX", "ClientKeys", "unmapped"]

_KEY_BYTES: Final = 16
#: Clients of a Unix socket, which have no address.
UNIX: Final = b"unix:"


class ClientKeys:
    """Makes the keys of clients.

    :param ipv4_prefix: bits of an IPv4 address that make one client.
    :param ipv6_prefix: bits of an IPv6 address that do.
    """

    def __init__(self, ipv4_prefix: int = 32, ipv6_prefix: int = 64) -> None:
        self._ipv4_mask = -1 << 32 - ipv4_prefix
        self._ipv6_mask = -1 << 128 - ipv6_prefix
        # So that nobody can find two identities that count as one.
        self._secret = token_bytes(_KEY_BYTES)

    def identity(self, certificate: Certificate) -> bytes:
        """Give the key of a verified certificate: one with the same names is its renewal."""
        names = (
            certificate.issuer, certificate.subject, certificate.uris, certificate.dns_names, certificate.emails,
            certificate.ip_addresses,
        )
        # One that is called nothing is no other's renewal.
        named: object = names if any(names[1:]) else certificate.sha256
        return blake2b(
            repr(named).encode("utf-8", "backslashreplace"), digest_size=_KEY_BYTES, key=self._secret
        ).digest()

    def address(self, address: IPv4Address | IPv6Address | None) -> tuple[bytes, bytes]:
        """Give the network whose connections are counted together, and the greater one that shares a bucket."""
        if address is None:
            return UNIX, UNIX
        if isinstance(address, IPv4Address):
            key = (int(address) & self._ipv4_mask).to_bytes(4, "big")
            return key, key[:2]
        key = (int(address) & self._ipv6_mask).to_bytes(16, "big")
        return key, key[:4]


def unmapped(address: IPv4Address | IPv6Address | None) -> IPv4Address | IPv6Address | None:
    """Give the IPv4 address that an IPv6 socket writes as ``::ffff:192.0.2.7``."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
