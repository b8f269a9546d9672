"""HTTP/2 to a server: what responses must be, and what becomes of requests when the server goes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.http2 import ClientConnection, ErrorCode, Limits, ResponseReceived, StreamReset
from edgegw.wire.http2.frames import frame, goaway, rst_stream, window_update

from .http2_frames import GET, SETTINGS, Clock, Pair, block, client, headers, outcome, sent, setting

PROTOCOL, CLOSED = ErrorCode.PROTOCOL_ERROR, ErrorCode.STREAM_CLOSED
OK: list[Pair] = [(b":status", b"200")]
THREE: list[Pair] = [*OK, (b"content-length", b"3")]


class ClientTests(SynchronousTestCase):
    """The client's end."""

    def after_request(self, data: bytes, head: bool = False) -> tuple[str, int] | str:
        """Say what becomes of an answer to one request."""
        one = client()
        self.assertEqual(one.send_request(GET, True, head=head), 1)
        one.take_output()
        return outcome(one, data)

    def test_responses(self) -> None:
        """What is taken."""
        for data, expected in (
            (headers(1, OK), "ResponseReceived"),
            (headers(1, THREE, 4) + frame(0, 1, 1, b"abc"), "ResponseReceived DataReceived"),
            (headers(1, [(b":status", b"103")], 4) + headers(1, OK), "ResponseReceived ResponseReceived"),
            (headers(1, OK, 4) + headers(1, [(b"x", b"y")]), "ResponseReceived TrailersReceived"),
            (headers(1, [(b":status", b"304"), THREE[1]]), "ResponseReceived"),
        ):
            self.assertEqual(self.after_request(data), expected)
        self.assertEqual(self.after_request(headers(1, THREE), head=True), "ResponseReceived")

    def test_malformed(self) -> None:
        """What ends the stream."""
        for data in (
            headers(1, [(b"x", b"y")]),
            headers(1, [(b":status", b"101")], 4),
            headers(1, [(b":status", b"2x0")]),
            headers(1, [*OK, *OK]),
            headers(1, [(b"x", b"y"), *OK]),
            headers(1, [*OK, (b":path", b"/")]),
            headers(1, [*OK, (b"connection", b"close")]),
            headers(1, [*OK, (b"X", b"y")]),
            headers(1, [*OK, (b"x", b"a\r\nb")]),
            headers(1, THREE),
            headers(1, [(b":status", b"100")]),
            headers(1, THREE, 4) + frame(0, 1, 1, b"ab"),
            headers(1, THREE, 4) + frame(0, 0, 1, b"abcd"),
            headers(1, THREE, 4) + headers(1, [(b"x", b"y")]),
            headers(1, OK, 4) + headers(1, [(b"x", b"y")], 4),
            headers(1, [(b":status", b"204")], 4) + frame(0, 1, 1, b"x"),
            frame(0, 0, 1, b"x"),
        ):
            self.assertEqual((data, self.after_request(data)), (data, ("stream", PROTOCOL)))
        self.assertEqual(self.after_request(headers(1, THREE, 4) + frame(0, 1, 1, b"abc"), head=True), (
            "stream", PROTOCOL))

    def test_connection_faults(self) -> None:
        """What ends the connection."""
        for data, code in (
            (headers(3, OK), PROTOCOL),
            (headers(2, OK), PROTOCOL),
            (frame(0, 0, 3, b"x"), PROTOCOL),
            (frame(5, 4, 1, bytes(4) + block(GET)), PROTOCOL),
            (setting(2, 1), PROTOCOL),
            (setting(8, 1) + setting(8, 0), PROTOCOL),
            (goaway(1, 0) + goaway(3, 0), PROTOCOL),
            (headers(1, OK) + headers(1, OK), CLOSED),
        ):
            self.assertEqual((data, self.after_request(data)), (data, ("connection", code)))
        # A server that speaks HTTP/1.1 has sent a frame that is too large.
        one = ClientConnection(Limits(), Clock())
        self.assertEqual(outcome(one, b"HTTP/1.1 400 "), ("connection", ErrorCode.FRAME_SIZE_ERROR))

    def test_goaway(self) -> None:
        """Requests that the server did not take may be sent again; the others are answered."""
        one = client()
        for _ in range(3):
            one.send_request(GET, True)
        first, second, _ = one.receive(goaway(1, 0))
        assert isinstance(first, StreamReset) and isinstance(second, StreamReset)
        self.assertEqual(
            [(event.stream, event.unprocessed) for event in (first, second)], [(3, True), (5, True)]
        )
        self.assertEqual((one.going, one.room), (True, 0))
        self.assertRaises(ValueError, one.send_request, GET, True)
        response, = one.receive(headers(1, OK))
        assert isinstance(response, ResponseReceived)
        self.assertEqual((response.stream, response.head.status, response.head.length), (1, 200, -2))

    def test_resets(self) -> None:
        """REFUSED_STREAM may be sent again, other codes not."""
        for code, unprocessed in ((7, True), (8, False)):
            one = client()
            one.send_request(GET, True)
            event, = one.receive(rst_stream(1, code))
            assert isinstance(event, StreamReset)
            self.assertEqual((event.code, event.unprocessed), (code, unprocessed))

    def test_room(self) -> None:
        """No more requests at a time than the server and our own limits allow."""
        one = client(Limits(max_concurrent_streams=10))
        self.assertEqual(one.room, 10)
        one.receive(setting(3, 2))
        one.send_request(GET, True)
        self.assertEqual(one.room, 1)
        one.receive(setting(3, 1000))
        self.assertEqual(one.room, 9)

    def test_reset_of_ours(self) -> None:
        """What comes on a stream that was given up is let pass, with the table in step."""
        one = client()
        one.send_request(GET, True)
        one.send_request(GET, True)
        one.reset(1)
        one.take_output()
        late = frame(1, 4, 1, block(OK) + b"\x40\x01x\x01y") + frame(0, 1, 1, b"abc") + window_update(1, 1)
        self.assertEqual(outcome(one, late), "")
        event, = one.receive(frame(1, 5, 3, block(OK) + b"\xbe"))
        assert isinstance(event, ResponseReceived)
        self.assertEqual(event.head.fields, [(b"x", b"y", b"x: y\r\n")])

    def test_interim_flood(self) -> None:
        """A server that sends interim responses for ever is left."""
        one = client()
        one.send_request(GET, True)
        for _ in range(3000):
            events = one.receive(headers(1, [(b":status", b"102")], 4))
            if one.closed:
                break
        self.assertEqual(events[-1].reason, "interim_response_flood")  # type: ignore[union-attr]

    def test_push_is_off(self) -> None:
        """The settings say that nothing is to be pushed."""
        kind, _, _, payload = sent(ClientConnection(Limits(), Clock()).take_output())[0]
        self.assertEqual((kind, payload[:6]), (4, b"\0\2\0\0\0\0"))
        self.assertEqual(outcome(client(), SETTINGS), "SettingsReceived")
