"""HTTP/2 connections under load, over time and at their end: nobody waits for another, and nothing grows."""
from __future__ import annotations

import gzip
import os
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

from h2.errors import ErrorCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater

from edgegw.api import BackendRequest, BackendResponse
from edgegw.model import BackendRef, Compression, Filters, HTTP2Settings, HTTPSettings, Route, RouteRule
from edgegw.proxy import http2_response
from edgegw.proxy.http2 import HTTP2Connection
from edgegw.wire.http2 import PREFACE
from edgegw.wire.http2.frames import frame
from tests.gateway import (
    RecordedRequest,
    answer,
    gateway,
    http_listener,
    in_thread,
    until,
)
from tests.http2_client import HTTP2Client
from tests.http2_upstreams import start_http2_upstream
from tests.test_proxy_backend import upstream as backend
from tests.test_proxy_http2 import HTTP2Tests

reactor: Any = global_reactor
BIG = 4 * 1024 * 1024
#: What one connection may hold: windows of the streams, and a read for each from its upstream.
MOST_QUEUED = 2 * 1024 * 1024


def big(request: RecordedRequest) -> bytes:
    """Answer with much, or with little."""
    return answer(b"b" * BIG) if request.line.startswith(b"GET /big") else answer(b"small")


class FlowTests(HTTP2Tests):
    """Pace, in both directions."""

    def protocols(self) -> list[HTTP2Connection]:
        (profile,) = self.running.generation._profiles.values()
        return [one.protocol for one in profile.transports if isinstance(one.protocol, HTTP2Connection)]

    def queued(self) -> int:
        """Bytes that lie in the gateway for all connections."""
        total = 0
        for one in self.protocols():
            total += one.queued + one.transport.unsent
            for stream in one.streams.values():
                exchange = stream._exchange
                if exchange is not None:
                    total += len(exchange._held)
                    if exchange.connection is not None:
                        total += exchange.connection.transport.unsent
        return total

    async def test_slow_beside_fast(self) -> None:
        """A stream whose client takes nothing holds up no other; what waits for it is bounded."""
        await self.start(big)
        client = await self.connect()
        slow: set[int] = set()
        client.reads = lambda stream: stream not in slow
        # The connection's window is the client's to open.
        client.h2.increment_flow_control_window(1 << 24)
        slow.add(client.ask("/big"))
        slow.add(client.ask("/big/2"))
        await until(lambda: all(len(client.answers[one].body) == 65_535 for one in slow))
        for number in range(20):
            self.assertEqual(bytes((await client.get(f"/{number}")).body), b"small")
        fast = await client.get("/big/3")
        self.assertEqual(len(fast.body), BIG)
        await deferLater(reactor, 0.05)
        self.assertLess(self.queued(), MOST_QUEUED)
        waited = tuple(slow)
        slow.clear()
        for stream in waited:
            client.read(stream)
        client.flush()
        for stream in waited:
            self.assertEqual(len((await client.answer(stream)).body), BIG)
        self.assertEqual(self.protocols()[0].queued, 0)
        self.assert_nothing_counted()

    async def test_many_big_responses(self) -> None:
        """They come side by side, whole."""
        await self.start(big)
        client = await self.connect()
        client.h2.increment_flow_control_window(1 << 20)
        streams = [client.ask("/big") for _ in range(12)]
        for stream in streams:
            self.assertEqual(len((await client.answer(stream)).body), BIG)
        self.assertEqual(self.protocols()[0].queued, 0)

    async def test_client_that_stops_reading(self) -> None:
        """A client that reads nothing at all is not read from for ever, nor is anything queued for it without end."""
        await self.start(big)
        client = await self.connect()
        # Windows without end: only its socket is full.
        client.h2.increment_flow_control_window((1 << 31) - 1 - 65_535)
        client.h2.update_settings({4: (1 << 31) - 1})
        client.flush()
        client.transport.pauseProducing()
        for _ in range(30):
            client.ask("/big")
        await until(lambda: self.protocols()[0].full)
        last = -1
        while last != (last := self.queued()):
            await deferLater(reactor, 0.1)
        # Each upstream connection has been read from once, in pieces of up to 256 KiB.
        self.assertLess(self.queued(), 30 * 262_144 + MOST_QUEUED)
        client.transport.resumeProducing()
        for stream in (1, 29, 59):
            self.assertEqual(len((await client.answer(stream)).body), BIG)

    async def test_own_answers_unread(self) -> None:
        """A client that asks on and on, and reads no answer, is read from no more."""
        await self.serve(gateway([http_listener(http=HTTPSettings(write_timeout=0.5))], routes=[]))
        address = self.running.address()

        def flood() -> int:
            client = HTTP2Client()
            client.h2.initiate_connection()
            with socket.create_connection(address, 10) as connection:
                connection.sendall(client.h2.data_to_send())
                sent = 0
                try:
                    for number in range(1, 2_000_000, 2):
                        head = b"\x82\x86\x84\x41\x01a"
                        frame = len(head).to_bytes(3, "big") + b"\x01\x05" + number.to_bytes(4, "big") + head
                        connection.sendall(frame)
                        sent += 1
                except OSError:
                    return sent
                return sent

        sent = await in_thread(flood)
        self.assertLess(sent, 900_000)
        await self.running.idle()

    async def test_upload(self) -> None:
        """An upload goes no faster than its upstream, is held in bounds, and others go by it."""
        upstream = await self.start()
        counted = [0]
        stopped: list[Any] = []

        def on_data(talk: Any, data: bytes) -> None:
            if data.startswith(b"GET"):
                talk.transport.write(answer(b"small"))
                return
            counted[0] += len(data)
            if not stopped:
                stopped.append(talk)
                talk.transport.pauseProducing()
            if data.endswith(b"0\r\n\r\n"):
                talk.transport.write(answer(b"done"))

        upstream.on_data = on_data
        client = await self.connect()
        stream = client.ask("/up", method="POST", end=False)
        left = client.upload(stream, 16 * BIG)
        await until(lambda: stopped)
        last = -1
        while last != (last := left()):
            await deferLater(reactor, 0.2)
        self.assertGreater(left(), 0)
        self.assertLess(self.queued(), 1024 * 1024)
        for _ in range(5):
            self.assertEqual(bytes((await client.get()).body), b"small")
        stopped[0].transport.resumeProducing()
        self.assertEqual(bytes((await client.answer(stream)).body), b"done")
        self.assertGreater(counted[0], 16 * BIG)
        counts = self.running.metrics.requests("plain", "all", "upstream")
        self.assertEqual(counts.request_bytes, 16 * BIG)

    async def test_both_ways_at_once(self) -> None:
        """A response may begin, and go on, while its request does."""
        upstream = await self.start()

        def on_data(talk: Any, data: bytes) -> None:
            if data.startswith(b"POST"):
                talk.transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                data = data.partition(b"\r\n\r\n")[2]
            if data:
                talk.transport.write(data)

        upstream.on_data = on_data
        client = await self.connect()
        stream = client.ask(method="POST", end=False)
        await until(lambda: client.answers[stream].status == 200)
        for number in range(5):
            client.send(stream, b"%d" % number)
            await until(lambda: len(client.answers[stream].body) == number + 1)  # noqa: B023 - waited for here
        client.send_trailers(stream, ("grpc-status", "0"))
        found = await client.answer(stream)
        self.assertEqual((bytes(found.body), found.trailers), (b"01234", [("grpc-status", "0")]))

    async def test_backend(self) -> None:
        """A backend that is written in Python is as slow as the client, and sees what comes while it comes."""
        given = [0]

        async def echo(request: BackendRequest) -> BackendResponse:
            async def pieces() -> AsyncIterator[bytes]:
                async for piece in request:
                    yield piece
                for _ in range(256):
                    given[0] += 16_384
                    yield b"p" * 16_384

            return BackendResponse(200, {"x-backend": "yes"}, pieces())

        await self.serve(gateway([http_listener()], backend(echo)))
        client = await self.connect()
        reads = [False]
        client.reads = lambda stream: reads[0]
        stream = client.ask(method="POST", end=False)
        client.send(stream, b"hello")
        await until(lambda: bytes(client.answers[stream].body) == b"hello")
        client.send(stream, b"", end=True)
        await until(lambda: len(client.answers[stream].body) == 65_535)
        await deferLater(reactor, 0.05)
        self.assertLess(given[0], 400_000)
        reads[0] = True
        client.read(stream)
        client.flush()
        found = await client.answer(stream)
        self.assertEqual((len(found.body), found.all("x-backend")), (5 + 256 * 16_384, ["yes"]))
        self.assert_nothing_counted()

    async def test_compression(self) -> None:
        """So is a response that is compressed on its way."""
        page = b"".join(b"line %d\n" % number for number in range(200_000))
        upstream = await self.start(
            answer(page, headers=b"content-type: text/plain\r\n"),
            routes=[Route("all", rules=(RouteRule(
                backends=(BackendRef("upstream"),), filters=Filters(compression=Compression()),
            ),))],
        )
        client = await self.connect()
        streams = [client.ask("/", ("accept-encoding", "gzip")) for _ in range(3)]
        for stream in streams:
            found = await client.answer(stream)
            self.assertEqual((found.all("content-encoding"), found.all("content-length")), (["gzip"], []))
            self.assertEqual(gzip.decompress(bytes(found.body)), page)
        self.assertEqual(len(upstream.requests), 3)

    async def test_upload_byte_by_byte(self) -> None:
        """A body in the smallest of pieces comes whole, and not so much of it is read at a time that others wait."""
        await self.start()
        client = await self.connect()
        stream = client.ask(method="POST", end=False)
        client.transport.write(b"".join(frame(0, 0, stream, b"%d" % (at % 10)) for at in range(20_000)))
        client.transport.write(frame(0, 1, stream, b""))
        self.assertEqual((await client.answer(stream)).status, 200)
        self.assertEqual(self.upstream.requests[-1].body, b"0123456789" * 2000)
        self.assertEqual(self.protocols()[0].transport.LARGEST_READ, 16_384)

    async def early(self, *fields: tuple[str, str]) -> tuple[HTTP2Client, int]:
        """Give a request of which some has come when its response is complete."""
        upstream = await self.start()
        upstream.on_data = lambda talk, data: (
            talk.transport.write(answer(b"enough")) if data.startswith((b"POST", b"GET")) else None
        )
        client = await self.connect()
        stream = client.ask("/", *fields, method="POST", end=False)
        client.send(stream, b"a" * 1000)
        found = await client.answer(stream)
        self.assertEqual((bytes(found.body), found.ended), (b"enough", True))
        self.assert_nothing_counted()
        return client, stream

    def live(self) -> int:
        """Streams that the gateway knows."""
        return sum(len(one.streams) + len(one.codec.streams) for one in self.protocols())

    async def test_early_answer(self) -> None:
        """The rest of a request that is answered already is taken: many clients lose the response to a reset."""
        client, stream = await self.early()
        left = 200_000
        while left:
            room = min(left, 16_384, client.h2.local_flow_control_window(stream))
            left -= room
            if room:
                client.send(stream, b"a" * room, end=not left)
            await deferLater(reactor, 0, lambda: None)
        await until(lambda: self.live() == 0)
        self.assertIsNone(client.answers[stream].code)
        self.assertEqual(bytes((await client.get()).body), b"enough")
        self.assert_nothing_counted()

    async def test_early_answer_to_a_full_window(self) -> None:
        """A client that has had to wait, here for an upstream that is not there, may send the rest then."""
        silent = start_http2_upstream(self, connect_timeout=0.2)
        silent.silent = True
        await self.serve(gateway([http_listener()], silent.model))
        client = await self.connect()
        stream = client.ask(method="POST", end=False)
        for _ in range(4):
            client.send(stream, b"a" * 16_384)
        self.assertEqual(client.h2.local_flow_control_window(stream), 0)
        self.assertEqual((await client.answer(stream)).status, 503)
        await until(lambda: client.h2.local_flow_control_window(stream) > 0, 1)
        client.send(stream, b"a", end=True)
        await until(lambda: self.live() == 0)
        self.assertIsNone(client.answers[stream].code)

    async def test_broken_off_before_the_end(self) -> None:
        """What waits of a gRPC response that broke off is let go at once, though the request goes on."""
        upstream = await self.start()
        upstream.on_data = lambda talk, data: (
            talk.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"a" * 80_000)
        )
        client = await self.connect()
        client.reads = lambda stream: False
        stream = client.ask("/", ("content-type", "application/grpc"), method="POST", end=False)
        (protocol,) = self.protocols()
        await until(lambda: protocol.queued > 0)
        upstream.talks[0].transport.abortConnection()
        self.assertEqual((await client.answer(stream)).trailers[0], ("grpc-status", "14"))
        self.assertEqual((protocol.queued, len(protocol.streams)), (0, 1))

    async def test_early_answer_without_end(self) -> None:
        """A client that does not send the rest is told that nobody wants it, with no error."""
        self.patch(http2_response, "LINGER_IDLE", 0.01)
        client, stream = await self.early()
        await until(lambda: client.answers[stream].code is not None)
        self.assertEqual((client.answers[stream].code, self.live()), (ErrorCodes.NO_ERROR, 0))

    async def test_early_answer_with_too_much(self) -> None:
        """So is one that sends much more, and one that takes its time for it."""
        for name, limit in (("LINGER_BYTES", 20_000), ("LINGER_SECONDS", 0.01)):
            self.patch(http2_response, name, limit)
            client, stream = await self.early()
            client.send(stream, b"a" * 16_384)
            client.send(stream, b"a" * 16_384)
            found = client.answers[stream]
            await until(lambda found=found: found.code is not None)
            self.assertEqual((found.code, self.live()), (ErrorCodes.NO_ERROR, 0))
            await self.running.stop()

    async def test_early_answer_to_a_malformed_request(self) -> None:
        """The rest is held to the rules as if there were no response yet."""
        client, stream = await self.early(("content-length", "1001"))
        client.send(stream, b"aa")
        await until(lambda: client.answers[stream].code is not None)
        self.assertEqual((client.answers[stream].code, self.live()), (ErrorCodes.PROTOCOL_ERROR, 0))

    async def test_early_answer_taken_back(self) -> None:
        """The client may give up the rest itself, and its connection."""
        client, stream = await self.early()
        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
        await until(lambda: self.live() == 0)
        other = client.ask(method="POST", end=False)
        client.send(other, b"a" * 1000)
        await client.answer(other)
        client.transport.abortConnection()
        await self.running.idle()
        self.assert_nothing_counted()

    async def test_reset_by_client(self) -> None:
        """What the client takes back is taken back from the upstream."""
        upstream = await self.start(lambda request: None)
        client = await self.connect()
        stream = client.ask()
        other = client.ask()
        await upstream.request(2)
        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
        await until(lambda: upstream.requests[0].talk.reason is not None)
        self.assertIsNone(upstream.requests[1].talk.reason)
        upstream.requests[1].talk.transport.write(answer(b"ok"))
        self.assertEqual((await client.answer(other)).status, 200)
        self.assert_nothing_counted()

    async def test_client_leaves(self) -> None:
        """So do all requests of a client that is gone."""
        upstream = await self.start(lambda request: None)
        client = await self.connect()
        for _ in range(5):
            client.ask()
        await upstream.request(5)
        client.transport.abortConnection()
        await until(lambda: all(one.reason is not None for one in upstream.talks))
        await self.running.idle()
        self.assert_nothing_counted()


