"""Listeners that pass bytes on: TLS through and ended, TCP; several of them, with HTTPS, on one port."""
from __future__ import annotations

import socket
import ssl
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from edgegw.model import (
    BackendRef,
    ConnectionLimits,
    ConnectionRate,
    Endpoint,
    Gateway,
    Listener,
    PortSettings,
    Protocol,
    TCPRoute,
    TLSMode,
    TLSRoute,
    TLSSettings,
    UnmatchedName,
    Upstream,
)
from edgegw.verdict import Reason
from tests.gateway import (
    CLIENT,
    SERVER,
    Authority,
    RunningGateway,
    client_context,
    closing,
    gateway,
    get,
    http_listener,
    https_listener,
    in_thread,
    server_certificate,
    start_gateway,
    start_upstream,
    talk,
    until,
    validation,
)
from tests.test_client_hello import from_pyopenssl
from tests.tls_upstreams import secured, server_context, start_tls_upstream

reactor: Any = global_reactor
UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"


def tls_listener(
    hostname: str | None, name: str, settings: TLSSettings | None = None, **options: Any
) -> Listener:
    """Give a listener with the protocol TLS; without settings it passes through."""
    mode = TLSMode.PASSTHROUGH if settings is None else TLSMode.TERMINATE
    return Listener(name, 0, Protocol.TLS, "127.0.0.1", hostname, settings, mode=mode, **options)


def exchange(address: Any, data: bytes, end: bool = False) -> bytes:
    """Send bytes on a plain connection, and give everything that comes."""
    with socket.create_connection(address, 10) as plain:
        plain.sendall(data)
        if end:
            plain.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while piece := plain.recv(65_536):
                got += piece
        except ConnectionResetError:
            pass
    return got


def negotiate(address: Any, context: ssl.SSLContext) -> str | None:
    """Give the protocol that a handshake agrees on."""
    with (
        socket.create_connection(address) as plain,
        context.wrap_socket(plain, server_hostname="ended.example") as secure,
    ):
        return secure.selected_alpn_protocol()


class Handshaking:
    """A client that has seen all of the gateway's handshake, and not said its own last word of it."""

    def __init__(self, address: Any, context: ssl.SSLContext, name: str) -> None:
        self._come, self._go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._come, self._go, server_hostname=name)
        self.socket = socket.create_connection(address, 10)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.socket.sendall(self._go.read())
                self._come.write(self.socket.recv(65_536))
            else:
                return

    def ask(self, data: bytes) -> bytes:
        """End the handshake, send data, and give what comes back until there is something, or the end."""
        self._tls.write(data)
        self.socket.sendall(self._go.read())
        while piece := self.socket.recv(65_536):
            self._come.write(piece)
            try:
                return self._tls.read(65_536)
            except ssl.SSLWantReadError:
                pass
        return b""


