"""Compressed responses, over real connections."""
from __future__ import annotations

import os
import zlib
from typing import Any

from twisted.internet import reactor as global_reactor

from edgegw.model import Compression, Encoding, Filters, HeaderModifier

from .filtered import FilterTestCase, request
from .gateway import RecordedRequest, UpstreamTalk, answer, start_upstream, until
from .raw_client import read_response
from .test_filters_content_coding import ALL, unpacked
from .test_proxy_exchange import MIB, MOST_QUEUED, Pump

reactor: Any = global_reactor
TEXT = b"content-type: text/plain\r\n"
LONG = b"It was a dark and stormy night. " * 200


class CompressionTests(FilterTestCase):
    """``compression``."""

    async def start(self, script: Any, filters: Filters | None = None, **settings: Any) -> None:
        self.upstream = start_upstream(self, script)
        await self.serve(filters or Filters(compression=Compression(**settings)), self.upstream)

    async def test_encodings(self) -> None:
        """Each coding, of bodies of every framing; the next request on the connection is a new one."""
        chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" + TEXT + b"\r\n"
        for script in (
            answer(LONG, headers=TEXT),
            chunked + b"".join(b"20\r\n%b\r\n" % LONG[:32] for _ in range(200)) + b"0\r\nx-sum: 1\r\n\r\n",
        ):
            await self.start(script)
            client = await self.connect()
            for encoding in (*ALL, *ALL):
                client.send(request("/", "GET", f"accept-encoding: {encoding.value}"))
                response = await client.response()
                self.assertEqual(unpacked(encoding, response.body), LONG)
                self.assertEqual(response.all("content-encoding"), [encoding.value])
                self.assertEqual(response.all("vary"), ["Accept-Encoding"])
                self.assertEqual(len(response.trailers), script.count(b"x-sum"))
            self.assertEqual(len(self.upstream.talks), 1)

    async def test_until_the_end(self) -> None:
        """A body that the connection's end ends."""

        def script(got: RecordedRequest) -> None:
            got.talk.transport.write(b"HTTP/1.0 200 OK\r\n" + TEXT + b"\r\n" + LONG)
            got.talk.transport.loseConnection()

        await self.start(script)
        response = await self.ask(request("/", "GET", "accept-encoding: gzip"))
        self.assertEqual(unpacked(Encoding.GZIP, response.body), LONG)

    async def test_not(self) -> None:
        """Clients that take none, with credentials, or short bodies: as it came."""
        await self.start(answer(LONG, headers=TEXT + b'etag: "x"\r\n'))
        for lines, varies in [
            ((), 1), (("accept-encoding: identity",), 1), (("accept-encoding: gzip", "cookie: a=b"), 0),
        ]:
            response = await self.ask(request("/", "GET", *lines))
            self.assertEqual((response.body, response.all("content-encoding")), (LONG, []))
            self.assertEqual((response.all("etag"), len(response.all("vary"))), (['"x"'], varies))
        self.upstream.script = answer(b"short", headers=TEXT)
        response = await self.ask(request("/", "GET", "accept-encoding: gzip"))
        self.assertEqual((response.body, response.all("vary")), (b"short", []))
        self.upstream.script = b"HTTP/1.1 304 Not Modified\r\n" + TEXT + b'etag: "x"\r\n\r\n'
        response = await self.ask(request("/", "GET", "accept-encoding: gzip"))
        self.assertEqual((response.status, response.all("content-encoding")), (304, []))

    async def test_head(self) -> None:
        """HEAD gets what GET would, but the length, which nobody knows."""
        await self.start(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n" + TEXT + b'etag: "x"\r\n\r\n')
        client = await self.connect()
        for _ in range(2):
            client.send(request("/", "HEAD", "accept-encoding: br"))
            response = await client.response(True)
            self.assertEqual(
                [response.all(name) for name in ("content-encoding", "etag", "content-length", "transfer-encoding")],
                [["br"], ['W/"x"'], [], []],
            )

    async def test_old_client(self) -> None:
        """An HTTP/1.0 client knows the end of a long body by the connection's."""
        body = os.urandom(30_000).hex().encode()
        await self.start(answer(body * 4, headers=TEXT))
        client = await self.connect()
        client.send(b"GET / HTTP/1.0\r\nhost: a\r\naccept-encoding: gzip\r\nconnection: keep-alive\r\n\r\n")
        read = read_response(await client.closed(), closed=True)
        assert read is not None
        self.assertEqual(unpacked(Encoding.GZIP, read[0].body), body * 4)

    async def test_other_filters(self) -> None:
        """What the rule's headers make of a response counts."""
        await self.start(
            answer(LONG, headers=b"content-type: x/y\r\n"),
            Filters(
                compression=Compression(), response_headers=HeaderModifier(set=(("content-type", "text/html"),))
            ),
        )
        response = await self.ask(request("/", "GET", "accept-encoding: gzip"))
        self.assertEqual(response.all("content-encoding"), ["gzip"])

    async def test_as_it_comes(self) -> None:
        """Events reach the client while the response goes on."""
        await self.start(lambda got: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" + TEXT + b"\r\n")
        client = await self.connect()
        client.send(request("/", "GET", "accept-encoding: gzip"))
        await client.heard(b"\r\n\r\n")
        (talk,) = self.upstream.talks
        for number in range(1, 4):
            talk.transport.write(b"8\r\nevent: %d\r\n" % number)
            await until(lambda number=number: self._read(client.received).endswith(b"%d" % number))  # type: ignore[misc]
        talk.transport.write(b"0\r\n\r\n")
        self.assertEqual(unpacked(Encoding.GZIP, (await client.response()).body), b"event: 1event: 2event: 3")

    @staticmethod
    def _read(data: bytes) -> bytes:
        read = read_response(data)
        return b"" if read is None else zlib.decompressobj(31).decompress(read[0].body)

    async def test_slow_client(self) -> None:
        """Where the client reads nothing, what lies in the gateway is bounded; then all of it comes, as it was."""
        piece = os.urandom(32_768).hex().encode()
        pumps: list[Pump] = []

        def script(got: RecordedRequest) -> None:
            got.talk.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n" % (32 * MIB) + TEXT + b"\r\n")
            pumps.append(Pump(got.talk.transport, 32 * MIB, piece))

        await self.start(script)
        client = await self.connect()
        client.transport.pauseProducing()
        client.send(request("/", "GET", "accept-encoding: gzip"))
        await until(lambda: pumps)
        (profile,) = self.running.generation._profiles.values()
        (transport,) = profile.transports
        await until(lambda: transport.producerPaused)
        compressed = transport.protocol._exchange._response.compressed
        self.assertLess(sum(map(len, compressed._queue)) + transport.unsent, 2 * MOST_QUEUED)
        self.assertGreater(pumps[0].left, 0)
        client.transport.resumeProducing()
        await until(lambda: client.received.endswith(b"\r\n0\r\n\r\n"), 60.0)
        response = await client.response()
        self.assertEqual(unpacked(Encoding.GZIP, response.body), piece * (32 * MIB // len(piece)))
        await self.quiet()

    async def test_others_have_their_turn(self) -> None:
        """A large body that is there at once does not hold up other connections."""
        await self.start(b"")
        body = os.urandom(2 * MIB).hex().encode()

        self.upstream.script = answer(body, headers=TEXT)
        slow = await self.connect()
        slow.send(request("/", "GET", "accept-encoding: gzip"))
        await until(lambda: slow.total)
        self.upstream.script = answer(b"quick")
        self.assertEqual((await self.ask()).body, b"quick")
        self.assertEqual(unpacked(Encoding.GZIP, (await slow.response()).body), body)

    async def test_breaks_off(self) -> None:
        """A response that breaks off does not look whole, whenever that is."""
        await self.start(b"")

        def on_data(talk: UpstreamTalk, data: bytes) -> None:
            talk.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500000\r\n" + TEXT + b"\r\n" + LONG)

        self.upstream.on_data = on_data
        client = await self.connect()
        client.send(request("/", "GET", "accept-encoding: gzip"))
        await until(lambda: len(client.received) > 200)
        self.upstream.talks[0].transport.abortConnection()
        received = await client.closed()
        self.assertFalse(client.ended_cleanly)
        self.assertFalse(received.endswith(b"0\r\n\r\n"))
        await self.quiet()

    async def test_client_leaves(self) -> None:
        """A client that leaves in the middle leaves nothing behind."""
        body = os.urandom(4 * MIB).hex().encode()
        await self.start(answer(body, headers=TEXT))
        client = await self.connect()
        client.send(request("/", "GET", "accept-encoding: gzip"))
        await until(lambda: client.total)
        client.transport.abortConnection()
        await self.quiet()