class TimeTests(HTTP2Tests):
    """Everything that a client can make last has an end."""

    async def test_idle(self) -> None:
        """An idle connection is told that it ends."""
        await self.start(http=HTTPSettings(keep_alive_timeout=0.3))
        client = await self.connect()
        await client.get()
        await client.closed()
        self.assertEqual(client.goaways, [(0, 1)])

    async def test_not_idle(self) -> None:
        """A request that takes longer than that is no idleness."""
        upstream = await self.start(lambda request: None, http=HTTPSettings(keep_alive_timeout=0.2))
        client = await self.connect()
        stream = client.ask()
        await upstream.request()
        await deferLater(reactor, 1.0)
        upstream.requests[0].talk.transport.write(answer(b"late"))
        self.assertEqual(bytes((await client.answer(stream)).body), b"late")

    async def test_no_settings(self) -> None:
        """A client that never takes the settings is given up; so is one that stops within a frame."""
        await self.start(http=HTTPSettings(head_timeout=0.3))

        def silent(data: bytes) -> bytes:
            with socket.create_connection(self.running.address(), 10) as connection:
                connection.sendall(PREFACE + data)
                got = b""
                while more := connection.recv(65_536):
                    got += more
                return got

        settings_frame = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
        for data, code, reason in [
            (settings_frame, ErrorCodes.SETTINGS_TIMEOUT, b"settings_timeout"),
            (b"", ErrorCodes.SETTINGS_TIMEOUT, b"settings_timeout"),
            (
                settings_frame + b"\x00\x00\x00\x04\x01\x00\x00\x00\x00\x00\x00\x05\x01",
                ErrorCodes.PROTOCOL_ERROR, b"frame_timeout",
            ),
        ]:
            got = await in_thread(silent, data)
            self.assertTrue(got.endswith(b"\0\0\0\0" + int(code).to_bytes(4, "big") + reason), (data, got))

    async def test_never_between_frames(self) -> None:
        """A client that sends without a pause always has a frame under way, and goes on for as long as it likes."""
        await self.start(http=HTTPSettings(head_timeout=0.3))
        client = await self.connect()
        stream = client.ask(method="POST", end=False)
        data = frame(0, 0, stream, b"x" * 100) * 30 + frame(0, 1, stream, b"")
        for at in range(0, len(data), 109):
            # The first piece ends within a frame, and so do all others.
            client.transport.write(data[:50] if not at else data[at - 59 : at + 50])
            await deferLater(reactor, 0.05)
        client.transport.write(data[at + 50 :])
        self.assertEqual((await client.answer(stream)).status, 200)
        self.assertEqual(len(self.upstream.requests[-1].body), 3000)

    async def test_dribbled(self) -> None:
        """A response that is taken byte by byte is no better than one that is not taken."""
        await self.start(big, http=HTTPSettings(write_timeout=0.5))
        client = await self.connect()
        client.reads = lambda stream: False
        stream = client.ask("/big")
        await until(lambda: len(client.answers[stream].body) >= 65_535)
        while not client.answers[stream].over:
            client.h2.increment_flow_control_window(100)
            client.h2.increment_flow_control_window(100, stream)
            client.flush()
            await deferLater(reactor, 0.1)
        self.assertEqual(client.answers[stream].code, ErrorCodes.CANCEL)
        self.assertIsNone(client.lost)

    async def test_body_stops(self) -> None:
        """408, and the connection goes on."""
        await self.start(http=HTTPSettings(body_idle_timeout=0.3))
        client = await self.connect()
        stream = client.ask(method="POST", end=False)
        client.send(stream, b"begun")
        self.assertEqual((await client.answer(stream)).status, 408)
        self.assertEqual((await client.get()).status, 200)
        self.assert_nothing_counted()

    async def test_stream_stops(self) -> None:
        """Once the response has begun a stream may be quiet for longer, but not for ever."""
        upstream = await self.start(
            http=HTTPSettings(body_idle_timeout=0.2), http2=HTTP2Settings(stream_idle_timeout=1.5)
        )
        upstream.on_data = lambda talk, data: (
            talk.transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
            if data.startswith(b"POST") else None
        )
        client = await self.connect()
        stream = client.ask(method="POST", end=False)
        await until(lambda: client.answers[stream].body)
        await deferLater(reactor, 0.9)
        self.assertFalse(client.answers[stream].over)
        self.assertEqual((await client.answer(stream)).code, ErrorCodes.INTERNAL_ERROR)
        self.assert_nothing_counted()

    async def test_head_past_a_shut_window(self) -> None:
        """A client that has no window for the body gets the head at once."""
        await self.start(big, http2=HTTP2Settings(ping_interval=None))
        client = await self.connect()
        client.reads = lambda stream: False
        first = client.ask("/big")
        await until(lambda: len(client.answers[first].body) >= 65_535)
        second = client.ask("/big")
        await until(lambda: client.answers[second].status == 200, 5.0)

    async def test_window_stays_shut(self) -> None:
        """A client that takes nothing of a response loses it, and no other."""
        await self.start(big, http=HTTPSettings(write_timeout=0.4))
        client = await self.connect()
        client.h2.increment_flow_control_window(1 << 24)
        client.reads = lambda stream: stream != 1
        stream = client.ask("/big")
        self.assertEqual((await client.answer(stream)).code, ErrorCodes.CANCEL)
        self.assertEqual((await client.get("/big")).ended, True)
        self.assert_nothing_counted()

    async def test_ping(self) -> None:
        """A silent client with a request under way is asked for a sign of life; one that gives none is gone."""
        upstream = await self.start(lambda request: None, http2=HTTP2Settings(ping_interval=0.3, ping_timeout=0.5))
        client = await self.connect()
        stream = client.ask()
        await upstream.request()
        await until(lambda: client.pings >= 2)
        self.assertIsNone(client.lost)
        client.answers_pings = False
        await client.closed()
        self.assertFalse(client.answers[stream].over)
        await until(lambda: upstream.talks[0].reason is not None)
        self.assert_nothing_counted()


