"""Connections that are passed through: the bytes as they are, both ways, at the slower end's pace, and their ends."""
from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet import protocol
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from edgegw.api import ClientHelloFacts, PassThrough, sni_router
from edgegw.model import ConnectionLimits, Endpoint, SNIRouterUse, Upstream, UpstreamLimits
from edgegw.proxy import tunnels
from edgegw.testing import FakeEnvironment
from edgegw.upstream import pool
from edgegw.verdict import Reason
from tests.gateway import (
    SERVER,
    Authority,
    RunningGateway,
    gateway,
    get,
    https_listener,
    in_thread,
    start_gateway,
    until,
    validation,
)
from tests.test_client_hello import from_pyopenssl
from tests.tls_peers import start_port, try_tls

reactor: Any = global_reactor
HELLO = from_pyopenssl("past.example")
#: What may lie in the gateway for one direction: a transport's buffer and one read.
MOST_QUEUED = 65_536 + 262_144


@sni_router("past")
def past(hello: ClientHelloFacts, address: str) -> PassThrough:
    """Pass everything through."""
    return PassThrough("far")


@implementer(IHalfCloseableProtocol)
class End(protocol.Protocol):
    """One end of a tunnel, on the test's own reactor.

    :ivar received: every byte.
    :ivar ended: whether the other end has said that it sends no more.
    :ivar reason: why the connection has ended; ``None`` while it has not.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = False
        self.reason: Failure | None = None

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.ended = True

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.reason = reason

    @property
    def closed_cleanly(self) -> bool:
        """Whether the other end closed in order."""
        return self.ended or (self.reason is not None and self.reason.check(ConnectionDone) is not None)

    async def heard(self, data: bytes) -> None:
        """Wait until this, and nothing else, has come."""
        await until(lambda: len(self.received) >= len(data) or self.reason is not None)
        assert self.received == data, (len(self.received), len(data), self.reason)

    async def gone(self) -> None:
        """Wait for the connection's end."""
        await until(lambda: self.reason is not None)


class Far(protocol.Factory):
    """An upstream that does what the test does with its connections."""

    noisy = False

    def __init__(self) -> None:
        self.ends: list[End] = []
        self.listening = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.endpoint = Endpoint("127.0.0.1", self.listening.getHost().port)

    def buildProtocol(self, addr: object) -> End:
        end = End()
        self.ends.append(end)
        return end

    async def end(self, number: int = 1) -> End:
        """Wait for the connection with this number, from 1."""
        await until(lambda: len(self.ends) >= number and self.ends[number - 1].transport is not None)
        return self.ends[number - 1]

    async def stop(self) -> None:
        """Close everything."""
        await self.listening.stopListening()
        for one in self.ends:
            if one.reason is None:
                one.transport.abortConnection()
        await until(lambda: all(one.reason is not None for one in self.ends))


class Pump:
    """Writes bytes to a transport as fast as it takes them."""

    def __init__(self, transport: Any, size: int) -> None:
        self.transport = transport
        self.left = size
        self.sent = bytearray()
        self.paused = False
        transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        while self.left > 0 and not self.paused:
            piece = os.urandom(min(65_536, self.left))
            self.left -= len(piece)
            self.sent += piece
            self.transport.write(piece)
        if self.left <= 0:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.paused = True

    def stopProducing(self) -> None:
        self.left = 0


