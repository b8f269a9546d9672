"""Certificates for names as clients ask for them: when a source is asked, what is kept, what it costs to be wrong."""
from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.api import CertificateAndKey, ToListener
from edgegw.model import DynamicCertificates, HealthCheck, TLSSettings
from edgegw.observe.counters import DynamicCertificateMetrics
from edgegw.testing import FakeEnvironment
from edgegw.tls import dynamic
from edgegw.tls.dynamic import DynamicContexts
from edgegw.verdict import Reason, Reject
from tests.gateway import (
    SERVER,
    Authority,
    Issued,
    RunningGateway,
    answer,
    client_context,
    gateway,
    get,
    https_listener,
    in_thread,
    start_gateway,
    start_upstream,
    talk,
    until,
    validation,
)
from tests.test_tls_routing import router
from tests.test_tls_sources import Kind, Reactor, pair, serial_shown
from tests.tls_peers import TLS1_2, connect, try_tls

reactor: Any = global_reactor
PKI = Authority()
UNRECOGNIZED_NAME = 112
INTERNAL_ERROR = 80


def issue(*names: str, **options: Any) -> Issued:
    """Issue a server's certificate."""
    return PKI.issue(names[0][:60], dns=names, usages=SERVER, **options)


class Source:
    """Gives what the test wants it to, or raises it.

    :ivar asked: the names that it was asked about.
    :ivar threads: those that have asked.
    """

    def __init__(self, give: Callable[[str], Any] | None = None) -> None:
        self.asked: list[str] = []
        self.threads: set[int] = set()
        self.give: Callable[[str], Any] = give or (lambda name: pair(issue(name)))

    def certificate_for(self, name: str) -> Any:
        """Give it."""
        self.asked.append(name)
        self.threads.add(threading.get_ident())
        return self.give(name)


