"""Copies of requests, for mirrors that answer, fail, stop reading or never end."""
from __future__ import annotations

from typing import Any

from twisted.internet import reactor as global_reactor

from edgegw.model import (
    Endpoint,
    Filters,
    HeaderModifier,
    Mirror,
    PathModifier,
    PathModifierType,
    Rewrite,
    Upstream,
)
from edgegw.observe.metrics import MirrorMetrics

from .filtered import POST, FilterTestCase, request
from .gateway import UpstreamTalk, answer, start_upstream, until
from .test_proxy_exchange import MIB, Pump, free_port

reactor: Any = global_reactor


class MirrorTests(FilterTestCase):
    """``mirrors``."""

    def counted(self, upstream: str = "mirror") -> MirrorMetrics:
        metrics: MirrorMetrics = self.running.metrics.mirror("plain", "r", upstream)
        return metrics

    async def test_copies(self) -> None:
        """Each mirror gets one copy: what the upstream gets, path and body; the client sees nothing of it."""
        upstream = start_upstream(self, answer(b"real"))
        mirrors = [start_upstream(self, answer(b"copied", b"500 No"), name) for name in ("mirror", "other")]
        await self.serve(
            Filters(
                mirrors=(Mirror("mirror"),),
                request_headers=HeaderModifier(set=(("x-a", "1"),)),
                rewrite=Rewrite(path=PathModifier(PathModifierType.REPLACE_PREFIX_MATCH, "/v1")),
            ),
            upstream,
            of_backend=Filters(mirrors=(Mirror("other"),)),
            more=tuple(mirrors),
        )
        client = await self.connect()
        client.send(request("/x?a=b"))
        self.assertEqual((await client.response()).body, b"real")
        client.send(b"POST /y HTTP/1.1\r\nhost: a.example\r\ncontent-length: 10\r\n\r\nhello")
        await until(lambda: upstream.talks and bytes(upstream.talks[0].received).endswith(b"hello"))
        client.send(b"world")
        self.assertEqual((await client.response()).body, b"real")
        client.send(b"PUT /z HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        self.assertEqual((await client.response()).body, b"real")
        for mirror in mirrors:
            await mirror.request(3)
            self.assertEqual([one.raw for one in mirror.requests], [one.raw for one in upstream.requests])
            self.assertEqual([one.body for one in mirror.requests], [b"", b"helloworld", b"hello"])
        await until(lambda: self.counted().answered == self.counted("other").answered == 3)
        self.assertEqual(self.running.metrics.requests("plain", "r", "upstream").responses[2], 3)
        self.assertNotIn(("plain", "r", "mirror"), self.running.metrics.routes)

    async def test_share(self) -> None:
        """A share of the requests is copied: none of them, all of them, or about so many."""
        upstream = start_upstream(self)
        mirrors = [start_upstream(self, b"", name) for name in ("none", "half", "all")]
        await self.serve(
            Filters(mirrors=(Mirror("none", 0, 100), Mirror("half", 1, 2), Mirror("all", 7, 7))), upstream,
            more=tuple(mirrors),
        )
        client = await self.connect()
        for _ in range(400):
            client.send(request())
            await client.response()
        await mirrors[2].request(400)
        await until(lambda: self.counted("half").answered == len(mirrors[1].requests))
        self.assertEqual(len(mirrors[0].requests), 0)
        self.assertLess(abs(len(mirrors[1].requests) - 200), 70)

    async def test_silent(self) -> None:
        """A mirror that does not answer, or not with HTTP, holds nobody up."""
        upstream = start_upstream(self, answer(b"ok"))
        mirror = start_upstream(self, lambda got: None, "mirror", response_timeout=0.3)
        await self.serve(Filters(mirrors=(Mirror("mirror"),)), upstream, more=(mirror,))
        client = await self.connect()
        for _ in range(3):
            client.send(request())
            self.assertEqual((await client.response()).body, b"ok")
        await until(lambda: self.counted().failed == 3)
        mirror.script = b"nonsense\r\n\r\n"
        client.send(request())
        await client.response()
        await until(lambda: self.counted().failed == 4)

    async def test_unreachable(self) -> None:
        """Nor does one that is not there."""
        upstream = start_upstream(self, answer(b"ok"))
        nowhere = Upstream("mirror", (Endpoint("127.0.0.1", free_port()),))
        await self.serve(Filters(mirrors=(Mirror("mirror"),)), upstream, more=(nowhere,))
        self.assertEqual((await self.ask(POST + b"content-length: 2\r\n\r\nhi")).body, b"ok")
        await until(lambda: self.counted().failed == 1)

    async def test_stops_reading(self) -> None:
        """A mirror that reads no more loses its copy; the upload goes on as fast as the upstream takes it."""
        upstream = start_upstream(self)
        counted = [0]

        def on_data(talk: UpstreamTalk, data: bytes) -> None:
            counted[0] += len(data)
            talk.received.clear()
            if counted[0] >= 32 * MIB:
                talk.transport.write(answer(b"done"))

        upstream.on_data = on_data
        mirror = start_upstream(self, b"", "mirror")
        mirror.on_connect = lambda talk: talk.transport.pauseProducing()
        await self.serve(Filters(mirrors=(Mirror("mirror"),)), upstream, more=(mirror,))
        client = await self.connect()
        client.send(POST + b"content-length: %d\r\n\r\n" % (32 * MIB))
        Pump(client.transport, 32 * MIB, b"x" * 65_536)
        self.assertEqual((await client.response()).body, b"done")
        self.assertEqual(self.counted().dropped, 1)
        mirror.talks[0].transport.resumeProducing()
        await mirror.talks[0].lost

    async def test_endless_answer(self) -> None:
        """An answer that does not end is not read to its end."""
        upstream = start_upstream(self, answer(b"ok"))
        mirror = start_upstream(self, b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 * MIB), "mirror")
        await self.serve(Filters(mirrors=(Mirror("mirror"),)), upstream, more=(mirror,))
        self.assertEqual((await self.ask()).body, b"ok")
        await until(lambda: mirror.talks)
        await mirror.talks[0].lost
        self.assertEqual(self.counted().answered, 1)

    async def test_answer_before_the_end(self) -> None:
        """A mirror that answers before it has the whole body gets no more of it."""
        upstream = start_upstream(self, lambda got: answer(got.body))
        mirror = start_upstream(self, b"", "mirror")
        mirror.on_data = lambda talk, data: talk.transport.write(answer(b"enough"))
        await self.serve(Filters(mirrors=(Mirror("mirror"),)), upstream, more=(mirror,))
        client = await self.connect()
        client.send(POST + b"content-length: 10\r\n\r\nhello")
        await until(lambda: self.counted().answered == 1)
        client.send(b"world")
        self.assertEqual((await client.response()).body, b"helloworld")

    async def test_client_leaves(self) -> None:
        """A copy whose request has no end ends too; one that is whole goes on."""
        upstream = start_upstream(self, lambda got: None)
        mirror = start_upstream(self, lambda got: None, "mirror")
        await self.serve(Filters(mirrors=(Mirror("mirror"),)), upstream, more=(mirror,))
        client = await self.connect()
        client.send(POST + b"content-length: 10\r\n\r\nhello")
        await until(lambda: mirror.talks and bytes(mirror.talks[0].received).endswith(b"hello"))
        client.transport.abortConnection()
        await mirror.talks[0].lost
        self.assertEqual(self.counted().dropped, 1)
        client = await self.connect()
        client.send(request())
        await mirror.request()
        client.transport.abortConnection()
        await until(lambda: upstream.talks[-1].reason is not None)
        mirror.talks[-1].transport.write(answer(b"late"))
        await until(lambda: self.counted().answered == 1)

    async def test_many(self) -> None:
        """There are no more copies under way than so many, and none of them outlives its configuration."""
        upstream = start_upstream(self)
        mirror = start_upstream(self, lambda got: None, "mirror")
        await self.serve(Filters(mirrors=(Mirror("mirror"),)), upstream, more=(mirror,))
        client = await self.connect()
        for _ in range(300):
            client.send(request())
            await client.response()
        await until(lambda: len(mirror.requests) == 256)
        self.assertEqual(self.counted().dropped, 44)
        await self.running.stop()
        self.assertEqual(self.counted().dropped, 300)
