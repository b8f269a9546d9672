"""ClientHellos of real programs, and odd ones, on ports that look at them first and where OpenSSL reads them."""
from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from OpenSSL import SSL
from twisted.trial.unittest import TestCase

from edgegw.model import ConnectionLimits, TLSSettings
from edgegw.observe import handshakes
from edgegw.tls.hello import MAX_CLIENT_HELLO
from edgegw.verdict import Reason
from tests.client_hellos import CAPTURED, captured
from tests.gateway import SERVER, Authority, https_listener, in_thread
from tests.test_client_hello import extension, in_records, server_name
from tests.test_client_hello_corpus import read
from tests.tls_peers import BarePort, connect, start_port

#: Versions, cipher suites or groups of theirs are none of the gateway's: what it answers, and why it refused them.
TOO_OLD = {"openssl-tls10": Reason.PROTOCOL_VERSION}
HANDSHAKE_RECORD, ALERT_RECORD = 22, 21
SERVER_HELLO = 2


def sslv2_hello(version: int) -> bytes:
    """Write a ClientHello in the format of SSL 2.0 (RFC 6101 §E) that offers suites of TLS 1.2."""
    suites = bytes.fromhex("00c02f00c02b00c0300000ff")
    body = b"\x01" + struct.pack(">HHHH", version, len(suites), 0, 32) + suites + b"r" * 32
    return struct.pack(">H", 0x8000 | len(body)) + body


def padded(size: int) -> bytes:
    """Write a ClientHello with padding (RFC 7685) for a message of ``size`` bytes, in records as full as may be."""
    body = read(captured("openssl").data).message[4:]
    at = 2 + 32
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    extensions = body[at + 2 :] + extension(21, bytes(size - 4 - len(body) - 4))
    body = body[:at] + struct.pack(">H", len(extensions)) + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return in_records(message, [16_384])


class ServedCase(TestCase):
    """Ports of both sorts."""

    def setUp(self) -> None:
        # Each has an entry of its own.
        self.patch(handshakes, "REPEAT_SECONDS", 0.0)
        authority = Authority()
        self.issued = [
            authority.issue(name, dns=[name], usages=SERVER) for name in ("other.example", "a.example")
        ]

    def by_openssl(self, seconds: float = 10.0) -> BarePort:
        """Serve a listener whose ClientHellos OpenSSL reads at once."""
        limits = ConnectionLimits(handshake_timeout=seconds)
        port = start_port(self, https_listener(self.issued[1:], limits=limits))
        self.assertIsNotNone(port.profile.only)
        return port

    def by_name(self, seconds: float = 10.0) -> BarePort:
        """Serve two listeners that the name tells apart, the fingerprints taken."""
        limits = ConnectionLimits(handshake_timeout=seconds)
        return start_port(self, [
            https_listener(
                [issued], name=name, hostname=name, limits=limits, tls=TLSSettings((), fingerprints=name == "a.example")
            )
            for issued, name in zip(self.issued, ("other.example", "a.example"), strict=True)
        ])  # fmt: skip

    async def first_answer(self, port: BarePort, pieces: Sequence[bytes]) -> bytes:
        """Send pieces, each on its own; give the first six bytes that come, or less until the end."""
        def talk() -> bytes:
            with connect(port.address) as plain:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                got = b""
                try:
                    for piece in pieces:
                        plain.sendall(piece)
                    while len(got) < 6 and (data := plain.recv(6 - len(got))):
                        got += data
                except ConnectionError:
                    pass
                return got

        got: bytes = await in_thread(talk)
        await port.idle()
        return got

    def entry(self, port: BarePort) -> dict[str, object]:
        """Give the record's last entry."""
        return port.record.entries(1)[0][0]


class CorpusTests(ServedCase):
    """The captured ones."""

    async def check(self, port: BarePort, cut: int = 0) -> None:
        """Send each, and see that it leads to its listener and is answered.

        :param cut: bytes of each piece; 0 sends it as one.
        """
        for one in CAPTURED:
            size = cut or len(one.data)
            got = await self.first_answer(port, [one.data[at : at + size] for at in range(0, len(one.data), size)])
            entry = self.entry(port)
            if port.profile.only is None or one.name not in TOO_OLD:
                # OpenSSL reads no name of a client whose versions are none of its own.
                self.assertEqual(entry["server_name"], one.server_name, one.name)
            if one.name in TOO_OLD:
                self.assertEqual((one.name, got[0], entry["reason"]), (one.name, ALERT_RECORD, TOO_OLD[one.name]))
            else:
                self.assertEqual((one.name, got[0], got[5]), (one.name, HANDSHAKE_RECORD, SERVER_HELLO))
            if port.profile.only is None:
                self.assertEqual((one.name, entry["ja3"], entry["ja4"]), (one.name, one.ja3, one.ja4))
                expected = "a.example" if one.server_name == "a.example" else "other.example"
                self.assertEqual((one.name, entry["listener"]), (one.name, expected))
            else:
                self.assertEqual((entry["ja3"], entry["ja4"]), (None, None))

    async def test_whole(self) -> None:
        """As they were sent: Chromium's with GREASE and an encrypted one within, long ones, one of five records."""
        await self.check(self.by_name())
        await self.check(self.by_openssl())

    async def test_in_segments(self) -> None:
        """In pieces."""
        await self.check(self.by_name(), 217)
        await self.check(self.by_openssl(), 217)

    async def test_byte_by_byte(self) -> None:
        """In pieces of one byte, as far as TCP keeps them apart."""
        for port in (self.by_name(), self.by_openssl()):
            one = captured("chromium")
            got = await self.first_answer(port, [one.data[at : at + 1] for at in range(len(one.data))])
            self.assertEqual((got[0], got[5]), (HANDSHAKE_RECORD, SERVER_HELLO))

    async def test_over_records(self) -> None:
        """In many records; beyond 64 of them a port that looks itself refuses it."""
        message = read(captured("chromium").data).message
        for sizes in ([1] * 30, [40] * 48):
            for port in (self.by_name(), self.by_openssl()):
                got = await self.first_answer(port, [in_records(message, sizes)])
                self.assertEqual((got[0], got[5]), (HANDSHAKE_RECORD, SERVER_HELLO))
        port = self.by_name()
        got = await self.first_answer(port, [in_records(message, [20] * 100)])
        self.assertEqual((got[0], port.failures), (ALERT_RECORD, {Reason.BAD_CLIENT_HELLO: 1}))


