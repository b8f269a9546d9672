"""ClientHellos as real libraries write them, and as nobody should."""
from __future__ import annotations

import ssl
import struct
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.client_hello import BadClientHello, ClientHello, NotTLS, parse_client_hello

LIMIT = 16_384


def from_ssl(name: str | None, alpn: Iterable[str] = (), version: ssl.TLSVersion | None = None) -> bytes:
    """Give the first flight of the standard library's client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    out = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def from_pyopenssl(name: str | None) -> bytes:
    """Give the first flight of pyOpenSSL's client, with a post-quantum key share in it."""
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    if name is not None:
        client.set_tlsext_host_name(name.encode())
    client.set_connect_state()
    try:
        client.do_handshake()
    except SSL.WantReadError:
        pass
    return client.bio_read(65_536)


def message_of(hello: bytes) -> bytes:
    """Give the handshake message of a hello in one record."""
    return hello[5:]


def in_records(message: bytes, sizes: Iterable[int]) -> bytes:
    """Put a message into records of these sizes; the last one takes the rest."""
    out, at = b"", 0
    for size in sizes:
        out += b"\x16\x03\x01" + struct.pack(">H", len(message[at : at + size])) + message[at : at + size]
        at += size
        if at >= len(message):
            return out
    return out + b"\x16\x03\x01" + struct.pack(">H", len(message) - at) + message[at:]


def handmade(extensions: bytes | None, session: bytes = b"") -> bytes:
    """Write a hello in one record."""
    body = b"\x03\x03" + bytes(32) + bytes([len(session)]) + session + b"\x00\x02\x13\x01" + b"\x01\x00"
    if extensions is not None:
        body += struct.pack(">H", len(extensions)) + extensions
    return in_records(b"\x01" + len(body).to_bytes(3, "big") + body, [])


def extension(kind: int, body: bytes) -> bytes:
    """Write an extension."""
    return struct.pack(">HH", kind, len(body)) + body


def server_name(name: bytes, kind: int = 0) -> bytes:
    """Write a server_name extension."""
    entry = bytes([kind]) + struct.pack(">H", len(name)) + name
    return extension(0, struct.pack(">H", len(entry)) + entry)


HELLOS = (
    from_ssl("a.example", ["h2", "http/1.1"]),
    from_ssl("a.example", version=ssl.TLSVersion.TLSv1_2),
    from_ssl(None),
    from_pyopenssl("a.example"),
)


class RealHelloTests(SynchronousTestCase):
    """What real clients send."""

    def test_name_and_protocols(self) -> None:
        """SNI and ALPN are found, in the client's order."""
        hello = parse_client_hello(from_ssl("A.Example", ["h2", "http/1.1"]), LIMIT)
        assert hello is not None
        self.assertEqual((hello.server_name, hello.alpn), ("a.example", (b"h2", b"http/1.1")))

    def test_no_name(self) -> None:
        """A client without SNI and ALPN has neither."""
        data = from_ssl(None)
        self.assertEqual(parse_client_hello(data, LIMIT), ClientHello(None, (), len(data) - 5, (0x0304, 0x0303)))

    def test_post_quantum_hello(self) -> None:
        """A hello that does not fit into one TCP segment is found at its last byte."""
        data = from_pyopenssl("a.example")
        self.assertGreater(len(data), 1400)
        hello = parse_client_hello(data, LIMIT)
        assert hello is not None
        self.assertEqual((hello.server_name, hello.size), ("a.example", len(data) - 5))

    def test_every_split(self) -> None:
        """Cut off anywhere, a hello is incomplete; nothing is decided before its last byte."""
        for data in HELLOS:
            for cut in range(len(data)):
                self.assertIsNone(parse_client_hello(data[:cut], LIMIT))

    def test_bytes_behind_it(self) -> None:
        """What follows in the same record, or in the next one, changes nothing."""
        for data in HELLOS:
            expected = parse_client_hello(data, LIMIT)
            self.assertEqual(parse_client_hello(data + b"\x17\x03\x03\x00\x01x", LIMIT), expected)
            self.assertEqual(parse_client_hello(in_records(message_of(data) + b"more", []), LIMIT), expected)


class RecordTests(SynchronousTestCase):
    """One message over several records."""

    @given(st.sampled_from(HELLOS), st.lists(st.integers(1, 900), min_size=1, max_size=8), st.data())
    def test_any_records(self, data: bytes, sizes: list[int], draw: st.DataObject) -> None:
        """However it is cut into records, the result is the same, and incomplete before the end."""
        split = in_records(message_of(data), sizes)
        self.assertEqual(parse_client_hello(split, LIMIT), parse_client_hello(data, LIMIT))
        cut = draw.draw(st.integers(0, len(split) - 1))
        self.assertIsNone(parse_client_hello(split[:cut], LIMIT))

    def test_too_many_records(self) -> None:
        """A hello in crumbs is refused, because every look at it would walk through all of them again."""
        crumbs = in_records(message_of(HELLOS[0]), [1] * 400)
        self.assertRaises(BadClientHello, parse_client_hello, crumbs, LIMIT)
        self.assertRaises(BadClientHello, parse_client_hello, crumbs[: 6 * 70], LIMIT)

    def test_empty_record(self) -> None:
        """A record without contents is no part of a handshake (RFC 8446 §5.1)."""
        self.assertRaises(BadClientHello, parse_client_hello, b"\x16\x03\x01\x00\x00" + HELLOS[0], LIMIT)

    def test_oversize_record(self) -> None:
        """A record longer than TLS has is refused at its header."""
        self.assertRaises(BadClientHello, parse_client_hello, b"\x16\x03\x01\x40\x01", LIMIT)


