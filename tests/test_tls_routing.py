"""SNI routers on real ports: which listener a ClientHello leads to, who is refused, and nothing that gets past a
failing router."""
from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from edgegw.api import ClientHelloFacts, PassThrough, Reason, Reject, ToListener, sni_router
from edgegw.kinds.router import SNIRouterKind
from edgegw.model import (
    BackendRef,
    ConnectionLimits,
    Gateway,
    Listener,
    PathMatch,
    Protocol,
    Route,
    RouteMatch,
    RouteRule,
    SNIRouterUse,
    TLSRoute,
    TLSSettings,
)
from edgegw.testing import FakeEnvironment
from edgegw.tls.hello import HELLO
from edgegw.tls.transport import TLSServer
from tests.gateway import (
    SERVER,
    Authority,
    Issued,
    RunningGateway,
    answer,
    client_context,
    closing,
    gateway,
    get,
    https_listener,
    in_thread,
    server_certificate,
    start_gateway,
    start_upstream,
    talk,
    until,
    validation,
)
from tests.http2_client import connect_http2
from tests.raw_client import read_response
from tests.test_client_hello import from_pyopenssl, from_ssl
from tests.tls_peers import TLS1_2, connect, try_tls

reactor: Any = global_reactor
KEY = ("127.0.0.1", 0)
INTERNAL_ERROR, UNRECOGNIZED_NAME = 80, 112
Answer = Callable[[ClientHelloFacts, str], Any]


def use(kind: SNIRouterKind, timeout: float = 5.0, name: str = "past") -> SNIRouterUse:
    """Put a kind without options to use on the port of a test."""
    environment = FakeEnvironment()
    return SNIRouterUse(name, (KEY,), kind, kind.build(None, environment), environment, timeout)


def router(function: Answer, timeout: float = 5.0, **options: Any) -> SNIRouterUse:
    """Make a router of a function."""

    def asked(hello: ClientHelloFacts, address: str) -> Any:
        """Ask the test's function."""
        return function(hello, address)

    return use(sni_router("made", **options)(asked), timeout)


def to(names: dict[str | None, str]) -> Answer:
    """Send names to listeners, and leave the others to the listeners' host names."""
    return lambda hello, address: ToListener(names[hello.server_name]) if hello.server_name in names else None


def route(name: str, upstream: str, *hostnames: str, path: str = "/", **more: Any) -> Route:
    """Give a route with one rule."""
    return Route(name, hostnames, (RouteRule((RouteMatch(PathMatch(value=path)),), (BackendRef(upstream),)),), **more)


class RoutingCase(TestCase):
    """A port with the listeners ``open`` for open.example, and ``closed``, which demands certificates, for
    ``*.closed.example``."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.server = self.pki.issue("any", dns=["open.example", "*.closed.example", "other.example"], usages=SERVER)
        self.client = self.pki.issue("client")

    def listeners(self, **options: Any) -> list[Listener]:
        """Give both."""
        return [
            https_listener([self.server], name="open", hostname="open.example", **options),
            https_listener(
                [self.server], validation(self.pki), name="closed", hostname="*.closed.example", **options
            ),
        ]

    async def start(
        self, decide: Answer | SNIRouterUse, listeners: list[Listener] | None = None, routes: Any = None,
        timeout: float = 5.0,
    ) -> RunningGateway:
        """Serve them with a router."""
        used = decide if isinstance(decide, SNIRouterUse) else router(decide, timeout)
        self.upstream = start_upstream(self, answer(b"ok"))
        model = gateway(listeners or self.listeners(), self.upstream, routes=routes, sni_routers=(used,))
        self.running = await start_gateway(self, model)
        return self.running

    async def ask(self, server_name: str | None, data: bytes, certificate: Issued | None = None) -> list[int]:
        """Give the statuses of all answers on one connection."""
        context = client_context(self.pki, certificate)
        context.check_hostname = False
        received = await in_thread(talk, self.running.address(), data, context, server_name)
        statuses = []
        while received:
            response, received = read_response(received, closed=True) or self.fail(received)
            statuses.append(response.status)
        return statuses

    async def alert(self, server_name: str | None = "x.example") -> int | None:
        """Give the alert that a client gets."""
        outcome = await in_thread(try_tls, self.running.address(), server_name=server_name)
        self.assertEqual(outcome.reply, b"")
        alert: int | None = outcome.alert
        return alert

    def failures(self) -> dict[str, int]:
        """Why handshakes failed; all are counted for the port's first listener."""
        return dict(self.running.counts("open").handshake_failures)

    def details(self) -> list[str]:
        """What is in the record about refusals."""
        return [str(entry["detail"]) for entry in self.running.record.entries(99, refused=True)[0]]