class EndTests(HTTP2Tests):
    """Drains, floods and nonsense."""

    def model(self) -> Any:
        return gateway([http_listener()], self.upstream)

    async def test_drain(self) -> None:
        """A connection is told that it ends; what is under way is answered first."""
        upstream = await self.start(lambda request: None)
        client = await self.connect()
        first = client.ask("/1")
        await upstream.request()
        self.running.reload(self.model())
        # What the client sent before it heard of it still counts.
        second = client.ask("/2")
        await upstream.request(2)
        await until(lambda: len(client.goaways) == 2)
        self.assertEqual(client.goaways, [(0, (1 << 31) - 1), (0, second)])
        self.assertIsNone(client.lost)
        for request in upstream.requests:
            request.talk.transport.write(answer(b"ok"))
        for stream in (first, second):
            self.assertEqual((await client.answer(stream)).status, 200)
        await client.closed()
        self.assert_nothing_counted()

    async def test_drain_idle(self) -> None:
        """An idle one ends at once."""
        await self.start()
        client = await self.connect()
        await client.get()
        self.running.reload(self.model())
        await client.closed()
        self.assertEqual(client.goaways[-1], (0, 1))

    async def test_max_requests(self) -> None:
        """After so many requests a connection is drained."""
        await self.start(http=HTTPSettings(max_requests=3))
        client = await self.connect()
        for _ in range(3):
            self.assertEqual((await client.get()).status, 200)
        await client.closed()
        self.assertEqual(client.goaways[-1], (0, 5))

    async def test_client_says_goodbye(self) -> None:
        """A client that sends GOAWAY gets what it has asked for."""
        upstream = await self.start(lambda request: None)
        client = await self.connect()
        stream = client.ask()
        await upstream.request()
        client.transport.write(b"\x00\x00\x08\x07\x00" + b"\0" * 12)
        await deferLater(reactor, 0.05)
        upstream.requests[0].talk.transport.write(answer(b"ok"))
        self.assertEqual((await client.answer(stream)).status, 200)
        await client.closed()

    async def test_resets_without_end(self) -> None:
        """A flood of requests that are taken back at once ends with ENHANCE_YOUR_CALM, and no upstream suffers."""
        await self.start(lambda request: None)
        client = await self.connect()
        for _ in range(300):
            stream = client.h2.get_next_available_stream_id()
            client.h2.send_headers(
                stream, [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")], end_stream=True
            )
            client.h2.reset_stream(stream)
        client.flush()
        await client.closed()
        self.assertEqual(client.goaways[-1][0], ErrorCodes.ENHANCE_YOUR_CALM)
        await self.running.idle()
        self.assert_nothing_counted()

    async def test_chaos(self) -> None:
        """Clients that do anything at any time leave nothing behind."""
        await self.start(big)
        address = self.running.address()

        def visit(seed: int) -> None:
            client = HTTP2Client()
            client.h2.initiate_connection()
            try:
                with socket.create_connection(address, 5) as connection:
                    connection.sendall(client.h2.data_to_send())
                    for number in range(1, 20, 2):
                        path = "/big" if (seed + number) % 3 else "/x"
                        client.h2.send_headers(number, [
                            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a"),
                        ], end_stream=(seed + number) % 2 == 0)
                        if (seed + number) % 5 == 0:
                            client.h2.reset_stream(number)
                        connection.sendall(client.h2.data_to_send())
                        if seed % 7 == number % 7:
                            connection.recv(4096)
                        if seed % 11 == number % 11:
                            connection.sendall(os.urandom(40))
            except OSError:
                pass

        def all_visits() -> None:
            threads = [threading.Thread(target=visit, args=(seed,)) for seed in range(40)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()

        await in_thread(all_visits)
        await self.running.idle()
        self.assert_nothing_counted()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_nonsense(self) -> None:
        """Whatever bytes come, the connection ends in order or goes on, and no error is logged."""
        await self.start()
        cases: list[bytes] = []

        @settings(max_examples=60, deadline=None, database=None)
        @given(st.lists(
            st.tuples(st.integers(0, 10), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=60)), max_size=12,
        ))
        def collect(frames: list[tuple[int, int, int, bytes]]) -> None:
            cases.append(b"".join(
                len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
                for kind, flags, stream, payload in frames
            ))

        collect()

        def send(data: bytes) -> None:
            try:
                with socket.create_connection(self.running.address(), 10) as connection:
                    connection.sendall(PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + data)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65_536):
                        pass
            except OSError:
                pass

        for data in cases:
            await in_thread(send, data)
        await self.running.idle()
        self.assert_nothing_counted()
        self.assertEqual(self.flushLoggedErrors(), [])
