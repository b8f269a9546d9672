"""HTTP/2 from a client, rule by rule with frames written by hand: which error each breach has, and what floods get."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.http1 import CHUNKED
from edgegw.wire.http2 import (
    PREFACE,
    DataReceived,
    ErrorCode,
    Limits,
    RequestOversized,
    RequestReceived,
    ServerConnection,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from edgegw.wire.http2.frames import frame, rst_stream, window_update

from .http2_frames import GET, POST, SETTINGS, Clock, Pair, block, headers, integer, outcome, sent, server, setting

PROTOCOL, FLOW, CLOSED, SIZE, REFUSED, COMPRESSION, CALM = (
    ErrorCode.PROTOCOL_ERROR, ErrorCode.FLOW_CONTROL_ERROR, ErrorCode.STREAM_CLOSED, ErrorCode.FRAME_SIZE_ERROR,
    ErrorCode.REFUSED_STREAM, ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM,
)


def without(name: bytes) -> list[Pair]:
    return [field for field in GET if field[0] != name]


#: Bytes after the preface, and the code that ends the connection.
CONNECTION_FAULTS: dict[str, tuple[bytes, int]] = {
    "DATA on stream 0": (frame(0, 0, 0, b"x"), PROTOCOL),
    "DATA on an idle stream": (frame(0, 0, 1, b"x"), PROTOCOL),
    "DATA with too much padding": (headers(1, POST, 4) + frame(0, 8, 1, b"\x05abcd"), PROTOCOL),
    "DATA without its pad length": (headers(1, POST, 4) + frame(0, 8, 1, b""), SIZE),
    "a frame too large": (headers(1, POST, 4) + frame(0, 0, 1, b"x" * 16_385), SIZE),
    "HEADERS on stream 0": (headers(0, GET), PROTOCOL),
    "HEADERS on an even stream": (headers(2, GET), PROTOCOL),
    "HEADERS with too much padding": (frame(1, 0xD, 1, b"\x64" + block(GET)), PROTOCOL),
    "HEADERS too short for its priority": (frame(1, 0x25, 1, b"\0\0\0"), SIZE),
    "HEADERS that depends on itself": (frame(1, 0x25, 1, b"\0\0\0\x01\x10" + block(GET)), PROTOCOL),
    "a lower stream that was left out": (headers(5, GET) + headers(3, GET), PROTOCOL),
    "PRIORITY on stream 0": (frame(2, 0, 0, bytes(5)), PROTOCOL),
    "RST_STREAM on stream 0": (rst_stream(0, 8), PROTOCOL),
    "RST_STREAM on an idle stream": (rst_stream(1, 8), PROTOCOL),
    "RST_STREAM too short": (headers(1, GET) + frame(3, 0, 1, b"\0\0\0"), SIZE),
    "SETTINGS on a stream": (frame(4, 0, 1, b""), PROTOCOL),
    "SETTINGS of a wrong length": (frame(4, 0, 0, b"\0\0\0"), SIZE),
    "an acknowledgement with a payload": (frame(4, 1, 0, bytes(6)), SIZE),
    "ENABLE_PUSH 2": (setting(2, 2), PROTOCOL),
    "INITIAL_WINDOW_SIZE 2^31": (setting(4, 2**31), FLOW),
    "MAX_FRAME_SIZE below its least": (setting(5, 16_383), PROTOCOL),
    "MAX_FRAME_SIZE above its most": (setting(5, 2**24), PROTOCOL),
    "ENABLE_CONNECT_PROTOCOL 2": (setting(8, 2), PROTOCOL),
    "an initial window that overflows a stream's": (
        headers(1, GET) + window_update(1, 2**31 - 1 - 65_535) + setting(4, 65_536), FLOW,
    ),
    "PUSH_PROMISE": (frame(5, 4, 1, bytes(4)), PROTOCOL),
    "PING on a stream": (frame(6, 0, 1, bytes(8)), PROTOCOL),
    "PING of a wrong length": (frame(6, 0, 0, bytes(7)), SIZE),
    "GOAWAY on a stream": (frame(7, 0, 1, bytes(8)), PROTOCOL),
    "GOAWAY too short": (frame(7, 0, 0, bytes(7)), SIZE),
    "WINDOW_UPDATE by 0": (window_update(0, 0), PROTOCOL),
    "WINDOW_UPDATE past the most": (window_update(0, 2**31 - 1), FLOW),
    "WINDOW_UPDATE on an idle stream": (window_update(1, 1), PROTOCOL),
    "WINDOW_UPDATE of a wrong length": (frame(8, 0, 0, bytes(3)), SIZE),
    "CONTINUATION alone": (frame(9, 4, 1, b""), PROTOCOL),
    "CONTINUATION after the end": (headers(1, GET) + frame(9, 4, 1, b""), PROTOCOL),
    "CONTINUATION of another stream": (frame(1, 1, 1, block(GET)) + frame(9, 4, 3, b""), PROTOCOL),
    "DATA within a block": (headers(1, POST, 4) + frame(1, 1, 3, block(GET)) + frame(0, 0, 1, b"x"), PROTOCOL),
    "an unknown frame within a block": (frame(1, 1, 1, block(GET)) + frame(99, 0, 0, b""), PROTOCOL),
    "PING within a block": (frame(1, 1, 1, block(GET)) + frame(6, 0, 0, bytes(8)), PROTOCOL),
    "index 0": (frame(1, 5, 1, b"\x80"), COMPRESSION),
    "an index beyond the table": (frame(1, 5, 1, b"\xff\x80\x01"), COMPRESSION),
    "a truncated integer": (frame(1, 5, 1, b"\xff\x80"), COMPRESSION),
    "an endless integer": (frame(1, 5, 1, b"\xff" * 10 + b"\x01"), COMPRESSION),
    "a truncated string": (frame(1, 5, 1, b"\x40\x05ab"), COMPRESSION),
    "a block that ends before a value": (frame(1, 5, 1, b"\x40\x01a"), COMPRESSION),
    "EOS": (frame(1, 5, 1, b"\x00\x84\xff\xff\xff\xff\x00"), COMPRESSION),
    "padding of zeros": (frame(1, 5, 1, b"\x00\x81\x18\x00"), COMPRESSION),
    "padding of more than seven bits": (frame(1, 5, 1, b"\x00\x82\x1f\xff\x00"), COMPRESSION),
    "a table size past the limit": (frame(1, 5, 1, integer(4097, 31, 0x20) + block(GET)), COMPRESSION),
    "a table size update after a field": (frame(1, 5, 1, b"\x82\x20"), COMPRESSION),
}

#: Fields of a request that is malformed.
MALFORMED: dict[str, list[Pair]] = {
    "no method": without(b":method"),
    "no scheme": without(b":scheme"),
    "no path": without(b":path"),
    "no authority and no Host": without(b":authority"),
    "an empty path": [*without(b":path"), (b":path", b"")],
    "an empty authority": [*without(b":authority"), (b":authority", b"")],
    "a path without slash": [*without(b":path"), (b":path", b"x")],
    "a path with a space": [*without(b":path"), (b":path", b"/a b")],
    "a path with a fragment": [*without(b":path"), (b":path", b"/a#b")],
    "a path with CR LF": [*without(b":path"), (b":path", b"/ HTTP/1.1\r\nx: y")],
    "an absolute path": [*without(b":path"), (b":path", b"http://b.example/")],
    "* without OPTIONS": [*without(b":path"), (b":path", b"*")],
    "a method that is no token": [*without(b":method"), (b":method", b"GE T")],
    "a scheme that is none": [*without(b":scheme"), (b":scheme", b"ht tp")],
    "user information": [*without(b":authority"), (b":authority", b"u:p@a.example")],
    **{f"{name.decode()} twice": [*GET, (name, value)] for name, value in GET},
    "an unknown pseudo-header": [*GET, (b":x", b"1")],
    "a response's pseudo-header": [*GET, (b":status", b"200")],
    "a pseudo-header after a field": [(b"x", b"1"), *GET],
    ":protocol where it is not allowed": [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket")],
    "CONNECT with a path": [(b":method", b"CONNECT"), (b":authority", b"a:1"), (b":path", b"/")],
    "CONNECT without authority": [(b":method", b"CONNECT")],
    "an upper-case name": [*GET, (b"X", b"1")],
    "an empty name": [*GET, (b"", b"1")],
    "a name with a colon": [*GET, (b"a:b", b"1")],
    "a name with a space": [*GET, (b"a b", b"1")],
    "a name beyond ASCII": [*GET, (b"\xe9", b"1")],
    "a value with CR": [*GET, (b"x", b"a\rb")],
    "a value with LF": [*GET, (b"x", b"a\nb")],
    "a value with NUL": [*GET, (b"x", b"a\0b")],
    "a value that begins with a space": [*GET, (b"x", b" a")],
    "a value that ends with a tab": [*GET, (b"x", b"a\t")],
    "a value that is a space": [*GET, (b"x", b" ")],
    "connection": [*GET, (b"connection", b"x")],
    "keep-alive": [*GET, (b"keep-alive", b"1")],
    "proxy-connection": [*GET, (b"proxy-connection", b"close")],
    "transfer-encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "upgrade": [*GET, (b"upgrade", b"h2c")],
    "another te": [*GET, (b"te", b"gzip")],
    "another Host": [*GET, (b"host", b"b.example")],
    "two Hosts": [*GET, (b"host", b"a.example"), (b"host", b"a.example")],
    "two lengths": [*GET, (b"content-length", b"0"), (b"content-length", b"0")],
    "a length that is none": [*GET, (b"content-length", b"+1")],
    "a length where the stream ends": [*GET, (b"content-length", b"1")],
}


class ServerCase(SynchronousTestCase):
    """With a server at hand."""

    def request(self, fields: list[Pair], flags: int = 5, limits: Limits | None = None) -> RequestReceived:
        event, = server(limits).receive(headers(1, fields, flags))
        assert isinstance(event, RequestReceived), event
        return event


class FaultTests(ServerCase):
    """Every breach has the error that RFC 9113 or RFC 7541 gives it."""

    def test_connection_faults(self) -> None:
        """GOAWAY with the right code, one event that says why, and nothing is read any more."""
        for name, (data, code) in CONNECTION_FAULTS.items():
            one = server()
            self.assertEqual((name, outcome(one, data)), (name, ("connection", code)))
            self.assertTrue(one.closed)
            self.assertEqual(one.receive(headers(7, GET)), [])

    def test_malformed_requests(self) -> None:
        """The stream is reset with PROTOCOL_ERROR, and the next request is served."""
        for name, fields in MALFORMED.items():
            one = server()
            self.assertEqual((name, outcome(one, headers(1, fields))), (name, ("stream", PROTOCOL)))
            self.assertEqual((name, outcome(one, headers(3, GET))), (name, "RequestReceived"))

    def test_malformed_through_the_table(self) -> None:
        """A field that was refused as a literal is refused again when it is referred to."""
        one = server()
        bad = b"\x40" + b"\x01x" + b"\x03a\nb"
        self.assertEqual(outcome(one, frame(1, 5, 1, block(GET) + bad)), ("stream", PROTOCOL))
        self.assertEqual(outcome(one, frame(1, 5, 3, block(GET) + b"\xbe")), ("stream", PROTOCOL))

    def test_stream_faults(self) -> None:
        """What is wrong on one stream ends that stream alone."""
        cases: dict[str, tuple[bytes, int]] = {
            "DATA after the end": (headers(1, GET) + frame(0, 0, 1, b"x"), CLOSED),
            "HEADERS after the end": (headers(1, GET) + headers(1, GET), CLOSED),
            "DATA after a reset": (headers(1, POST, 4) + rst_stream(1, 8) + frame(0, 0, 1, b"x"), CLOSED),
            "HEADERS after a reset": (headers(1, POST, 4) + rst_stream(1, 8) + headers(1, [(b"x", b"y")]), CLOSED),
            "trailers without END_STREAM": (headers(1, POST, 4) + headers(1, [(b"x", b"y")], 4), PROTOCOL),
            "a pseudo-header in trailers": (headers(1, POST, 4) + headers(1, [(b":path", b"/")]), PROTOCOL),
            "an upper-case trailer": (headers(1, POST, 4) + headers(1, [(b"X", b"y")]), PROTOCOL),
            "too little data": (
                headers(1, [*POST, (b"content-length", b"3")], 4) + frame(0, 1, 1, b"xx"), PROTOCOL,
            ),
            "too much data": (headers(1, [*POST, (b"content-length", b"3")], 4) + frame(0, 0, 1, b"xxxx"), PROTOCOL),
            "too little data before trailers": (
                headers(1, [*POST, (b"content-length", b"3")], 4) + headers(1, [(b"x", b"y")]), PROTOCOL,
            ),
            "WINDOW_UPDATE by 0": (headers(1, GET) + window_update(1, 0), PROTOCOL),
            "WINDOW_UPDATE past the most": (headers(1, GET) + window_update(1, 2**31 - 1), FLOW),
            "PRIORITY of a wrong length": (headers(1, GET) + frame(2, 0, 1, bytes(4)), SIZE),
            "data past the window": (
                headers(1, POST, 4) + frame(0, 0, 1, bytes(16_384)) * 4 + frame(0, 0, 1, b"x"), FLOW,
            ),
        }
        for name, (data, code) in cases.items():
            one = server()
            self.assertEqual((name, outcome(one, data)), (name, ("stream", code)))
            self.assertFalse(one.closed)

    def test_after_resets(self) -> None:
        """What was on its way to a stream that was reset is let pass, until the client has reset it too."""
        for data, expected in (
            (frame(0, 0, 1, b"x"), ("stream", CLOSED)),
            (headers(1, [(b"x", b"y")]), ("stream", CLOSED)),
            (window_update(1, 5), ""),
            (frame(2, 0, 1, bytes(5)), ""),
        ):
            one = server()
            one.receive(headers(1, POST, 4))
            one.reset(1)
            one.take_output()
            self.assertEqual(outcome(one, data), "")
            self.assertEqual(outcome(one, rst_stream(1, 8)), "")
            self.assertEqual(outcome(one, data), expected)

    def test_after_both_ends(self) -> None:
        """What comes on a stream that both sides ended ends the connection; what may be late does not."""
        for data, expected in (
            (frame(0, 0, 1, b"x"), ("connection", CLOSED)),
            (headers(1, GET), ("connection", CLOSED)),
            (window_update(1, 5), ""),
            (rst_stream(1, 8), ""),
            (frame(2, 0, 1, bytes(5)), ""),
        ):
            one = server()
            one.receive(headers(1, GET))
            one.send_headers(1, [(b":status", b"200")], True)
            one.take_output()
            self.assertEqual(outcome(one, data), expected)

    def test_no_preface(self) -> None:
        """Whoever does not begin as HTTP/2 is told at the first wrong byte; SETTINGS must come first."""
        for data in (b"GET / HTTP/1.1\r\n", PREFACE[:10] + b"x", PREFACE + frame(6, 0, 0, bytes(8)),
                     PREFACE + frame(4, 1, 0, b"")):
            self.assertEqual(outcome(ServerConnection(Limits(), Clock()), data), ("connection", PROTOCOL))

    def test_connection_window(self) -> None:
        """Data past the window of the connection ends it."""
        one = server(Limits(connection_window=65_535))
        for stream in (1, 3):
            one.receive(headers(stream, POST, 4))
        self.assertEqual(outcome(one, frame(0, 0, 1, bytes(16_384)) * 4), ("connection", FLOW))


class RequestTests(ServerCase):
    """What a request looks like when it has come through."""

    def test_head(self) -> None:
        """The head is the one of HTTP/1.1, with Host from :authority and cookie crumbs joined."""
        event = self.request([*GET, (b"cookie", b"a=1"), (b"te", b"trailers"), (b"cookie", b"b=2"), (b"x-y", b"\xe9")])
        head = event.head
        self.assertTrue(event.ended)
        self.assertEqual(
            (head.method, head.target, head.scheme, head.host, head.length),
            (b"GET", b"/", b"https", b"a.example", 0),
        )
        self.assertEqual(
            [line for _, _, line in head.fields],
            [b"host: a.example\r\n", b"te: trailers\r\n", b"x-y: \xe9\r\n", b"cookie: a=1; b=2\r\n"],
        )
        self.assertEqual(head.block, b"".join(line for _, _, line in head.fields) + b"\r\n")

    def test_host_alone(self) -> None:
        """Host does for :authority, in any case of letters beside it."""
        self.assertEqual(self.request([*without(b":authority"), (b"host", b"b.example")]).head.host, b"b.example")
        self.assertEqual(self.request([*GET, (b"host", b"A.Example")]).head.host, b"a.example")

    def test_lengths(self) -> None:
        """A body's length is Content-Length, or open."""
        self.assertEqual(self.request([*POST, (b"content-length", b"12")], 4).head.length, 12)
        self.assertEqual(self.request(POST, 4).head.length, CHUNKED)

    def test_connect(self) -> None:
        """CONNECT comes through in both forms, the extended one only where it is allowed."""
        head = self.request([(b":method", b"CONNECT"), (b":authority", b"a.example:443")], 4).head
        self.assertEqual((head.target, head.host, head.protocol), (b"", b"a.example:443", b""))
        fields = [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket")]
        head = self.request(fields, 4, Limits(extended_connect=True)).head
        self.assertEqual((head.target, head.protocol), (b"/", b"websocket"))

    def test_options(self) -> None:
        """OPTIONS may ask for *."""
        self.assertEqual(self.request([(b":method", b"OPTIONS"), *GET[1:3], (b":path", b"*")]).head.target, b"*")

    def test_body_and_trailers(self) -> None:
        """Data comes with what it takes of the window, trailers as fields."""
        one = server()
        events = one.receive(
            headers(1, POST, 4) + frame(0, 8, 1, b"\x02abc\0\0") + frame(1, 1, 1, b"") + frame(9, 4, 1, block(
                [(b"x", b"y")]))
        )
        _, data, trailers = events
        assert isinstance(data, DataReceived) and isinstance(trailers, TrailersReceived)
        self.assertEqual((data.data, data.size, data.ended), (b"abc", 6, False))
        self.assertEqual(trailers.fields, [(b"x", b"y", b"x: y\r\n")])

    def test_padding_and_priority(self) -> None:
        """Padding and priority are taken off HEADERS."""
        one = server()
        self.assertEqual(
            outcome(one, frame(1, 0x2D, 1, b"\x03" + b"\0\0\0\x09\x10" + block(GET) + bytes(3))), "RequestReceived"
        )

    def test_equal_requests(self) -> None:
        """An equal block gives the same head, until the table has changed."""
        one = server()
        heads = []
        for stream, data in ((1, block(GET)), (3, block(GET)), (5, block(GET) + b"\x40\x01x\x01y"), (7, block(GET))):
            event, = one.receive(frame(1, 5, stream, data))
            assert isinstance(event, RequestReceived)
            heads.append(event.head)
        self.assertIs(heads[0], heads[1])
        self.assertIsNot(heads[1], heads[2])
        self.assertEqual(heads[2].fields[1:], [(b"x", b"y", b"x: y\r\n")])
        self.assertEqual(heads[3].fields, heads[0].fields)

    def test_index_means_another_field(self) -> None:
        """The same bytes after the table has changed are another request."""
        one = server()
        seen = []
        for stream, extra in ((1, b"\x40\x01x\x01a"), (3, b"\xbe"), (5, b"\x40\x01x\x01b"), (7, b"\xbe")):
            event, = one.receive(frame(1, 5, stream, block(GET) + extra))
            assert isinstance(event, RequestReceived)
            seen.append(event.head.fields[1][1])
        self.assertEqual(seen, [b"a", b"a", b"b", b"b"])

    def test_oversized(self) -> None:
        """More fields or bytes than the limits is for 431; the connection goes on with its table in step."""
        for fields in (
            [*GET, *[(b"x-%d" % number, b"") for number in range(101)]],
            [*GET, *[(b"cookie", b"a")] * 257],
            [*GET, *[(b"x", b"y" * 900)] * 10],
        ):
            one = server(Limits(max_header_list=16_000) if len(fields) > 20 else Limits(max_header_list=4096))
            event, = one.receive(headers(1, fields))
            assert isinstance(event, RequestOversized), event
            self.assertTrue(one.send_headers(1, [(b":status", b"431")], True))
            self.assertEqual(outcome(one, headers(3, GET)), "RequestReceived")


class WindowTests(ServerCase):
    """Windows in both directions."""

    def test_sending(self) -> None:
        """No more can be sent than both windows allow, in frames of the default size; room is told when it comes."""
        one = server()
        one.receive(headers(1, GET) + headers(3, GET))
        for stream in (1, 3):
            one.send_headers(stream, [(b":status", b"200")], False)
        self.assertEqual(one.sendable(1), 65_535)
        one.take_output()
        one.send_data(1, bytes(65_535), False)
        self.assertEqual([len(payload) for *_, payload in sent(one.take_output())], [16_384, 16_384, 16_384, 16_383])
        self.assertEqual((one.sendable(1), one.sendable(3)), (0, 0))
        self.assertRaises(ValueError, one.send_data, 3, b"x", False)
        event, = one.receive(window_update(0, 100))
        assert isinstance(event, WindowOpened)
        self.assertEqual((event.stream, one.sendable(1), one.sendable(3)), (0, 0, 100))
        self.assertEqual(outcome(one, window_update(0, 100)), "")
        event, = one.receive(window_update(1, 50))
        assert isinstance(event, WindowOpened)
        self.assertEqual((event.stream, one.sendable(1)), (1, 50))
        self.assertTrue(one.send_data(1, b"", True))
        self.assertFalse(one.send_data(1, b"x", True))

    def test_initial_window(self) -> None:
        """A smaller initial window may make a stream's negative, a larger one opens it."""
        one = server()
        one.receive(headers(1, GET))
        one.send_headers(1, [(b":status", b"200")], False)
        one.send_data(1, bytes(1000), False)
        self.assertEqual(outcome(one, setting(4, 100)), "SettingsReceived")
        self.assertEqual(one.sendable(1), 0)
        self.assertEqual(outcome(one, setting(4, 1001)), "WindowOpened SettingsReceived")
        self.assertEqual(one.sendable(1), 1)

    def test_receiving(self) -> None:
        """Windows are given back in halves; a stream that is reset stands in nobody's way."""
        one = server(Limits(connection_window=131_072))
        one.receive(headers(1, POST, 4) + frame(0, 0, 1, bytes(16_384)) * 4)
        one.acknowledge(1, 16_384)
        self.assertEqual(one.take_output(), b"")
        one.acknowledge(1, 16_384)
        self.assertEqual([(kind, stream) for kind, _, stream, _ in sent(one.take_output())], [(8, 1)])
        one.reset(1)
        self.assertEqual([(kind, stream) for kind, _, stream, _ in sent(one.take_output())], [(3, 1), (8, 0)])
        # What was on its way is let pass and counted, what could not have been is not.
        self.assertEqual(outcome(one, frame(0, 0, 1, bytes(16_384)) * 2), "")
        self.assertEqual(outcome(one, frame(0, 0, 1, bytes(1))), ("connection", FLOW))

    def test_small_stream_window(self) -> None:
        """A window below the default counts from its acknowledgement on."""
        one = ServerConnection(Limits(stream_window=1000), Clock())
        one.receive(PREFACE + SETTINGS + headers(1, POST, 4) + frame(0, 0, 1, bytes(900)))
        self.assertEqual(one.receive(frame(4, 1, 0, b"")), [])
        one.take_output()
        self.assertEqual(outcome(one, frame(0, 0, 1, bytes(101))), ("stream", FLOW))


class LifeTests(ServerCase):
    """Settings, drain, resets."""

    def test_goaway(self) -> None:
        """Streams after GOAWAY's last are ignored, with the table in step; those before go on."""
        one = server()
        one.receive(headers(1, POST, 4))
        one.announce_drain()
        self.assertEqual(sent(one.take_output())[-1][3], b"\x7f\xff\xff\xff" + bytes(4))
        self.assertEqual(outcome(one, headers(3, GET)), "RequestReceived")
        one.go_away()
        self.assertEqual(sent(one.take_output())[-1][3], b"\0\0\0\x03" + bytes(4))
        late = frame(1, 4, 5, block(POST) + b"\x40\x01x\x01y") + frame(0, 0, 5, b"abc") + window_update(5, 9)
        self.assertEqual(outcome(one, late + rst_stream(5, 8)), "")
        event, = one.receive(frame(1, 5, 1, b"\xbe"))
        assert isinstance(event, TrailersReceived)
        self.assertEqual(event.fields, [(b"x", b"y", b"x: y\r\n")])

    def test_too_many_streams(self) -> None:
        """The one too many is refused, and may be sent again."""
        one = server(Limits(max_concurrent_streams=2))
        one.receive(headers(1, GET) + headers(3, GET))
        event, = one.receive(headers(5, GET))
        assert isinstance(event, StreamReset)
        self.assertEqual((event.code, event.unprocessed), (REFUSED, True))
        one.send_headers(1, [(b":status", b"204")], True)
        one.take_output()
        self.assertEqual(outcome(one, headers(7, GET)), "RequestReceived")

    def test_answers(self) -> None:
        """SETTINGS and PING are answered, unknown frames and settings passed over."""
        one = server()
        self.assertEqual(outcome(one, frame(77, 255, 9, b"abc") + setting(99, 5)), "SettingsReceived")
        one.receive(frame(6, 0, 0, b"12345678"))
        self.assertEqual(sent(one.take_output()), [(6, 1, 0, b"12345678")])
        self.assertEqual(outcome(one, frame(6, 1, 0, b"12345678")), "PingAcknowledged")

    def test_table_size(self) -> None:
        """A smaller table of the peer is told in the next block; of ours, the peer has to tell it."""
        one = server()
        one.receive(headers(1, GET) + setting(1, 0) + setting(1, 100))
        one.take_output()
        one.send_headers(1, [(b":status", b"200")], True)
        self.assertEqual(sent(one.take_output())[0][3], b"\x20\x3f\x45\x88")
        one = server(Limits(header_table=100))
        self.assertEqual(outcome(one, headers(1, GET)), ("connection", COMPRESSION))
        one = server(Limits(header_table=100))
        self.assertEqual(outcome(one, frame(1, 5, 1, integer(100, 31, 0x20) + block(GET))), "RequestReceived")

    def test_large_head(self) -> None:
        """A head larger than a frame goes on in CONTINUATION."""
        one = server()
        one.receive(headers(1, GET))
        one.send_headers(1, [(b":status", b"200"), (b"x", b"y" * 40_000)], True)
        self.assertEqual([(kind, flags) for kind, flags, *_ in sent(one.take_output())], [(1, 1), (9, 0), (9, 4)])

    def test_sending_on_what_is_gone(self) -> None:
        """A stream that was reset meanwhile takes nothing, without a fuss."""
        one = server()
        one.receive(headers(1, POST, 4) + rst_stream(1, 8))
        self.assertFalse(one.send_headers(1, [(b":status", b"200")], True))
        self.assertFalse(one.send_data(1, b"x", True))
        one.reset(1)
        one.acknowledge(1, 5)
        self.assertEqual((one.take_output(), one.sendable(1)), (b"", 0))


class FloodTests(ServerCase):
    """Whoever does what is of no use again and again is sent away, and bursts that happen are not."""

    def flood(self, one: ServerConnection, *pieces: bytes, most: int = 3000) -> tuple[str, str]:
        """Send one piece after another, until the connection ends; give code and reason."""
        for number in range(most):
            events = one.receive(pieces[number % len(pieces)])
            one.take_output()
            one.output_read()
            if one.closed:
                last = events[-1]
                return ErrorCode(last.code).name, last.reason  # type: ignore[union-attr]
        return "", "survived"

    def test_useless_frames(self) -> None:
        """Each kind of frame that asks for nothing."""
        for name, data in {
            "ping_flood": frame(6, 0, 0, bytes(8)),
            "settings_flood": SETTINGS,
            "settings_flood of acknowledgements": frame(4, 1, 0, b""),
            "priority_flood": frame(2, 0, 3, bytes(5)),
            "unknown_frame_flood": frame(99, 0, 0, b""),
            "empty_data_flood": frame(0, 0, 1, b""),
            "empty_data_flood of padding": frame(0, 8, 1, b"\0"),
            "window_update_flood": window_update(0, 1),
            "window_update_flood on a stream": window_update(1, 1),
            "goaway_flood": frame(7, 0, 0, bytes(8)),
            "closed_stream_flood": rst_stream(1, 8),
        }.items():
            one = server()
            one.receive(headers(1, POST, 4))
            self.assertEqual(
                (name, self.flood(one, data)), (name, ("ENHANCE_YOUR_CALM", name.split()[0]))
            )

    def test_answers_not_read(self) -> None:
        """Answers that nobody reads do not pile up, however slowly they come."""
        clock = Clock()
        one = server(clock=clock)
        for _ in range(1500):
            clock.now += 1
            events = one.receive(frame(6, 0, 0, bytes(8)))
        self.assertTrue(one.closed)
        self.assertLess(len(one.take_output()), 20_000)
        self.assertEqual(events, [])

    def test_slow_pings(self) -> None:
        """As many over a longer time are fine where the answers are read."""
        clock = Clock()
        one = server(clock=clock)
        for _ in range(3000):
            clock.now += 0.02
            one.receive(frame(6, 0, 0, bytes(8)))
            one.take_output()
            one.output_read()
        self.assertFalse(one.closed)

    def resets(self, *pieces: str) -> tuple[str, str]:
        one = server()
        for stream in range(1, 2001, 2):
            data = b"".join(
                {
                    "open": headers(stream, POST, 4),
                    "get": headers(stream, GET),
                    "rst": rst_stream(stream, 8),
                    "window 0": window_update(stream, 0),
                    "window over": window_update(stream, 2**31 - 1),
                    "malformed": headers(stream, without(b":path")),
                    "data": frame(0, 0, stream, b"x"),
                    "priority": frame(2, 0, stream, bytes(4)),
                    "oversized": headers(stream, [*GET, *[(b"x", b"y")] * 101]),
                }[piece]
                for piece in pieces
            )
            events = one.receive(data)
            if pieces == ("oversized",):
                one.reset(stream)
            if one.closed:
                return ErrorCode(events[-1].code).name, events[-1].reason  # type: ignore[union-attr]
        return "", "survived"

    def test_resets(self) -> None:
        """Rapid reset, and each way to make the server reset."""
        for pieces in (
            ("open", "rst"), ("get", "rst"), ("get", "window 0"), ("get", "window over"), ("malformed",),
            ("get", "data"), ("get", "priority"), ("oversized",), ("get", "get"),
        ):
            reason = "reset_flood" if "rst" in pieces else "provoked_reset_flood"
            if "oversized" in pieces:
                reason = "header_list"
            self.assertEqual((pieces, self.resets(*pieces)), (pieces, ("ENHANCE_YOUR_CALM", reason)))

    def test_small_pieces(self) -> None:
        """Small pieces of a body that come together are one, in their order, whatever comes between them."""
        one = server()
        one.receive(headers(1, POST, 4) + headers(3, POST, 4))
        large = bytes(1000)
        pieces = [
            frame(0, 0, 1, b"a"), frame(0, 0, 3, b"x"), frame(0, 8, 1, b"\x02b\0\0"), frame(0, 0, 1, large),
            frame(0, 0, 3, b"y"), frame(0, 0, 1, b"c"), frame(0, 1, 1, b"d"), rst_stream(3, 8),
        ]
        told = [
            (event.stream, event.data, event.size, event.ended) if isinstance(event, DataReceived) else event.stream
            for event in one.receive(b"".join(pieces))  # type: ignore[union-attr]
        ]
        self.assertEqual(told, [
            (1, b"ab", 5, False), (3, b"xy", 2, False), (1, large, 1000, False), (1, b"cd", 2, True), 3,
        ])
        self.assertEqual(one.pieces, 3)
        one.receive(headers(5, POST, 4) + frame(0, 0, 5, b"a"))
        (event,) = one.receive(frame(0, 0, 5, b"b"))
        self.assertEqual(event.data, b"b")  # type: ignore[union-attr]

    def test_resets_of_what_is_answered(self) -> None:
        """A client that resets what is answered before it has sent all of it, as those of gRPC do, is no nuisance."""
        one = server(Limits(max_resets=10, max_useless_frames=10))
        for stream in range(1, 1001, 2):
            one.receive(headers(stream, POST, 4))
            one.send_headers(stream, [(b":status", b"200"), (b"grpc-status", b"7")], True)
            self.assertEqual(outcome(one, rst_stream(stream, 8)), "StreamReset")
            one.take_output()
            one.output_read()
        self.assertEqual((one.closed, len(one.streams)), (False, 0))

    def test_too_many_streams_again_and_again(self) -> None:
        """So are streams past the limit."""
        one = server(Limits(max_concurrent_streams=1))
        pieces = [headers(stream, GET) for stream in range(1, 1001, 2)]
        self.assertEqual(self.flood(one, *pieces, most=500), ("ENHANCE_YOUR_CALM", "too_many_streams"))

    def test_continuations(self) -> None:
        """A field block has an end, in frames and in bytes."""
        for piece in (b"", block([(b"x", b"y")]), bytes(1)):
            one = server()
            one.receive(frame(1, 1, 1, block(GET)))
            self.assertTrue(one.unfinished)
            self.assertEqual(
                self.flood(one, frame(9, 0, 1, piece), most=40), ("ENHANCE_YOUR_CALM", "continuation_flood")
            )
        one = server()
        one.receive(frame(1, 1, 1, block(GET)))
        self.assertEqual(self.flood(one, frame(9, 0, 1, bytes(16_000)), most=20), ("ENHANCE_YOUR_CALM", "header_list"))

    def test_large_heads(self) -> None:
        """Large heads are limited in what they are together, as long as their requests are open."""
        one = server(Limits(max_open_heads=20_000, max_header_list=10_000))
        large = [*GET, (b"x", b"y" * 8000)]
        for stream in (1, 3):
            self.assertEqual(outcome(one, headers(stream, large)), "RequestReceived")
        (refused,) = one.receive(headers(5, large))
        assert isinstance(refused, StreamReset)
        self.assertEqual(
            (refused.code, refused.reason, refused.unprocessed), (ErrorCode.REFUSED_STREAM, "open_heads", True)
        )
        one.take_output()
        self.assertEqual(outcome(one, headers(7, GET)), "RequestReceived")
        one.send_headers(1, [(b":status", b"200")], True)
        self.assertIn("RequestReceived", outcome(one, headers(9, large)))
        pieces = [headers(stream, large) for stream in range(11, 1001, 2)]
        self.assertEqual(self.flood(one, *pieces, most=400), ("ENHANCE_YOUR_CALM", "open_heads"))

    def test_bomb(self) -> None:
        """A list that grows out of a few bytes is given up, and costs no more than the limit."""
        one = server()
        big = b"\x40\x01x" + integer(4000, 0x7F, 0) + b"y" * 4000
        self.assertEqual(outcome(one, frame(1, 5, 1, block(GET) + big)), "RequestReceived")
        self.assertEqual(outcome(one, frame(1, 5, 3, block(GET) + b"\xbe" * 16_000)), ("connection", CALM))

    def test_dribble(self) -> None:
        """A window that is opened byte by byte."""
        one = server()
        one.receive(setting(4, 0) + headers(1, GET))
        one.send_headers(1, [(b":status", b"200")], False)
        for _ in range(3000):
            one.receive(window_update(1, 1))
            if one.closed:
                break
            one.send_data(1, b"x" * one.sendable(1), False)
            one.take_output()
            one.output_read()
        self.assertTrue(one.closed)

    def test_pieces_are_no_flood(self) -> None:
        """A client that reads frames piece by piece, with a small window, acknowledges each, the last few bytes too."""
        one = server()
        one.receive(headers(1, GET))
        one.send_headers(1, [(b":status", b"200")], False)
        for _ in range(2000):
            while size := one.sendable(1):
                one.send_data(1, bytes(min(size, 16_384)), False)
            for size in (9, 40, 1000, 7000, 8335):
                one.receive(window_update(0, size) + window_update(1, size))
                one.send_data(1, bytes(one.sendable(1)), False)
            one.take_output()
        self.assertFalse(one.closed)

    def test_dribble_by_settings(self) -> None:
        """The windows of all streams at once, opened byte by byte."""
        one = server()
        one.receive(setting(4, 0))
        for stream in range(1, 200, 2):
            one.receive(headers(stream, GET))
            one.send_headers(stream, [(b":status", b"200")], False)
        for window in range(1, 50):
            events = one.receive(setting(4, window))
            if one.closed:
                break
            for stream in range(1, 200, 2):
                one.send_data(stream, b"x" * one.sendable(stream), False)
            one.take_output()
            one.output_read()
        self.assertEqual(events[-1].reason, "window_update_flood")  # type: ignore[union-attr]

    def test_windows_opened_by_settings(self) -> None:
        """A client that opens all windows at once, by much, is no nuisance."""
        one = server(Limits(max_useless_frames=10))
        one.receive(setting(4, 0))
        for stream in range(1, 200, 2):
            one.receive(headers(stream, GET))
        one.receive(setting(4, 65_535))
        self.assertFalse(one.closed)

    def test_windows_taken_back(self) -> None:
        """It may take some of that back, but not for ever, however much it is sent."""
        one = server()
        for stream in range(1, 200, 2):
            one.receive(headers(stream, GET))
            one.send_headers(stream, [(b":status", b"200")], False)
        one.receive(setting(4, 30_000))
        self.assertFalse(one.closed)
        for _ in range(5):
            events = one.receive((setting(4, 0) + setting(4, 30_000)) * 10)
            if one.closed:
                break
            for stream in range(1, 200, 2):
                one.send_data(stream, b"x" * 100, False)
            one.take_output()
        self.assertEqual(events[-1].reason if events else "", "settings_flood")  # type: ignore[union-attr]

    def test_begun(self) -> None:
        """What is unfinished can be told from what was: a frame, or a whole field block."""
        one = server()
        one.receive(headers(1, POST, 4))
        data = frame(0, 0, 1, b"x" * 100)
        begun = []
        for piece in (data[:50], data[50:70], data[70:] + data[:5], data[5:12], data[12:] + data[:50], data[50:]):
            one.receive(piece)
            begun.append(one.begun if one.unfinished else 0)
        self.assertEqual([number and number - begun[0] for number in begun], [0, 0, 1, 1, 2, 0])
        first = one.begun
        pieces = frame(1, 1, 3, block(GET[:2])) + frame(9, 0, 3, b"") * 2
        one.receive(pieces[:-3])
        second = one.begun
        one.receive(pieces[-3:] + frame(9, 4, 3, block(GET[2:]))[:-1])
        self.assertNotEqual(first, second)
        self.assertEqual(second, one.begun)

    def test_table_size_updates(self) -> None:
        """A block needs two updates of the table's size at most, and may have no more."""
        self.assertEqual(outcome(server(), frame(1, 5, 1, b"\x20\x3f\xe1\x1f" + block(GET))), "RequestReceived")
        self.assertEqual(
            outcome(server(), frame(1, 5, 1, b"\x20" * 3 + block(GET))), ("connection", ErrorCode.COMPRESSION_ERROR)
        )

    def test_many_literals(self) -> None:
        """Fields cost more than the bytes they take; so many that nobody sends them are not looked at to their end."""
        limits = Limits(max_fields=10, max_cookie_crumbs=10)
        for literal in (b"\0\x01x\0", b"\x40\x01x\0"):
            one = server(limits)
            self.assertEqual(outcome(one, frame(1, 5, 1, block(GET) + literal * 70)), "RequestOversized")
            self.assertEqual(outcome(one, frame(1, 5, 3, block(GET) + literal * 80)), ("connection", CALM))

    def test_downloads_are_no_flood(self) -> None:
        """A client that acknowledges each frame of a long download is no nuisance."""
        one = server()
        one.receive(headers(1, GET))
        one.send_headers(1, [(b":status", b"200")], False)
        for _ in range(10_000):
            one.send_data(1, bytes(1000), False)
            one.receive(window_update(0, 1000) + window_update(1, 1000))
            one.take_output()
        self.assertFalse(one.closed)