class ChoiceTests(RoutingCase):
    """Which listener terminates a connection."""

    async def test_what_a_router_is_told(self) -> None:
        """It sees the name in its canonical form, the protocols, the versions and the client's address."""
        told: list[tuple[ClientHelloFacts, str]] = []

        def spy(hello: ClientHelloFacts, address: str) -> None:
            told.append((hello, address))

        await self.start(spy)
        address = self.running.address()
        await in_thread(try_tls, address, server_name="OPEN.Example", alpn=("h2", "http/1.1"), data=get())
        await in_thread(try_tls, address, server_name=None, version=TLS1_2, data=get())
        self.assertEqual(told[0], (ClientHelloFacts(
            "open.example", ("h2", "http/1.1"), ("TLSv1.3", "TLSv1.2")), "127.0.0.1"))
        self.assertEqual(told[1], (ClientHelloFacts(None, (), ("TLSv1.2",)), "127.0.0.1"))

    async def test_to_a_listener(self) -> None:
        """A name goes to the listener that the router chooses, whose client validation then holds."""
        await self.start(to({"x.closed.example": "open", "open.example": "closed"}))
        self.assertEqual(await self.ask("x.closed.example", get("/", "x.closed.example")), [200])
        outcome = await in_thread(try_tls, self.running.address(), server_name="open.example")
        self.assertEqual(outcome.alert, 116)
        self.assertEqual(await self.ask("open.example", get("/", "open.example"), self.client), [200])
        self.assertEqual(self.running.counts("closed").handshake_failures, {Reason.NO_CERTIFICATE: 1})
        self.assertEqual(self.running.counts("closed").connections_total, 2)

    async def test_none(self) -> None:
        """Where it says nothing the host names of the listeners decide, as without a router."""
        await self.start(to({}))
        self.assertEqual(await self.ask("open.example", get("/", "open.example")), [200])
        self.assertEqual(await self.ask("x.closed.example", get("/", "x.closed.example"), self.client), [200])
        self.assertEqual(await self.ask("other.example", get("/", "other.example")), [404])
        self.assertEqual(self.running.counts("open").connections_total, 2)

    async def test_a_single_listener_for_all_names(self) -> None:
        """A router is asked also where names make no difference otherwise."""
        said = []

        def refuse(hello: ClientHelloFacts, address: str) -> Reject:
            said.append(hello.server_name)
            return Reject(Reason.ROUTER_REFUSED)

        listener = https_listener([self.server], name="open")
        await self.start(refuse, [listener])
        self.assertEqual(await self.alert("a.example"), UNRECOGNIZED_NAME)
        self.assertEqual((said, self.failures()), (["a.example"], {Reason.ROUTER_REFUSED: 1}))

    async def test_strict_listener(self) -> None:
        """A listener that is strict about names is so also for those that a router sends there."""
        strict = TLSSettings((), strict_sni=True)
        await self.start(to({"stranger.example": "open"}), self.listeners(tls=strict))
        self.assertEqual(await self.alert("stranger.example"), UNRECOGNIZED_NAME)
        self.assertEqual(self.failures(), {Reason.UNRECOGNIZED_NAME: 1})

    async def test_limits_of_the_chosen_listener(self) -> None:
        """A listener that is full takes no more connections from a router either."""
        full = evolve(self.listeners()[1], limits=ConnectionLimits(max_handshakes=0))
        await self.start(to({"a.example": "closed"}), [self.listeners()[0], full])
        self.assertEqual(await self.alert("a.example"), None)
        self.assertEqual(self.running.counts("closed").refused, {Reason.MAX_HANDSHAKES: 1})

    async def test_resumption(self) -> None:
        """A session that was made on one listener is not resumed on another, whatever the router does."""
        target = ["open"]
        await self.start(lambda hello, address: ToListener(target[0]))
        first = await in_thread(try_tls, self.running.address(), data=get("/", "a.example"))
        second = await in_thread(try_tls, self.running.address(), data=get("/", "a.example"), session=first.session)
        target[0] = "closed"
        third = await in_thread(
            try_tls, self.running.address(), data=get("/", "a.example"), session=first.session, certificate=self.client
        )
        self.assertTrue(all(one.reply.startswith(b"HTTP/1.1 200") for one in (first, second, third)))
        resumed = [entry["resumed"] for entry in self.running.record.entries(9)[0]]
        self.assertEqual(sorted(resumed), [False, False, True])


