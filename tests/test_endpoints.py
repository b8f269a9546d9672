"""The listeners as server endpoints: any protocol of Twisted's behind them, and strings that name them."""
from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar

import yaml
from attrs import evolve
from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IListeningPort,
    INegotiated,
    IOpenSSLClientConnectionCreator,
    IProtocolNegotiationFactory,
    ISSLTransport,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.plugin import getPlugins
from twisted.protocols import amp
from twisted.protocols.basic import LineReceiver
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.server import Site
from zope.interface import implementer
from zope.interface.verify import verifyObject

from edgegw.config import ConfigError, load
from edgegw.demo.pki import make_pki
from edgegw.endpoint_parser import EndpointParser
from edgegw.endpoints import EdgeListeningPort, EdgeServerEndpoint, EndpointError, endpoint_from_config
from edgegw.endpoints.strings import OPTIONS
from edgegw.model import ConnectionLimits, HealthCheck, Listener, PolicyUse, RefuseWith, TLSSettings
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import Metrics
from edgegw.proxy.resource import ReverseProxy, StreamingRequest
from edgegw.registry import Registry
from edgegw.testing import FakeEnvironment
from edgegw.testing.options import configure
from edgegw.tls.names import check_tls
from tests.gateway import (
    SERVER,
    Authority,
    Issued,
    answer,
    client_context,
    files,
    get,
    http_listener,
    https_listener,
    in_thread,
    start_upstream,
    talk,
    until,
    validation,
)
from tests.raw_client import read_response
from tests.test_packaging import ROOT
from tests.web_applications import Echo

reactor: Any = global_reactor


class Greeter(LineReceiver):
    """Says who is there, and repeats what is said; ``quit`` ends it."""

    def __init__(self) -> None:
        self.lost: Failure | None = None

    def connectionMade(self) -> None:
        transport: Any = self.transport
        certificate = transport.info.identity.verified
        self.sendLine(b"hello " + (b"nobody" if certificate is None else certificate.common_name.encode()))

    def lineReceived(self, line: bytes) -> None:
        if line == b"quit":
            assert self.transport is not None
            self.transport.loseConnection()
        else:
            self.sendLine(line)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Greeters(Factory):
    """Makes them, and counts."""

    noisy = False

    def __init__(self, protocol: Any = Greeter) -> None:
        self.protocol = protocol
        self.made: list[Any] = []
        self.addresses: list[Any] = []
        self.started = self.stopped = 0

    def buildProtocol(self, addr: Any) -> Any:
        self.addresses.append(addr)
        made = self.protocol()
        if made is not None:
            made.factory = self
            self.made.append(made)
        return made

    def startFactory(self) -> None:
        self.started += 1

    def stopFactory(self) -> None:
        self.stopped += 1


