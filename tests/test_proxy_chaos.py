"""Clients and upstreams that do anything at any time: nothing stays open, nothing is counted twice, nothing fails."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from edgegw.model import Endpoint, HTTPSettings, Upstream

from .gateway import UpstreamTalk, answer, gateway, http_listener, start_gateway, start_upstream, until
from .hostile_requests import BROKEN_HEADS
from .raw_client import connect

reactor: Any = global_reactor
CHUNKS = b"5\r\nhello\r\n" * 3
BIG = b"x" * 300_000
HEAD = b" / HTTP/1.1\r\nhost: a.example\r\n"

REQUESTS = [
    b"GET" + HEAD + b"\r\n",
    b"HEAD" + HEAD + b"\r\n",
    b"GET" + HEAD + b"connection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    b"POST" + HEAD + b"content-length: 5\r\n\r\nhello",
    b"POST" + HEAD + b"content-length: 300000\r\n\r\n" + BIG,
    b"PUT" + HEAD + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS + b"0\r\nx-t: 1\r\n\r\n",
    b"PUT" + HEAD + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS + b"zz\r\n",
    b"POST" + HEAD + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    b"POST" + HEAD + b"content-length: 50\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nhost: a.exa",
    b"\r\n\r\n",
    *(data for data, _ in list(BROKEN_HEADS.values())[::9]),
]
OK = b"HTTP/1.1 200 OK\r\n"
REPLIES = [
    answer(b"hello"),
    answer(BIG),
    answer(b"hello", headers=b"connection: close\r\n"),
    answer(b"hello") + b"more",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early\r\n\r\n" + answer(b"hello"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
    OK + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS + b"0\r\n\r\n",
    OK + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS,
    OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    OK + b"content-length: 50\r\n\r\nhello",
    OK + b"\r\nhello",
    OK + b"content-le",
    b"garbage\r\n\r\n",
    b"",
    answer(b"too much", b"413 No"),
]


class ChaosTests(TestCase):
    """Repeatable confusion."""

    async def test_anything(self) -> None:
        """Whatever both sides do, every request is counted once and every connection ends."""
        random = Random(9112)

        def on_data(talk: UpstreamTalk, data: bytes) -> None:
            choice = random.random()
            if choice < 0.75:
                talk.transport.write(random.choice(REPLIES))
            if choice > 0.9:
                talk.transport.abortConnection()
            elif choice > 0.7:
                talk.transport.loseConnection()
            elif choice > 0.65:
                talk.transport.pauseProducing()

        upstream = start_upstream(self)
        upstream.on_data = on_data
        model = Upstream(
            "upstream", (*upstream.model.endpoints, Endpoint("127.0.0.1", 1)), response_timeout=0.5, idle_timeout=0.5
        )
        http = HTTPSettings(head_timeout=0.5, body_idle_timeout=0.5, keep_alive_timeout=0.5, write_timeout=0.5)
        running = await start_gateway(self, gateway([http_listener(http=http)], model))

        async def client() -> None:
            one = await connect(self, running.address())
            for _ in range(random.randint(1, 4)):
                data = b"".join(random.choices(REQUESTS, k=random.randint(1, 3)))
                cut = random.choice([0, len(data), random.randint(0, len(data))])
                one.send(data[:cut])
                await deferLater(reactor, random.random() / 50)
                if one.reason is not None:
                    return
                one.send(data[cut:])
            choice = random.random()
            if choice < 0.2:
                one.transport.abortConnection()
            elif choice < 0.4:
                one.transport.loseWriteConnection()
            elif choice < 0.6:
                one.transport.pauseProducing()
            await until(lambda: not running.generation.connections or one.reason is not None)

        for _ in range(3):
            await gatherResults([Deferred.fromCoroutine(client()) for _ in range(80)])
        await running.idle()
        metrics = running.metrics
        (pool,) = metrics.upstreams.values()
        await until(lambda: pool.connections == pool.idle)
        self.assertEqual([one.in_progress for one in metrics.routes.values()], [0] * len(metrics.routes))
        self.assertEqual(running.in_progress(), 0)
        routed = next(one for key, one in metrics.routes.items() if key[2])
        self.assertEqual(sum(routed.responses), sum(routed.seconds.counts))
        self.assertGreater(sum(routed.responses), 30)
        self.assertEqual(self.flushLoggedErrors(), [])