class RequestTests(RoutingCase):
    """Which requests a connection may make that a router had a say in."""

    async def test_the_name_that_was_sent_there(self) -> None:
        """A name that the router sends to a listener is served there by the routes for that name; others get 421."""
        routes = [
            route("own", "upstream", "x.example", path="/own"),
            route("other", "upstream", "y.example", path="/other"),
            route("all", "upstream", path="/all", listeners=("open",)),
            route("closed", "upstream", path="/closed", listeners=("closed",)),
        ]
        await self.start(to({"x.example": "open"}), routes=routes)
        self.assertEqual(await self.ask("127.0.0.1", get("/all", "127.0.0.1")), [404])
        for host, path, status in (
            ("x.example", "/own", 200), ("X.example.:443", "/own", 200), ("x.example", "/all", 200),
            ("x.example", "/other", 404), ("x.example", "/closed", 404),
            ("open.example", "/all", 421), ("y.example", "/other", 421), ("a.closed.example", "/closed", 421),
            ("nobody.example", "/all", 421), ("bad host", "/", 400),
        ):
            self.assertEqual((host, path, await self.ask("x.example", get(path, host))), (host, path, [status]))
        both = get("/own", "x.example").replace(b"connection: close\r\n", b"") + get("/all", "open.example")
        self.assertEqual(await self.ask("x.example", both), [200, 421])
        again = get("/all", "open.example").replace(b"connection: close\r\n", b"") + get("/own", "x.example")
        self.assertEqual(await self.ask("x.example", again), [421, 200])

    async def test_the_routers_word_cannot_be_passed_by(self) -> None:
        """A name that the router sends to a strict listener is not served on a connection for another name, although
        the host name of that connection's listener covers it."""
        wide = https_listener([self.server], name="open", hostname="*.example")
        strict = self.listeners()[1]
        await self.start(to({"secret.example": "closed"}), [wide, strict])
        self.assertEqual(await self.ask("x.example", get("/", "x.example")), [200])
        self.assertEqual(await self.ask("x.example", get("/", "secret.example")), [421])
        self.assertEqual(await self.ask(None, get("/", "secret.example")), [421])
        self.assertEqual(await self.ask("secret.example", get("/", "secret.example"), self.client), [200])
        self.assertEqual(await self.ask("secret.example", get("/", "x.example"), self.client), [421])

    async def test_a_listener_whose_bytes_go_to_an_upstream(self) -> None:
        """Who is sent to a listener with the protocol TLS may ask for another name than its host name; by the name
        alone nobody comes there, and no route is taken that is for others."""
        settings = TLSSettings((server_certificate(self.server),), alpn=())
        ended = Listener("ended", 0, Protocol.TLS, "127.0.0.1", "open.example", settings)
        upstream = start_upstream(self, closing(b"far"))
        routes = (
            TLSRoute("other", (BackendRef("upstream"),), hostnames=("other.example",)),
            TLSRoute("open", (BackendRef("upstream"),), hostnames=("open.example",)),
        )
        model = Gateway(
            (ended,), (), (upstream.model,), tls_routes=routes, admin=None,
            sni_routers=(router(to({"other.example": "ended", "a.closed.example": "ended"})),),
        )
        self.running = await start_gateway(self, model)
        for name in ("other.example", "open.example"):
            self.assertEqual(await self.ask(name, get("/", name)), [200], name)
        got = await in_thread(try_tls, self.running.address(), server_name="a.closed.example")
        self.assertEqual(got.alert, UNRECOGNIZED_NAME)
        self.running.reload(evolve(model, sni_routers=(router(to({})),)))
        got = await in_thread(try_tls, self.running.address(), server_name="other.example")
        self.assertEqual(got.alert, UNRECOGNIZED_NAME)

    async def test_over_http2(self) -> None:
        """The same holds for each stream of an HTTP/2 connection."""
        await self.start(to({"other.example": "open"}))
        client = await connect_http2(self, self.running.address(), self.pki, server_name="other.example")
        for host, status in (
            ("other.example", 200), ("open.example", 421), ("a.closed.example", 421), ("other.example", 200),
        ):
            self.assertEqual((host, (await client.get(host=host)).status), (host, status))

    async def test_a_name_that_is_passed_through(self) -> None:
        """Nor is a name served here that the router would pass through, though one listener takes every name."""
        await self.start(
            lambda hello, address: PassThrough("upstream") if hello.server_name == "past.example" else None,
            [https_listener([self.server], name="open")],
        )
        self.assertEqual(await self.ask("x.example", get("/", "x.example")), [200])
        self.assertEqual(await self.ask("x.example", get("/", "past.example")), [421])

    async def test_clients_without_a_name(self) -> None:
        """A client that names no server may ask for the listener's own host where the router has sent it there."""
        await self.start(to({None: "open"}))
        self.assertEqual(await self.ask(None, get("/", "open.example")), [200])
        self.assertEqual(await self.ask(None, get("/", "a.closed.example")), [421])
        self.assertEqual(await self.ask(None, get("/", "nobody.example")), [404])

    async def test_clients_without_a_name_by_default(self) -> None:
        """Where the router has not chosen for it, no name is served that it could have named, but addresses are."""
        wide = https_listener([self.server], name="open")
        await self.start(to({}), [wide])
        self.assertEqual(await self.ask(None, get("/", "open.example")), [421])
        self.assertEqual(await self.ask(None, get("/", "127.0.0.1")), [200])
        self.assertEqual(await self.ask(None, get("/", "[::1]:8443")), [200])
        self.assertEqual(await self.ask(None, b"GET / HTTP/1.0\r\n\r\n"), [200])

    async def test_after_a_reload(self) -> None:
        """A connection keeps what was decided about it; the next one is decided by the new router."""
        await self.start(to({"x.example": "open"}))
        context = client_context(self.pki)
        context.check_hostname = False
        plain = await in_thread(socket.create_connection, self.running.address(), 20)
        secure: ssl.SSLSocket = await in_thread(context.wrap_socket, plain, server_hostname="x.example")
        keep = get("/", "x.example").replace(b"connection: close\r\n", b"")

        def exchange() -> bytes:
            secure.sendall(keep)
            return secure.recv(65_536)

        self.assertIn(b"200 OK", await in_thread(exchange))
        model = evolve(self.running.generation.gateway, sni_routers=(router(to({"x.example": "closed"})),))
        secure.sendall(keep[:10])
        (profile,) = self.running.generation._profiles.values()
        (transport,) = profile.transports
        await until(lambda: transport.protocol._buffer)
        self.running.reload(model)
        secure.sendall(keep[10:])
        self.assertIn(b"200 OK", await in_thread(secure.recv, 65_536))
        self.assertEqual(await in_thread(secure.recv, 10), b"")
        secure.close()
        self.assertEqual(await self.alert("x.example"), 116)


