"""Handshakes for other protocols: what of a request, and of the answer to it, is believed."""
from __future__ import annotations

from base64 import b64encode

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.http1 import RequestHead, ResponseHead, parse_request_head, parse_response_head
from edgegw.wire.upgrades import Handshake, HandshakeFault, read_handshake

ALLOWED = {b"websocket": b"websocket", b"spdy/3.1": b"SPDY/3.1"}
#: RFC 6455 §1.3.
KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
WEBSOCKET = (
    "Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY.decode()}",
)


def request(*lines: str, method: str = "GET", version: str = "1.1") -> RequestHead:
    head = parse_request_head(
        "\r\n".join([f"{method} /chat HTTP/{version}", "host: a.example", *lines, "", ""]).encode(), 65_536, 100, 1000
    )
    assert head is not None
    return head


def response(*lines: str, version: str = "1.1") -> ResponseHead:
    head = parse_response_head(
        "\r\n".join([f"HTTP/{version} 101 Switching Protocols", *lines, "", ""]).encode(), 65_536, 100
    )
    assert head is not None
    return head


class RequestTests(SynchronousTestCase):
    """What a client asks for."""

    def test_websocket(self) -> None:
        """The protocol is written by the gateway, and the key kept for the answer."""
        found = read_handshake(request(*WEBSOCKET), ALLOWED)
        self.assertEqual(found, Handshake(b"websocket", KEY))
        assert found is not None
        self.assertEqual(found.lines, b"connection: upgrade\r\nupgrade: websocket\r\n")

    def test_others(self) -> None:
        """Other protocols may be asked for with any method; the upstream is told the name as it is configured."""
        lines = ("connection: upgrade", "upgrade: spdy/3.1", "content-length: 0")
        self.assertEqual(read_handshake(request(*lines, method="POST"), ALLOWED), Handshake(b"SPDY/3.1"))

    def test_not_let_through(self) -> None:
        """Protocols that are not let through are no handshake at all, nor is anything in HTTP/1.0."""
        for lines in (
            ("upgrade: h2c", "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA"),
            ("upgrade: h2c, foo/1",),
            ("upgrade: websocket/13",),
            ("upgrade: websockets",),
            ("upgrade:",),
            (),
        ):
            self.assertIsNone(read_handshake(request("connection: upgrade", *lines), ALLOWED), lines)
        self.assertIsNone(read_handshake(request(*WEBSOCKET, version="1.0"), ALLOWED))
        self.assertIsNone(read_handshake(request(*WEBSOCKET), {}))

    def test_faults(self) -> None:
        """Whatever is not in order about a handshake is a fault."""

        def without(name: str, *instead: str) -> tuple[str, ...]:
            return tuple(line for line in WEBSOCKET if not line.lower().startswith(name)) + instead

        cases = {
            (*WEBSOCKET, "Upgrade: websocket"): 400,
            (*WEBSOCKET, "Upgrade: h2c"): 400,
            without("upgrade", "upgrade: websocket, h2c"): 400,
            without("upgrade", "upgrade: h2c,websocket"): 400,
            without("upgrade", "upgrade: websocket,"): 400,
            (*WEBSOCKET, "content-length: 5"): 400,
            (*WEBSOCKET, "transfer-encoding: chunked"): 400,
            without("sec-websocket-version"): 426,
            without("sec-websocket-version", "sec-websocket-version: 777"): 426,
            without("sec-websocket-version", "sec-websocket-version: 8"): 426,
            without("sec-websocket-version", "sec-websocket-version: 13, 8"): 426,
            (*WEBSOCKET, "sec-websocket-version: 13"): 426,
            without("sec-websocket-key"): 400,
            without("sec-websocket-key", "sec-websocket-key:"): 400,
            without("sec-websocket-key", "sec-websocket-key: c2hvcnQ="): 400,
            without("sec-websocket-key", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZ!=="): 400,
            without("sec-websocket-key", f"sec-websocket-key: {'A' * 24}"): 400,
            (*WEBSOCKET, f"sec-websocket-key: {KEY.decode()}"): 400,
        }
        for lines, status in cases.items():
            fault = self.assertRaises(HandshakeFault, read_handshake, request(*lines), ALLOWED)
            self.assertEqual(fault.status, status, lines)
            self.assertEqual(b"sec-websocket-version: 13" in fault.lines, status == 426)
        fault = self.assertRaises(HandshakeFault, read_handshake, request(*WEBSOCKET, method="POST"), ALLOWED)
        self.assertEqual(fault.status, 400)

    @given(st.binary(min_size=16, max_size=16))
    def test_every_key(self, nonce: bytes) -> None:
        """Every nonce of 16 bytes is a key."""
        lines = (*WEBSOCKET[:3], f"sec-websocket-key: {b64encode(nonce).decode()}")
        self.assertEqual(read_handshake(request(*lines), ALLOWED), Handshake(b"websocket", b64encode(nonce)))

    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30))
    @example("AAAAAAAAAAAAAAAAAAAAA===")
    def test_no_other_text(self, text: str) -> None:
        """Whatever else stands for a key is refused, or of the form that one has."""
        try:
            read_handshake(request(*WEBSOCKET[:3], f"sec-websocket-key: {text}"), ALLOWED)
        except HandshakeFault:
            return
        self.assertRegex(text, r"\A[A-Za-z0-9+/]{22}==\Z")


class ResponseTests(SynchronousTestCase):
    """What an upstream answers."""

    def test_agreed(self) -> None:
        """RFC 6455's own example; other protocols have no key."""
        good = response("Upgrade: WebSocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT.decode()}")
        self.assertEqual(Handshake(b"websocket", KEY).fault(good), "")
        spdy = response("upgrade: spdy/3.1", "connection: keep-alive, upgrade")
        self.assertEqual(Handshake(b"SPDY/3.1").fault(spdy), "")

    def test_not_agreed(self) -> None:
        """An answer to something else is none."""
        accept = f"sec-websocket-accept: {ACCEPT.decode()}"
        for lines in (
            ("upgrade: websocket", accept),
            ("upgrade: websocket", "connection: keep-alive", accept),
            ("connection: upgrade", accept),
            ("connection: upgrade", "upgrade: h2c", accept),
            ("connection: upgrade", "upgrade: websocket", "upgrade: h2c", accept),
            ("connection: upgrade", "upgrade: websocket, h2c", accept),
            ("connection: upgrade", "upgrade: websocket"),
            ("connection: upgrade", "upgrade: websocket", accept.lower().replace("sec-websocket-accept: s", "x: s")),
            ("connection: upgrade", "upgrade: websocket", "sec-websocket-accept: c3BvaWxlZA=="),
            ("connection: upgrade", "upgrade: websocket", accept, accept),
        ):
            self.assertNotEqual(Handshake(b"websocket", KEY).fault(response(*lines)), "", lines)
        old = response("connection: upgrade", "upgrade: websocket", accept, version="1.0")
        self.assertNotEqual(Handshake(b"websocket", KEY).fault(old), "")
