"""Tunnels of bare sockets: what the kernel moves, what is left open, and how often the reactor has to call."""
from __future__ import annotations

import errno
import gc
import os
import resource
import socket
import tempfile
import weakref
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

from twisted.internet import error
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from edgegw.deadlines import Deadlines
from edgegw.identity import ConnectionInfo, Identity
from edgegw.model import Endpoint, EndpointKind, ProxyProtocol, Upstream
from edgegw.observe.metrics import ListenerMetrics, UpstreamMetrics
from edgegw.proxy import splice, splice_pipes, tunnels
from edgegw.proxy.splice import SocketEnd
from edgegw.proxy.splice_tunnel import SpliceTunnel
from edgegw.proxy.tunnels import Tunnels
from edgegw.tcp import Server
from edgegw.upstream import dialling
from edgegw.upstream.dialling import SocketDialling
from edgegw.upstream.upstream import UpstreamPool
from tests.gateway import until
from tests.test_proxy_tunnel import End, Far, Pump

reactor: Any = global_reactor


class Front:
    """A port without TLS that passes every connection through as soon as it is accepted; owns the connections.

    :ivar transports: those that are open.
    :ivar lost_ones: how many are not any more.
    """

    def __init__(self, way: Tunnels, deadlines: Deadlines, path: str | None = None) -> None:
        self.way = way
        self.deadlines = deadlines
        self.transports: set[Any] = set()
        self.lost_ones = 0
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.socket.bind(path or ("127.0.0.1", 0))
        self.socket.listen(512)
        self.socket.setblocking(False)
        self.fileno = self.socket.fileno
        reactor.addReader(self)

    def logPrefix(self) -> str:
        return "front"

    def doRead(self) -> None:
        sock, address = self.socket.accept()
        sock.setblocking(False)
        self.way.pass_through(sock, address if isinstance(address, tuple) else ("unix:", 0), self)

    def connectionLost(self, reason: object) -> None:
        pass

    def lost(self, transport: Any) -> None:
        self.transports.remove(transport)
        self.lost_ones += 1

    def stop(self) -> None:
        reactor.removeReader(self)
        self.socket.close()
        for one in tuple(self.transports):
            one.abortConnection()


class SpliceCase(TestCase):
    """A port whose connections go to one upstream."""

    async def start(
        self, *endpoints: Endpoint, path: str | None = None, times: dict[str, float] | None = None, **options: Any
    ) -> None:
        """Serve; without endpoints the upstream is a :class:`Far`."""
        if not endpoints:
            self.far = Far()
            self.addCleanup(lambda: Deferred.fromCoroutine(self.far.stop()))
            endpoints = (self.far.endpoint,)
        self.deadlines = Deadlines(reactor, 0.05)
        self.addCleanup(self.deadlines.stop)
        self.metrics, self.upstream_metrics = ListenerMetrics(), UpstreamMetrics()
        pool = UpstreamPool(reactor, Upstream("far", endpoints, **options), self.upstream_metrics, self.deadlines)
        self.addCleanup(pool.close)
        self.way = Tunnels(pool, self.metrics, self.deadlines, reactor, **times or {})
        self.front = Front(self.way, self.deadlines, path)
        self.addCleanup(self.front.stop)

    async def connect(self) -> End:
        """Connect, and say nothing."""
        name = self.front.socket.getsockname()
        endpoint = UNIXClientEndpoint(reactor, name) if isinstance(name, str) else TCP4ClientEndpoint(reactor, *name)
        client = End()
        client.connectionMade = lambda: None  # type: ignore[method-assign]  # a Unix socket has no such option
        await connectProtocol(endpoint, client)

        async def end() -> None:
            if client.reason is None:
                client.transport.abortConnection()
            await until(lambda: client.reason is not None)

        self.addCleanup(lambda: Deferred.fromCoroutine(end()))
        return client

    async def pair(self) -> tuple[End, End]:
        """Give both ends of a tunnel."""
        client = await self.connect()
        return client, await self.far.end(len(self.far.ends) + 1)

    async def bulk(self, sender: End, receiver: End, size: int = 8 << 20) -> None:
        """Send much one way, to somebody who does not always read, and compare what arrives."""
        del receiver.received[:]
        receiver.transport.pauseProducing()
        pump = Pump(sender.transport, size)
        await deferLater(reactor, 0.05)
        receiver.transport.resumeProducing()
        await until(lambda: len(receiver.received) >= size, 60)
        self.assertEqual(sha256(receiver.received).digest(), sha256(pump.sent).digest())

    async def quiet(self) -> None:
        """Wait until all is over."""
        await until(lambda: not self.front.transports and not self.upstream_metrics.connections)
        self.assertEqual(self.upstream_metrics.connecting, 0)

    def count(self, kind: type, *names: str) -> dict[str, int]:
        """Count how often the methods of a class are called."""
        counts = dict.fromkeys(names, 0)

        def counted(name: str, real: Callable[..., Any], self: Any, *arguments: Any) -> Any:
            counts[name] += 1
            return real(self, *arguments)

        for name in names:
            real = getattr(kind, name)
            self.patch(kind, name, lambda *all, name=name, real=real: counted(name, real, *all))
        return counts