class RefusalTests(RoutingCase):
    """Who is refused, and how."""

    async def test_reject(self) -> None:
        """A refusal has the router's code in counters and record, its detail, and an alert for the client."""
        codes = {"not_today": "The router sleeps."}
        used = router(lambda hello, address: Reject("not_today", f"{hello.server_name} sleeps"), codes=codes)
        await self.start(used)
        self.assertEqual(await self.alert(), UNRECOGNIZED_NAME)
        self.assertEqual((self.failures(), self.details()), ({"not_today": 1}, ["x.example sleeps"]))
        (entry,) = self.running.record.entries(9)[0]
        self.assertEqual((entry["listener"], entry["server_name"]), ("open", "x.example"))

    async def test_its_name_is_a_code(self) -> None:
        """A router may refuse with its own name as the code."""
        await self.start(lambda hello, address: Reject("made"))
        self.assertEqual(await self.alert(), UNRECOGNIZED_NAME)
        self.assertEqual(self.failures(), {"made": 1})

    async def test_nasty_routers(self) -> None:
        """Whatever else a router does refuses the connection with router_error, and names what it was."""

        def explode(hello: ClientHelloFacts, address: str) -> Any:
            raise RuntimeError("boom")

        def leave(hello: ClientHelloFacts, address: str) -> Any:
            raise SystemExit(3)

        async def explode_later(hello: ClientHelloFacts, address: str) -> Any:
            raise RuntimeError("boom later")

        async def truth(hello: ClientHelloFacts, address: str) -> Any:
            return True

        class Odd:
            def __await__(self) -> Any:
                raise ValueError("odd")

            def __repr__(self) -> str:
                raise ValueError("no words")

        class Unspeakable:
            def __repr__(self) -> str:
                raise ValueError("no words")

        cases: list[tuple[Answer, str]] = [
            (explode, "RuntimeError: boom"),
            (leave, "SystemExit: 3"),
            (explode_later, "RuntimeError: boom later"),
            (truth, "True"),
            (lambda hello, address: True, "True"),
            (lambda hello, address: "open", "'open'"),
            (lambda hello, address: ToListener("nobody"), "'nobody', which is no listener of the port"),
            (lambda hello, address: ToListener(None), "None, which is no listener"),  # type: ignore[arg-type]
            (lambda hello, address: ToListener(["open"]), "which is no listener"),  # type: ignore[arg-type]
            (lambda hello, address: PassThrough("nowhere"), "'nowhere', which is no upstream"),
            (lambda hello, address: Reject("undeclared", "secret"), "does not declare"),
            (lambda hello, address: Reject(3), "no text"),  # type: ignore[arg-type]
            (lambda hello, address: Reject("made", b"x"), "no text"),  # type: ignore[arg-type]
            (lambda hello, address: Odd(), "NotACoroutineError"),
            (lambda hello, address: Unspeakable(), "a Unspeakable"),
            (lambda hello, address: ToListener, "neither ToListener"),
        ]
        now: list[Answer] = []
        told: list[str] = []

        def observe(event: dict[str, Any]) -> None:
            if str(event.get("log_format")).startswith("the SNI router"):
                told.append(event["text"])

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        await self.start(lambda hello, address: now[0](hello, address))
        for number, (decide, words) in enumerate(cases, 1):
            now[:] = [decide]
            self.assertEqual((words, await self.alert()), (words, INTERNAL_ERROR))
            self.assertEqual(self.failures(), {Reason.ROUTER_ERROR: number})
            self.assertEqual(len(told), number)
            self.assertIn(words, told[-1])
        # And the next client is served as if nothing had been.
        now[:] = [to({})]
        self.assertEqual(await self.ask("open.example", get("/", "open.example")), [200])

    async def test_long_words(self) -> None:
        """What a router says that is too long is cut in the record."""
        await self.start(lambda hello, address: "x" * 100_000)
        await self.alert()
        self.assertLess(len(self.details()[0]), 400)

    async def test_before_the_router(self) -> None:
        """What is no ClientHello is refused before the router is asked."""
        asked: list[object] = []

        def spy(hello: ClientHelloFacts, address: str) -> None:
            asked.append(hello)

        await self.start(spy)
        plain = connect(self.running.address())
        plain.sendall(b"SSH-2.0-x\r\n")
        self.assertEqual(await in_thread(_rest, plain), b"")
        self.assertEqual((asked, self.failures()), ([], {Reason.NOT_TLS: 1}))
        plain = connect(self.running.address())
        plain.sendall(get())
        self.assertIn(b" 400 ", await in_thread(_rest, plain))
        self.assertEqual((asked, self.failures()), ([], {Reason.NOT_TLS: 1, Reason.PLAIN_HTTP: 1}))