class WaitingSource(Source):
    """The same, ``async``.

    :ivar waiting: for each that asks, what it waits for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred[Any]] = []
        self.cancelled = 0

    async def certificate_for(self, name: str) -> Any:  # type: ignore[override]
        """Wait, and give it."""
        self.asked.append(name)
        self.waiting.append(Deferred())
        try:
            await self.waiting[-1]
        except CancelledError:
            self.cancelled += 1
            raise
        return self.give(name)


class KeepingCase(SynchronousTestCase):
    """What is kept of a source's answers, with time that stands still."""

    def start(self, source: Any = None, settings: TLSSettings | None = None, **options: Any) -> DynamicContexts:
        """Make the contexts of a listener."""
        self.reactor = Reactor()
        self.source = Source() if source is None else source
        self.env = FakeEnvironment()
        self.counted: list[tuple[str, str]] = []
        self.metrics = DynamicCertificateMetrics()
        use = DynamicCertificates(Kind(), self.source, self.env, **options)
        self.contexts = DynamicContexts(
            settings or TLSSettings((), dynamic_certificates=use), use, True, "edge", self.metrics, self.reactor,
            lambda *error: self.counted.append(error), seconds=self.reactor.seconds,
        )
        self.addCleanup(self.contexts.stop)
        return self.contexts

    def found(self, name: str = "a.example") -> Any:
        """Give what a name leads to, now."""
        found = self.contexts.find(name)
        return self.successResultOf(found) if isinstance(found, Deferred) else found

    def refusal(self, name: str = "a.example") -> tuple[str, str]:
        """Give code and detail of a refusal."""
        found = self.found(name)
        self.assertIsInstance(found, Reject)
        return str(found.code), found.detail

    def test_kept(self) -> None:
        """A name is asked about once, and its context is the same, so that its sessions resume."""
        self.start()
        first = self.found()
        self.assertIsInstance(first, SSL.Context)
        self.assertIs(self.contexts.find("a.example"), first)
        self.assertIsNot(self.found("b.example"), first)
        self.assertEqual(self.source.asked, ["a.example", "b.example"])
        self.assertEqual(self.metrics.lookups, {"kept": 1, "refused": 0, "asked": 2, "limit": 0})
        self.assertEqual((self.metrics.kept, self.metrics.answers["given"]), (2, 2))

    def test_one_question(self) -> None:
        """Clients that ask for one name at the same time wait for one answer; one that leaves does not end it."""
        self.start()
        self.reactor.held = []
        waiting: list[Any] = [self.contexts.find("a.example") for _ in range(20)]
        left = self.contexts.find("a.example")
        assert isinstance(left, Deferred)
        left.cancel()
        self.failureResultOf(left, CancelledError)
        self.reactor.release()
        self.assertEqual(self.source.asked, ["a.example"])
        self.assertEqual(len({id(self.successResultOf(one)) for one in waiting}), 1)

    def test_ttl(self) -> None:
        """It is asked anew when the time is over."""
        self.start(ttl=60.0)
        first = self.found()
        self.reactor.advance(59)
        self.assertIs(self.found(), first)
        self.reactor.advance(1)
        self.assertIsNot(self.found(), first)
        self.assertEqual((len(self.source.asked), self.metrics.kept), (2, 1))

    def test_validity(self) -> None:
        """A certificate is not kept into the last tenth of its validity, however long it might be."""
        end = datetime.now(UTC) + timedelta(seconds=1000)
        self.start(Source(lambda name: pair(issue(name, not_after=end))), ttl=3600.0)
        first = self.found()
        self.reactor.advance(880)
        self.assertIs(self.found(), first)
        self.reactor.advance(21)
        self.assertIsNot(self.found(), first)

    def test_capacity(self) -> None:
        """Those that were used last stay."""
        self.start(capacity=2)
        first = self.found("a.example")
        self.found("b.example")
        self.assertIs(self.found("a.example"), first)
        self.found("c.example")
        self.assertIs(self.found("a.example"), first)
        self.assertEqual(self.metrics.kept, 2)
        self.found("b.example")
        self.assertEqual(self.source.asked, ["a.example", "b.example", "c.example", "b.example"])

    def test_none(self) -> None:
        """A name without a certificate is refused, and for some seconds not asked about again."""
        self.start(Source(lambda name: None), capacity=2)
        self.assertEqual(self.refusal(), (Reason.UNRECOGNIZED_NAME, "made_up has none for a.example"))
        self.refusal()
        self.assertEqual(len(self.source.asked), 1)
        self.source.give = lambda name: pair(issue(name))
        self.reactor.advance(dynamic.REFUSED)
        self.assertIsInstance(self.found(), SSL.Context)
        self.assertEqual((self.counted, self.metrics.answers["none"]), ([], 1))
        self.source.give = lambda name: None
        for number in range(5):
            self.refusal(f"{number}.example")
        self.assertEqual(len(self.contexts._refused), 2)
        # What nobody may have pushes nothing out that somebody uses.
        self.assertEqual(self.metrics.kept, 1)

    def test_useless(self) -> None:
        """What cannot be shown refuses, is counted, and is told of once."""
        other = issue("a.example")
        for give, words in (
            (lambda name: 1 / 0, "made_up raised ZeroDivisionError: division by zero"),
            (lambda name: "x", "yielded a str, which is no CertificateAndKey"),
            (lambda name: CertificateAndKey(issue(name).pem, other.key_pem), "is not the private key"),
            (lambda name: CertificateAndKey(b"", b""), "is empty"),
            (lambda name: pair(issue("b.example")), "does not have the name in subjectAltName"),
            (lambda name: pair(issue("*.a.example")), "does not have the name in subjectAltName"),
            (lambda name: pair(PKI.issue_expired("x", dns=[name], usages=SERVER)), "expired on"),
            (lambda name: pair(PKI.issue_future("x", dns=[name], usages=SERVER)), "is not valid before"),
            (lambda name: Deferred(), "yielded a Deferred"),
            (_leave, "raised SystemExit"),
        ):
            with self.subTest(words=words):
                self.start(Source(give))
                code, detail = self.refusal()
                self.assertEqual(code, Reason.CERTIFICATE_UNAVAILABLE)
                self.assertIn(words, detail)
                self.assertEqual(self.counted, [("made_up", "certificate")])
                self.assertIn(words.removeprefix("made_up "), self.env.messages[0])
                self.refusal("c.x.example")
                self.assertEqual((len(self.env.messages), self.metrics.answers["error"]), (1, 2))
        self.flushLoggedErrors()

    def test_wildcard(self) -> None:
        """A certificate for all names of a domain serves one of them."""
        self.start(Source(lambda name: pair(issue("*.example"))))
        self.assertIsInstance(self.found(), SSL.Context)

    def test_settings_that_openssl_refuses(self) -> None:
        """A certificate that is too weak for the listener is not shown."""
        self.start(Source(lambda name: pair(issue(name))), settings=TLSSettings((), security_level=5))
        self.assertEqual(self.refusal()[0], Reason.CERTIFICATE_UNAVAILABLE)

    def test_changed(self) -> None:
        """When a source says so nothing that was kept is used any more, nor what is being answered."""
        self.start()
        first = self.found()
        self.env.changed()
        self.assertEqual(self.metrics.kept, 0)
        self.reactor.held = []
        waiting: Any = self.contexts.find("a.example")
        self.env.changed()
        again: Any = self.contexts.find("a.example")
        self.reactor.release()
        early, newest = self.successResultOf(waiting), self.successResultOf(again)
        self.assertEqual(len({id(one) for one in (first, early, newest)}), 3)
        self.assertIs(self.contexts.find("a.example"), newest)
        self.assertEqual((len(self.source.asked), self.metrics.kept), (3, 1))

    def test_late(self) -> None:
        """Whoever waits longer than may be is refused; what comes all the same is for the next."""
        self.start(timeout=2.0)
        self.reactor.held = []
        waiting: Any = self.contexts.find("a.example")
        self.reactor.advance(1.9)
        self.assertNoResult(waiting)
        self.reactor.advance(0.1)
        refusal = self.successResultOf(waiting)
        self.assertEqual(
            (refusal.code, refusal.detail), (Reason.CERTIFICATE_UNAVAILABLE, "made_up gave no answer within 2 s")
        )
        self.assertEqual((self.counted, self.metrics.answers["timeout"]), ([("made_up", "certificate")], 1))
        self.refusal()
        self.reactor.advance(dynamic.REFUSED)
        # It has not come to its end yet, so that it is not asked a second time.
        self.assertIn("gave no answer", self.refusal()[1])
        self.reactor.release()
        self.assertIsInstance(self.found(), SSL.Context)
        self.assertEqual((len(self.source.asked), self.metrics.answers["given"]), (1, 0))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_bounds(self) -> None:
        """So many names are asked about at a time, and of a plain source so many on threads."""
        self.start(concurrency=6, timeout=2.0)
        held = self.reactor.held = []
        waiting: list[Any] = [self.contexts.find(f"{number}.example") for number in range(6)]
        self.assertEqual(len(held), 1)
        self.assertEqual(
            self.refusal("more.example"),
            (Reason.CERTIFICATE_UNAVAILABLE, "made_up is being asked for 6 names already"),
        )
        self.assertEqual(self.metrics.lookups["limit"], 1)
        # Each takes up a thread when those before are overdue; who is never come to is not asked about.
        self.reactor.advance(2.0)
        self.assertEqual([self.successResultOf(one).code for one in waiting], [Reason.CERTIFICATE_UNAVAILABLE] * 6)
        self.reactor.release()
        self.assertLessEqual(len(self.source.asked), dynamic.THREADS)
        self.assertIsInstance(self.found("more.example"), SSL.Context)
        self.assertEqual((len(self.contexts._open), len(self.contexts._busy)), (0, 0))

    def test_one_that_hangs(self) -> None:
        """A thread that does not come back holds up those who wait already, and nobody after them; four may."""
        self.start(timeout=2.0)
        held = self.reactor.held = []
        for number in range(dynamic.THREADS):
            self.contexts.find(f"{number}.example")
            self.reactor.advance(2.0)
            self.assertEqual(len(held), number + 1)
        waiting: Any = self.contexts.find("waiting.example")
        self.assertEqual(len(held), dynamic.THREADS)
        held.pop(0)()
        self.assertEqual(len(held), dynamic.THREADS)
        self.reactor.release()
        self.assertIsInstance(self.successResultOf(waiting), SSL.Context)

    def test_queue(self) -> None:
        """Who waits for a thread gets one."""
        self.start()
        self.reactor.held = []
        waiting: list[Any] = [self.contexts.find(f"{number}.example") for number in range(9)]
        self.reactor.release()
        self.assertEqual(len({id(self.successResultOf(one)) for one in waiting}), 9)

    def test_stop(self) -> None:
        """Nothing is kept, nobody waits, and no timer is left; what a thread still gives is dropped."""
        self.start()
        self.found()
        self.reactor.held = []
        waiting: Any = self.contexts.find("b.example")
        self.contexts.stop()
        self.assertEqual(self.successResultOf(waiting).code, Reason.CERTIFICATE_UNAVAILABLE)
        self.reactor.release()
        self.assertEqual((self.metrics.kept, self.reactor.getDelayedCalls()), (0, []))
        self.assertEqual(self.refusal("c.example")[0], Reason.CERTIFICATE_UNAVAILABLE)

    def test_waiting_source(self) -> None:
        """One that is ``async`` is asked on the reactor's thread, about many names at a time, and cancelled."""
        source = WaitingSource()
        self.start(source, timeout=2.0)
        first: Any = self.contexts.find("a.example")
        others: list[Any] = [self.contexts.find(f"{number}.example") for number in range(9)]
        self.assertEqual(len(source.asked), 10)
        source.waiting[0].callback(None)
        self.assertIsInstance(self.successResultOf(first), SSL.Context)
        self.reactor.advance(2.0)
        self.assertEqual({self.successResultOf(one).code for one in others}, {Reason.CERTIFICATE_UNAVAILABLE})
        self.assertEqual((source.cancelled, len(self.contexts._open)), (9, 0))
        later: Any = self.contexts.find("late.example")
        self.contexts.stop()
        self.assertEqual(self.successResultOf(later).code, Reason.CERTIFICATE_UNAVAILABLE)
        self.assertEqual(source.cancelled, 10)

    def test_quiet(self) -> None:
        """A source that fails for every name fills no log; how often it did is told the next time."""
        self.start(Source(lambda name: 1 / 0), capacity=10)
        for number in range(100):
            self.refusal(f"{number}.example")
        self.assertEqual((len(self.env.messages), len(self.counted)), (1, 100))
        self.reactor.advance(10)
        self.refusal("again.example")
        self.assertIn("so it was 99 times before", self.env.messages[1])