class TunnelCase(TestCase):
    """A port whose router passes everything through to one upstream."""

    async def start(
        self,
        *endpoints: Endpoint,
        limits: ConnectionLimits | None = None,
        upstream_limits: UpstreamLimits | None = None,
        **options: Any,
    ) -> RunningGateway:
        """Serve; without endpoints the upstream is a :class:`Far`."""
        if not endpoints:
            self.far = Far()
            self.addCleanup(lambda: Deferred.fromCoroutine(self.far.stop()))
            endpoints = (self.far.endpoint,)
        if upstream_limits is not None:
            options["limits"] = upstream_limits
        issued = Authority().issue("gateway", dns=["gateway.example"], usages=SERVER)
        environment = FakeEnvironment()
        use = SNIRouterUse("past", (("127.0.0.1", 0),), past, past.build(None, environment), environment)
        model = gateway(
            [https_listener([issued], limits=limits)], Upstream("far", endpoints, **options), routes=(),
            sni_routers=(use,),
        )
        self.running = await start_gateway(self, model)
        return self.running

    async def connect(self, data: bytes = HELLO) -> End:
        """Connect, and say something."""
        client: End = await connectProtocol(TCP4ClientEndpoint(reactor, *self.running.address()), End())

        async def end() -> None:
            if client.reason is None:
                client.transport.abortConnection()
            await until(lambda: client.reason is not None)

        self.addCleanup(lambda: Deferred.fromCoroutine(end()))
        client.transport.write(data)
        return client

    async def pair(self) -> tuple[End, End]:
        """Give both ends of a tunnel through which the ClientHello has gone."""
        client = await self.connect()
        far = await self.far.end(len(self.far.ends) + 1)
        await far.heard(HELLO)
        del far.received[:]
        return client, far

    def transports(self) -> list[Any]:
        """The gateway's transports towards clients."""
        return [one for profile in self.running.generation._profiles.values() for one in profile.transports]

    def queued(self) -> int:
        """Bytes that lie in the gateway."""
        total = 0
        for one in self.transports():
            tunnel = one.protocol or one
            total += one.unsent + sum(map(len, tunnel._held) if one.protocol else [len(tunnel._held)])
            if tunnel._far is not None:
                total += tunnel._far.unsent
        return total

    async def quiet(self) -> None:
        """Wait until all is over, and see that nothing is counted as open."""
        await self.running.idle()
        await until(lambda: self.running.metrics.upstream("far").connections == 0)
        self.assertEqual(self.running.in_progress(), 0)
        (profile,) = self.running.generation._profiles.values()
        self.assertEqual((profile.held.total, profile.held.peers), (0, {}))


class BytesTests(TunnelCase):
    """What goes through."""

    async def test_tls_of_the_upstream(self) -> None:
        """A client speaks TLS with the upstream itself, which sees the client's certificate and shows its own."""
        pki = Authority()
        behind = start_port(
            self, https_listener([pki.issue("behind", dns=["past.example"], usages=SERVER)], validation(pki))
        )
        await self.start(Endpoint(*behind.address))
        outcome = await in_thread(
            try_tls, self.running.address(), server_name="past.example", certificate=pki.issue("client")
        )
        self.assertTrue(outcome.ok)
        self.assertEqual(outcome.common_name, "behind")
        self.assertEqual(behind.talks[0].info.identity.certificate.common_name, "client")
        refused = await in_thread(try_tls, self.running.address(), server_name="past.example")
        self.assertEqual(refused.alert, 116)

    async def test_untouched(self) -> None:
        """Every byte arrives once and in order, whatever it is, the ClientHello first; nothing is added."""
        await self.start()
        client, far = await self.pair()
        for size in (1, 5, 16_384, 300_000):
            up, down = os.urandom(size), os.urandom(size)
            del client.received[:], far.received[:]
            client.transport.write(up)
            far.transport.write(down)
            await far.heard(up)
            await client.heard(down)

    async def test_a_hello_in_pieces(self) -> None:
        """A ClientHello that comes in pieces, with bytes behind it, arrives as it was sent."""
        await self.start()
        client = await self.connect(HELLO[:100])
        await until(lambda: self.transports())
        await deferLater(reactor, 0)
        client.transport.write(HELLO[100:] + b"and more")
        await (await self.far.end()).heard(HELLO + b"and more")

    async def test_counts(self) -> None:
        """A tunnel is counted under the router's name, as open while it is, with every byte of both directions."""
        await self.start()
        client, far = await self.pair()
        counts, upstream = self.running.counts("past"), self.running.metrics.upstream("far")
        self.assertEqual((counts.connections, counts.connections_total), (1, 1))
        self.assertEqual((upstream.connections, upstream.connects, upstream.idle), (1, 1, 0))
        self.assertEqual(self.running.counts("edge").connections_total, 0)
        far.transport.write(b"x" * 1000)
        await client.heard(b"x" * 1000)
        self.assertEqual((counts.bytes_received, counts.bytes_sent), (len(HELLO), 1000))
        client.transport.abortConnection()
        await self.quiet()
        self.assertEqual((counts.connections_total, counts.handshake_failures), (1, {}))

    async def test_no_time_limit_of_the_handshake(self) -> None:
        """The time for a handshake is not a tunnel's: it goes on when that is over."""
        await self.start(limits=ConnectionLimits(handshake_timeout=0.2))
        client, far = await self.pair()
        await deferLater(reactor, 0.8)
        client.transport.write(b"still here")
        await far.heard(b"still here")