class WaitingTests(RoutingCase):
    """Routers that wait for something."""

    def setUp(self) -> None:
        super().setUp()
        self.reads = 0
        real = TLSServer.doRead

        def counted(transport: TLSServer) -> Any:
            self.reads += 1
            return real(transport)

        self.patch(TLSServer, "doRead", counted)
        self.decisions: list[Deferred[Any]] = []
        self.cancelled: list[str | None] = []

    def waiting(self) -> Answer:
        """Give a router that waits until the test decides."""

        async def decide(hello: ClientHelloFacts, address: str) -> Any:
            decision: Deferred[Any] = Deferred()
            self.decisions.append(decision)
            try:
                return await decision
            except CancelledError:
                self.cancelled.append(hello.server_name)
                raise

        return decide

    async def begin(self, data: bytes, count: int = 1) -> socket.socket:
        """Connect, say something, and wait until the router was asked."""
        plain = connect(self.running.address())
        plain.sendall(data)
        await until(lambda: len(self.decisions) == count)
        return plain

    async def hold_on(self) -> int:
        """Give the reactor time to spin, and tell how often something was read."""
        before = self.reads
        await in_thread(_wait_a_while)
        return self.reads - before

    async def test_decides_later(self) -> None:
        """What a router says after a while counts as what it says at once; until then nothing is read."""
        await self.start(self.waiting())
        visit = in_thread(talk, self.running.address(), get("/", "x.example"), client_context(None), "x.example")
        await until(lambda: self.decisions)
        self.assertEqual(await self.hold_on(), 0)
        self.decisions[0].callback(ToListener("open"))
        self.assertIn(b"200 OK", await visit)
        self.assertEqual(self.cancelled, [])

    async def test_at_once_after_all(self) -> None:
        """A router that could wait and does not is heard too, as is one that gives a Deferred."""

        async def at_once(hello: ClientHelloFacts, address: str) -> Any:
            return ToListener("open")

        done: Deferred[Any] = Deferred()
        done.callback(None)
        now: list[Answer] = [at_once]
        await self.start(lambda hello, address: now[0](hello, address))
        self.assertEqual(await self.ask("x.example", get("/", "x.example")), [200])
        now[0] = lambda hello, address: done
        self.assertEqual(await self.ask("open.example", get("/", "open.example")), [200])

    async def test_refuses_later(self) -> None:
        """A refusal after a while is told as any other."""
        await self.start(self.waiting())
        visit = in_thread(try_tls, self.running.address(), server_name="x.example")
        await until(lambda: self.decisions)
        self.decisions[0].callback(Reject(Reason.ROUTER_REFUSED, "no"))
        self.assertEqual((await visit).alert, UNRECOGNIZED_NAME)
        self.assertEqual((self.failures(), self.details()), ({Reason.ROUTER_REFUSED: 1}, ["no"]))

    async def test_too_late(self) -> None:
        """A router that does not decide in time refuses, and is cancelled."""
        await self.start(self.waiting(), timeout=0.05)
        self.assertEqual(await self.alert(), INTERNAL_ERROR)
        self.assertEqual((self.failures(), self.cancelled), ({Reason.ROUTER_ERROR: 1}, ["x.example"]))
        self.assertIn("no answer within 0.05 s", self.details()[0])

    async def test_it_does_not_heed_being_cancelled(self) -> None:
        """What a router says after its time is over is not heard."""
        late: Deferred[Any] = Deferred()

        async def stubborn(hello: ClientHelloFacts, address: str) -> Any:
            try:
                await Deferred()
            except CancelledError:
                await late
            return ToListener("open")

        await self.start(stubborn, timeout=0.05)
        self.assertEqual(await self.alert(), INTERNAL_ERROR)
        late.callback(None)
        self.assertEqual(self.failures(), {Reason.ROUTER_ERROR: 1})

    async def test_the_handshakes_time_goes_on(self) -> None:
        """However long a router may take, the time for the whole handshake is not put off."""
        limits = ConnectionLimits(handshake_timeout=0.3)
        await self.start(self.waiting(), self.listeners(limits=limits), timeout=60.0)
        plain = await self.begin(from_pyopenssl("x.example"))
        self.assertEqual(await in_thread(_rest, plain), b"")
        await self.running.idle()
        self.assertEqual((self.failures(), self.cancelled), ({Reason.HANDSHAKE_TIMEOUT: 1}, ["x.example"]))

    async def test_the_client_leaves(self) -> None:
        """A client that closes or resets while the router decides is noticed, and the router cancelled."""
        await self.start(self.waiting(), timeout=60.0)
        for number, end in enumerate((socket.socket.close, _reset, _half_close), 1):
            plain = await self.begin(from_pyopenssl("x.example"), number)
            end(plain)
            await self.running.idle()
            self.assertEqual(len(self.cancelled), number)
            plain.close()
        self.assertEqual(self.failures(), {Reason.CLIENT_CLOSED: 3})
        self.assertLess(self.reads, 20)

    async def test_a_client_that_goes_on_talking(self) -> None:
        """Bytes behind the ClientHello neither spin nor get lost while the router decides."""
        await self.start(self.waiting(), timeout=60.0)
        plain = await self.begin(from_pyopenssl("x.example"))
        (transport,) = next(iter(self.running.generation._profiles.values())).transports
        for piece in (b"\x14\x03\x03\x00\x01", b"\x01", bytes(100_000)):
            reads = self.reads
            plain.sendall(piece)
            await until(lambda reads=reads: self.reads > reads)  # type: ignore[misc]  # bound now
        # More than a ClientHello may have is looked at now and then only.
        self.assertLess(await self.hold_on(), 20)
        self.assertEqual(transport.state, HELLO)
        plain.close()
        await self.running.idle()
        self.assertEqual(self.failures(), {Reason.CLIENT_CLOSED: 1})

    async def test_on_a_unix_socket(self) -> None:
        """A Unix socket has no low-water mark; there the client is looked at now and then."""
        path = f"/tmp/edgegw-{id(self)}.sock"
        used = evolve(router(self.waiting(), 60.0), bindings=((f"unix:{path}", 0),))
        await self.start(used, [https_listener([self.server], name="open", address=f"unix:{path}")])
        plain = connect(path)
        plain.sendall(from_ssl("x.example"))
        await until(lambda: self.decisions)
        self.assertLess(await self.hold_on(), 20)
        plain.close()
        await self.running.idle()
        self.assertEqual(self.failures(), {Reason.CLIENT_CLOSED: 1})
        visit = in_thread(talk, path, get("/", "x.example"), client_context(None), "x.example")
        await until(lambda: len(self.decisions) == 2)
        self.decisions[1].callback(ToListener("open"))
        self.assertIn(b"200 OK", await visit)

    async def test_many_at_a_time(self) -> None:
        """Each connection gets its own answer, whichever is decided first."""
        await self.start(self.waiting(), timeout=60.0)
        names = [f"x{number}.example" for number in range(20)]
        visits = [
            in_thread(talk, self.running.address(), get("/", name), client_context(None), name) for name in names[:8]
        ]
        await until(lambda: len(self.decisions) == 8)
        for decision in reversed(self.decisions):
            decision.callback(ToListener("open"))
        for visit in visits:
            self.assertIn(b"200 OK", await visit)
        self.assertEqual(self.running.in_progress(), 0)

    async def test_the_end_of_the_gateway(self) -> None:
        """Connections that are cut while a router decides leave nothing behind."""
        await self.start(self.waiting(), timeout=60.0)
        plain = await self.begin(from_pyopenssl("x.example"))
        self.running.generation.retire()
        self.assertEqual(self.running.generation.connections, 1)
        self.running.generation.abort()
        await self.running.idle()
        self.assertEqual((self.failures(), self.cancelled), ({Reason.DRAINING: 1}, ["x.example"]))
        plain.close()

    async def test_a_decision_in_the_middle_of_the_end(self) -> None:
        """What is decided about a connection that is being cut comes too late, whatever it is."""
        await self.start(self.waiting(), timeout=60.0)
        for number, way in enumerate((PassThrough("upstream"), ToListener("open"), Reject("made"), None), 1):
            plain = await self.begin(from_pyopenssl("x.example"), number)
            self.running.generation.abort()
            self.decisions[-1].callback(way)
            self.assertEqual(await in_thread(_rest, plain), b"")
            await self.running.idle()
        self.assertEqual(self.failures(), {Reason.DRAINING: 4})
        self.assertEqual(self.running.counts("past").connections_total, 0)


def _wait_a_while() -> None:
    """Give a spinning reactor time to show it."""
    one, other = socket.socketpair()
    one.settimeout(0.15)
    try:
        one.recv(1)
    except TimeoutError:
        pass
    one.close()
    other.close()


def _reset(plain: socket.socket) -> None:
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plain.close()


def _half_close(plain: socket.socket) -> None:
    plain.shutdown(socket.SHUT_WR)


def _rest(plain: socket.socket) -> bytes:
    got = b""
    try:
        while data := plain.recv(1000):
            got += data
    except ConnectionResetError:
        pass
    plain.close()
    return got


