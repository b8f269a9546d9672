"""HTTP/2 with another implementation at the other end, and with bytes in any pieces and out of any order."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.http2 import (
    PREFACE,
    ClientConnection,
    DataReceived,
    Event,
    Limits,
    RequestReceived,
    ResponseReceived,
    ServerConnection,
    TrailersReceived,
    WindowOpened,
)
from edgegw.wire.http2.frames import frame, rst_stream, window_update

from .http2_frames import GET, POST, SETTINGS, Clock, block, client, headers, server, setting

BODY = bytes(range(256)) * 2000


def other_end(client_side: bool) -> h2.connection.H2Connection:
    one = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client_side, header_encoding=None))
    one.initiate_connection()
    return one


def facts(event: Event) -> Any:
    """Everything that an event says."""
    said = [getattr(event, name) for name in sorted(type(event).__slots__)]
    return type(event).__name__, [
        (one.fields, getattr(one, "target", None)) if hasattr(one, "fields") else one for one in said
    ]


def joined(events: list[Event]) -> list[Any]:
    """Give what events say; pieces of a stream's body are one with those before, as those that come together are."""
    told: list[Any] = []
    bodies: dict[int, list[Any]] = {}
    for event in events:
        if isinstance(event, DataReceived):
            if event.stream in bodies:
                body = bodies[event.stream]
                body[2:] = body[2] + event.data, body[3] + event.size, event.ended
                continue
            bodies[event.stream] = ["body", event.stream, event.data, event.size, event.ended]
            told.append(bodies[event.stream])
        else:
            told.append(facts(event))
    return told


class PeerTests(SynchronousTestCase):
    """Whole exchanges."""

    def exchange(self, ours: Any, theirs: h2.connection.H2Connection, react: Any, react_theirs: Any) -> None:
        """Carry bytes both ways until there are none."""
        while True:
            data = ours.take_output()
            ours.output_read()
            answer = theirs.data_to_send()
            if not data and not answer:
                return
            for event in theirs.receive_data(data) if data else ():
                react_theirs(event)
            for event in ours.receive(answer) if answer else ():
                react(event)

    def test_server(self) -> None:
        """A client of another make uploads with trailers and downloads through the windows."""
        ours, theirs = ServerConnection(Limits(), Clock()), other_end(True)
        received: list[bytes] = []
        downloaded: list[bytes] = []
        trailers: list[Any] = []
        left = {1: BODY}
        rest = {1: BODY}

        def send() -> None:
            while left.get(1) and ours.sendable(1):
                room = ours.sendable(1)
                ours.send_data(1, left[1][:room], False)
                left[1] = left[1][room:]
                if not left[1]:
                    ours.send_headers(1, [(b"x-end", b"1")], True)

        def react(event: Event) -> None:
            if isinstance(event, DataReceived):
                received.append(event.data)
                ours.acknowledge(1, event.size)
            elif isinstance(event, TrailersReceived):
                trailers.append(event.fields)
                ours.send_headers(1, [(b":status", b"103")], False)
                ours.send_headers(1, [(b":status", b"200"), (b"content-length", b"%d" % len(BODY))], False)
                send()
            elif isinstance(event, WindowOpened):
                send()

        def push() -> None:
            while rest[1]:
                room = min(theirs.local_flow_control_window(1), theirs.max_outbound_frame_size)
                if not room:
                    return
                theirs.send_data(1, rest[1][:room])
                rest[1] = rest[1][room:]
                if not rest[1]:
                    theirs.send_headers(1, [(b"x-sum", b"9")], end_stream=True)

        def react_theirs(event: Any) -> None:
            if isinstance(event, h2.events.DataReceived):
                downloaded.append(event.data)
                theirs.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
                push()
            elif isinstance(event, h2.events.TrailersReceived):
                trailers.append(event.headers)

        theirs.send_headers(1, POST)
        push()
        self.exchange(ours, theirs, react, react_theirs)
        self.assertEqual((b"".join(received), b"".join(downloaded)), (BODY, BODY))
        self.assertEqual(len(trailers), 2)
        self.assertEqual((ours.streams, ours.closed), ({}, False))

    def test_client(self) -> None:
        """A server of another make answers many requests, with fields that it indexes."""
        ours, theirs = ClientConnection(Limits(), Clock()), other_end(False)
        answers: list[Any] = []

        def react(event: Event) -> None:
            if isinstance(event, ResponseReceived):
                answers.append((event.stream, event.head.status, event.head.fields[0][1]))
            elif isinstance(event, DataReceived):
                ours.acknowledge(event.stream, event.size)

        def react_theirs(event: Any) -> None:
            if isinstance(event, h2.events.RequestReceived):
                theirs.send_headers(event.stream_id, [(b":status", b"200"), (b"x", dict(event.headers)[b":path"])])
                theirs.send_data(event.stream_id, b"abc", end_stream=True)

        never = frozenset({b"client-cert"})
        for number in range(300):
            fields = [*GET[:3], (b":path", b"/%d" % (number % 7)), (b"client-cert", b":x:"), (b"te", b"trailers")]
            stream = ours.send_request(fields, True, never_indexed=never)
            self.exchange(ours, theirs, react, react_theirs)
            self.assertEqual(answers[-1], (stream, 200, b"/%d" % (number % 7)))
        self.assertFalse(ours.closed)


