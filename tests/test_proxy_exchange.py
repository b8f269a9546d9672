"""Requests and responses on their way through: streaming, back-pressure, and upstreams that fail in every way."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from edgegw.model import Endpoint, HTTPSettings, Upstream

from .gateway import (
    RecordedRequest,
    ScriptedUpstream,
    UpstreamTalk,
    answer,
    gateway,
    http_listener,
    start_gateway,
    start_upstream,
    until,
)
from .raw_client import Client, connect

reactor: Any = global_reactor
GET = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a.example\r\n"
MIB = 1 << 20
#: What may lie in the gateway for one exchange and direction: a transport's buffer, one read, and some framing.
MOST_QUEUED = 65_536 + 262_144 + 65_536


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Pump:
    """Writes ``size`` bytes to a transport as fast as it takes them."""

    def __init__(self, transport: Any, size: int, piece: bytes) -> None:
        self.transport = transport
        self.left = size
        self.piece = piece
        self.paused = False
        transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        while self.left and not self.paused:
            self.left -= len(self.piece)
            self.transport.write(self.piece)
        if not self.left:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.paused = True

    def stopProducing(self) -> None:
        self.left = 0


class ExchangeTests(TestCase):
    """A plain listener before one upstream or more."""

    async def start(self, script: Any = b"", upstream: dict[str, Any] | None = None, **http: Any) -> ScriptedUpstream:
        self.upstream = start_upstream(self, script or answer(b"ok"), **(upstream or {}))
        await self.serve(self.upstream.model, **http)
        return self.upstream

    async def serve(self, model: Upstream, **http: Any) -> None:
        self.running = await start_gateway(self, gateway([http_listener(http=HTTPSettings(**http))], model))

    async def connect(self) -> Client:
        return await connect(self, self.running.address())

    async def get(self) -> tuple[int, bytes]:
        client = await self.connect()
        client.send(GET)
        response = await client.response()
        return response.status, response.body

    def queued(self) -> int:
        """Bytes that lie in the gateway, in all directions."""
        (profile,) = self.running.generation._profiles.values()
        total = 0
        for one in profile.transports:
            total += one.unsent + len(one.protocol._buffer)
            exchange = one.protocol._exchange
            if exchange is not None:
                total += len(exchange._held)
                if exchange.connection is not None:
                    total += exchange.connection.transport.unsent + len(exchange.connection._buffer)
        return total

    async def quiet(self) -> None:
        """Wait for the end of all exchanges and see that nothing is counted as open."""
        await self.running.idle()
        for one in self.running.metrics.routes.values():
            self.assertEqual(one.in_progress, 0)
        await until(lambda: all(one.connections == one.idle for one in self.running.metrics.upstreams.values()))

    # --- streaming ---

    async def upload(self, head: bytes, piece: bytes, pieces: int, end: bytes) -> ScriptedUpstream:
        """Upload to an upstream that stops reading for a while; what is queued meanwhile stays bounded."""
        upstream = await self.start()
        counted = [0]
        stopped: list[UpstreamTalk] = []

        def on_data(talk: UpstreamTalk, data: bytes) -> None:
            counted[0] += len(data)
            talk.received.clear()
            if not stopped:
                stopped.append(talk)
                talk.transport.pauseProducing()
            if data.endswith(end):
                talk.transport.write(answer(b"done"))

        upstream.on_data = on_data
        client = await self.connect()
        client.send(POST + head + b"\r\n\r\n")
        pump = Pump(client.transport, len(piece) * pieces, piece)
        await until(lambda: stopped)
        most = 0
        last = (-1, -1)
        while last != (pump.left, most):  # until nothing moves any more
            last = (pump.left, most)
            await deferLater(reactor, 0.2)
            most = max(most, self.queued())
        self.assertGreater(pump.left, 0)
        self.assertLess(most, MOST_QUEUED)
        stopped[0].transport.resumeProducing()
        await until(lambda: pump.left == 0, 60)
        if end not in piece:
            client.send(end)
        self.assertEqual((await client.response()).body, b"done")
        self.assertGreater(counted[0], 0.99 * len(piece) * pieces)
        (metrics,) = (one for key, one in self.running.metrics.routes.items() if key[2])
        self.uploaded = metrics.request_bytes
        return upstream

    async def test_upload(self) -> None:
        """An upload waits for an upstream that reads slowly; the gateway holds only a little of it."""
        await self.upload(b"content-length: %d" % (64 * MIB + 3), b"x" * 65_536, 1024, b"end")
        self.assertEqual(self.uploaded, 64 * MIB + 3)

    async def test_chunked_upload(self) -> None:
        """So does an upload in chunks, which goes on in chunks."""
        await self.upload(b"transfer-encoding: chunked", b"ffff\r\n" + b"x" * 65_535 + b"\r\n", 512, b"0\r\n\r\n")
        self.assertEqual(self.uploaded, 512 * 65_535)

    async def download(self, head: bytes, piece: bytes, pieces: int, end: bytes = b"") -> None:
        """Download to a client that stops reading for a while; what is queued meanwhile stays bounded."""
        upstream = await self.start()
        pumps: list[Pump] = []

        def script(request: RecordedRequest) -> None:
            request.talk.transport.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
            pumps.append(Pump(request.talk.transport, len(piece) * pieces, piece))

        upstream.script = script
        client = await self.connect()
        client.send(GET)
        await client.heard(piece[-100:-2])
        client.transport.pauseProducing()
        most = 0
        last = (-1, -1)
        while last != (pumps[0].left, most):
            last = (pumps[0].left, most)
            await deferLater(reactor, 0.2)
            most = max(most, self.queued())
        self.assertGreater(pumps[0].left, 0)
        self.assertLess(most, MOST_QUEUED)
        received = len(client.received)
        whole = client.received.index(b"\r\n\r\n") + 4 + len(piece) * pieces
        client.received = b""

        def count(data: bytes) -> None:
            nonlocal received
            received += len(data)
            client.received = data

        client.dataReceived = count  # type: ignore[method-assign]  # what comes is only counted
        client.transport.resumeProducing()
        await until(lambda: pumps[0].left == 0, 60)
        upstream.talks[0].transport.write(end)
        # With a length to the last byte; chunks are made anew, and end as they do.
        await until(lambda: client.received.endswith(end) if end else received == whole, 60)
        # The connection that brought it is good for the next one.
        del client.dataReceived
        client.received = b""
        upstream.script = answer(b"next")
        client.send(GET)
        self.assertEqual((await client.response()).body, b"next")
        self.assertEqual(len(upstream.talks), 1)

    async def test_download(self) -> None:
        """A download waits for a client that reads slowly, and its upstream connection is used again."""
        await self.download(b"content-length: %d" % (64 * MIB), b"x" * 65_536, 1024)
        (metrics,) = (one for key, one in self.running.metrics.routes.items() if key[2])
        self.assertEqual(metrics.response_bytes, 64 * MIB + 4)

    async def test_chunked_download(self) -> None:
        """So does a download in chunks."""
        await self.download(b"transfer-encoding: chunked", b"ffff\r\n" + b"x" * 65_535 + b"\r\n", 512, b"0\r\n\r\n")

    async def test_slow_to_the_last_byte(self) -> None:
        """A client that has not taken the end of a response leaves the upstream's connection fit for others."""
        waiting: list[RecordedRequest] = []
        upstream = await self.start(lambda request: waiting.append(request))
        slow = await self.connect()
        slow.transport.pauseProducing()
        slow.send(GET)
        await until(lambda: waiting)
        talk = waiting[0].talk
        talk.transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        (metrics,) = (one for key, one in self.running.metrics.routes.items() if key[2])
        sent = 0
        while not self.queued():  # until the kernel takes no more for this client
            sent += 16_384
            talk.transport.write(b"4000\r\n" + b"x" * 16_384 + b"\r\n")
            await until(lambda: metrics.response_bytes == sent)  # noqa: B023  # called before it changes
        # The last of it comes in one piece, and is more than the gateway likes to hold.
        talk.transport.write(b"e000\r\n" + b"x" * 57_344 + b"\r\n0\r\n\r\n")
        await until(lambda: self.running.metrics.upstreams["upstream"].idle == 1)
        upstream.script = answer(b"next")
        self.assertEqual(await self.get(), (200, b"next"))
        self.assertEqual(len(upstream.talks), 1)
        slow.transport.resumeProducing()
        self.assertEqual(len((await slow.response()).body), sent + 57_344)

    async def test_both_ways_at_once(self) -> None:
        """A response may begin before the request has ended, and both go on."""
        upstream = await self.start()
        upstream.on_data = lambda talk, data: talk.transport.write(
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" if data.startswith(b"POST") else b"")
            + b"".join(b"1\r\n%c\r\n" % byte for byte in data[-1:])
            + (b"0\r\n\r\n" if data.endswith(b"!") else b"")
        )
        client = await self.connect()
        client.send(POST + b"content-length: 3\r\n\r\n1")
        await client.heard(b"1\r\n1\r\n")
        client.send(b"2")
        await client.heard(b"1\r\n2\r\n")
        client.send(b"!")
        response = await client.response()
        self.assertEqual((response.body, response.all("connection")), (b"12!", ["close"]))
        await client.closed()

    async def test_trailers(self) -> None:
        """Trailers go both ways, without those that could pass for more."""
        upstream = await self.start(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n"
            b"2\r\nok\r\n0\r\nX-T: 1\r\nset-cookie: a=b\r\n\r\n"
        )
        client = await self.connect()
        client.send(
            POST + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\nX-Forwarded-Client-Cert: evil\r\n"
            b"x_forwarded_client_cert: evil\r\nContent-Length: 5\r\nx-real-ip: 1.1.1.1\r\n\r\n"
        )
        response = await client.response()
        self.assertEqual(response.trailers, [(b"x-t", b"1", b"X-T: 1\r\n")])
        raw = upstream.requests[0].raw
        self.assertTrue(raw.endswith(b"\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n"), raw)

    async def test_until_the_end(self) -> None:
        """A response that the connection's end ends is chunked for HTTP/1.1 and ends the connection of HTTP/1.0."""
        upstream = await self.start()

        def script(request: RecordedRequest) -> None:
            request.talk.transport.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
            request.talk.transport.loseConnection()

        upstream.script = script
        client = await self.connect()
        for _ in range(2):
            client.send(GET)
            response = await client.response()
            self.assertEqual((response.body, response.all("transfer-encoding")), (b"hello", ["chunked"]))
        old = await self.connect()
        old.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertTrue((await old.closed()).endswith(b"\r\n\r\nhello"))
        self.assertTrue(old.ended_cleanly)

    # --- answers before their time ---

    async def test_early_answer(self) -> None:
        """An answer before the end of the body reaches the client, whose connection closes without losing it."""
        upstream = await self.start()
        upstream.on_data = lambda talk, data: talk.transport.write(answer(b"too much", b"413 No"))
        for body in (
            b"content-length: 100000000\r\n\r\n" + b"x" * 100_000,
            b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ):
            client = await self.connect()
            client.send(POST + body)
            response = await client.response()
            self.assertEqual(
                (response.status, response.body, response.all("connection")), (413, b"too much", ["close"])
            )
            await client.closed()
        await self.quiet()
        self.assertEqual(self.running.metrics.upstreams["upstream"].connections, 0)

    async def test_early_answer_to_a_flood(self) -> None:
        """Also where the upstream reads no more and the client is in full flow."""
        upstream = await self.start()

        def on_data(talk: UpstreamTalk, data: bytes) -> None:
            talk.transport.pauseProducing()
            talk.transport.write(answer(b"no", b"403 No"))

        upstream.on_data = on_data
        client = await self.connect()
        client.send(POST + b"content-length: %d\r\n\r\n" % (8 * MIB))
        Pump(client.transport, 8 * MIB, b"x" * 65_536)
        self.assertEqual((await client.response()).status, 403)
        await client.closed()
        await self.quiet()

    # --- upstreams that fail ---

    async def test_unreachable(self) -> None:
        """503 where no endpoint can be reached, and the next request tries again."""
        await self.serve(Upstream("down", (Endpoint("127.0.0.1", free_port()), Endpoint("127.0.0.1", free_port()))))
        client = await self.connect()
        for _ in range(2):
            client.send(GET)
            response = await client.response()
            self.assertEqual(
                (response.status, response.all("server"), response.all("connection")), (503, ["edgegw"], [])
            )
            self.assertNotIn(b"127.0.0.1", response.body)
        client.send(POST + b"content-length: 5\r\n\r\nhello")
        self.assertEqual((await client.response()).status, 503)
        client.send(POST + b"content-length: 5\r\n\r\nhel")
        self.assertEqual((await client.response()).status, 503)
        await client.closed()
        await self.quiet()
        self.assertEqual(self.running.metrics.upstreams["down"].connect_failures["refused"], 8)

    async def test_next_endpoint(self) -> None:
        """An endpoint that cannot be reached is passed over, with or without a body on the way."""
        upstream = start_upstream(self, lambda request: answer(request.body))
        dead = Endpoint("127.0.0.1", free_port())
        await self.serve(Upstream("half", (dead, upstream.model.endpoints[0], dead)))
        client = await self.connect()
        for _ in range(6):
            client.send(GET)
            self.assertEqual((await client.response()).status, 200)
            client.send(POST + b"content-length: 5\r\n\r\nhel")
            client.send(b"lo")
            self.assertEqual((await client.response()).body, b"hello")
        self.assertEqual(len(upstream.requests), 12)

    async def test_round_robin(self) -> None:
        """Endpoints have their turns."""
        upstreams = [start_upstream(self, answer(b"%d" % number)) for number in range(3)]
        await self.serve(Upstream("three", tuple(one.model.endpoints[0] for one in upstreams)))
        client = await self.connect()
        got = []
        for _ in range(6):
            client.send(GET)
            got.append((await client.response()).body)
        self.assertEqual(got, [b"0", b"1", b"2"] * 2)

    async def test_body_waits_for_the_second_endpoint(self) -> None:
        """A body that waited for a connection goes on when a kept one of another endpoint takes its place."""
        upstream = start_upstream(self, lambda request: answer(request.body))
        await self.serve(Upstream("half", (upstream.model.endpoints[0], Endpoint("127.0.0.1", free_port()))))
        client = await self.connect()
        client.send(GET)
        await client.response()
        client.send(POST + b"content-length: 200005\r\n\r\nhello" + b"x" * 100_000)
        client.send(b"y" * 100_000)
        self.assertEqual(len((await client.response()).body), 200_005)
        self.assertEqual(len(upstream.talks), 1)

    async def test_bad_answers(self) -> None:
        """502 for whatever is no HTTP/1.x response with one clear framing; the connection is not used again."""
        upstream = await self.start()
        ok = b"HTTP/1.1 200 OK\r\n"
        for reply in [
            b"hello\r\n\r\n",
            b"\x16\x03\x03\x00\x02\x02\x28" + b"x" * 50,
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n",
            ok + b"content-length: 2\r\ncontent-length: 2\r\n\r\nok",
            ok + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok",
            ok + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ok + b"transfer-encoding: gzip\r\n\r\nok",
            ok + b"content-length: -1\r\n\r\n",
            ok + b"x: \x00\r\n\r\n",
            ok + b"x: a\r\n b\r\n\r\n",
            ok + b"x: " + b"a" * 100_000 + b"\r\n\r\n",
            ok + b"x: a\r\n" * 300 + b"\r\n",
            ok + b"x: " + b"a" * 100_000,
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20 + answer(b"ok"),
        ]:
            upstream.script = reply
            before = len(upstream.talks)
            client = await self.connect()
            client.send(GET)
            response = await client.response()
            while response.status == 103:
                response = await client.response()
            self.assertEqual((response.status, response.all("server")), (502, ["edgegw"]), reply[:80])
            await upstream.talks[before].lost
        self.assertEqual(self.running.metrics.upstreams["upstream"].response_failures["bad_response"], 16)

    async def test_closed_without_an_answer(self) -> None:
        """502 where the upstream closes a new connection, in order or not, before it has answered: no retry."""
        upstream = await self.start()
        for end in ("loseConnection", "abortConnection"):
            for said in (b"", b"HTTP/1.1 200 OK\r\ncontent-"):

                def script(request: RecordedRequest, end: str = end, said: bytes = said) -> None:
                    request.talk.transport.write(said)
                    if said:
                        reactor.callLater(0.05, getattr(request.talk.transport, end))
                    else:
                        getattr(request.talk.transport, end)()

                upstream.script = script
                upstream.requests.clear()
                self.assertEqual((await self.get())[0], 502, (end, said))
                self.assertEqual(len(upstream.requests), 1)

    async def test_too_late(self) -> None:
        """504 where the upstream says nothing, or not enough, in time."""
        upstream = await self.start(upstream={"response_timeout": 0.3})
        for said in (b"", b"HTTP/1.1 200", b"HTTP/1.1 100 Continue\r\n\r\n"):

            def script(request: RecordedRequest, said: bytes = said) -> None:
                request.talk.transport.write(said)

            upstream.script = script
            client = await self.connect()
            client.send(GET)
            response = await client.response()
            if response.status == 100:
                response = await client.response()
            self.assertEqual(response.status, 504, said)
            self.assertEqual(response.body, b"504 Gateway Timeout\nThe upstream took too long.\n")
        client = await self.connect()
        client.send(POST + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        self.assertEqual((await client.response()).status, 504)

    async def test_upstream_that_stops_reading(self) -> None:
        """504 where an upstream takes nothing of a body any more."""
        upstream = await self.start(upstream={"idle_timeout": 0.4, "response_timeout": 0.4})
        upstream.on_connect = lambda talk: talk.transport.pauseProducing()
        client = await self.connect()
        client.send(POST + b"content-length: %d\r\n\r\n" % (32 * MIB))
        Pump(client.transport, 32 * MIB, b"x" * 65_536)
        self.assertEqual((await client.response()).status, 504)
        await client.closed()
        await self.quiet()

    async def test_dies_in_the_middle(self) -> None:
        """A response that breaks off is broken off for the client too: it never looks complete."""
        upstream = await self.start()
        ok = b"HTTP/1.1 200 OK\r\n"
        for said, end in [
            (ok + b"content-length: 10\r\n\r\nhello", "loseConnection"),
            (ok + b"content-length: 10\r\n\r\nhello", "abortConnection"),
            (ok + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "loseConnection"),
            (ok + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "abortConnection"),
            (ok + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "loseConnection"),
            (ok + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", ""),
            (ok + b"\r\nhello", "abortConnection"),
        ]:
            for version in (1, 0):

                def script(request: RecordedRequest, said: bytes = said) -> None:
                    request.talk.transport.write(said)

                upstream.script = script
                before = len(upstream.talks)
                client = await self.connect()
                client.send(b"GET / HTTP/1.%d\r\nhost: a\r\n\r\n" % version)
                await until(lambda client=client: client.received or client.reason)  # type: ignore[misc]  # bound now
                if end:
                    getattr(upstream.talks[before].transport, end)()
                received = await client.closed()
                self.assertFalse(client.ended_cleanly, (said, end, version))
                self.assertFalse(received.endswith(b"0\r\n\r\n"), (said, end))
        await self.quiet()

    async def test_stops_in_the_middle(self) -> None:
        """So is one that stops for too long."""
        upstream = await self.start(
            b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", upstream={"idle_timeout": 0.3}
        )
        client = await self.connect()
        client.send(GET)
        received = await client.closed()
        self.assertTrue(received.endswith(b"\r\n\r\nhello"))
        self.assertFalse(client.ended_cleanly)
        await upstream.talks[0].lost

    async def test_more_than_the_response(self) -> None:
        """Bytes behind a response are nobody's answer: the connection that brought them is closed."""
        upstream = await self.start()
        evil = answer(b"evil")
        for reply in [
            answer(b"good") + evil,
            b"HTTP/1.1 204 No Content\r\n\r\n" + evil,
            b"HTTP/1.1 204 No Content\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n" + evil,
        ]:
            upstream.script = reply
            before = len(upstream.talks)
            client = await self.connect()
            client.send(GET)
            self.assertIn((await client.response()).body, (b"good", b""))
            upstream.script = answer(b"next")
            client.send(GET)
            self.assertEqual((await client.response()).body, b"next", reply)
            await upstream.talks[before].lost
            upstream.talks[-1].transport.loseConnection()
            await until(lambda: self.running.metrics.upstreams["upstream"].connections == 0)

    async def test_more_after_the_response(self) -> None:
        """So are bytes on a connection that is not in use."""
        upstream = await self.start()
        for unasked in (answer(b"evil"), b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"x"):
            self.assertEqual(await self.get(), (200, b"ok"))
            upstream.talks[-1].transport.write(unasked)
            await upstream.talks[-1].lost
            self.assertEqual(await self.get(), (200, b"ok"))
            upstream.talks[-1].transport.loseConnection()
            await until(lambda: self.running.metrics.upstreams["upstream"].connections == 0)

    async def test_body_to_head(self) -> None:
        """A body in answer to HEAD, which has none, goes to nobody."""
        upstream = await self.start(answer(b"evil"))
        client = await self.connect()
        client.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.response(True)
        upstream.script = answer(b"good")
        client.send(GET)
        self.assertEqual((await client.response()).body, b"good")