class ModeCase(TestCase):
    """A gateway whose port has listeners of several modes."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.issued = {
            name: self.pki.issue(name, dns=[name], usages=SERVER)
            for name in ("here.example", "ended.example", "through.example")
        }
        self.plain = start_upstream(self, closing(b"plain"), "plain")

    def settings(self, name: str, **options: Any) -> TLSSettings:
        """Give the TLS of a listener for a name."""
        return TLSSettings((server_certificate(self.issued[name]),), alpn=(), **options)

    async def start(self, *listeners: Listener, **options: Any) -> RunningGateway:
        """Serve them, with a TLS upstream behind the name that is passed through."""
        context = server_context(self.issued["through.example"])
        self.far = start_tls_upstream(self, context, closing(b"far"), "far")
        upstreams = (self.plain.model, self.far.model)
        routes = gateway([], self.plain).routes
        return await start_gateway(
            self, Gateway(listeners, **{"routes": routes, "upstreams": upstreams, "admin": None, **options})
        )

    async def ask(self, running: RunningGateway, name: str | None, host: str, issued: Any = None) -> bytes:
        """Give the response to a request for a host on a connection for a name."""
        context = client_context(self.pki, issued)
        return await in_thread(talk, running.address(), get("/", host), context, name)  # type: ignore[no-any-return]


class MixedTests(ModeCase):
    """One port on which TLS ends here for requests, ends here for an upstream, and is passed through."""

    def listeners(self) -> tuple[Listener, ...]:
        """Give one of each mode."""
        return (
            https_listener([self.issued["here.example"]], name="here", hostname="here.example"),
            tls_listener("ended.example", "ended", self.settings("ended.example")),
            tls_listener("through.example", "through"),
        )

    ROUTES = (
        TLSRoute("to-plain", (BackendRef("plain"),), ("ended",)),
        TLSRoute("to-far", (BackendRef("far"),), ("through",)),
    )

    async def test_every_mode(self) -> None:
        """Each name is served as its listener says, on one port."""
        running = await self.start(*self.listeners(), tls_routes=self.ROUTES)
        for name, body in {"here.example": b"plain", "ended.example": b"plain", "through.example": b"far"}.items():
            got = await self.ask(running, name, name)
            self.assertIn(b"200 OK", got, name)
            self.assertTrue(got.endswith(body), (name, got))
        self.assertEqual(self.plain.requests[0].all(b"x-forwarded-proto"), [b"https"])
        # Where bytes are passed on, nothing is added to them.
        self.assertEqual(self.plain.requests[1].raw, get("/", "ended.example"))
        await running.idle()
        tunnels = running.metrics.tunnels
        self.assertEqual(set(tunnels), {("ended", "to-plain", "plain"), ("through", "to-far", "far")})
        for one in tunnels.values():
            self.assertEqual((one.connections_total, one.connections), (1, 0))
            self.assertTrue(one.bytes_received and one.bytes_sent)

    async def test_unmatched(self) -> None:
        """With a listener that passes through, a name that nobody takes is closed without an alert."""
        running = await self.start(*self.listeners(), tls_routes=self.ROUTES)
        for name in ("unknown.example", None):
            got = await in_thread(exchange, running.address(), from_pyopenssl(name))
            self.assertEqual(got, b"", name)
        await running.idle()
        self.assertEqual(running.record.entries(1)[0][0]["reason"], Reason.UNRECOGNIZED_NAME)

    async def test_unmatched_as_configured(self) -> None:
        """The port says what becomes of such a name: the alert, the default certificate, or nothing."""
        for unmatched, expected in {
            UnmatchedName.CLOSE: b"",
            UnmatchedName.UNRECOGNIZED_NAME: UNRECOGNIZED_NAME,
        }.items():
            ports = (PortSettings((("127.0.0.1", 0),), unmatched),)
            running = await self.start(*self.listeners()[:2], tls_routes=self.ROUTES[:1], ports=ports)
            got = await in_thread(exchange, running.address(), from_pyopenssl("unknown.example"))
            self.assertEqual(got, expected)
        ports = (PortSettings((("127.0.0.1", 0),), UnmatchedName.DEFAULT_CERTIFICATE),)
        running = await self.start(*self.listeners(), tls_routes=self.ROUTES, ports=ports)
        context = client_context(self.pki)
        context.check_hostname = False
        got = await in_thread(talk, running.address(), get("/", "unknown.example"), context, "unknown.example")
        self.assertIn(b"404", got.partition(b"\r\n")[0])

    async def test_misdirected(self) -> None:
        """A connection for one name is not to be used for requests of another listener's name: 421; of none: 404."""
        running = await self.start(*self.listeners(), tls_routes=self.ROUTES)
        for host, status in {
            "here.example": b"200", "through.example": b"421", "ended.example": b"421", "unknown.example": b"404",
        }.items():
            got = await self.ask(running, "here.example", host)
            self.assertIn(status, got.partition(b"\r\n")[0], host)