def _leave(name: str) -> None:
    raise SystemExit(3)


class ServingCase(TestCase):
    """A listener whose certificates come by name."""

    async def start(
        self, source: Any = None, static: list[Issued] | None = None, client_validation: Any = None,
        hostname: str | None = None, decide: Any = None, tls: TLSSettings | None = None, **options: Any,
    ) -> RunningGateway:  # fmt: skip
        """Serve it."""
        self.source = Source() if source is None else source
        self.env = FakeEnvironment()
        of_listener = {"health_check": options.pop("health_check", None)}
        use = DynamicCertificates(Kind(), self.source, self.env, **options)
        listener = https_listener(
            static or [], client_validation, hostname=hostname,
            tls=evolve(tls or TLSSettings(()), dynamic_certificates=use), **of_listener,
        )
        self.upstream = start_upstream(self, answer(b"ok"))
        more = {} if decide is None else {"sni_routers": (router(decide),)}
        self.running = await start_gateway(self, gateway([listener], self.upstream, **more))
        return self.running

    async def visit(self, name: str | None, **settings: Any) -> Any:
        """Shake hands and ask for something."""
        settings.setdefault("data", get("/", name or "x.example"))
        return await in_thread(try_tls, self.running.address(), server_name=name, **settings)

    def failures(self) -> dict[str, int]:
        """Why handshakes failed."""
        return dict(self.running.counts().handshake_failures)

    def details(self) -> list[str]:
        """What is in the record about refusals."""
        return [str(entry["detail"]) for entry in self.running.record.entries(99, refused=True)[0]]

    async def test_many_names(self) -> None:
        """Each client is shown a certificate for its name that verifies, and its request is served."""
        await self.start()
        context = client_context(PKI)
        for name in ("a.example", "B.Example.", "deep.down.b.example", "a.example"):
            received = await in_thread(
                talk, self.running.address(), get("/", name.rstrip(".")), context, name.rstrip(".")
            )
            self.assertTrue(received.startswith(b"HTTP/1.1 200 "), received)
        self.assertEqual(self.source.asked, ["a.example", "b.example", "deep.down.b.example"])
        self.assertNotIn(threading.get_ident(), self.source.threads)
        self.assertEqual(self.failures(), {})

    async def test_concurrency(self) -> None:
        """Several clients of one name wait for one certificate, and those of names that are known not with them."""
        go = Event()
        self.addCleanup(go.set)

        def give(name: str) -> CertificateAndKey:
            if name == "slow.example":
                go.wait(20)
            return pair(issue(name))

        await self.start(Source(give), timeout=20.0)
        self.assertIsNone((await self.visit("fast.example")).error)
        waiting = gatherResults([Deferred.fromCoroutine(self.visit("slow.example")) for _ in range(5)])
        await until(lambda: self.running.counts().dynamic_certificates().lookups["asked"] == 6)
        self.assertIsNone((await self.visit("fast.example")).error)
        self.assertEqual(self.running.generation.connections, 5)
        go.set()
        self.assertEqual([one.error for one in await waiting], [None] * 5)
        self.assertEqual(self.source.asked, ["fast.example", "slow.example"])

    async def test_one_that_leaves(self) -> None:
        """A client that leaves while its certificate is asked for is noticed and forgotten."""
        source = WaitingSource()
        await self.start(source, timeout=20.0)
        outcome = Deferred.fromCoroutine(self.visit("a.example"))
        await until(lambda: source.asked)
        hello = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        hello.set_tlsext_host_name(b"a.example")
        hello.set_connect_state()
        self.assertRaises(SSL.WantReadError, hello.do_handshake)
        plain = await in_thread(connect, self.running.address())
        plain.sendall(hello.bio_read(65_536))
        await until(lambda: self.running.counts().dynamic_certificates().lookups["asked"] == 2)
        plain.close()
        await until(lambda: self.failures() == {Reason.CLIENT_CLOSED: 1})
        source.waiting[0].callback(None)
        self.assertIsNone((await outcome).error)

    async def test_refusals(self) -> None:
        """Nobody is let in without a certificate: no name, none for it, a failure, no answer in time."""

        def give(name: str) -> Any:
            if name == "none.example":
                return None
            if name == "late.example":
                late.wait(20)
            return pair(issue("other.example"))

        late = Event()
        self.addCleanup(late.set)
        await self.start(Source(give), timeout=0.1)
        alerts = [(await self.visit(name)).alert for name in (None, "none.example", "wrong.example", "late.example")]
        self.assertEqual(alerts, [UNRECOGNIZED_NAME, UNRECOGNIZED_NAME, INTERNAL_ERROR, INTERNAL_ERROR])
        self.assertEqual(
            self.failures(), {Reason.UNRECOGNIZED_NAME: 2, Reason.CERTIFICATE_UNAVAILABLE: 2}
        )
        # Those of one reason and client that follow on each other are one entry.
        self.assertEqual(
            self.details(), ["None", "made_up gave a certificate that does not have the name in subjectAltName"]
        )
        self.assertEqual(self.upstream.requests, [])

    async def test_beside_certificates(self) -> None:
        """Names on the listener's own certificates are theirs; no name gets the default one, unless SNI is strict."""
        own = issue("own.example", "*.own.example")
        await self.start(static=[own])
        for name in ("own.example", "x.own.example", None):
            self.assertEqual((await self.visit(name)).common_name, "own.example")
        self.assertEqual((await self.visit("x.y.own.example")).common_name, "x.y.own.example")
        self.assertEqual(self.source.asked, ["x.y.own.example"])

    async def test_strict(self) -> None:
        """With ``strict_sni`` a client that sends no name is refused; names are asked about all the same."""
        await self.start(static=[issue("own.example")], tls=TLSSettings((), strict_sni=True))
        self.assertEqual((await self.visit(None)).alert, UNRECOGNIZED_NAME)
        self.assertEqual((await self.visit("a.example")).common_name, "a.example")

    async def test_host_name(self) -> None:
        """Nobody is asked about names that the listener's host name does not take, unless a router sends them there."""
        await self.start(hostname="*.example")
        self.assertEqual((await self.visit("a.example")).common_name, "a.example")
        for name in ("a.test", "example"):
            self.assertEqual((await self.visit(name)).alert, UNRECOGNIZED_NAME)
        self.assertEqual(self.source.asked, ["a.example"])

    async def test_router(self) -> None:
        """A router's listener has the certificate asked for; so has one that the host name leads to."""
        await self.start(
            hostname="*.example",
            decide=lambda hello, address: ToListener("edge") if hello.server_name == "a.test" else None,
        )
        self.assertEqual((await self.visit("a.test")).common_name, "a.test")
        self.assertEqual((await self.visit("a.example")).common_name, "a.example")
        self.assertEqual((await self.visit("b.test")).alert, UNRECOGNIZED_NAME)
        self.assertEqual(self.source.asked, ["a.test", "a.example"])

    async def test_client_validation(self) -> None:
        """Whose clients come in is the listener's to say, on every context; a session resumes for its name alone."""
        clients = Authority("clients")
        await self.start(client_validation=validation(clients))
        good, bad = clients.issue("good"), Authority("others").issue("bad")
        for name in ("a.example", "b.example", "a.example"):
            self.assertEqual((await self.visit(name)).alert, 116)
            self.assertEqual((await self.visit(name, certificate=bad)).alert, 48)
            outcome = await self.visit(name, certificate=good, version=TLS1_2)
            self.assertIsNone(outcome.error)
            self.assertTrue(outcome.reply.startswith(b"HTTP/1.1 200 "))
        session = (await self.visit("a.example", certificate=good, version=TLS1_2)).session
        before = self.resumed()
        await self.visit("a.example", certificate=good, version=TLS1_2, session=session)
        self.assertEqual(self.resumed(), before + 1)
        await self.visit("b.example", certificate=good, version=TLS1_2, session=session)
        self.assertEqual(self.resumed(), before + 1)

    def resumed(self) -> int:
        """Give how many handshakes were resumed."""
        return sum(number for key, number in self.running.counts().tls.items() if key[3])

    async def test_health_check(self) -> None:
        """Probes need no certificate for a name that came by itself either, and get nothing but their answer."""
        from ipaddress import ip_network

        await self.start(
            client_validation=validation(Authority("clients")),
            health_check=HealthCheck("/healthz", (ip_network("127.0.0.1/32"),)),
        )
        outcome = await self.visit("a.example", data=get("/healthz", "a.example"))
        self.assertTrue(outcome.reply.startswith(b"HTTP/1.1 200 "), outcome)
        outcome = await self.visit("a.example")
        self.assertTrue(outcome.reply.startswith(b"HTTP/1.1 403 "), outcome)
        self.assertEqual((self.source.asked, self.upstream.requests), (["a.example"], []))

    async def test_uris(self) -> None:
        """Upstreams are told the URI of the certificate that was shown (``By``)."""
        await self.start(Source(lambda name: pair(issue(name, uris=[f"spiffe://{name}/edge"]))))
        told = []
        listener = self.running.generation.tls_listener("edge")
        before = listener._build_protocol
        listener._build_protocol = lambda info, *more: (told.append(info.server_uris), before(info, *more))[1]
        await self.visit("a.example")
        await self.visit("b.example")
        self.assertEqual(told, [("spiffe://a.example/edge",), ("spiffe://b.example/edge",)])

    async def test_reload(self) -> None:
        """After a reload names are asked about anew, by the new configuration's source."""
        await self.start()
        await self.visit("a.example")
        model = self.running.generation.gateway
        self.running.reload(model)
        self.assertIsNone((await self.visit("a.example")).error)
        self.assertEqual(self.source.asked, ["a.example", "a.example"])
        self.running.generations[0].stop()
        self.assertEqual(self.running.counts().dynamic_certificates().kept, 1)

    async def test_flood(self) -> None:
        """Clients that ask for ever new names get no more kept or asked than may be, and nobody else waits."""
        source = WaitingSource()
        await self.start(source, static=[issue("own.example")], concurrency=4, timeout=20.0)
        flood = gatherResults([Deferred.fromCoroutine(self.visit(f"{number}.example")) for number in range(9)])
        await until(lambda: sum(self.running.counts().dynamic_certificates().lookups.values()) == 9)
        self.assertEqual(len(source.asked), 4)
        self.assertEqual((await self.visit("own.example")).common_name, "own.example")
        for waiting in source.waiting:
            waiting.callback(None)
        outcomes = await flood
        self.assertEqual(sorted(str(one.alert) for one in outcomes), ["80"] * 5 + ["None"] * 4)


class ShownTests(SynchronousTestCase):
    """What a context shows."""

    def test_asked_now(self) -> None:
        """Where no reactor runs a plain source is asked all the same."""
        shown = issue("a.example")
        use = DynamicCertificates(Kind(), Source(lambda name: pair(shown)))
        contexts = DynamicContexts(
            TLSSettings((), dynamic_certificates=use), use, True, "edge", DynamicCertificateMetrics(), None,
            dynamic.count_nothing,
        )
        context = contexts.ask_now("a.example")
        assert isinstance(context, SSL.Context)
        self.assertEqual(serial_shown(context), shown.certificate.serial_number)
        self.assertIs(contexts.find("a.example"), context)