class MovingTests(SpliceCase):
    """What goes through, and how."""

    async def test_the_kernel_moves_what_is_much(self) -> None:
        """Small pieces are copied and much is spliced, both ways at a time, each byte once and in order."""
        await self.start()
        counts = self.count(SocketEnd, "_move")
        client, far = await self.pair()
        client.transport.write(b"small")
        await far.heard(b"small")
        self.assertEqual(counts["_move"], 0)
        await self.bulk(client, far)
        self.assertGreater(counts["_move"], 10)
        await self.bulk(far, client)
        self.assertEqual((self.metrics.bytes_received, self.metrics.bytes_sent), (5 + (8 << 20), 8 << 20))
        del client.received[:], far.received[:]
        up, down = Pump(client.transport, 4 << 20), Pump(far.transport, 4 << 20)
        await until(lambda: len(far.received) == len(client.received) == 4 << 20, 60)
        self.assertEqual((far.received, client.received), (up.sent, down.sent))

    async def test_bytes_one_by_one(self) -> None:
        """Single bytes arrive as they are sent, before anything else is."""
        await self.start()
        client, far = await self.pair()
        for number in range(200):
            client.transport.write(bytes([number]))
            await far.heard(bytes(range(number + 1)))
        far.transport.write(b"!")
        await client.heard(b"!")

    async def test_who_speaks_first(self) -> None:
        """An upstream that speaks first is heard by a client that has said nothing."""
        await self.start()
        client, far = await self.pair()
        far.transport.write(b"220 hello")
        await client.heard(b"220 hello")

    async def test_first_bytes(self) -> None:
        """What a client sends with its connection arrives once, its end behind it."""
        await self.start()
        sock = socket.create_connection(self.front.socket.getsockname())
        self.addCleanup(sock.close)
        sock.sendall(b"first")
        sock.shutdown(socket.SHUT_WR)
        far = await self.far.end()
        await until(lambda: far.ended)
        self.assertEqual(far.received, b"first")
        far.transport.loseConnection()
        await self.quiet()

    async def test_only_an_end(self) -> None:
        """The end of a client that has said nothing is passed on."""
        await self.start()
        client, far = await self.pair()
        client.transport.loseConnection()
        await until(lambda: far.ended)
        far.transport.loseConnection()
        await self.quiet()
        sock = socket.create_connection(self.front.socket.getsockname())
        sock.close()
        far = await self.far.end(2)
        await until(lambda: far.ended)
        far.transport.loseConnection()
        await self.quiet()

    async def test_unix_sockets(self) -> None:
        """Both ends may be Unix sockets."""
        folder = Path(tempfile.mkdtemp(prefix="edgegw-"))
        self.addCleanup(rmtree, folder)
        self.far = Far()
        self.far.endpoint = Endpoint(str(folder / "up"), 0, kind=EndpointKind.UNIX)
        await self.far.listening.stopListening()
        self.far.listening = reactor.listenUNIX(str(folder / "up"), self.far, wantPID=False)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.far.stop()))
        self.patch(End, "connectionMade", lambda end: None)
        await self.start(self.far.endpoint, path=str(folder / "front"))
        counts = self.count(SocketEnd, "_move")
        client, far = await self.pair()
        await self.bulk(client, far)
        await self.bulk(far, client)
        self.assertGreater(counts["_move"], 10)
        client.transport.loseConnection()
        await until(lambda: far.ended)
        far.transport.loseConnection()
        await self.quiet()

    async def test_without_splicing(self) -> None:
        """Where the system cannot splice bytes are copied, whether it says so before or in the middle."""
        real = splice._splice

        def unable(direction: int, *arguments: Any) -> int:
            if os.path.realpath(f"/proc/self/fd/{arguments[direction]}").rpartition("/")[2].startswith("pipe"):
                raise OSError(errno.EINVAL, "cannot")
            return real(*arguments)

        await self.start()
        for replacement in (None, partial(unable, 0), partial(unable, 1)):
            if replacement is None:
                self.patch(SocketEnd, "_can_splice", False)
            else:
                self.patch(SocketEnd, "_can_splice", True)
                self.patch(splice, "_splice", replacement)
            client, far = await self.pair()
            await self.bulk(client, far)
            await self.bulk(far, client)
            client.transport.loseConnection()
            far.transport.loseConnection()
            await self.quiet()

    async def test_urgent_bytes(self) -> None:
        """A byte that is sent as urgent is passed over, and neither ends nor holds up what comes behind it."""
        await self.start()
        sock = socket.create_connection(self.front.socket.getsockname())
        self.addCleanup(sock.close)
        far = await self.far.end()
        far.transport.pauseProducing()
        sock.setblocking(False)
        sent = 0
        try:
            while True:
                sent += sock.send(b"x" * 65_536)
        except BlockingIOError:
            pass
        await deferLater(reactor, 0.05)
        counts = self.count(SocketEnd, "doRead", "doWrite")
        far.transport.resumeProducing()
        await until(lambda: len(far.received) == sent)
        sock.send(b"u", socket.MSG_OOB)
        sock.send(b"behind")
        sock.shutdown(socket.SHUT_WR)
        await until(lambda: far.ended)
        self.assertEqual(far.received[sent:], b"behind")
        self.assertLess(counts["doRead"] + counts["doWrite"], 3000)

    async def test_a_proxy_header(self) -> None:
        """An upstream that wants a PROXY header gets it before the client's first byte, and it is not counted."""
        await self.start(proxy_protocol=ProxyProtocol.V1)
        client = await self.connect()
        far = await self.far.end()
        client.transport.write(b"hello")
        own, front = client.transport.getHost(), self.front.socket.getsockname()
        await far.heard(b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nhello" % (own.port, front[1]))
        self.assertEqual(self.metrics.bytes_received, 5)


class TimeTests(SpliceCase):
    """How long a tunnel may take."""

    bare = True

    def setUp(self) -> None:
        """Choose the kind."""
        self.patch(tunnels, "_is_bare", lambda upstream: self.bare)

    async def test_idle(self) -> None:
        """A tunnel's own idle time-out holds in place of the upstream's."""
        await self.start(times={"idle_timeout": 0.2}, idle_timeout=60.0)
        client, far = await self.pair()
        for _ in range(5):
            await deferLater(reactor, 0.1)
            far.transport.write(b".")
        self.assertIsNone(client.reason)
        await until(lambda: client.ended and far.ended)
        self.assertTrue(client.closed_cleanly and far.closed_cleanly)
        client.transport.loseConnection()
        far.transport.loseConnection()
        await self.quiet()

    async def test_total(self) -> None:
        """A tunnel through which bytes go all the time is ended when it has lasted long enough."""
        await self.start(times={"max_duration": 0.4})
        client, far = await self.pair()
        started = reactor.seconds()
        while not (client.ended or client.reason):
            far.transport.write(b".")
            await deferLater(reactor, 0.02)
        self.assertGreater(reactor.seconds() - started, 0.25)
        far.transport.abortConnection()
        client.transport.loseConnection()
        await self.quiet()

    async def test_total_of_one_that_stands_still(self) -> None:
        """One that has something left that nobody takes is cut then, so that nobody takes a part for the whole."""
        await self.start(times={"max_duration": 0.4})
        client, far = await self.pair()
        far.transport.pauseProducing()
        Pump(client.transport, 64 << 20)
        await client.gone()
        self.assertFalse(client.closed_cleanly)
        far.transport.resumeProducing()
        await far.gone()
        await self.quiet()

    async def test_total_before_the_end(self) -> None:
        """A tunnel that has ended before leaves no time running."""
        await self.start(times={"max_duration": 60.0})
        client, far = await self.pair()
        client.transport.loseConnection()
        far.transport.loseConnection()
        await self.quiet()
        self.assertEqual([one for items in self.deadlines._slots.values() for one in items], [])


class TimeOnTransportsTests(TimeTests):
    """The same on transports."""

    bare = False

    async def test_the_client_that_is_told_of(self) -> None:
        """Where TLS was terminated here the upstream's PROXY header tells what is known from that."""
        await self.start(proxy_protocol=ProxyProtocol.V2)
        info = ConnectionInfo(
            "edge", Identity(), "192.0.2.1", server_name="a.example", tls_version="TLSv1.3", cipher="TLS_AES"
        )
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        ours.setblocking(False)
        server = Server(ours, ("unix:", 0), self.front, reactor)
        self.front.transports.add(server)
        server.protocol = self.way.protocol(info)
        server.protocol.makeConnection(server)
        far = await self.far.end()
        await until(lambda: far.received)
        self.assertIn(b"a.example", far.received)
        self.assertIn(b"TLSv1.3", far.received)


class PaceTests(SpliceCase):
    """Standing still costs nothing and stops nobody."""

    async def test_no_spinning(self) -> None:
        """While an end takes nothing, or has ended, the reactor is not busy with the tunnel; others go on."""
        await self.start()
        client, far = await self.pair()
        other, other_far = await self.pair()
        far.transport.pauseProducing()
        client.transport.pauseProducing()
        Pump(client.transport, 64 << 20)
        Pump(far.transport, 64 << 20)
        await deferLater(reactor, 0.3)
        counts = self.count(SocketEnd, "doRead", "doWrite")
        await deferLater(reactor, 0.3)
        self.assertLess(sum(counts.values()), 20)
        await self.bulk(other, other_far, 1 << 20)
        other.transport.loseWriteConnection()
        await until(lambda: other_far.ended)
        counts.update(doRead=0, doWrite=0)
        await deferLater(reactor, 0.3)
        self.assertLess(sum(counts.values()), 20)

    async def test_a_slow_reader_does_not_spin(self) -> None:
        """Somebody who takes a little now and then is written to as often, not more."""
        await self.start()
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.connect(self.front.socket.getsockname())
        far = await self.far.end()
        Pump(far.transport, 16 << 20)
        await deferLater(reactor, 0.2)
        counts = self.count(SocketEnd, "doRead", "doWrite")
        sock.setblocking(False)
        for _ in range(50):
            try:
                sock.recv(4096)
            except BlockingIOError:
                pass
            await deferLater(reactor, 0.005)
        self.assertLess(sum(counts.values()), 500)


class LeftoverTests(SpliceCase):
    """What is there when tunnels have ended, and when there is not enough of something."""

    @staticmethod
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def test_descriptors(self) -> None:
        """However tunnels end, nothing stays open but the few pipes that are kept empty."""
        await self.start()
        before = self.descriptors()
        for turn in range(3):
            pairs = [await self.pair() for _ in range(40)]
            for number, (client, far) in enumerate(pairs):
                if number % 2:
                    far.transport.pauseProducing()
                    Pump(client.transport, 8 << 20)
            await deferLater(reactor, 0.1)
            for number, (client, far) in enumerate(pairs):
                if number % 3 == 0:
                    client.transport.abortConnection()
                elif number % 3 == 1:
                    far.transport.abortConnection()
                elif number % 2:
                    self.front.transports.copy().pop().abortConnection()
                else:
                    client.transport.loseConnection()
                    far.transport.loseConnection()
            for client, far in pairs:
                if client.reason is None:
                    client.transport.abortConnection()
                await until(lambda client=client, far=far: client.reason is not None)
            for one in tuple(self.front.transports):
                one.abortConnection()
            for _, far in pairs:
                if far.reason is None:
                    far.transport.abortConnection()
            await until(lambda pairs=pairs: all(far.reason is not None for _, far in pairs))
            await self.quiet()
            self.assertEqual(self.front.lost_ones, 40 * (turn + 1))
        self.assertLessEqual(self.descriptors(), before + 2 * splice_pipes.MOST_FREE)
        for pipe in splice_pipes._free:
            with self.assertRaises(BlockingIOError):
                os.read(pipe[0], 1)

    async def test_no_descriptor_for_a_pipe(self) -> None:
        """Where there is none left for a pipe the bytes are copied."""
        def none_left(flags: int) -> tuple[int, int]:
            raise OSError(errno.EMFILE, "too many")

        await self.start()
        client, far = await self.pair()
        self.patch(splice_pipes, "_free", [])
        self.patch(os, "pipe2", none_left)
        await self.bulk(client, far)
        await self.bulk(far, client)

    async def test_no_descriptor_for_the_upstream(self) -> None:
        """Where there is none left for a socket that connection ends, in order, and the others go on."""
        await self.start()
        client, far = await self.pair()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        real = self.front.way.pass_through

        def at_the_limit(*arguments: Any) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (arguments[0].fileno() + 1, hard))
            used = []
            try:
                while True:
                    used.append(os.dup(0))
            except OSError:
                pass
            try:
                real(*arguments)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for one in used:
                    os.close(one)

        self.patch(self.front.way, "pass_through", at_the_limit)
        refused = await self.connect()
        await until(lambda: refused.ended or refused.reason is not None)
        self.assertEqual(self.upstream_metrics.connect_failures["other"], 1)
        client.transport.write(b"on")
        await far.heard(b"on")
        self.assertEqual(len(self.front.transports), 1)

    async def test_nothing_for_the_collector(self) -> None:
        """A tunnel that has ended is gone without the collector of garbage."""
        await self.start(times={"max_duration": 60.0})
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        client, far = await self.pair()
        await self.bulk(client, far, 1 << 20)
        (tunnel,) = self.front.transports
        gone = [weakref.ref(tunnel), weakref.ref(tunnel._far)]
        del tunnel
        client.transport.loseConnection()
        far.transport.loseConnection()
        await self.quiet()
        await deferLater(reactor, 0)
        self.assertEqual([one() for one in gone], [None, None])