class RouteTests(ModeCase):
    """Which route a connection goes by."""

    async def test_hostnames(self) -> None:
        """Routes of one listener are told apart by name: exact before wildcards; what none takes is refused."""
        other = start_upstream(self, closing(b"other"), "other")
        certificate = server_certificate(self.pki.issue("x", dns=["a.example", "*.b.example"], usages=SERVER))
        running = await self.start(
            tls_listener(None, "ended", TLSSettings((certificate,), alpn=())),
            upstreams=(self.plain.model, other.model),
            routes=(),
            tls_routes=(
                TLSRoute("exact", (BackendRef("plain"),), hostnames=("a.example",)),
                TLSRoute("wild", (BackendRef("other"),), hostnames=("*.b.example",)),
                TLSRoute("nowhere", (BackendRef("other", 0),), hostnames=("c.example",)),
            ),
        )
        for name, body in {"a.example": b"plain", "x.b.example": b"other"}.items():
            self.assertTrue((await self.ask(running, name, name)).endswith(body), name)
        for name, reason in {"d.example": Reason.NO_ROUTE, "c.example": Reason.NO_BACKEND}.items():
            got = await in_thread(exchange, running.address(), from_pyopenssl(name))
            self.assertEqual(got, UNRECOGNIZED_NAME, name)
            self.assertEqual(running.counts().handshake_failures.pop(reason), 1)

    async def test_weights(self) -> None:
        """Connections are shared out by weight."""
        other = start_upstream(self, closing(b"other"), "other")
        running = await self.start(
            Listener("tcp", 0, Protocol.TCP, "127.0.0.1"),
            upstreams=(self.plain.model, other.model),
            routes=(),
            tcp_routes=(TCPRoute("shared", (BackendRef("plain", 3), BackendRef("other", 1))),),
        )
        for _ in range(8):
            await in_thread(exchange, running.address(), get("/", "x", "connection: close"))
        self.assertEqual((len(self.plain.requests), len(other.requests)), (6, 2))

    async def test_limits_of_a_route(self) -> None:
        """A route has as many connections as it may have, and no more, whichever of its names they are for."""
        route = TLSRoute("far", (BackendRef("far"),), max_connections=2)
        running = await self.start(tls_listener("*.example", "through"), routes=(), tls_routes=(route,))
        held = [socket.create_connection(running.address()) for _ in range(2)]
        for number, one in enumerate(held):
            self.addCleanup(one.close)
            one.sendall(from_pyopenssl(f"{number}.example"))
        await until(lambda: running.metrics.tunnel_route("far").connections == 2)
        got = await in_thread(exchange, running.address(), from_pyopenssl("third.example"))
        self.assertEqual(got, b"")
        self.assertEqual(running.counts().refused, {Reason.MAX_CONNECTIONS: 1})
        held[0].close()
        await until(lambda: running.metrics.tunnel_route("far").connections == 1)
        got = await self.ask(running, "through.example", "through.example")
        self.assertTrue(got.endswith(b"far"))

    async def test_rate(self) -> None:
        """New connections beyond the rate are refused, for a route and for a listener, each counted by itself."""
        rate = ConnectionRate(1, 3600.0, 2)
        listeners = (
            tls_listener("a.example", "limited", limits=ConnectionLimits(connection_rate=rate)),
            tls_listener("*.b.example", "free"),
        )
        routes = (
            TLSRoute("a", (BackendRef("far"),), ("limited",)),
            TLSRoute("b", (BackendRef("far"),), ("free",), connection_rate=rate),
        )
        running = await self.start(*listeners, routes=(), tls_routes=routes)
        for listener, name in (("limited", "a.example"), ("free", "x.b.example")):
            for number in range(3):
                await in_thread(exchange, running.address(), from_pyopenssl(name), True)
                refused = running.counts(listener).refused
                self.assertEqual(refused, {Reason.CONNECTION_RATE: 1} if number == 2 else {}, (name, number))
        # A reload does not fill the bucket.
        running.reload(running.generation.gateway)
        await in_thread(exchange, running.address(), from_pyopenssl("a.example"), True)
        self.assertEqual(running.counts("limited").refused, {Reason.CONNECTION_RATE: 2})