class RefusalTests(SynchronousTestCase):
    """What is not a ClientHello, or not one to trust."""

    def test_not_tls(self) -> None:
        """HTTP, SSH, SSLv2 and nonsense are told at their first bytes."""
        sslv2, alert = b"\x80\x2e\x01\x00\x02", b"\x15\x03\x01"
        beginnings = (b"GET / HTTP/1.1\r\n", b"SSH-2.0-x\r\n", sslv2, b"\x00", b"\x16\x02", alert)
        for data in beginnings:
            self.assertRaises(NotTLS, parse_client_hello, data, LIMIT)

    def test_other_message(self) -> None:
        """A handshake message that is no ClientHello is refused at its first byte."""
        self.assertRaises(BadClientHello, parse_client_hello, b"\x16\x03\x01\x00\x05\x02", LIMIT)

    def test_too_long(self) -> None:
        """A message that says that it is too long is refused before it has come."""
        start = b"\x16\x03\x01\x40\x00\x01" + (LIMIT + 1).to_bytes(3, "big")
        self.assertRaises(BadClientHello, parse_client_hello, start, LIMIT)

    def test_too_many_bytes(self) -> None:
        """So is one whose records are more than the limit although the message is not."""
        data = in_records(b"\x01\x00\x02\x00" + bytes(500), [10] * 50)
        self.assertRaises(BadClientHello, parse_client_hello, data, 600)

    def test_names(self) -> None:
        """A name is taken in one spelling only; what is no host name is refused."""
        good = parse_client_hello(handmade(server_name(b"WWW.Example.")), LIMIT)
        assert good is not None
        self.assertEqual(good.server_name, "www.example")
        names = (b"", b"a b", b"a..b", b"a\x00.example", b"caf\xe9.example", b"-", b"x" * 300, b"a/b", b"*.example")
        for name in names:
            self.assertRaises(BadClientHello, parse_client_hello, handmade(server_name(name)), LIMIT)

    def test_name_of_another_kind(self) -> None:
        """A server_name that is no host name, or two of them, is not believed."""
        self.assertRaises(BadClientHello, parse_client_hello, handmade(server_name(b"a.example", 1)), LIMIT)
        two = server_name(b"a.example") + server_name(b"b.example")
        self.assertRaises(BadClientHello, parse_client_hello, handmade(two), LIMIT)
        entry = b"\x00\x00\x01a"
        both = extension(0, struct.pack(">H", 2 * len(entry)) + entry + entry)
        self.assertRaises(BadClientHello, parse_client_hello, handmade(both), LIMIT)

    def test_protocol_lists(self) -> None:
        """An empty protocol name and a list that is longer than its extension are refused."""
        for body in (b"", b"\x00\x01\x00", b"\x00\x09\x02h2", b"\x00\x03\x05h2"):
            self.assertRaises(BadClientHello, parse_client_hello, handmade(extension(16, body)), LIMIT)

    def test_without_extensions(self) -> None:
        """A hello as old as TLS 1.0 has no extensions, and no name."""
        hello = parse_client_hello(handmade(None), LIMIT)
        assert hello is not None
        self.assertIsNone(hello.server_name)

    def test_lengths_beyond_the_end(self) -> None:
        """Lengths that point out of the message are refused."""
        self.assertIsNotNone(parse_client_hello(handmade(b""), LIMIT))
        for data in (handmade(b"\x00\x00\x00\x09ab"), handmade(b"\x00\x00\x00"), handmade(None)[:-4]):
            body = message_of(data)[4:]
            cut = in_records(b"\x01" + len(body).to_bytes(3, "big") + body, [])
            self.assertRaises(BadClientHello, parse_client_hello, cut, LIMIT)

    @given(st.binary(max_size=600), st.booleans())
    def test_nothing_else_is_raised(self, data: bytes, framed: bool) -> None:
        """Whatever comes, the answer is a value, None or BadClientHello."""
        if framed:
            data = in_records(b"\x01" + len(data).to_bytes(3, "big") + data, [])
        try:
            parse_client_hello(data, LIMIT)
        except BadClientHello:
            pass

    @given(st.sampled_from(HELLOS), st.lists(st.tuples(st.integers(0, 599), st.integers(0, 255)), max_size=6))
    def test_damaged_hellos(self, data: bytes, damage: list[tuple[int, int]]) -> None:
        """So it is with a real hello that has been damaged."""
        broken = bytearray(data)
        for at, value in damage:
            broken[at % len(broken)] = value
        try:
            parse_client_hello(bytes(broken), LIMIT)
        except BadClientHello:
            pass
