"""What goes over TLS to upstreams and back: all that holds without TLS, and what only TLS has."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from edgegw.model import HTTPSettings
from edgegw.upstream.transport import TLSClient

from . import test_proxy_exchange, test_upstream_pool
from .gateway import (
    SERVER,
    Authority,
    RecordedRequest,
    ScriptedUpstream,
    answer,
    gateway,
    http_listener,
    start_gateway,
    until,
)
from .raw_client import Client, connect
from .tls_peers import TLS1_2, TLS1_3
from .tls_upstreams import secured, server_context, start_s_server, start_tls_upstream

reactor: Any = global_reactor
NAME = "app.internal"
GET = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a.example\r\n"


class TLSExchangeTests(test_proxy_exchange.ExchangeTests):
    """Everything that holds for an exchange, over TLS."""

    async def start(self, script: Any = b"", upstream: dict[str, Any] | None = None, **http: Any) -> ScriptedUpstream:
        pki = Authority()
        context = server_context(pki.issue("app", dns=[NAME], usages=SERVER))
        self.upstream = start_tls_upstream(self, context, script or answer(b"ok"), **(upstream or {}))
        await self.serve(secured(self.upstream.model, pki, hostname=NAME), **http)
        return self.upstream

    async def test_upstream_that_stops_reading(self) -> None:
        """One that reads nothing from the beginning on makes no handshake."""
        upstream = await self.start(upstream={"connect_timeout": 0.3})
        upstream.on_connect = lambda talk: talk.transport.pauseProducing()
        client = await self.connect()
        client.send(POST + b"content-length: 100000000\r\n\r\n" + b"x" * 1_000_000)
        self.assertEqual((await client.response()).status, 503)


class TLSPoolTests(test_upstream_pool.PoolTests):
    """Everything that holds for kept connections, over TLS."""

    async def start(self, script: Any = b"", **upstream: Any) -> ScriptedUpstream:
        pki = Authority()
        context = server_context(pki.issue("app", dns=[NAME], usages=SERVER))
        self.upstream = start_tls_upstream(self, context, script or answer(b"ok"), **upstream)
        self.running = await start_gateway(
            self, gateway([http_listener()], secured(self.upstream.model, pki, hostname=NAME))
        )
        self.metrics = self.running.metrics.upstream("upstream")
        return self.upstream


class EndTests(TestCase):
    """How a connection over TLS ends."""

    async def begin(self, script: Any, version: int = TLS1_3, **http: Any) -> Client:
        pki = Authority()
        context = server_context(pki.issue("app", dns=[NAME], usages=SERVER), version=version)
        self.upstream = start_tls_upstream(self, context, script, idle_timeout=1.0, response_timeout=1.0)
        listener = http_listener(http=HTTPSettings(**http))
        self.running = await start_gateway(
            self, gateway([listener], secured(self.upstream.model, pki, hostname=NAME))
        )
        self.metrics = self.running.metrics.upstream("upstream")
        return await connect(self, self.running.address())

    async def test_close_notify_ends_a_body(self) -> None:
        """A body without a length is complete when the upstream says so, in TLS."""
        for version in (TLS1_2, TLS1_3):

            def script(request: RecordedRequest) -> None:
                request.talk.transport.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
                request.talk.transport.loseConnection()

            client = await self.begin(script, version)
            client.send(GET)
            self.assertEqual((await client.response()).body, b"hello")
            await self.running.stop()

    async def test_truncation(self) -> None:
        """Where the connection only ends, the body may have been cut short by anybody: the client sees that."""
        for version in (TLS1_2, TLS1_3):

            def script(request: RecordedRequest) -> None:
                request.talk.transport.write(b"HTTP/1.1 200 OK\r\n\r\nhello")

            client = await self.begin(script, version)
            client.send(GET)
            await client.heard(b"hello")
            self.upstream.talks[0].transport.transport.loseConnection()
            received = await client.closed()
            self.assertFalse(client.ended_cleanly)
            self.assertFalse(received.endswith(b"0\r\n\r\n"))
            self.assertEqual(self.metrics.response_failures["reset"], 1)
            await self.running.stop()

    async def test_length_says_it_all(self) -> None:
        """A body whose length was announced is complete, however the connection ends then."""

        def script(request: RecordedRequest) -> None:
            request.talk.transport.write(answer(b"hello"))
            request.talk.transport.transport.loseConnection()

        client = await self.begin(script)
        client.send(GET)
        self.assertEqual((await client.response()).body, b"hello")
        await until(lambda: (self.metrics.connections, self.metrics.idle) == (0, 0))

    async def test_close_notify_is_sent(self) -> None:
        """The gateway says in TLS that it closes."""
        client = await self.begin(answer(b"hello", headers=b"connection: close\r\n"))
        client.send(GET)
        await client.response()
        talk = self.upstream.talks[0]
        await talk.lost
        assert talk.reason is not None
        self.assertEqual(talk.reason.type.__name__, "ConnectionDone")

    async def test_a_kept_connection_that_breaks(self) -> None:
        """One that the upstream drops without a word is forgotten, and what may be sent again is."""
        client = await self.begin(answer(b"ok"))
        for _ in range(2):
            client.send(GET)
            self.assertEqual((await client.response()).status, 200)
            self.upstream.talks[-1].transport.transport.loseConnection()
            await until(lambda: (self.metrics.connections, self.metrics.idle) == (0, 0))
        self.assertEqual(self.metrics.connects, 2)

    async def test_bytes_that_nobody_asked_for(self) -> None:
        """Application data on a kept connection ends it."""
        client = await self.begin(answer(b"ok"))
        client.send(GET)
        await client.response()
        self.upstream.talks[0].transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await self.upstream.talks[0].lost
        await until(lambda: (self.metrics.connections, self.metrics.idle) == (0, 0))

    async def test_an_upstream_that_stops_taking(self) -> None:
        """An upload that an upstream takes no more of is cut, whatever lies in it."""
        client = await self.begin(answer())
        self.upstream.on_data = lambda talk, data: talk.transport.pauseProducing()
        client.send(POST + b"content-length: 100000000\r\n\r\n" + b"x" * 16_000_000)
        self.assertEqual((await client.response()).status, 504)
        await until(lambda: self.metrics.connections == 0)


class IdleTests(TestCase):
    """Records that are no application data come at any time (RFC 8446 §4.6)."""

    def count_reads(self) -> list[int]:
        """Count how often connections to upstreams are read."""
        reads = [0]
        real = TLSClient.doRead

        def counted(transport: TLSClient) -> Any:
            reads[0] += 1
            return real(transport)

        self.patch(TLSClient, "doRead", counted)
        return reads

    async def test_key_updates(self) -> None:
        """Key updates on a kept connection neither end it nor keep the gateway busy."""
        pki = Authority()
        server, model = await start_s_server(self, pki.issue("app", dns=[NAME], usages=SERVER))
        running = await start_gateway(self, gateway([http_listener()], secured(model, pki, hostname=NAME)))
        metrics = running.metrics.upstream("upstream")
        reads = self.count_reads()
        client = await connect(self, running.address())
        for number in range(1, 4):
            client.send(GET)
            await server.printed(b"host: a.example\r\n", number)
            server.say(answer(b"hello"))
            self.assertEqual((await client.response()).body, b"hello")
            self.assertEqual((metrics.connects, metrics.idle), (1, 1))
            before = reads[0]
            server.say(b"k\n")
            await until(lambda before=before: reads[0] > before)  # type: ignore[misc]  # bound now
            server.say(b"K\n")
            await until(lambda before=before: reads[0] > before + 1)  # type: ignore[misc]  # bound now
            quiet = reads[0]
            await deferLater(reactor, 0.1, lambda: None)
            self.assertEqual(reads[0], quiet)
        self.assertEqual(metrics.connects, 1)

    async def test_tickets(self) -> None:
        """Tickets that come when nothing is under way are taken in silence."""
        pki = Authority()
        upstream = start_tls_upstream(
            self, server_context(pki.issue("app", dns=[NAME], usages=SERVER)), answer(b"ok")
        )
        running = await start_gateway(
            self, gateway([http_listener()], secured(upstream.model, pki, hostname=NAME))
        )
        metrics = running.metrics.upstream("upstream")
        client = await connect(self, running.address())
        client.send(GET)
        client.transport.abortConnection()
        await running.idle()
        await until(lambda: metrics.connections == metrics.idle)
        reads = self.count_reads()
        await deferLater(reactor, 0.1, lambda: None)
        self.assertLess(reads[0], 4)

    async def test_renegotiation(self) -> None:
        """TLS 1.2 is not negotiated again: the upstream is told so, and the connection goes on."""
        pki = Authority()
        server, model = await start_s_server(
            self, pki.issue("app", dns=[NAME], usages=SERVER), "-tls1_2"
        )
        model = evolve(model, response_timeout=5.0)
        running = await start_gateway(self, gateway([http_listener()], secured(model, pki, hostname=NAME)))
        client = await connect(self, running.address())
        client.send(GET)
        await server.printed(b"host: a.example\r\n")
        server.say(answer(b"hello"))
        self.assertEqual((await client.response()).body, b"hello")
        reads = self.count_reads()
        server.say(b"r\n")
        await until(lambda: reads[0])
        await deferLater(reactor, 0.1, lambda: None)
        self.assertLess(reads[0], 4)
        client.send(GET)
        self.assertEqual((await self.answered(server, client)).status, 200)

    async def answered(self, server: Any, client: Client) -> Any:
        """Let ``openssl`` answer the second request, on whatever connection it comes."""
        await server.printed(b"host: a.example\r\n", 2)
        server.say(answer(b"again"))
        return await client.response()