class EndedTests(ModeCase):
    """TLS that ends here, for an upstream that gets what is inside."""

    ROUTE = TLSRoute("to-plain", (BackendRef("plain"),))

    async def test_client_validation(self) -> None:
        """Clients are judged as on any other listener, before a byte goes on."""
        settings = self.settings("ended.example", client_validation=validation(self.pki))
        running = await self.start(tls_listener(None, "ended", settings), routes=(), tls_routes=(self.ROUTE,))
        client = self.pki.issue("client", usages=CLIENT)
        self.assertTrue((await self.ask(running, "ended.example", "ended.example", client)).endswith(b"plain"))
        with self.assertRaises(ssl.SSLError):
            await self.ask(running, "ended.example", "ended.example")
        self.assertEqual(running.counts().handshake_failures, {Reason.NO_CERTIFICATE: 1})
        self.assertEqual(len(self.plain.requests), 1)

    async def test_again_to_the_upstream(self) -> None:
        """The upstream's own TLS is the upstream's matter."""
        context = server_context(self.issued["through.example"])
        again = start_tls_upstream(self, context, closing(b"again"), "again")
        running = await self.start(
            tls_listener(None, "ended", self.settings("ended.example")),
            routes=(),
            upstreams=(secured(again.model, self.pki, hostname="through.example"),),
            tls_routes=(TLSRoute("again", (BackendRef("again"),)),),
        )
        self.assertTrue((await self.ask(running, "ended.example", "ended.example")).endswith(b"again"))

    async def test_last_words_after_a_reload(self) -> None:
        """An upstream that takes nothing of what its client said last is waited for no longer than before, although the
        client has left, and with it the last connection of a configuration that has been replaced."""
        stalled = socket.create_server(("127.0.0.1", 0))
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.addCleanup(stalled.close)
        upstream = Upstream("stalled", (Endpoint(*stalled.getsockname()),), idle_timeout=0.5)
        running = await self.start(
            tls_listener(None, "ended", self.settings("ended.example")), routes=(), upstreams=(upstream,),
            tls_routes=(TLSRoute("stalled", (BackendRef("stalled"),)),),
        )
        plain = await in_thread(socket.create_connection, running.address(), 10)
        secure: ssl.SSLSocket = await in_thread(
            client_context(self.pki).wrap_socket, plain, server_hostname="ended.example"
        )
        self.addCleanup(secure.close)
        far, _ = await in_thread(stalled.accept)
        self.addCleanup(far.close)
        (profile,) = running.generation._profiles.values()
        (transport,) = profile.transports
        await until(lambda: transport.protocol is not None and transport.protocol._far is not None)
        tunnel = transport.protocol
        while not tunnel._far.unsent:
            await in_thread(secure.sendall, bytes(16_384))
            await deferLater(reactor, 0, lambda: None)
        before = running.generation
        running.reload(evolve(before.gateway))
        stopped = before.when_idle().addCallback(lambda _: before.stop())
        far.shutdown(socket.SHUT_WR)
        await in_thread(secure.unwrap)
        secure.close()
        await stopped
        gone = tunnel._far
        await until(lambda: not gone.connected)
        far.settimeout(5)

        def rest() -> None:
            """Read to the end."""
            while far.recv(65_536):
                pass

        with self.assertRaises(ConnectionResetError):
            await in_thread(rest)

    async def test_application_protocols(self) -> None:
        """ALPN is the upstream's, too: what the listener names is agreed on, and nothing by default."""
        for alpn, agreed in {(): None, ("postgresql",): "postgresql"}.items():
            settings = evolve(self.settings("ended.example"), alpn=alpn)
            running = await self.start(tls_listener(None, "ended", settings), routes=(), tls_routes=(self.ROUTE,))
            context = client_context(self.pki)
            context.set_alpn_protocols(["http/1.1", "postgresql"])

            self.assertEqual(await in_thread(negotiate, running.address(), context), agreed)
            await running.idle()

    async def test_limit_of_a_route_at_once(self) -> None:
        """Clients whose handshakes go on at the same time are no more than a route may have when these are done."""
        route = evolve(self.ROUTE, max_connections=2)
        running = await self.start(
            tls_listener(None, "ended", self.settings("ended.example")), routes=(), tls_routes=(route,)
        )
        context = client_context(self.pki)

        def all_at_once() -> list[bytes]:
            """Begin with five handshakes, then end them one after the other; gives what each client reads."""
            peers = [Handshaking(running.address(), context, "ended.example") for _ in range(5)]
            try:
                return [one.ask(get("/", "ended.example")) for one in peers]
            finally:
                for one in peers:
                    one.socket.close()

        got = await in_thread(all_at_once)
        self.assertEqual([b"plain" in one for one in got], [True, True, False, False, False], got)
        self.assertEqual(running.counts().refused, {Reason.MAX_CONNECTIONS: 3})
        await running.idle()


class ProtocolTests(ModeCase):
    """Listeners for one name that are told apart by what the client offers, as Envoy's filter chains are."""

    async def test_offered(self) -> None:
        """A client that offers a protocol goes to the listener for it, others elsewhere."""
        here = self.issued["here.example"]
        listeners = (
            https_listener([here], name="http", hostname="here.example"),
            tls_listener("here.example", "database", self.settings("here.example"), application_protocols=("sql",)),
        )
        running = await self.start(*listeners, tls_routes=(TLSRoute("sql", (BackendRef("plain"),)),))
        for offered, listener in {("sql", "http/1.1"): "database", ("http/1.1",): "http", (): "http"}.items():
            before = running.counts(listener).connections_total
            context = client_context(self.pki)
            if offered:
                context.set_alpn_protocols(list(offered))
            got = await in_thread(talk, running.address(), get("/", "here.example"), context, "here.example")
            self.assertIn(b"200", got)
            self.assertEqual(running.counts(listener).connections_total, before + 1, offered)


