"""Extended CONNECT and upgrades, each told as the other: nothing is lost between them but what is HTTP/1.1's own."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.extended_connect import agreement, as_connect, as_upgrade, without_upgrade
from edgegw.wire.http1 import Field, parse_request_head
from edgegw.wire.http2 import Limits, RequestReceived
from edgegw.wire.upgrades import Handshake, read_handshake

from .http2_frames import headers, server
from .test_wire_upgrades import ACCEPT, ALLOWED, KEY

HEAD = [(b":method", b"CONNECT"), (b":scheme", b"https"), (b":path", b"/chat?a"), (b":authority", b"a.example")]
VERSION = (b"sec-websocket-version", b"13")
names = st.sampled_from([b"x-a", b"origin", b"cookie", b"sec-websocket-protocol", b"sec-websocket-extensions"])
values = st.text("abc =;,/", min_size=1, max_size=20).map(lambda text: text.strip().encode()).filter(bool)


def received(*fields: tuple[bytes, bytes]) -> RequestReceived:
    """Give what a server hears of a request."""
    one = server(Limits(extended_connect=True))
    (event,) = one.receive(headers(1, list(fields), 4))
    assert isinstance(event, RequestReceived), vars(event)
    return event


def line(name: bytes, value: bytes) -> Field:
    """Give a field as heads have them."""
    return name, value, b"%b: %b\r\n" % (name, value)


class UpgradeTests(SynchronousTestCase):
    """An extended CONNECT as an upgrade."""

    def test_websocket(self) -> None:
        """It is a handshake in order, with another key each time."""
        keys = set()
        for _ in range(3):
            request = as_upgrade(received(*HEAD, (b":protocol", b"WebSocket"), VERSION).head)
            self.assertEqual(
                (request.method, request.target, request.host, request.length, request.block),
                (b"GET", b"/chat?a", b"a.example", 0, b""),
            )
            found = read_handshake(request, ALLOWED)
            assert found is not None and found.key is not None
            self.assertEqual(found.protocol, b"websocket")
            keys.add(found.key)
        self.assertEqual(len(keys), 3)

    def test_others(self) -> None:
        """Other protocols have no key, and their versions stay."""
        request = as_upgrade(received(*HEAD, (b":protocol", b"SPDY/3.1")).head)
        self.assertEqual(read_handshake(request, ALLOWED), Handshake(b"SPDY/3.1"))
        self.assertEqual(request.values(b"sec-websocket-key"), [])

    def test_proofs_of_the_client(self) -> None:
        """What only the gateway may say is not the client's to send."""
        request = as_upgrade(received(
            *HEAD, (b":protocol", b"websocket"), VERSION, (b"sec-websocket-key", KEY), (b"sec-websocket-accept", ACCEPT)
        ).head)
        self.assertEqual((len(request.values(b"sec-websocket-key")), request.values(b"sec-websocket-accept")), (1, []))
        self.assertNotEqual(request.values(b"sec-websocket-key"), [KEY])

    @given(st.lists(st.tuples(names, values), max_size=8))
    def test_there_and_back(self, fields: list[tuple[bytes, bytes]]) -> None:
        """As lines it is a head that HTTP/1.1's own parser takes, and back it is what the client has sent."""
        crumbs = [value for name, value in fields if name == b"cookie"]
        fields = [one for one in fields if one[0] != b"cookie"]
        sent = [*fields, *((b"cookie", crumb) for crumb in crumbs)]
        request = as_upgrade(received(*HEAD, (b":protocol", b"websocket"), VERSION, *sent).head)
        lines = b"".join(one for _, _, one in request.fields)
        parsed = parse_request_head(
            b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method, request.target, lines), 65_536, 100, 1000
        )
        assert parsed is not None
        self.assertEqual((parsed.options, parsed.length), (request.options, 0))
        handshake = read_handshake(parsed, ALLOWED)
        assert handshake is not None
        kept = [(name, value) for name, value, _ in parsed.fields if name not in (b"host", b"connection", b"upgrade")]
        asked = as_connect([(b":method", b"GET"), *HEAD[1:], *kept], handshake)
        joined = [(b"cookie", b"; ".join(crumbs))] if crumbs else []
        self.assertEqual(asked, [*HEAD, (b":protocol", b"websocket"), VERSION, *fields, *joined])


class AnswerTests(SynchronousTestCase):
    """What an upstream agrees with."""

    def test_agreement(self) -> None:
        """A client of HTTP/1.1 gets the answer to its key, whatever the upstream says of that."""
        fields = [line(b"x-a", b"b"), line(b"sec-websocket-accept", b"x"), line(b"content-length", b"3")]
        head = agreement(fields, Handshake(b"websocket", KEY))
        self.assertEqual((head.status, head.reason), (101, b"Switching Protocols"))
        self.assertEqual(head.fields, [line(b"x-a", b"b"), line(b"sec-websocket-accept", ACCEPT)])
        self.assertEqual(agreement(fields, Handshake(b"other")).fields, [line(b"x-a", b"b")])

    def test_without_upgrade(self) -> None:
        """HTTP/2 has no place for what is HTTP/1.1's own."""
        lines = b"Upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\nX-A: b\r\n"
        self.assertEqual(without_upgrade(lines), [(b"x-a", b"b")])