class DiallingTests(SpliceCase):
    """Sockets that are being opened."""

    async def test_not_at_once(self) -> None:
        """An upstream that is not connected to at once is, when the system says so."""
        real = socket.socket.connect_ex
        calls = []

        class Slow(socket.socket):
            def connect_ex(self, address: Any) -> int:
                result = real(self, address)
                if address[1] != port:
                    return result
                calls.append(address)
                return errno.EALREADY if len(calls) == 2 else result

        await self.start()
        port = self.far.endpoint.port
        self.patch(dialling.socket, "socket", Slow)
        client, far = await self.pair()
        client.transport.write(b"late")
        await far.heard(b"late")
        self.assertEqual(len(calls), 3)

    async def test_refused_later(self) -> None:
        """A refusal that comes when the reactor waits already is counted as one, and the next endpoint tried."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            nobody = Endpoint("127.0.0.1", sock.getsockname()[1])
        self.far = Far()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.far.stop()))
        calls: list[Any] = []

        class Slow(socket.socket):
            def connect_ex(self, address: Any) -> int:
                result = super().connect_ex(address)
                if address[1] != nobody.port or calls:
                    return result
                calls.append(address)
                return errno.EALREADY

        await self.start(nobody, self.far.endpoint)
        self.patch(dialling.socket, "socket", Slow)
        client, far = await self.pair()
        client.transport.write(b"to the second")
        await far.heard(b"to the second")
        self.assertEqual(self.upstream_metrics.connect_failures["refused"], 1)

    async def test_a_name_that_there_is_not(self) -> None:
        """A name that cannot be looked up is a failure of that word."""
        self.patch(reactor, "resolve", lambda name: fail(error.DNSLookupError("no")))
        await self.start(Endpoint("no.invalid", 1))
        client = await self.connect()
        await until(lambda: client.ended or client.reason is not None)
        self.assertEqual(self.upstream_metrics.connect_failures["resolve"], 1)
        await self.quiet()

    async def test_a_full_unix_socket(self) -> None:
        """A Unix socket whose backlog is full, or that there is not, is passed over."""
        folder = Path(tempfile.mkdtemp(prefix="edgegw-"))
        path = folder / "full"
        full = socket.socket(socket.AF_UNIX)
        self.addCleanup(full.close)
        full.bind(str(path))
        full.listen(0)
        self.addCleanup(rmtree, folder)
        filler = socket.socket(socket.AF_UNIX)
        self.addCleanup(filler.close)
        filler.connect(str(path))
        await self.start(
            Endpoint(str(path), 0, kind=EndpointKind.UNIX), Endpoint(str(folder / "none"), 0, kind=EndpointKind.UNIX)
        )
        client = await self.connect()
        await until(lambda: client.ended or client.reason is not None)
        self.assertEqual(sum(self.upstream_metrics.connect_failures.values()), 2)
        await self.quiet()

    async def test_cancelled(self) -> None:
        """Who gives up a connection in any state leaves nothing behind."""
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
        await until(lambda: self.upstream_metrics.connecting)
        client.transport.abortConnection()
        await self.quiet()
        self.assertEqual([one for one in reactor.getWriters() if isinstance(one, SocketDialling)], [])
        self.assertEqual([one for one in self.front.transports if isinstance(one, SpliceTunnel)], [])