class TCPTests(ModeCase):
    """Listeners with the protocol TCP."""

    async def test_passed_on(self) -> None:
        """Whatever comes goes to the upstream, and its end with it; the rest comes back."""
        listener = Listener("tcp", 0, Protocol.TCP, "127.0.0.1")
        running = await self.start(
            listener, routes=(), tcp_routes=(TCPRoute("all", (BackendRef("plain"),), ("tcp",)),)
        )
        got = await in_thread(exchange, running.address(), get("/", "any", "connection: close"))
        self.assertTrue(got.endswith(b"plain"), got)
        await running.idle()
        self.assertEqual(running.counts().connections_total, 1)

    async def test_no_route(self) -> None:
        """Without a route connections are closed, and counted."""
        running = await self.start(Listener("tcp", 0, Protocol.TCP, "127.0.0.1"), routes=())
        self.assertEqual(await in_thread(exchange, running.address(), b"x"), b"")
        await running.idle()
        self.assertEqual(running.counts().refused, {Reason.NO_ROUTE: 1})

    async def test_rate(self) -> None:
        """Connections beyond a listener's rate are turned away."""
        limits = ConnectionLimits(connection_rate=ConnectionRate(1, 3600.0, 1))
        running = await self.start(
            Listener("tcp", 0, Protocol.TCP, "127.0.0.1", limits=limits),
            routes=(), tcp_routes=(TCPRoute("all", (BackendRef("plain"),)),),
        )
        got = await in_thread(exchange, running.address(), get("/", "any", "connection: close"))
        self.assertTrue(got.endswith(b"plain"), got)
        self.assertEqual(await in_thread(exchange, running.address(), b""), b"")
        self.assertEqual(running.counts().refused, {Reason.CONNECTION_RATE: 1})


class PlaintextTests(ModeCase):
    """A listener without TLS on a port with TLS gets what does not begin with TLS."""

    PORTS = (PortSettings((("127.0.0.1", 0),), plaintext_listener="bare"),)

    async def test_http(self) -> None:
        """Requests without TLS are its own, and TLS goes on as before."""
        running = await self.start(
            https_listener([self.issued["here.example"]], name="here"), http_listener(name="bare"), ports=self.PORTS
        )
        for host in ("here.example", "any.example"):
            got = await in_thread(exchange, running.address(), get("/", host))
            self.assertTrue(got.endswith(b"plain"), got)
        self.assertEqual([one.all(b"x-forwarded-proto") for one in self.plain.requests], [[b"http"]] * 2)
        self.assertTrue((await self.ask(running, "here.example", "here.example")).endswith(b"plain"))
        await running.idle()
        counts = {name: (running.counts(name).connections_total, running.counts(name).connections)
                  for name in ("here", "bare")}
        self.assertEqual(counts, {"here": (1, 0), "bare": (2, 0)})

    async def test_tcp(self) -> None:
        """So are bytes of any kind, as where Envoy has a default chain of another transport."""
        running = await self.start(
            https_listener([self.issued["here.example"]], name="here", hostname="here.example"),
            Listener("bare", 0, Protocol.TCP, "127.0.0.1"),
            ports=self.PORTS,
            tcp_routes=(TCPRoute("bare", (BackendRef("plain"),)),),
        )
        for _ in range(2):
            got = await in_thread(exchange, running.address(), get("/", "any"))
            self.assertTrue(got.endswith(b"plain"), got)
        self.assertEqual(self.plain.requests[0].raw, get("/", "any"))
        self.assertTrue((await self.ask(running, "here.example", "here.example")).endswith(b"plain"))

    async def test_limited(self) -> None:
        """It has limits of its own."""
        limits = ConnectionLimits(connection_rate=ConnectionRate(1, 3600.0, 1))
        running = await self.start(
            https_listener([self.issued["here.example"]], name="here"),
            http_listener(name="bare", limits=limits), ports=self.PORTS,
        )
        self.assertTrue((await in_thread(exchange, running.address(), get())).endswith(b"plain"))
        self.assertEqual(await in_thread(exchange, running.address(), get()), b"")
        self.assertTrue((await self.ask(running, "here.example", "here.example")).endswith(b"plain"))
