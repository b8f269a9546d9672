"""Reading PROXY headers: what is one, what is none, and what is not all of one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address

from hypothesis import assume, example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.proxied import ProxiedTLS, ProxyFacts
from edgegw.wire.proxy_header import (
    BadProxyHeader,
    NoProxyHeader,
    ProxyHeader,
    crc32c,
    is_proxy_header,
    parse_proxy_header,
)
from edgegw.wire.proxy_protocol import (
    MAX_V1,
    SIGNATURE,
    ClientTLS,
    Endpoints,
    encode_v1,
    encode_v2,
    encode_v2_local,
)

MAX = 4096
V4 = Endpoints(("192.0.2.1", 40_000), ("198.51.100.7", 8443))
V6 = Endpoints(("2001:db8::1", 40_000), ("2001:db8::2", 8443))
FOUR = bytes.fromhex("c0000201 c6336407 9c40 20fb")
addresses = st.ip_addresses().map(str)
ports = st.integers(0, 65_535)
ends = st.builds(Endpoints, st.tuples(addresses, ports), st.tuples(addresses, ports))
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
tls = st.builds(ClientTLS, words, words, st.booleans(), st.booleans(), st.booleans(), words)
headers = st.one_of(
    st.builds(encode_v1, st.none() | ends),
    st.builds(encode_v2_local),
    st.builds(encode_v2, st.none() | ends, st.none() | tls, words, words.map(str.encode)),
)


def v2(rest: bytes = b"", command: int = 0x21, family: int = 0x11) -> bytes:
    """Make a header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def entry(type_: int, value: bytes) -> bytes:
    """Make a type-length-value entry."""
    return struct.pack("!BH", type_, len(value)) + value


def with_checksum(header: bytes) -> bytes:
    """Put the right checksum into a header that ends with an empty one."""
    return header[:-4] + struct.pack("!I", crc32c(header))


def same_address(text: str) -> str:
    """Give an IPv4 address for one that is mapped into IPv6."""
    address = ip_address(text)
    return str(getattr(address, "ipv4_mapped", None) or address)


class ParseCase(SynchronousTestCase):
    """What is read."""

    def parse(self, data: bytes, max_size: int = MAX) -> ProxyHeader:
        header = parse_proxy_header(data, max_size)
        assert header is not None
        return header

    def assert_bad(self, data: bytes, text: str, max_size: int = MAX) -> None:
        """It is refused, whatever follows."""
        for rest in (b"", b"GET / HTTP/1.1\r\n\r\n"):
            error = self.assertRaises(BadProxyHeader, parse_proxy_header, data + rest, max_size)
            self.assertIn(text, str(error))