class UpstreamLimitTests(TunnelCase):
    """What the upstream is burdened with at most."""

    async def test_connections(self) -> None:
        """Tunnels beyond the connections wait for their turn; who leaves meanwhile waits no longer."""
        await self.start(upstream_limits=UpstreamLimits(max_connections=1))
        metrics = self.running.metrics.upstream("far")
        first, _ = await self.pair()
        second, third = [await self.connect() for _ in range(2)]
        await until(lambda: metrics.waiting == 2)
        second.transport.abortConnection()
        await until(lambda: metrics.waiting == 1)
        self.assertEqual(len(self.far.ends), 1)
        first.transport.abortConnection()
        await (await self.far.end(2)).heard(HELLO)
        third.transport.abortConnection()
        await self.quiet()
        self.assertEqual((metrics.waiting, metrics.connecting, len(self.far.ends)), (0, 0, 2))

    async def test_in_vain(self) -> None:
        """When none has become free in the time for one, the client's connection is closed."""
        limits = UpstreamLimits(max_connections=1)
        await self.start(upstream_limits=limits, connect_timeout=0.3)
        await self.pair()
        client = await self.connect()
        await until(lambda: client.closed_cleanly)
        self.assertEqual(self.running.metrics.upstream("far").limited["max_pending"], 1)

    async def test_after_a_reload(self) -> None:
        """A tunnel of the configuration before counts, and its end is the turn of the next."""
        await self.start(upstream_limits=UpstreamLimits(max_connections=1))
        first, _ = await self.pair()
        self.running.reload(self.running.generation.gateway)
        await self.connect()
        await until(lambda: self.running.metrics.upstream("far").waiting == 1)
        first.transport.abortConnection()
        await (await self.far.end(2)).heard(HELLO)


class PaceTests(TunnelCase):
    """Who sends is made as slow as who receives."""

    async def flood(self, sender: End, receiver: End) -> None:
        """Send much more than the receiver takes for a while."""
        receiver.transport.pauseProducing()
        pump = Pump(sender.transport, 16 << 20)
        last = -1
        while last != pump.left:
            last = pump.left
            await deferLater(reactor, 0.2)
            self.assertLessEqual(self.queued(), MOST_QUEUED)
        self.assertGreater(pump.left, 0)
        receiver.transport.resumeProducing()
        await until(lambda: len(receiver.received) == 16 << 20, 60)
        self.assertEqual(receiver.received, pump.sent)

    async def test_upload(self) -> None:
        """An upstream that does not read stops its client, and gets everything when it reads again."""
        await self.start()
        client, far = await self.pair()
        await self.flood(client, far)

    async def test_download(self) -> None:
        """A client that does not read stops the upstream, and gets everything when it reads again."""
        await self.start()
        client, far = await self.pair()
        await self.flood(far, client)

    async def test_both_ways(self) -> None:
        """What stands still one way does not stop the other."""
        await self.start()
        client, far = await self.pair()
        far.transport.pauseProducing()
        pump = Pump(client.transport, 16 << 20)
        far.transport.write(b"down")
        await client.heard(b"down")
        self.assertGreater(pump.left, 0)

    async def test_the_end_comes_last(self) -> None:
        """An end that is told behind much that is still on its way arrives behind all of it."""
        await self.start()
        client, far = await self.pair()
        client.transport.pauseProducing()
        data = os.urandom(8 << 20)
        far.transport.write(data)
        far.transport.loseConnection()
        await deferLater(reactor, 0.1)
        client.transport.resumeProducing()
        await until(lambda: client.ended)
        self.assertEqual(client.received, data)