class OddTests(ServedCase):
    """What nobody should send."""

    async def test_sslv2(self) -> None:
        """A ClientHello in SSL 2.0's format is refused, whatever version it offers, with a reason."""
        for version in (0x0002, 0x0300, 0x0303):
            ports = [self.by_name()]
            if version < 0x0301 or SSL.OPENSSL_VERSION_NUMBER >= 0x40000000:
                # OpenSSL 3 takes the format for versions that it speaks.
                ports.append(self.by_openssl())
            for port in ports:
                self.assertEqual(await self.first_answer(port, [sslv2_hello(version)]), b"")
                self.assertEqual(port.failures, {Reason.NOT_TLS: 1})
            port = self.by_name()
            await self.first_answer(port, [sslv2_hello(version)])
            self.assertEqual(self.entry(port)["detail"], "the connection begins with a ClientHello of SSL 2.0")

    async def test_large(self) -> None:
        """One that is as long as may be is answered; a longer one a port that looks itself refuses."""
        for port in (self.by_name(), self.by_openssl()):
            got = await self.first_answer(port, [padded(MAX_CLIENT_HELLO - 100)])
            self.assertEqual((got[0], got[5]), (HANDSHAKE_RECORD, SERVER_HELLO))
        port = self.by_name()
        got = await self.first_answer(port, [padded(MAX_CLIENT_HELLO + 1)])
        self.assertEqual((got[0], port.failures), (ALERT_RECORD, {Reason.BAD_CLIENT_HELLO: 1}))

    async def test_endless(self) -> None:
        """Nobody is listened to who says that 16 MB are to come."""
        start = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16_380)
        for port in (self.by_name(), self.by_openssl()):
            got = await self.first_answer(port, [start, *[b"\x16\x03\x01\x40\x00" + bytes(16_384)] * 40])
            self.assertIn(got[:1], (b"\x15", b""))
            self.assertEqual(sum(port.failures.values()), 1)
            self.assertNotIn(Reason.HANDSHAKE_TIMEOUT, port.failures)

    async def test_broken_lists(self) -> None:
        """A list that does not end where it must is refused before its fingerprint is made, and by OpenSSL."""
        body = b"\x03\x03" + bytes(32) + b"\x00\x00\x02\x13\x01\x01\x00"
        extensions = server_name(b"a.example") + extension(10, b"\x00\x09\x00\x1d")
        body += struct.pack(">H", len(extensions)) + extensions
        hello = in_records(b"\x01" + len(body).to_bytes(3, "big") + body, [])
        for port, reason in ((self.by_name(), Reason.BAD_CLIENT_HELLO), (self.by_openssl(), Reason.TLS_ERROR)):
            got = await self.first_answer(port, [hello])
            self.assertEqual((got[0], port.failures), (ALERT_RECORD, {reason: 1}))

    async def test_thousands(self) -> None:
        """Where fingerprints are taken nobody has to wait for those of thousands of cipher suites, or of extensions."""
        suites, extensions = bytes(range(1, 251)) * 32, extension(0xFF00, b"") * 2_000
        for body in (
            struct.pack(">H", len(suites)) + suites + b"\x01\x00",
            b"\x00\x02\x13\x01\x01\x00" + struct.pack(">H", len(extensions)) + extensions,
        ):
            body = b"\x03\x03" + bytes(33) + body
            hello = in_records(b"\x01" + len(body).to_bytes(3, "big") + body, [])
            port = self.by_name()
            got = await self.first_answer(port, [hello])
            self.assertEqual((got[0], port.failures), (ALERT_RECORD, {Reason.BAD_CLIENT_HELLO: 1}))

    async def test_slow(self) -> None:
        """Neither silence nor a hello that never ends outlasts the time for the handshake."""
        hello = captured("chromium").data
        for pieces in ((), (hello[:1],), (hello[:-1],), [hello[at : at + 1] for at in range(700)]):
            for port in (self.by_name(0.3), self.by_openssl(0.3)):
                self.assertEqual(await self.first_answer(port, pieces), b"")
                self.assertEqual(port.failures, {Reason.HANDSHAKE_TIMEOUT: 1})

    async def test_garbage(self) -> None:
        """Garbage is closed at once, at its first record or byte."""
        for data in (b"\x00" * 100, b"\xff" * 100, b"\x16\x02\x00\x00\x05hello", b"\x80\x80" * 50):
            for port in (self.by_name(), self.by_openssl()):
                await self.first_answer(port, [data])
                self.assertEqual((data, port.failures), (data, {Reason.NOT_TLS: 1}))
