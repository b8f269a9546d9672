"""Kept connections to upstreams: used again, given up in time, and what is sent again when one was closed."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

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

REQUEST = b"%b / HTTP/1.1\r\nhost: a.example\r\n"


class PoolTests(TestCase):
    """A plain listener before one upstream."""

    async def start(self, script: Any = b"", **upstream: Any) -> ScriptedUpstream:
        self.upstream = start_upstream(self, script or answer(b"ok"), **upstream)
        self.running = await start_gateway(self, gateway([http_listener()], self.upstream))
        self.metrics = self.running.metrics.upstream("upstream")
        return self.upstream

    async def connect(self) -> Client:
        return await connect(self, self.running.address())

    async def test_reuse(self) -> None:
        """Clients one after the other share one connection."""
        upstream = await self.start()
        for _ in range(5):
            client = await self.connect()
            client.send(REQUEST % b"GET" + b"connection: close\r\n\r\n")
            await client.closed()
        self.assertEqual(len(upstream.talks), 1)
        self.assertEqual((self.metrics.connects, self.metrics.reused, self.metrics.idle), (1, 4, 1))

    async def test_not_reused(self) -> None:
        """A connection that the upstream means to close is not used again."""
        upstream = await self.start()
        for reply in [
            answer(b"ok", headers=b"connection: close\r\n"),
            b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ]:
            upstream.script = reply
            before = len(upstream.talks)
            client = await self.connect()
            for number in (1, 2):
                client.send(REQUEST % b"GET" + b"\r\n")
                self.assertEqual((await client.response()).body, b"ok")
                self.assertEqual(len(upstream.talks), before + number)
        await until(lambda: self.metrics.connections == 0)

    async def test_idle_time_out(self) -> None:
        """A kept connection is closed when nobody needs it."""
        upstream = await self.start(keep_alive_timeout=0.3)
        client = await self.connect()
        client.send(REQUEST % b"GET" + b"\r\n")
        await client.response()
        await upstream.talks[0].lost
        await until(lambda: (self.metrics.connections, self.metrics.idle) == (0, 0))
        client.send(REQUEST % b"GET" + b"\r\n")
        self.assertEqual((await client.response()).status, 200)

    async def test_most_idle(self) -> None:
        """No more connections are kept than the configuration allows."""
        waiting: list[RecordedRequest] = []
        await self.start(lambda request: waiting.append(request), max_idle=2)
        clients = [await self.connect() for _ in range(5)]
        for client in clients:
            client.send(REQUEST % b"GET" + b"\r\n")
        await until(lambda: len(waiting) == 5)
        for request in waiting:
            request.talk.transport.write(answer())
        for client in clients:
            await client.response()
        await until(lambda: (self.metrics.connections, self.metrics.idle) == (2, 2))

    async def test_upstream_closes_idle(self) -> None:
        """A kept connection that the upstream closes is forgotten."""
        upstream = await self.start()
        client = await self.connect()
        client.send(REQUEST % b"GET" + b"\r\n")
        await client.response()
        upstream.talks[0].transport.loseConnection()
        await until(lambda: (self.metrics.connections, self.metrics.idle) == (0, 0))
        client.send(REQUEST % b"POST" + b"content-length: 2\r\n\r\nhi")
        self.assertEqual((await client.response()).status, 200)

    async def closed_when_used(self, request: bytes) -> tuple[int, list[bytes]]:
        """Send a request on a kept connection that is closed at once; gives the status and what the second one got."""
        upstream = self.upstream
        upstream.on_data = None
        for talk in upstream.talks:
            if talk.reason is None:
                talk.transport.loseConnection()
        await until(lambda: self.metrics.connections == 0)
        upstream.talks.clear()
        self.metrics.retries = 0
        client = await self.connect()
        client.send(REQUEST % b"GET" + b"\r\n")
        await client.response()

        def on_data(talk: UpstreamTalk, data: bytes) -> None:
            if talk is upstream.talks[0]:
                talk.transport.loseConnection()
            else:
                talk.transport.write(answer(b"second"))

        upstream.on_data = on_data
        client.send(request)
        status = (await client.response(request.startswith(b"HEAD"))).status
        return status, [bytes(talk.received) for talk in upstream.talks[1:]]

    async def test_sent_again(self) -> None:
        """A request that may be repeated is sent again, once, on a new connection."""
        await self.start()
        for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE"):
            status, again = await self.closed_when_used(REQUEST % method + b"\r\n")
            self.assertEqual((status, len(again), self.metrics.retries), (200, 1, 1), method)
            self.assertTrue(again[0].startswith(method + b" / HTTP/1.1\r\n"))

    async def test_never_sent_again(self) -> None:
        """Nothing that could do harm twice, and no body that is not whole, is sent again."""
        await self.start()
        for request in [
            REQUEST % b"POST" + b"\r\n",
            REQUEST % b"POST" + b"content-length: 2\r\n\r\nhi",
            REQUEST % b"PATCH" + b"\r\n",
            REQUEST % b"custom" + b"\r\n",
            REQUEST % b"PUT" + b"content-length: 20\r\n\r\nhi",
            REQUEST % b"GET" + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
        ]:
            status, again = await self.closed_when_used(request)
            self.assertEqual((status, again, self.metrics.retries), (502, [], 0), request)

    async def test_closed_again(self) -> None:
        """A new connection that is closed without an answer is no stale one: the request is not sent a third time."""
        upstream = await self.start()
        client = await self.connect()
        client.send(REQUEST % b"GET" + b"\r\n")
        await client.response()
        upstream.on_data = lambda talk, data: talk.transport.loseConnection()
        client.send(REQUEST % b"GET" + b"\r\n")
        self.assertEqual((await client.response()).status, 502)
        self.assertEqual(len(upstream.talks), 2)

    async def test_answered_in_part(self) -> None:
        """A request to which an answer has begun is not sent again."""
        upstream = await self.start()
        client = await self.connect()
        client.send(REQUEST % b"GET" + b"\r\n")
        await client.response()

        def on_data(talk: UpstreamTalk, data: bytes) -> None:
            talk.transport.write(b"HTTP/1.1 103 Early\r\n\r\n")
            talk.transport.loseConnection()

        upstream.on_data = on_data
        client.send(REQUEST % b"GET" + b"\r\n")
        self.assertEqual([(await client.response()).status for _ in range(2)], [103, 502])
        self.assertEqual(len(upstream.talks), 1)

    async def test_client_gone_while_connecting(self) -> None:
        """A connection that opens when its client has gone is kept for others, or counted out."""
        await self.start()
        for _ in range(5):
            client = await self.connect()
            client.send(REQUEST % b"GET" + b"\r\n")
            client.transport.abortConnection()
        await self.running.idle()
        await until(lambda: self.metrics.connections == self.metrics.idle)
        self.assertEqual([one.in_progress for one in self.running.metrics.routes.values()], [0, 0])