class EndTests(TunnelCase):
    """How tunnels end."""

    async def test_the_client_ends_first(self) -> None:
        """An upstream is told that the client sends no more, and its answer still arrives."""
        await self.start()
        client, far = await self.pair()
        client.transport.write(b"question")
        client.transport.loseWriteConnection()
        await until(lambda: far.ended)
        self.assertEqual(far.received, b"question")
        self.assertIsNone(client.reason)
        far.transport.write(b"answer")
        await client.heard(b"answer")
        far.transport.loseConnection()
        await until(lambda: client.ended)
        await self.quiet()

    async def test_the_upstream_ends_first(self) -> None:
        """A client is told that the upstream sends no more, and what it sends still arrives."""
        await self.start()
        client, far = await self.pair()
        far.transport.write(b"bye")
        far.transport.loseWriteConnection()
        await until(lambda: client.ended)
        self.assertEqual(client.received, b"bye")
        client.transport.write(b"and thanks")
        await far.heard(b"and thanks")
        client.transport.loseConnection()
        await until(lambda: far.ended)
        await self.quiet()

    async def test_both_at_once(self) -> None:
        """Ends of both sides that cross each other close everything."""
        await self.start()
        client, far = await self.pair()
        client.transport.loseWriteConnection()
        far.transport.loseWriteConnection()
        await until(lambda: client.ended and far.ended)
        await self.quiet()

    async def test_resets(self) -> None:
        """A reset of one end resets the other."""
        await self.start()
        for number in (0, 1):
            ends = await self.pair()
            ends[number].transport.abortConnection()
            await ends[1 - number].gone()
            self.assertFalse(ends[1 - number].closed_cleanly)
        await self.quiet()

    async def test_a_reset_behind_the_end(self) -> None:
        """An upstream that has said everything and is gone takes nothing of it from a client that still reads."""
        await self.start()
        client, far = await self.pair()
        client.transport.pauseProducing()
        data = os.urandom(400_000)
        far.transport.write(data)
        far.transport.loseConnection()
        await far.gone()
        await until(lambda: self.running.counts("past").bytes_sent == len(data))
        await until(lambda: not self.queued())
        while self.transports():
            client.transport.write(b"is anybody there?")
            await deferLater(reactor, 0.01)
        client.transport.resumeProducing()
        await until(lambda: client.ended or client.reason is not None)
        self.assertEqual(client.received, data)
        await self.quiet()

    async def test_a_reset_in_a_flood(self) -> None:
        """An end that goes away while much is on its way to it leaves nothing behind."""
        await self.start()
        for number in (0, 1):
            ends = await self.pair()
            ends[number].transport.pauseProducing()
            Pump(ends[1 - number].transport, 16 << 20)
            await deferLater(reactor, 0.1)
            ends[number].transport.abortConnection()
            await ends[1 - number].gone()
        await self.quiet()

    async def test_idle(self) -> None:
        """A tunnel on which nobody says anything is closed after the upstream's idle time-out, in order."""
        await self.start(idle_timeout=0.3)
        client, far = await self.pair()
        await until(lambda: client.ended and far.ended)
        self.assertTrue(client.closed_cleanly and far.closed_cleanly)
        await self.quiet()

    async def test_idle_after_half_an_end(self) -> None:
        """A tunnel that only waits for the rest of one direction is closed as well."""
        await self.start(idle_timeout=0.3)
        client, far = await self.pair()
        client.transport.loseWriteConnection()
        await until(lambda: far.ended)
        await until(lambda: client.ended)
        await self.quiet()

    async def test_not_idle(self) -> None:
        """Bytes of one direction alone keep a tunnel open."""
        await self.start(idle_timeout=0.5)
        client, far = await self.pair()
        for _ in range(8):
            await deferLater(reactor, 0.2)
            far.transport.write(b".")
        await client.heard(b"." * 8)
        self.assertIsNone(far.reason)

    async def test_stuck(self) -> None:
        """An end that takes nothing of what is queued for it is cut off, and the other with it."""
        await self.start(idle_timeout=0.3)
        client, far = await self.pair()
        far.transport.pauseProducing()
        Pump(client.transport, 64 << 20)
        await client.gone()
        far.transport.resumeProducing()
        await far.gone()
        await self.quiet()


