"""PROXY headers, byte for byte."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.proxy_protocol import (
    MAX_V1,
    SIGNATURE,
    ClientTLS,
    Endpoints,
    encode_v1,
    encode_v2,
    encode_v2_local,
)

V4 = Endpoints(("192.0.2.1", 40_000), ("198.51.100.7", 8443))
V6 = Endpoints(("2001:db8::1", 40_000), ("2001:db8::2", 8443))
addresses = st.ip_addresses().map(str)
ports = st.integers(0, 65_535)
ends = st.builds(Endpoints, st.tuples(addresses, ports), st.tuples(addresses, ports))


def entries(data: bytes) -> dict[int, bytes]:
    """Take type-length-value entries apart."""
    found = {}
    while data:
        kind, length = struct.unpack_from("!BH", data)
        found[kind] = data[3 : 3 + length]
        assert len(found[kind]) == length
        data = data[3 + length :]
    return found


class Version1Tests(SynchronousTestCase):
    """Lines of text."""

    def test_lines(self) -> None:
        """As the specification has them."""
        self.assertEqual(encode_v1(V4), b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 8443\r\n")
        self.assertEqual(encode_v1(V6), b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 8443\r\n")
        self.assertEqual(encode_v1(None), b"PROXY UNKNOWN\r\n")

    def test_families(self) -> None:
        """A mapped address is an IPv4 address; one beside an IPv6 address is mapped; zones are left out."""
        mapped = Endpoints(("::ffff:192.0.2.1", 1), ("198.51.100.7", 2))
        self.assertEqual(encode_v1(mapped), b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\r\n")
        mixed = Endpoints(("192.0.2.1", 1), ("fe80::1%eth0", 2))
        self.assertTrue(encode_v1(mixed).startswith(b"PROXY TCP6 ::ffff:"))
        self.assertNotIn(b"%", encode_v1(mixed))

    @given(ends)
    def test_any(self, given_ends: Endpoints) -> None:
        """Never longer than allowed, and of one family."""
        header = encode_v1(given_ends)
        self.assertLessEqual(len(header), MAX_V1)
        proxy, family, source, destination, sport, dport = header.decode().split()
        self.assertEqual((proxy, int(sport), int(dport)), ("PROXY", given_ends.source[1], given_ends.destination[1]))
        self.assertEqual({ip_address(source).version, ip_address(destination).version}, {int(family[3])})


class Version2Tests(SynchronousTestCase):
    """Binary headers."""

    def test_bytes(self) -> None:
        """As the specification has them."""
        self.assertEqual(
            encode_v2(V4), bytes.fromhex("0d0a0d0a000d0a515549540a 21 11 000c c0000201 c6336407 9c40 20fb")
        )
        self.assertEqual(
            encode_v2(V6),
            bytes.fromhex(
                "0d0a0d0a000d0a515549540a 21 21 0024 20010db8000000000000000000000001 20010db8000000000000000000000002"
                "9c40 20fb"
            ),
        )
        self.assertEqual(encode_v2(None), SIGNATURE + bytes.fromhex("21 00 0000"))
        self.assertEqual(encode_v2_local(), SIGNATURE + bytes.fromhex("20 00 0000"))

    def test_entries(self) -> None:
        """Name, protocol and TLS of the client."""
        tls = ClientTLS("TLSv1.3", "TLS_AES_128_GCM_SHA256", True, False, True, "billing")
        header = encode_v2(V4, tls, "app.example", b"http/1.1")
        self.assertEqual(
            header[28:],
            bytes.fromhex("01 0008") + b"http/1.1" + bytes.fromhex("02 000b") + b"app.example"
            + bytes.fromhex("20 0032 07 00000000")
            + bytes.fromhex("21 0007") + b"TLSv1.3" + bytes.fromhex("22 0007") + b"billing"
            + bytes.fromhex("23 0016") + b"TLS_AES_128_GCM_SHA256",
        )
        self.assertEqual(struct.unpack_from("!H", header, 14)[0], len(header) - 16)

    def told(self, tls: ClientTLS) -> tuple[int, int, dict[int, bytes]]:
        value = entries(encode_v2(V4, tls)[28:])[0x20]
        flags, verify = struct.unpack_from("!BI", value)
        return flags, verify, entries(value[5:])

    def test_who_is_verified(self) -> None:
        """Only a verified certificate counts as one, and only its name is told."""
        flags, verify, more = self.told(ClientTLS("TLSv1.3", "x"))
        self.assertEqual((flags, verify, set(more)), (1, 1, {0x21, 0x23}))
        flags, verify, more = self.told(ClientTLS("TLSv1.3", "x", True, False, False, "billing"))
        self.assertEqual((flags, verify, set(more)), (7, 1, {0x21, 0x23}))
        flags, verify, more = self.told(ClientTLS("TLSv1.3", "x", True, True, True, "billing"))
        self.assertEqual((flags, verify, more[0x22]), (5, 0, b"billing"))
        flags, verify, more = self.told(ClientTLS("TLSv1.3", "x", False, False, True, "billing"))
        self.assertEqual((flags, verify, set(more)), (1, 1, {0x21, 0x23}))

    @given(ends, st.text(max_size=100), st.binary(max_size=255), st.text(max_size=300))
    def test_any(self, given_ends: Endpoints, name: str, alpn: bytes, authority: str) -> None:
        """The lengths are right whatever stands in it."""
        authority = authority.encode("utf-8", "ignore").decode()
        header = encode_v2(given_ends, ClientTLS("TLSv1.2", "x", True, True, True, name), authority, alpn)
        self.assertEqual(header[:12], SIGNATURE)
        self.assertEqual(struct.unpack_from("!H", header, 14)[0], len(header) - 16)
        size = {0x11: 12, 0x21: 36}[header[13]]
        found = entries(header[16 + size :])
        self.assertEqual(found.get(1, b""), alpn)
        self.assertEqual(found.get(2, b""), authority.encode())

    def test_too_long(self) -> None:
        """What has no room is not cut."""
        self.assertRaises(ValueError, encode_v2, V4, None, "x" * 65_530)
        self.assertRaises(ValueError, encode_v2, V4, None, "x" * 65_536)