TALK = (
    PREFACE + SETTINGS + headers(1, POST, 4) + frame(0, 8, 1, b"\x02abc\0\0") + frame(1, 0, 3, block(GET[:2]))
    + frame(9, 0, 3, b"") + frame(9, 4, 3, block(GET[2:])) + frame(0, 1, 1, b"x") + frame(4, 1, 0, b"")
    + frame(6, 0, 0, bytes(8)) + window_update(3, 5) + frame(0, 1, 3, b"yy") + rst_stream(3, 8) + headers(5, GET)
    + frame(1, 5, 7, block(GET) + b"\x40\x01x\x01y") + frame(1, 5, 9, b"\xbe") + setting(4, 70_000)
    + frame(77, 0, 0, b"z") + frame(0, 0, 11, b"x")
)
PIECES = st.sampled_from([
    SETTINGS, headers(1, GET), headers(3, POST, 4), headers(3, [(b"x", b"y")]), frame(0, 0, 3, b"abc"),
    frame(0, 1, 3, b""), frame(0, 8, 3, b"\x01a\0"), rst_stream(1, 8), rst_stream(3, 0), window_update(0, 9),
    window_update(3, 2**31 - 1), frame(1, 0, 5, block(GET)), frame(9, 4, 5, b""), frame(1, 4, 5, b"\xbe"),
    frame(1, 5, 7, block(GET) + b"\x40\x01x\x01y"), frame(2, 0, 3, bytes(5)), frame(7, 0, 0, bytes(8)), setting(4, 0),
    setting(1, 0), setting(4, 2**31 - 1), frame(6, 1, 0, bytes(8)), frame(4, 1, 0, b""),
    headers(1, [(b":status", b"200")], 4),
])


class AnyBytesTests(SynchronousTestCase):
    """Nothing that comes makes anything but events."""

    @settings(max_examples=200)
    @given(st.lists(st.integers(min_value=0, max_value=len(TALK)), max_size=20))
    def test_any_pieces(self, cuts: list[int]) -> None:
        """The same bytes in other pieces are the same events."""
        whole = ServerConnection(Limits(), Clock())
        expected = joined(whole.receive(TALK))
        one = ServerConnection(Limits(), Clock())
        events: list[Event] = []
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(TALK)], strict=True):
            events += one.receive(TALK[start:end])
        self.assertEqual(joined(events), expected)
        self.assertEqual(one.take_output(), whole.take_output())

    def test_byte_by_byte(self) -> None:
        """So they are one at a time."""
        whole = ServerConnection(Limits(), Clock())
        one = ServerConnection(Limits(), Clock())
        events: list[Event] = []
        for at in range(len(TALK)):
            events += one.receive(TALK[at : at + 1])
        self.assertEqual(joined(events), joined(whole.receive(TALK)))

    @settings(max_examples=500, deadline=None)
    @given(st.lists(st.one_of(PIECES, st.builds(
        frame, st.integers(0, 12), st.integers(0, 255), st.integers(0, 8), st.binary(max_size=40)
    ), st.binary(max_size=30)), max_size=30), st.booleans())
    def test_any_frames(self, pieces: list[bytes], as_client: bool) -> None:
        """No order of frames, right or wrong, raises, and the books of the windows are right after each."""
        one: ServerConnection | ClientConnection = client() if as_client else server()
        if isinstance(one, ClientConnection):
            one.send_request(GET, True)
            one.send_request(POST, False)
        for piece in pieces:
            for event in one.receive(piece):
                if isinstance(event, RequestReceived):
                    one.send_headers(event.stream, [(b":status", b"200")], event.stream % 4 == 1)
                elif isinstance(event, DataReceived):
                    one.acknowledge(event.stream, event.size)
            held = sum(stream.unacknowledged for stream in one.streams.values())
            if not one.closed:
                self.assertEqual(one._receive_window + one._freed + held, one._whole_window)
            one.take_output()