class ConnectTests(TunnelCase):
    """Getting to the upstream."""

    def unused(self) -> Endpoint:
        """Give an endpoint where nobody listens."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return Endpoint("127.0.0.1", sock.getsockname()[1])

    async def test_the_next_endpoint(self) -> None:
        """An endpoint that refuses is passed over; the ClientHello goes to the one that takes it."""
        far = self.far = Far()
        self.addCleanup(lambda: Deferred.fromCoroutine(far.stop()))
        await self.start(self.unused(), far.endpoint, self.unused())
        for number in range(1, 4):
            await self.connect()
            await (await far.end(number)).heard(HELLO)
        self.assertEqual(self.running.metrics.upstream("far").connect_failures["refused"], 3)

    async def test_nobody_there(self) -> None:
        """Where no endpoint takes it the connection is closed without an alert or any other byte."""
        await self.start(self.unused(), self.unused())
        client = await self.connect()
        await until(lambda: client.ended or client.reason is not None)
        self.assertEqual(client.received, b"")
        self.assertEqual(self.running.metrics.upstream("far").connect_failures["refused"], 2)
        await self.quiet()

    async def test_no_endpoint(self) -> None:
        """An upstream without any endpoint closes at once."""
        await self.start()
        (use,) = self.running.generation.gateway.sni_routers
        self.running.reload(evolve(
            self.running.generation.gateway, upstreams=(Upstream("far", ()),), sni_routers=(use,)
        ))
        client = await self.connect()
        await until(lambda: client.ended or client.reason is not None)
        self.assertEqual(client.received, b"")
        await self.quiet()

    async def test_too_slow(self) -> None:
        """An endpoint that does not answer in time is given up."""
        full = socket.socket()
        self.addCleanup(full.close)
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for one in fillers:
            self.addCleanup(one.close)
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        await self.start(Endpoint(*full.getsockname()), connect_timeout=0.2)
        client = await self.connect()
        await until(lambda: client.ended or client.reason is not None)
        self.assertEqual(self.running.metrics.upstream("far").connect_failures["timeout"], 1)
        await self.quiet()

    def delay(self) -> list[Callable[[], None]]:
        """Have connections begin only when the test says so."""
        held: list[Callable[[], None]] = []

        def resolve(name: str) -> Deferred[str]:
            resolved: Deferred[str] = Deferred()
            held.append(lambda: resolved.callback("127.0.0.1"))
            return resolved

        self.patch(pool, "_socket_address", lambda endpoint: None)
        self.patch(reactor, "resolve", resolve)
        return held

    def client_ended(self) -> bool:
        """Whether the gateway knows that its client sends no more."""
        (tunnel,) = self.transports()
        return tunnel.ended if tunnel.protocol is None else tunnel.protocol._client_ended

    def dialling(self) -> bool:
        """Whether a tunnel is being connected."""
        return any(getattr(one.protocol or one, "_dialling", None) is not None for one in self.transports())

    async def test_bytes_before_the_upstream(self) -> None:
        """What a client sends while the upstream is connected to is kept, up to a bound, and arrives whole."""
        held = self.delay()
        await self.start()
        client = await self.connect()
        await until(lambda: held)
        pump = Pump(client.transport, 16 << 20)
        last = -1
        while last != pump.left:
            last = pump.left
            await deferLater(reactor, 0.1)
            self.assertLessEqual(self.queued(), MOST_QUEUED)
        self.assertGreater(pump.left, 0)
        held[0]()
        far = await self.far.end()
        await until(lambda: len(far.received) == len(HELLO) + (16 << 20), 60)
        self.assertEqual(far.received, HELLO + pump.sent)

    async def test_an_end_before_the_upstream(self) -> None:
        """A client that has ended by then has its bytes and its end passed on, and gets the answer."""
        held = self.delay()
        await self.start()
        client = await self.connect(HELLO + b"last words")
        client.transport.loseWriteConnection()
        await until(lambda: held and self.client_ended())
        held[0]()
        far = await self.far.end()
        await until(lambda: far.ended)
        self.assertEqual(far.received, HELLO + b"last words")
        far.transport.write(b"heard")
        far.transport.loseConnection()
        await until(lambda: client.ended)
        self.assertEqual(client.received, b"heard")
        await self.quiet()

    async def test_the_client_leaves_before_the_upstream(self) -> None:
        """A connection that nobody waits for any more is not opened, or not used."""
        held = self.delay()
        await self.start()
        client = await self.connect()
        await until(lambda: held)
        client.transport.abortConnection()
        await self.quiet()
        held[0]()
        await self.quiet()
        await until(lambda: all(one.ended for one in self.far.ends))
        self.assertEqual([one for one in self.far.ends if one.received], [])

    async def test_the_client_leaves_while_connecting(self) -> None:
        """A connection that is being opened when the client leaves is given up."""
        full = socket.socket()
        self.addCleanup(full.close)
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for one in fillers:
            self.addCleanup(one.close)
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        await self.start(Endpoint(*full.getsockname()), connect_timeout=60.0)
        client = await self.connect()
        await until(self.dialling)
        client.transport.abortConnection()
        await self.quiet()
        self.assertEqual(set(self.running.metrics.upstream("far").connect_failures.values()), {0})


class LimitTests(TunnelCase):
    """Limits, reloads and the gateway's end."""

    async def test_connections_of_a_peer(self) -> None:
        """Tunnels count among the connections that one address may have."""
        await self.start(limits=ConnectionLimits(max_connections_per_peer=2))
        first, _ = await self.pair()
        await self.pair()
        refused = await self.connect()
        await until(lambda: refused.ended or refused.reason is not None)
        self.assertEqual(self.running.counts("edge").refused, {Reason.MAX_CONNECTIONS_PER_PEER: 1})
        first.transport.abortConnection()
        await until(lambda: len(self.transports()) == 1)
        await self.pair()

    async def test_connections_of_the_port(self) -> None:
        """Tunnels count among the connections that the port may have."""
        await self.start(limits=ConnectionLimits(max_connections=1))
        await self.pair()
        refused = await self.connect()
        await until(lambda: refused.ended or refused.reason is not None)
        self.assertEqual(self.running.counts("edge").refused, {Reason.MAX_CONNECTIONS: 1})

    async def test_reload(self) -> None:
        """A reload leaves tunnels alone; the old configuration ends when they have."""
        await self.start()
        client, far = await self.pair()
        before = self.running.generation
        idle = before.when_idle()
        self.running.reload(before.gateway)
        client.transport.write(b"still")
        await far.heard(b"still")
        self.assertEqual((before.connections, idle.called), (1, False))
        client.transport.loseConnection()
        far.transport.loseConnection()
        await idle
        await self.pair()
        self.assertEqual(self.running.generation.connections, 1)

    async def test_cut(self) -> None:
        """What is left when the time to drain is over is cut at both ends."""
        await self.start()
        client, far = await self.pair()
        self.running.generation.retire()
        far.transport.write(b"going on")
        await client.heard(b"going on")
        self.running.generation.abort()
        await client.gone()
        await far.gone()
        self.assertFalse(client.closed_cleanly or far.closed_cleanly)
        await self.quiet()

    async def test_many(self) -> None:
        """Many tunnels at a time do not mix their bytes."""
        await self.start()
        clients = [await self.connect(HELLO + b"%03d" % number) for number in range(50)]
        for number in range(50):
            await self.far.end(number + 1)
        await until(lambda: all(len(one.received) == len(HELLO) + 3 for one in self.far.ends))
        for one in self.far.ends:
            one.transport.write(bytes(one.received[-3:]))
        for number, client in enumerate(clients):
            await client.heard(b"%03d" % number)
        for client in clients:
            client.transport.loseConnection()
        await until(lambda: all(one.ended for one in self.far.ends))
        for one in self.far.ends:
            one.transport.loseConnection()
        await self.quiet()

    async def test_plain_requests_to_the_port(self) -> None:
        """What is no TLS does not get to the upstream."""
        await self.start()
        client = await self.connect(get())
        await until(lambda: client.ended or client.reason is not None)
        self.assertEqual(self.far.ends, [])