class Version1Tests(ParseCase):
    """Lines of text."""

    def test_lines(self) -> None:
        """As the specification has them, and not a byte further."""
        for ends, line in (
            (V4, b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 8443\r\n"),
            (V6, b"PROXY TCP6 2001:DB8::1 2001:db8:0:0:0:0:0:2 40000 8443\r\n"),
            (Endpoints(("255.255.255.255", 65_535), ("0.0.0.0", 0)),
             b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n"),
            (None, b"PROXY UNKNOWN\r\n"),
            (None, b"PROXY UNKNOWN \x00\xff what\r\n"),
            (None, b"PROXY UNKNOWN " + 2 * (b"ffff:" * 7 + b"ffff ") + b"65535 65535\r\n"),
        ):
            self.assertEqual(self.parse(line + b"PROXY "), ProxyHeader(len(line), 1, ends=ends))

    def test_longest(self) -> None:
        """107 bytes are the most."""
        line = b"PROXY UNKNOWN ".ljust(MAX_V1 - 2, b"x")
        self.assertEqual(self.parse(line + b"\r\n").size, MAX_V1)
        self.assert_bad(line + b"x\r\n", "does not end within 107 bytes")
        self.assertIsNone(parse_proxy_header(line + b"\r", MAX))
        self.assert_bad(line + b"x\r", "does not end")

    def test_refused(self) -> None:
        """Whatever is not exactly so."""
        for rest in (
            b"TCP4 192.0.2.1 198.51.100.7 040 8443\r\n", b"TCP4 192.0.2.1 198.51.100.7 65536 8443\r\n",
            b"TCP4 192.0.2.1 198.51.100.7 -1 8443\r\n", b"TCP4 192.0.2.1 198.51.100.7 x 8443\r\n",
            b"TCP4 192.0.2.1 198.51.100.7 +1 8443\r\n", b"TCP4 192.0.2.1 198.51.100.7 1_0 8443\r\n",
            b"TCP4 192.0.2.1 198.51.100.7 40000 \r\n", b"TCP4 192.0.2.1 198.51.100.7 40000\r\n",
            b"TCP4 192.0.2.1 198.51.100.7 40000 8443 \r\n", b"TCP4  192.0.2.1 198.51.100.7 40000 8443\r\n",
            b"TCP4 192.0.2.01 198.51.100.7 40000 8443\r\n", b"TCP4 192.0.2 198.51.100.7 40000 8443\r\n",
            b"TCP4 192.0.2.256 198.51.100.7 40000 8443\r\n", b"TCP4 evil<script> 198.51.100.7 1 2\r\n",
            b"TCP4 ::1 ::2 1 2\r\n", b"TCP6 192.0.2.1 198.51.100.7 1 2\r\n", b"TCP6 ::1 1:2 1 2\r\n",
            b"TCP6 fe80::1%eth0 ::1 1 2\r\n", b"TCP6 :::1 ::1 1 2\r\n", b"TCP4 \xd9\xa1.2.3.4 1.2.3.4 1 2\r\n",
            b"TCP5 192.0.2.1 198.51.100.7 1 2\r\n", b"tcp4 192.0.2.1 198.51.100.7 1 2\r\n", b"UNKNOWNS\r\n", b"\r\n",
            b"UDP4 192.0.2.1 198.51.100.7 1 2\r\n", b"TCP4 192.0.2.1\t198.51.100.7 1 2\r\n",
        ):  # fmt: skip
            self.assert_bad(b"PROXY " + rest, "")
        for rest, text in ((b"UNKNOWN\n", "without CR"), (b"UNKNOWN\n\r\n", "a lone"), (b"UNKNOWN\rx\r\n", "a lone")):
            error = self.assertRaises(BadProxyHeader, parse_proxy_header, b"PROXY " + rest, MAX)
            self.assertIn(text, str(error))


class Version2Tests(ParseCase):
    """Binary headers."""

    def test_bytes(self) -> None:
        """As the specification has them."""
        four = v2(FOUR)
        self.assertEqual(self.parse(four + b"rest"), ProxyHeader(28, 2, ends=V4))
        six = "20010db8000000000000000000000001 20010db8000000000000000000000002 9c40 20fb"
        self.assertEqual(self.parse(v2(bytes.fromhex(six), family=0x21)), ProxyHeader(52, 2, ends=V6))

    def test_no_tcp(self) -> None:
        """UDP, Unix sockets and what is unknown give no addresses, and what they say beside them is read."""
        name = entry(2, b"a.example")
        for family, size in ((0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216), (0x00, 0)):
            header = v2(b"x" * size + name, family=family)
            self.assertEqual(self.parse(header), ProxyHeader(len(header), 2, authority="a.example"))

    def test_unspecified(self) -> None:
        """Addresses of an unknown kind are skipped."""
        header = v2(b"what is this?", family=0)
        self.assertEqual(self.parse(header), ProxyHeader(len(header), 2))

    def test_local(self) -> None:
        """A proxy's own connection, whatever else stands there."""
        for rest, family in ((b"", 0), (FOUR, 0x11), (b"x" * 100, 0xEE), (FOUR + b"\x03", 0x11)):
            header = v2(rest, 0x20, family)
            self.assertEqual(self.parse(header + b"rest"), ProxyHeader(len(header), 2, True))
        self.assertEqual(self.parse(encode_v2_local()), ProxyHeader(16, 2, True))

    def test_refused(self) -> None:
        """What is unspecified, and what does not fit."""
        self.assert_bad(v2(FOUR, 0x22), "version or command, 0x22")
        self.assert_bad(v2(FOUR, 0x11), "version or command, 0x11")
        for family in (0x01, 0x10, 0x13, 0x20, 0x30, 0x33, 0x41, 0xFF):
            self.assert_bad(v2(FOUR, family=family), f"family or protocol, {family:#04x}")
        error = self.assertRaises(BadProxyHeader, parse_proxy_header, v2(FOUR[:-1]), MAX)
        self.assertIn("11 bytes where the addresses alone have 12", str(error))
        for rest in (b"\x02", b"\x02\x00", b"\x02\x00\x05name", b"\xee\xff\xff"):
            self.assert_bad(v2(FOUR + rest), "an entry")
        self.assert_bad(v2(FOUR + entry(2, b"a") + entry(2, b"b")), "two entries of the type 0x02")
        self.assert_bad(v2(FOUR + entry(5, b"x" * 129)), "a unique id of 129 bytes")

    def test_size(self) -> None:
        """Neither longer than allowed, nor waited for when it says that it will be."""
        header = v2(FOUR + entry(4, bytes(100)))
        self.assertEqual(self.parse(header, len(header)).size, 131)
        self.assert_bad(header, "a header of 131 bytes", 130)
        self.assert_bad(SIGNATURE + b"\x21\x11\xff\xff", "a header of 65551 bytes")

    def test_entries(self) -> None:
        """What is told is kept; what is unknown is skipped."""
        header = v2(
            FOUR + entry(1, b"h2\xff") + entry(0xEA, b"\x01vpce-1") + entry(2, "b\u00fccher\xff".encode() + b"\xff")
            + entry(4, b"") + entry(4, b"xx") + entry(0x30, b"blue") + entry(5, b"id-\x00")
        )
        self.assertEqual(
            self.parse(header),
            ProxyHeader(len(header), 2, False, V4, "b\u00fccher\xff\\xff", "h2\xff", "id-\x00"),
        )

    def test_tls(self) -> None:
        """Version, suite, common name, and what came of the certificate."""
        def parse(flags: int, verify: int, more: bytes = b"") -> ProxiedTLS | None:
            return self.parse(v2(FOUR + entry(0x20, struct.pack("!BI", flags, verify) + more))).tls

        more = entry(0x21, b"TLSv1.2") + entry(0x22, b"b\xc3\xbccher\xff") + entry(0x23, b"X") + entry(0x24, b"SHA256")
        self.assertEqual(parse(7, 0, more), ProxiedTLS("TLSv1.2", "X", True, True, 0, "bücher\\xff"))
        self.assertEqual(parse(5, 20), ProxiedTLS("", "", False, True, 20))
        for flags, verify, verified in ((1, 0, False), (3, 0, True), (5, 0, True), (7, 0, True), (7, 10, False)):
            found = parse(flags, verify)
            assert found is not None
            self.assertEqual(found.verified, verified)
        # A proxy without TLS says so.
        self.assertIsNone(parse(0, 0))
        self.assert_bad(v2(FOUR + entry(0x20, b"\x01\0\0\0")), "an entry about TLS of 4 bytes")
        self.assert_bad(v2(FOUR + entry(0x20, b"\x01\0\0\0\0\x22\0\x05x")), "an entry that is longer")
        self.assert_bad(v2(FOUR + entry(0x20, b"\x01\0\0\0\0" + 2 * entry(0x22, b"x"))), "two entries")

    def test_checksum(self) -> None:
        """It is compared where there is one."""
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        header = with_checksum(v2(FOUR + entry(2, b"a.example") + entry(3, bytes(4))))
        self.assertEqual(self.parse(header).authority, "a.example")
        for at in (20, 33, len(header) - 1):
            wrong = header[:at] + bytes([header[at] ^ 1]) + header[at + 1 :]
            self.assert_bad(wrong, "a wrong checksum")
        self.assert_bad(v2(FOUR + entry(3, b"123")), "a checksum of 3 bytes")


class AnyTests(ParseCase):
    """Whatever comes."""

    @given(st.none() | ends)
    def test_round_trip_v1(self, given_ends: Endpoints | None) -> None:
        """What is written is read."""
        data = encode_v1(given_ends)
        self.assert_same(self.parse(data + b"x"), data, given_ends)

    @given(st.none() | ends, st.none() | tls, words, words.map(str.encode))
    def test_round_trip_v2(
        self, given_ends: Endpoints | None, said: ClientTLS | None, authority: str, alpn: bytes
    ) -> None:
        """What is written is read."""
        data = encode_v2(given_ends, said, authority, alpn)
        header = self.parse(data + b"x")
        self.assert_same(header, data, given_ends)
        self.assertEqual((header.authority, header.alpn.encode()), (authority, alpn))
        if said is None:
            self.assertIsNone(header.tls)
            return
        read = header.tls
        assert read is not None
        self.assertEqual((read.version, read.cipher), (said.version, said.cipher))
        self.assertEqual(read.certificate or read.session_certificate, said.certificate)
        self.assertEqual(read.verified, said.certificate and said.verified)
        self.assertEqual(read.common_name, said.common_name if read.verified else "")

    def assert_same(self, header: ProxyHeader, data: bytes, given_ends: Endpoints | None) -> None:
        self.assertEqual((header.size, header.local), (len(data), False))
        if given_ends is None:
            self.assertIsNone(header.ends)
            return
        assert header.ends is not None
        read_ends, written_ends = ((one.source, one.destination) for one in (header.ends, given_ends))
        for read, written in zip(read_ends, written_ends, strict=True):
            self.assertEqual((same_address(read[0]), read[1]), (same_address(written[0]), written[1]))

    @given(headers, st.binary(max_size=20))
    def test_truncated(self, header: bytes, rest: bytes) -> None:
        """Every part of a header lets more be waited for, and what follows it changes nothing."""
        for size in range(len(header)):
            self.assertIsNone(parse_proxy_header(header[:size], MAX))
        self.assertEqual(parse_proxy_header(header, MAX), parse_proxy_header(header + rest, MAX))

    @given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00", v2(FOUR)]),
           st.binary(max_size=300))
    @example(b"", b"")
    def test_anything(self, begin: bytes, rest: bytes) -> None:
        """Nothing raises but what is declared, and what is not a header's beginning is known at once."""
        data = begin + rest
        try:
            header = parse_proxy_header(data, MAX)
        except BadProxyHeader:
            self.assertTrue(is_proxy_header(data))
        except NoProxyHeader:
            self.assertFalse(is_proxy_header(data))
        else:
            if header is not None:
                self.assertTrue(0 < header.size <= len(data))
            else:
                self.assertTrue(is_proxy_header(data) or len(data) < 12)

    @given(headers, st.data())
    def test_changed(self, header: bytes, data: st.DataObject) -> None:
        """One byte that is another one raises nothing else."""
        at = data.draw(st.integers(0, len(header) - 1))
        changed = header[:at] + bytes([data.draw(st.integers(0, 255))]) + header[at + 1 :]
        assume(changed != header)
        try:
            parse_proxy_header(changed, MAX)
        except (BadProxyHeader, NoProxyHeader):
            pass

    def test_protocols_behind(self) -> None:
        """What clients begin with is no header; where it may still become one, more is waited for."""
        for data in (b"\x16\x03\x01", b"GET / HTTP/1.1\r\n", b"PROPFIND /", b"PROXYS / HTTP/1", b"\r\nGET", b"proxy "):
            self.assertRaises(NoProxyHeader, parse_proxy_header, data, MAX)
        for data in (b"", b"P", b"PR", b"PROXY", b"\r", b"\r\n\r\n"):
            self.assertIsNone(parse_proxy_header(data, MAX))
            self.assertFalse(is_proxy_header(data))


class ProxyFactsTests(SynchronousTestCase):
    """What logs show."""

    def test_text(self) -> None:
        """One line of printable ASCII."""
        facts: Callable[..., ProxyFacts] = ProxyFacts
        self.assertEqual(str(facts("10.0.0.5", 1, 1)), "PROXY v1 from 10.0.0.5")
        self.assertEqual(str(facts("unix:", 0, 2, True)), "PROXY v2 from unix:, local")
        said = ProxiedTLS("TLSv1.3", "X", True, True, 0, "bü\n")
        self.assertEqual(
            str(facts("10.0.0.5", 1, 2, False, ("192.0.2.1", 443), "a\x1bx", "h2", "7", said)),
            "PROXY v2 from 10.0.0.5, TLS TLSv1.3, certificate verified, authority a\\1Bx, alpn h2, id 7, "
            "common name b\\C3\\BC\\0A",
        )
        self.assertIn("not verified (20)", str(facts("1.2.3.4", 1, 2, tls=ProxiedTLS("", "", False, True, 20))))