class Peer(Protocol):
    """A client of Twisted's.

    :ivar lost: why the connection has ended.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.total = 0
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.total += len(data)
        if self.total < 1 << 20:
            self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class EndpointCase(TestCase):
    """An endpoint that demands certificates."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.server = self.pki.issue("a.example", dns=["a.example"], usages=SERVER)
        self.client = self.pki.issue("billing")

    def listener(self, **options: Any) -> Listener:
        """Give a listener on a free port."""
        return https_listener([self.server], validation(self.pki, **options.pop("validation", {})), **options)

    async def listen(self, factory: Any, endpoint: Any = None, **options: Any) -> EdgeListeningPort:
        """Serve with a factory until the test has ended."""
        if endpoint is None:
            endpoint = EdgeServerEndpoint(reactor, self.listener(**options))
        port: EdgeListeningPort = await endpoint.listen(factory)

        async def end() -> None:
            await port.stopListening()
            port.abort()
            await port.when_idle()

        self.addCleanup(lambda: Deferred.fromCoroutine(end()))
        return port

    def say(self, port: Any, data: bytes, client: Issued | None = None) -> Deferred[bytes]:
        """Connect as a client, say something, and give what comes until the end."""
        address = "127.0.0.1", port.getHost().port
        context = client_context(self.pki, client or self.client)
        return in_thread(talk, address, data, context, "a.example")

    async def peer(self, port: Any) -> Peer:
        """Connect with Twisted's own TLS."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.use_certificate(self.client.certificate)
        context.use_privatekey(self.client.key)

        @implementer(IOpenSSLClientConnectionCreator)
        class Creator:
            def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
                return SSL.Connection(context, None)

        made = Peer()
        factory = TLSMemoryBIOFactory(Creator(), True, Factory.forProtocol(lambda: made))
        await TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(factory)

        async def end() -> None:
            if made.lost is None:
                made.transport.abortConnection()
            await until(lambda: made.lost is not None)

        self.addCleanup(lambda: Deferred.fromCoroutine(end()))
        return made


class ServerTests(EndpointCase):
    """Protocols behind an endpoint."""

    async def test_interfaces(self) -> None:
        """It is what Twisted's interfaces say."""
        endpoint = EdgeServerEndpoint(reactor, self.listener())
        verifyObject(IStreamServerEndpoint, endpoint)
        port = await self.listen(Greeters(), endpoint)
        verifyObject(IListeningPort, port)
        self.assertRaises(CannotListenError, port.startListening)
        self.assertIn("127.0.0.1", repr(port))

    async def test_lines(self) -> None:
        """A line protocol knows who is calling; strangers and the nameless never get to it."""
        factory = Greeters()
        port = await self.listen(factory)
        got = await self.say(port, b"one\r\ntwo\r\nquit\r\n")
        self.assertEqual(got, b"hello billing\r\none\r\ntwo\r\n")
        stranger = Authority().issue("stranger")
        for client in (stranger, None):
            address, context = ("127.0.0.1", port.getHost().port), client_context(self.pki, client)
            with self.assertRaises((ssl.SSLError, ConnectionResetError)):
                await in_thread(talk, address, b"quit\r\n", context, "a.example")
        (made,) = factory.made
        (address_,) = factory.addresses
        self.assertEqual(address_.host, "127.0.0.1")
        await until(lambda: made.lost is not None)
        counts = port.metrics.listener("edge")
        self.assertEqual(sum(counts.handshake_failures.values()), 2)
        self.assertEqual(len(port.handshakes), 3)

    async def test_transport(self) -> None:
        """The transport is one of Twisted's, with what is known of the client."""
        seen: dict[str, Any] = {}

        class Looker(Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                seen["provides"] = [one.providedBy(transport) for one in (ISSLTransport, ITCPTransport, INegotiated)]
                seen["info"] = transport.info
                seen["peer"] = transport.getPeer()
                seen["host"] = transport.getHost()
                seen["certificate"] = transport.getPeerCertificate().to_cryptography()
                transport.loseConnection()

        port = await self.listen(Greeters(Looker), name="lookers")
        await self.say(port, b"")
        info = seen["info"]
        self.assertEqual(seen["provides"], [True, True, True])
        self.assertEqual((info.listener, info.server_name, info.peer), ("lookers", "a.example", "127.0.0.1"))
        self.assertEqual((info.peer_port, info.local_port), (seen["peer"].port, seen["host"].port))
        self.assertEqual(seen["host"].port, port.getHost().port)
        self.assertEqual(seen["certificate"], self.client.certificate)
        self.assertIn(info.tls_version, ("TLSv1.3",))

    async def test_policies(self) -> None:
        """Policies decide as they do for the gateway, and their attributes are the protocol's to read."""
        registry = Registry()
        found = registry.find("policy", "subject_alt_names")
        assert found is not None
        environment = FakeEnvironment()
        policy = configure(found.kind, {"dns": [{"suffix": ".corp.example"}]}, environment)
        use = PolicyUse(found.kind, policy, environment)
        factory = Greeters()
        port = await self.listen(factory, validation={"policies": (use,)})
        ours = self.pki.issue("ours", dns=["a.corp.example"])
        self.assertEqual(await self.say(port, b"quit\r\n", ours), b"hello ours\r\n")
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            await self.say(port, b"quit\r\n", self.pki.issue("others", dns=["a.example.com"]))
        self.assertEqual(len(factory.made), 1)

    async def test_several_names(self) -> None:
        """Listeners of one port are told apart by SNI, and the protocol is told which it was."""
        other = self.pki.issue("b.example", dns=["b.example"], usages=SERVER)
        first = self.listener(name="a", hostname="a.example")
        second = https_listener([other], None, name="b", hostname="b.example")

        class Teller(Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.write(transport.info.listener.encode())
                transport.loseConnection()

        port = await self.listen(Greeters(Teller), EdgeServerEndpoint(reactor, first, second))
        self.assertEqual(await self.say(port, b""), b"a")
        address = "127.0.0.1", port.getHost().port
        self.assertEqual(await in_thread(talk, address, b"", client_context(self.pki), "b.example"), b"b")

    async def test_alpn(self) -> None:
        """What is offered by ALPN is what the factory speaks, where it says."""

        @implementer(IProtocolNegotiationFactory)
        class Speaking(Greeters):
            def acceptableProtocols(self) -> list[bytes]:
                return [b"lines", b"http/1.1"]

        class Teller(Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.write(transport.negotiatedProtocol or b"none")
                transport.loseConnection()

        tls = TLSSettings((), alpn=("h2", "http/1.1", "lines"))
        for factory, offered, chosen in (
            (Speaking(Teller), ["h2", "lines"], b"lines"), (Speaking(Teller), ["h2", "http/1.1"], b"http/1.1"),
            (Greeters(Teller), ["h2", "lines"], b"h2"), (Greeters(Teller), [], b"none"),
        ):
            port = await self.listen(factory, tls=tls)
            address, context = ("127.0.0.1", port.getHost().port), client_context(self.pki, self.client, alpn=offered)
            self.assertEqual(await in_thread(talk, address, b"", context, "a.example"), chosen)
        port = await self.listen(Greeters(Teller))
        context = client_context(self.pki, self.client, alpn=["h2", "http/1.1"])
        got = await in_thread(talk, ("127.0.0.1", port.getHost().port), b"", context, "a.example")
        self.assertEqual(got, b"http/1.1")

    async def test_factories_that_refuse(self) -> None:
        """A factory without a protocol for a client, or one that fails, ends that connection and nothing else."""
        factory = Greeters(lambda: None)
        port = await self.listen(factory)
        self.assertEqual(await self.say(port, b""), b"")

        def fail() -> Any:
            raise RuntimeError("on purpose")

        factory.protocol = fail
        with self.assertRaises((ssl.SSLError, ConnectionResetError, AssertionError)):
            self.assertEqual(await self.say(port, b""), b"x")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        factory.protocol = Greeter
        self.assertEqual(await self.say(port, b"quit\r\n"), b"hello billing\r\n")

    async def test_protocols_that_fail(self) -> None:
        """An exception in a protocol ends its connection."""

        class Failing(Protocol):
            def dataReceived(self, data: bytes) -> None:
                raise RuntimeError("on purpose")

        port = await self.listen(Greeters(Failing))
        with self.assertRaises((ssl.SSLError, ConnectionResetError, AssertionError)):
            self.assertEqual(await self.say(port, b"x"), b"x")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_only_http(self) -> None:
        """What a listener would do over HTTP it does not do over anything else."""
        everywhere = HealthCheck("/health", validation_sources())
        listener = self.listener(health_check=everywhere, validation={"refuse_with": RefuseWith.RESPONSE})
        factory = Greeters()
        port = await self.listen(factory, EdgeServerEndpoint(reactor, listener))
        address = "127.0.0.1", port.getHost().port
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            await in_thread(talk, address, get("/health"), client_context(self.pki), "a.example")
        self.assertEqual(factory.made, [])

    async def test_limits(self) -> None:
        """The listener's limits hold."""
        port = await self.listen(Greeters(), limits=ConnectionLimits(max_connections=1))
        first = await self.peer(port)
        await until(lambda: first.received)
        second = await self.peer(port)
        await until(lambda: second.lost is not None)
        self.assertEqual(bytes(second.received), b"")

    async def test_many_connections(self) -> None:
        """Many clients at once are all served, and all gone at the end."""
        factory = Greeters()
        port = await self.listen(factory)
        peers = await gatherResults([Deferred.fromCoroutine(self.peer(port)) for _ in range(150)])
        await until(lambda: all(one.received for one in peers))
        self.assertEqual(port.connections, 150)
        for number, one in enumerate(peers):
            one.transport.write(b"%d\r\n" % number)
        await until(lambda: all(bytes(one.received).endswith(b"%d\r\n" % number) for number, one in enumerate(peers)))
        for one in peers:
            one.transport.write(b"quit\r\n")
        await until(lambda: all(one.lost is not None for one in peers))
        await until(lambda: all(one.lost is not None for one in factory.made))
        await until(lambda: not port.connections)


def validation_sources() -> Any:
    """Give every address."""
    return (ip_network("0.0.0.0/0"),)


class LifeTests(EndpointCase):
    """From listen to the end of the last connection."""

    async def test_factory(self) -> None:
        """The factory is started once for each port, and stopped with it."""
        factory = Greeters()
        endpoint = EdgeServerEndpoint(reactor, self.listener())
        first, second = await self.listen(factory, endpoint), await self.listen(factory, endpoint)
        self.assertNotEqual(first.getHost().port, second.getHost().port)
        self.assertEqual((factory.started, factory.stopped, factory.numPorts), (1, 0, 2))
        await first.stopListening()
        self.assertEqual(await self.say(second, b"quit\r\n"), b"hello billing\r\n")
        await second.stopListening()
        self.assertEqual((factory.started, factory.stopped), (1, 1))

    async def test_stop_listening(self) -> None:
        """Nobody new comes in; who is there goes on until it leaves."""
        port = await self.listen(Greeters())
        address = "127.0.0.1", port.getHost().port
        peer = await self.peer(port)
        await until(lambda: peer.received)
        idle = port.when_idle()
        await gatherResults([port.stopListening(), port.stopListening()])
        with self.assertRaises(ConnectionRefusedError):
            await in_thread(talk, address, b"", client_context(self.pki, self.client), "a.example")
        peer.transport.write(b"still here\r\n")
        await until(lambda: bytes(peer.received).endswith(b"still here\r\n"))
        self.assertNoResult(idle)
        peer.transport.write(b"quit\r\n")
        await idle
        await port.stopListening()

    async def test_busy(self) -> None:
        """A port that is taken is told as every endpoint does, and the endpoint can be used again."""
        port = await self.listen(Greeters())
        taken = evolve(self.listener(), port=port.getHost().port)
        factory = Greeters()
        endpoint = EdgeServerEndpoint(reactor, taken)
        await self.assertFailure(endpoint.listen(factory), CannotListenError)
        self.assertEqual(factory.started, 0)
        await port.stopListening()
        await self.listen(factory, endpoint)
        self.assertEqual(factory.started, 1)

    async def test_half_close(self) -> None:
        """A protocol can close its half and go on listening, and is told of the client's end."""
        events: list[str] = []

        @implementer(IHalfCloseableProtocol)
        class Half(Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.write(b"all there is")
                transport.loseWriteConnection()

            def dataReceived(self, data: bytes) -> None:
                events.append(data.decode())

            def readConnectionLost(self) -> None:
                events.append("read")
                transport: Any = self.transport
                transport.loseConnection()

            def writeConnectionLost(self) -> None:
                events.append("write")

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                events.append("lost")

        port = await self.listen(Greeters(Half))
        address = "127.0.0.1", port.getHost().port

        def listen_and_then_talk() -> bytes:
            with socket.create_connection(address, 20) as plain:
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                context = client_context(self.pki, self.client)
                connection = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
                got, done = b"", False
                while not done:
                    try:
                        connection.do_handshake()
                        done = True
                    except ssl.SSLWantReadError:
                        plain.sendall(outgoing.read())
                        incoming.write(plain.recv(65_536))
                plain.sendall(outgoing.read())
                while piece := plain.recv(65_536):
                    incoming.write(piece)
                got = connection.read()
                connection.write(b"after that")
                plain.sendall(outgoing.read())
                with contextlib.suppress(ssl.SSLError):
                    connection.unwrap()
                plain.sendall(outgoing.read())
                plain.shutdown(socket.SHUT_WR)
                plain.recv(1)
                return got

        self.assertEqual(await in_thread(listen_and_then_talk), b"all there is")
        await until(lambda: "lost" in events)
        self.assertEqual(events, ["write", "after that", "read", "lost"])

    async def test_producers(self) -> None:
        """What is written goes no faster than the client reads; all of it arrives."""
        size, piece = 48 << 20, bytes(1 << 16)

        class Pourer(Protocol):
            left = size
            pauses = 0
            paused = False

            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.registerProducer(self, True)
                self.resumeProducing()

            def resumeProducing(self) -> None:
                transport: Any = self.transport
                self.paused = False
                while self.left and not self.paused:
                    self.left -= len(piece)
                    transport.write(piece)
                if not self.left:
                    transport.unregisterProducer()
                    transport.loseConnection()

            def pauseProducing(self) -> None:
                self.paused = True
                self.pauses += 1

            def stopProducing(self) -> None: ...

        factory = Greeters(Pourer)
        port = await self.listen(factory)
        peer = await self.peer(port)
        await until(lambda: peer.total)
        peer.transport.pauseProducing()
        (made,) = factory.made
        await until(lambda: made.paused)
        self.assertGreater(made.left, 0)
        peer.transport.resumeProducing()
        await until(lambda: peer.lost is not None)
        self.assertEqual(peer.total, size)

    async def test_large_writes(self) -> None:
        """One large write arrives whole before the connection closes."""

        class Large(Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.write(bytes(8 << 20))
                transport.loseConnection()

        port = await self.listen(Greeters(Large))
        self.assertEqual(len(await self.say(port, b"")), 8 << 20)

    async def test_abort(self) -> None:
        """A protocol can cut its connection, the application all of them."""

        class Aborting(Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.abortConnection()

        port = await self.listen(Greeters(Aborting))
        peer = await self.peer(port)
        await until(lambda: peer.lost is not None)
        factory = Greeters()
        port = await self.listen(factory)
        peers = [await self.peer(port) for _ in range(3)]
        await until(lambda: all(one.received for one in peers))
        port.abort()
        await until(lambda: all(one.lost is not None for one in peers))

    async def test_shared_metrics(self) -> None:
        """An application has its own metrics and record, of all of its endpoints."""
        metrics, record = Metrics(), HandshakeRecord()
        for name in ("one", "two"):
            endpoint = EdgeServerEndpoint(
                reactor, self.listener(name=name), metrics=metrics, handshakes=record
            )
            await self.say(await self.listen(Greeters(), endpoint), b"quit\r\n")
        self.assertEqual((len(record), set(metrics.listeners)), (2, {"one", "two"}))
        self.assertEqual({key[2] for key in metrics.expiry}, {"one", "two"})

    def test_what_cannot_be(self) -> None:
        """Listeners that cannot be one endpoint are refused where it is made, all of them at once."""
        refusing = https_listener([self.server], validation(), name="refusing")
        with self.assertRaises(EndpointError) as caught:
            EdgeServerEndpoint(reactor, self.listener(), http_listener(), refusing, self.listener(address="127.0.0.2"))
        self.assertEqual(str(caught.exception).splitlines(), [
            "the listener plain has no TLS; use tcp: for it, or give it tls",
            "the listener refusing has no trust anchor and would refuse every connection; correct the files",
            "the listener edge has another address or port than edge",
        ])  # fmt: skip


class ProtocolTests(EndpointCase):
    """Twisted's own protocols."""

    async def test_site(self) -> None:
        """A site's requests know who is calling, in a resource and through a proxy."""
        port = await self.listen(Site(Echo()))
        found = read_response(await self.say(port, get("/x")))
        assert found is not None
        self.assertEqual((found[0].all("x-subject"), found[0].all("x-secure")), (["CN=billing"], ["True"]))
        upstream = start_upstream(self, answer(b"ok"))
        proxy = ReverseProxy(reactor, [f"127.0.0.1:{upstream.port}"])
        self.addCleanup(proxy.close)
        port = await self.listen(Site(proxy, requestFactory=StreamingRequest))
        spoofed = get("/x", "a.example", 'x-forwarded-client-cert: Subject="CN=admin"')
        found = read_response(await self.say(port, spoofed))
        assert found is not None
        self.assertEqual(found[0].body, b"ok")
        (request,) = upstream.requests
        (told,) = request.all(b"x-forwarded-client-cert")
        self.assertIn(b'Subject="CN=billing"', told)
        self.assertNotIn(b"admin", told)
        self.assertEqual(request.all(b"x-forwarded-proto"), [b"https"])

    async def test_amp(self) -> None:
        """AMP works over it."""

        class Who(amp.Command):
            response: ClassVar = [(b"name", amp.Unicode())]

        class Server(amp.AMP):
            @Who.responder
            def who(self) -> dict[str, str]:
                transport: Any = self.transport
                return {"name": transport.info.identity.verified.common_name}

        port = await self.listen(Greeters(Server))
        address = "127.0.0.1", port.getHost().port
        box = amp.Box({b"_ask": b"1", b"_command": b"Who"}).serialize()

        def ask() -> bytes:
            context = client_context(self.pki, self.client)
            plain = socket.create_connection(address, 20)
            with context.wrap_socket(plain, server_hostname="a.example") as secure:
                secure.sendall(box)
                return secure.recv(4096)

        self.assertIn(b"billing", await in_thread(ask))


class StringTests(EndpointCase):
    """``edgegw:`` in strings."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.certificate, self.key = files(self, self.server, "server")
        os.chmod(self.key, 0o600)
        self.ca, _ = files(self, self.pki, "ca")

    def text(self, *parts: str, **options: str) -> str:
        """Write the string of an endpoint on a free port."""
        values = {"certificate": self.certificate, "key": self.key, "ca": self.ca, **options}
        return ":".join(["edgegw", *(parts or ("tcp", "0")), *(f"{k}={v}" for k, v in values.items() if v)])

    def faults(self, text: str) -> list[str]:
        """Give what is wrong with a string."""
        with self.assertRaises(EndpointError) as caught:
            serverFromString(reactor, text)
        return str(caught.exception).splitlines()

    def test_plugin(self) -> None:
        """Twisted finds the parser, and finding it costs little."""
        found = [one for one in getPlugins(IStreamServerEndpointStringParser) if one.prefix == "edgegw"]
        self.assertEqual(len(found), 1)
        verifyObject(IStreamServerEndpointStringParser, EndpointParser())
        code = "import sys, edgegw.endpoint_parser; print({'OpenSSL', 'attrs', 'edgegw.endpoints'} & set(sys.modules))"
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        self.assertEqual(printed.stdout, "set()\n")

    async def test_options(self) -> None:
        """All there is to say can be said in a string."""
        text = self.text(
            interface="127.0.0.1", mode="AllowValidOnly", required="true", min_version="1.3", alpn="http/1.1",
            hostname="a.example", name="strung", max_connections="5", handshake_timeout="3s", max_depth="3",
            policy="key_strength", strict_sni="true", max_version="1.3",
        )  # fmt: skip
        endpoint: Any = serverFromString(reactor, text)
        (listener,) = endpoint.listeners
        self.assertEqual((listener.name, listener.address, listener.hostname), ("strung", "127.0.0.1", "a.example"))
        self.assertEqual((listener.limits.max_connections, listener.limits.handshake_timeout), (5, 3.0))
        self.assertEqual((listener.tls.alpn, listener.tls.strict_sni), (("http/1.1",), True))
        self.assertEqual(listener.tls.client_validation.max_depth, 3)
        port = await self.listen(Greeters(), endpoint)
        self.assertEqual(await self.say(port, b"quit\r\n"), b"hello billing\r\n")
        given = text.split(":")
        self.assertEqual({name for name in OPTIONS if not any(one.startswith(f"{name}=") for one in given)}, set())

    async def test_without_certificates(self) -> None:
        """Without ``ca`` nobody is asked for one."""
        port = await self.listen(Greeters(), serverFromString(reactor, self.text(ca="", interface="127.0.0.1")))
        self.assertEqual(await self.say(port, b"quit\r\n"), b"hello nobody\r\n")

    async def test_unix(self) -> None:
        """A Unix socket is a port like others."""
        path = str(self.folder / "s")
        port = await self.listen(Greeters(), serverFromString(reactor, self.text("unix", path)))
        self.assertEqual(port.getHost().name, path.encode())
        context = client_context(self.pki, self.client)
        self.assertEqual(await in_thread(talk, path, b"quit\r\n", context, "a.example"), b"hello billing\r\n")

    def test_faults(self) -> None:
        """What is wrong is said for each option, in the words of the configuration, and all at once."""
        missing = str(self.folder / "none.pem")
        found = self.faults(self.text("tcp", "99999", mode="AlowValidOnly", min_version="1.1"))
        self.assertEqual(sorted(found), [
            'min_version: "1.1" is not 1.2 or 1.3; did you mean 1.3?',
            'mode: "AlowValidOnly" is not AllowValidOnly or AllowInsecureFallback; did you mean AllowValidOnly?',
            "port: 99999 is out of range; write a whole number from 0 to 65535",
        ])  # fmt: skip
        for text, part in (
            (self.text(certificate=missing), f"certificate: {missing} cannot be read: No such file or"),
            (self.text(key=self.certificate), "key: "),
            (self.text(certificate=""), "has no certificate; give certificate= and a PEM file"),
            (self.text(certifcate="x"), "certifcate: is no known key; did you mean certificate?"),
            (self.text(ca="", mode="AllowValidOnly"), "mode: needs client certificates; give ca= and a PEM file"),
            (self.text(ca=missing), f"warning: ca: {missing} cannot be read"),
            (self.text(ca=missing), "the listener edgegw has no trust anchor and would refuse every connection"),
            (self.text(policy="key_strenth"), "policy: there is no policy key_strenth; did you mean key_strength?"),
            (self.text("udp", "1"), "it begins with neither tcp and a port nor unix and a path; write edgegw:tcp:8443"),
            ("edgegw:8443", "it begins with neither"),
            (self.text("tcp", "0", config="x"), "tcp: does not go with config; write it into the file"),
            (self.text(interface="nowhere"), "interface: "),
        ):  # fmt: skip
            with self.subTest(text):
                self.assertTrue(any(fault.startswith(part) for fault in self.faults(text)), self.faults(text))

    # --- a configuration's listener ---------------------------------------------------------

    def config(self, **changes: Any) -> Path:
        """Write a configuration with two listeners."""
        make_pki(self.folder)
        certificates = [{"certificate": self.certificate, "private_key": self.key}]
        listener = {"name": "edge", "port": 0, "address": "127.0.0.1", "tls": {"certificates": certificates}, **changes}
        document = {
            "client_validation": {"default": {"ca_certificates": [self.ca], "policies": ["key_strength"]}},
            "listeners": [listener, {"name": "plain", "port": 0, "protocol": "HTTP"}],
        }
        path = self.folder / "edgegw.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    async def test_config(self) -> None:
        """A listener of a configuration is one as the gateway would have it, its plugins among it."""
        path = self.config()
        for text in (f"edgegw:config={path}:listener=edge", f"edgegw:config={path}"):
            port = await self.listen(Greeters(), serverFromString(reactor, text))
            self.assertEqual(await self.say(port, b"quit\r\n"), b"hello billing\r\n")
            self.assertEqual(list(port.metrics.policies), [("edge", "key_strength")])
        endpoint = endpoint_from_config(reactor, str(path), metrics=Metrics())
        first, second = await self.listen(Greeters(), endpoint), await self.listen(Greeters(), endpoint)
        await first.stopListening()
        await first.when_idle()
        self.assertEqual(await self.say(second, b"quit\r\n"), b"hello billing\r\n")
        await second.stopListening()
        await second.when_idle()
        await self.assertFailure(endpoint.listen(Greeters()), EndpointError)

    def test_config_faults(self) -> None:
        """Faults are those of ``edgegw check``, line by line, and a listener that is not there is one."""
        path = self.config(hostnam="x", limits={"max_connections": -1})
        with self.assertRaises(ConfigError) as caught:
            load(str(path), check_tls=check_tls, find_plugins=Registry, make_environment=lambda *_: FakeEnvironment())
        self.assertEqual(self.faults(f"edgegw:config={path}:listener=edge"), str(caught.exception).splitlines())
        path = self.config()
        self.assertEqual(
            self.faults(f"edgegw:config={path}:listener=egde"),
            [f"{path}: there is no listener egde; did you mean edge?"],
        )
        self.assertEqual(
            self.faults(f"edgegw:config={path}:listener=plain"),
            ["the listener plain has no TLS; use tcp: for it, or give it tls"],
        )
        nowhere = self.folder / "nowhere.yaml"
        self.assertIn("cannot be read: No such file", self.faults(f"edgegw:config={nowhere}:listener=edge")[0])
        os.truncate(self.ca, 0)
        found = self.faults(f"edgegw:config={path}:listener=edge")
        self.assertTrue(any("ca_certificates[0]" in one for one in found), found)
        self.assertIn("no trust anchor", found[-1])