class OnTransports:
    """The same on transports, as where TLS is spoken at one end."""

    def setUp(self) -> None:
        """Have no bare sockets used."""
        self.patch(tunnels, "_is_bare", lambda upstream: False)  # type: ignore[attr-defined]  # a test case's

    def delay(self) -> list[Callable[[], None]]:
        """See ``ConnectTests``."""
        held: list[Callable[[], None]] = []
        real = pool.connect_tcp

        class Connector:
            made: Any = None

            def disconnect(self) -> None:
                if self.made is not None:
                    self.made.disconnect()

        def connect_later(*arguments: Any) -> Connector:
            connector = Connector()

            def begin() -> None:
                connector.made = real(*arguments)

            held.append(begin)
            return connector

        self.patch(pool, "connect_tcp", connect_later)  # type: ignore[attr-defined]  # as in setUp
        return held


class BytesOnTransportsTests(OnTransports, BytesTests):
    """As the name says, and those that follow."""


class UpstreamLimitsOnTransportsTests(OnTransports, UpstreamLimitTests):
    pass


class PaceOnTransportsTests(OnTransports, PaceTests):
    pass


class EndsOnTransportsTests(OnTransports, EndTests):
    pass


class ConnectOnTransportsTests(OnTransports, ConnectTests):
    pass


class LimitsOnTransportsTests(OnTransports, LimitTests):
    pass
