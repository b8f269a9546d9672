"""Ways past the policies that somebody has tried: each of them stays shut."""
from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, ClassVar
from unittest import mock

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from edgegw.api import Accept, Certificate, Peer, Reason, Reject, Verdict, policy
from edgegw.certificate import certificate
from edgegw.identity import CertificateStatus, ConnectionInfo, Identity
from edgegw.match.routes import RouteTable
from edgegw.model import (
    ClientRequirement,
    PathMatch,
    PathMatchType,
    PolicyAll,
    PolicyAny,
    PolicyNot,
    PolicyRule,
    PolicyUse,
    RouteMatch,
)
from edgegw.observe.metrics import Metrics
from edgegw.policy_chain import PolicyChain, build_chain
from edgegw.proxy.access import RuleAccess
from edgegw.proxy.connection import HTTPConnection
from edgegw.proxy.generation import Generation
from edgegw.tls import openssl, recheck
from edgegw.tls.alternatives import _is_strong
from edgegw.tls.recheck import Recheck
from edgegw.tls.transport import TLSServer
from edgegw.tls.verification import Hearing
from edgegw.tls.waiting import time_limit
from tests.gateway import Authority, client_context, in_thread, start_gateway, until
from tests.test_proxy_access import AccessCase, get, rule
from tests.test_tls_policies import FALLBACK, PolicyCase, anyone, named, narrow_authority, use
from tests.test_tls_recheck import RecheckCase
from tests.tls_peers import TLS1_2, TLS1_3

reactor: Any = global_reactor
_DAY = timedelta(days=1)


def leaf() -> Certificate:
    """Give some certificate."""
    return certificate(Authority().issue("client").der)


def peer_with(
    own: Certificate | None, status: CertificateStatus = CertificateStatus.VERIFIED
) -> Peer:
    """Give a client."""
    identity = Identity() if own is None else Identity(status, own)
    return Peer(ConnectionInfo("edge", identity, "192.0.2.1"), datetime.now(UTC))


def chain(*rules: PolicyRule) -> PolicyChain:
    """Make a chain whose failures are forgotten."""
    metrics = Metrics()
    return build_chain(rules, lambda label: metrics.policy("edge", label), lambda label, text: None)


def said(*rules: PolicyRule, peer: Peer | None = None) -> Verdict:
    """Give what a chain says."""
    return chain(*rules).check(peer_with(leaf()) if peer is None else peer, [])


@policy("broken", without_certificate=True)
def broken(peer: Peer) -> Verdict:
    """Fail."""
    raise RuntimeError("broken")


@policy("never", without_certificate=True)
def never(peer: Peer) -> Verdict:
    """Say no."""
    return Reject("never", "no")


class CombinationTests(SynchronousTestCase):
    """Groups that hide a failure, or somebody's silence."""

    def test_a_failure_beside_a_no(self) -> None:
        """A deny list one of whose members fails lets nobody in, wherever it stands in the list."""
        for members in ((use(never), use(broken)), (use(broken), use(never)), (use(never), use(broken), use(never))):
            verdict = said(PolicyNot(PolicyAny(members)))
            self.assertIsInstance(verdict, Reject)
            assert isinstance(verdict, Reject)
            self.assertEqual(verdict.code, Reason.POLICY_ERROR)
        self.assertIsInstance(said(PolicyNot(PolicyAny((use(never), use(never))))), Accept)

    def test_silence_under_all(self) -> None:
        """Under all a policy that has nothing to say of a client without a certificate has not accepted it."""
        judges = {
            (use(named), use(anyone)): False, (use(anyone),): True, (use(anyone), use(anyone)): True,
        }
        for members, expected in judges.items():
            self.assertEqual(chain(PolicyAll(members)).judges_everyone, expected)
            self.assertEqual(chain(PolicyAny((PolicyAll(members),))).judges_everyone, expected)
        self.assertTrue(chain(PolicyAny((use(named), use(anyone)))).judges_everyone)
        access = RuleAccess(
            ClientRequirement.NONE, chain(PolicyAll((use(named), use(anyone)))), 1.0, False, "r",
            Metrics().requests("edge", "r", ""), Clock(),
        )
        head: Any = mock.Mock()
        refused = access.judge(ConnectionInfo("edge", Identity(), "192.0.2.1"), head, None, [])
        self.assertEqual(getattr(refused, "code", None), Reason.NO_CERTIFICATE)

    def test_all_is_asked_again_in_part(self) -> None:
        """A policy that is not asked twice keeps none of those beside it under all from being asked again."""

        class Once:
            """Asked for new connections alone."""

            recheck = False

            def check(self, peer: Peer) -> Verdict:
                """Let in."""
                return Accept()

        once = PolicyUse(anyone, Once())
        again = chain(PolicyAll((once, PolicyAll((use(never), once))))).for_open_connections()
        assert again is not None
        self.assertEqual(getattr(again.check(peer_with(leaf()), []), "code", ""), "never")
        self.assertIsNone(chain(PolicyAll((once,))).for_open_connections())
        self.assertIsNone(chain(PolicyAny((once, use(never)))).for_open_connections())


class NastyTests(SynchronousTestCase):
    """Plugins that break what a verdict is."""

    def refused(self, check: Callable[[Peer], Any], codes: Mapping[str, str] | None = None) -> Verdict:
        """Give what a chain of one policy says."""
        check.__doc__ = "Be nasty."
        return said(use(policy("nasty", codes=codes)(check)))

    def test_attributes(self) -> None:
        """Attributes that raise when they are looked at refuse the client, and nothing comes out."""

        class Odd(Mapping[str, str]):
            """No mapping."""

            def __getitem__(self, key: str) -> str:
                raise SystemExit

            def __iter__(self) -> Iterator[str]:
                raise SystemExit

            def __len__(self) -> int:
                return 1

            def __ne__(self, other: object) -> bool:
                raise SystemExit

        odd: Any
        for odd in (Odd(), None, [], [("a", "b")], {"a": 1}, {1: "a"}, "ab"):
            verdict = self.refused(lambda peer, odd=odd: Accept(odd))  # type: ignore[misc]  # bound now
            self.assertEqual(getattr(verdict, "code", None), Reason.POLICY_ERROR, odd)

    def test_attributes_that_change(self) -> None:
        """What a policy does with its own mapping afterwards is not said of those who came before."""
        shared: dict[str, str] = {}

        @policy("shared", cache_seconds=60)
        def sharing(peer: Peer) -> Verdict:
            """Use one mapping for everyone."""
            shared["who"] = peer.sha256
            return Accept(shared)

        asked = chain(use(sharing))
        one, other = leaf(), leaf()
        for own in (one, other, one):
            verdict = asked.check(peer_with(own), [])
            assert isinstance(verdict, Accept)
            self.assertEqual(verdict.attributes["who"], own.sha256)

    def test_exceptions_that_cannot_be_shown(self) -> None:
        """An exception whose text raises something worse refuses the client like any other."""

        class Worse(Exception):
            """Cannot be shown."""

            def __str__(self) -> str:
                raise KeyboardInterrupt

        def check(peer: Peer) -> Verdict:
            raise Worse

        self.assertEqual(getattr(self.refused(check), "code", None), Reason.POLICY_ERROR)

    def test_codes_of_an_enumeration(self) -> None:
        """A plugin's own enumeration of codes gives the word that it declares, everywhere."""

        class Code(str, Enum):
            """Codes."""

            LATE = "late"

        verdict = self.refused(lambda peer: Reject(Code.LATE), {"late": "Too late."})
        assert isinstance(verdict, Reject)
        self.assertEqual((type(verdict.code), verdict.code), (str, "late"))


class CacheTests(SynchronousTestCase):
    """Answers that are used again."""

    def test_unverified(self) -> None:
        """What was said of a certificate that somebody sent without its chain is not said of its owner."""

        @policy("verified", cache_seconds=60)
        def verified(peer: Peer) -> Verdict:
            """Look at the chain."""
            return Accept() if peer.verified else Reject("verified")

        asked, own = chain(use(verified)), leaf()
        for _ in range(2):
            self.assertIsInstance(asked.check(peer_with(own, CertificateStatus.UNVERIFIED), []), Reject)
            self.assertIsInstance(asked.check(peer_with(own), []), Accept)

    def test_long_answers(self) -> None:
        """An answer as long as a client likes is given, and not kept."""
        asks: list[int] = []

        @policy("wordy", cache_seconds=60)
        def wordy(peer: Peer) -> Verdict:
            """Say much."""
            asks.append(1)
            return Accept({"x": "y" * 5000}) if peer.verified else Reject("wordy", "n" * 5000)

        asked, own = chain(use(wordy)), leaf()
        for status in (CertificateStatus.UNVERIFIED, CertificateStatus.VERIFIED) * 2:
            asked.check(peer_with(own, status), [])
        self.assertEqual(len(asks), 4)

    def test_a_change_meanwhile(self) -> None:
        """An answer that was being waited for when everything was to be forgotten is not kept."""
        waiting: list[Deferred[Verdict]] = []

        @policy("slow", cache_seconds=60)
        async def slow(peer: Peer) -> Verdict:
            """Wait."""
            waiting.append(Deferred())
            return await waiting[-1]

        asked, own = chain(use(slow)), leaf()
        limit = time_limit(Clock(), 5.0)
        first = Deferred.fromCoroutine(asked.check_later(peer_with(own), [], limit))
        asked.forget()
        waiting[0].callback(Accept())
        self.assertIsInstance(self.successResultOf(first), Accept)
        second = Deferred.fromCoroutine(asked.check_later(peer_with(own), [], limit))
        waiting[1].callback(Reject("slow"))
        self.assertIsInstance(self.successResultOf(second), Reject)
        third = Deferred.fromCoroutine(asked.check_later(peer_with(own), [], limit))
        self.assertIsInstance(self.successResultOf(third), Reject)


class ErrorQueueTests(SynchronousTestCase):
    """What somebody leaves in OpenSSL's error queue."""

    def test_another_connection_is_not_blamed(self) -> None:
        """A connection that has nothing to read goes on, whatever was left in the queue by a policy."""
        queue = ["left by a policy"]
        ends = socket.socketpair()
        connection = openssl.accept(SSL.Context(SSL.TLS_SERVER_METHOD), ends[0])
        self.addCleanup(ends[0].close)
        self.addCleanup(ends[1].close)
        ends[0].setblocking(False)
        ask = openssl._ssl_get_error
        # As OpenSSL 3 does it.
        self.patch(openssl, "_ssl_get_error", lambda ssl, done: 1 if queue else ask(ssl, done))
        self.patch(openssl, "_clear_error", queue.clear)
        self.assertIs(openssl.read(connection), openssl.WANT)
        queue.append("again")
        self.assertEqual(openssl.write(connection, b"x"), 0)
        ends[1].close()
        queue.append("and again")
        with self.assertRaises(openssl.Closed):
            openssl.read(connection)


class WaitingTests(SynchronousTestCase):
    """Time limits."""

    def test_who_goes_on_when_cancelled(self) -> None:
        """A policy that heeds no cancellation costs no error when its time would have been over."""
        clock = Clock()
        stubborn: Deferred[None] = Deferred(lambda _: None)

        async def wait() -> None:
            """Wait, whatever comes."""
            try:
                await stubborn
            except BaseException:
                await Deferred()

        result = time_limit(clock, 5.0)(wait())
        result.cancel()
        self.failureResultOf(result)
        self.assertEqual(clock.getDelayedCalls(), [])
        clock.advance(6)


class PathTests(SynchronousTestCase):
    """Paths that an upstream reads as another rule's."""

    def test_encodings_of_the_same_path(self) -> None:
        """A rule holds for its path however the client writes the percent-encodings in it."""
        table = RouteTable([
            ((), RouteMatch(PathMatch(PathMatchType.PATH_PREFIX, "/")), "open"),
            ((), RouteMatch(PathMatch(PathMatchType.PATH_PREFIX, "/caf%C3%a9")), "coffee"),
            ((), RouteMatch(PathMatch(PathMatchType.EXACT, "/keys:rotate")), "keys"),
            ((), RouteMatch(PathMatch(PathMatchType.EXACT, "/a%40b")), "at"),
            ((), RouteMatch(PathMatch(PathMatchType.EXACT, "/a%7Cb")), "bar"),
        ])
        for path, target in (
            (b"/caf%C3%A9", "coffee"), (b"/caf%c3%a9/x", "coffee"), (b"/keys:rotate", "keys"),
            (b"/keys%3Arotate", "keys"), (b"/keys%3arotate", "keys"), (b"/a@b", "at"), (b"/a%40b", "at"),
            (b"/a%7cb", "bar"), (b"/a|b", "bar"), (b"/caf%C3%A8", "open"), (b"/keys%3Frotate", "open"),
        ):
            self.assertEqual(table.find(None, path), target, path)


class AlternativeTests(SynchronousTestCase):
    """Certificates above the client's own that cannot be read."""

    def test_unreadable(self) -> None:
        """One whose names cannot be read is not strong, and nothing is raised."""

        class Odd:
            """A certificate with broken names."""

            signature_hash_algorithm: ClassVar[Any] = None

            @property
            def issuer(self) -> Any:
                raise ValueError("broken")

            subject = issuer

            def public_key(self) -> Any:
                return None

        odd: Any = mock.Mock(x509=Odd())
        odd.x509.signature_hash_algorithm = SHA1()
        self.assertFalse(_is_strong(odd))


class ForgivenDatesTests(PolicyCase):
    """A policy that judges dates, where clients come in that cannot be verified."""

    async def test_a_resumed_session_is_no_better(self) -> None:
        """A stranger's expired certificate does not count as verified, on a resumed session neither."""

        class Lenient:
            """Lets expired certificates in."""

            allows_expired = True

            def check(self, peer: Peer) -> Verdict:
                """Let in."""
                return Accept()

        stranger = Authority("stranger")
        now = datetime.now(UTC)
        old = stranger.issue("old", not_before=now - 9 * _DAY, not_after=now - 2 * _DAY)
        port = self.start([PolicyUse(anyone, Lenient())], mode=FALLBACK)
        for version in (TLS1_2, TLS1_3):
            first = await self.visit(port, old, version)
            self.assertTrue(first.ok)
            again = await self.visit(port, old, version, session=first.session)
            self.assertTrue(again.ok)
        self.assertEqual([talk.info.resumed for talk in port.talks], [False, True, False, True])
        self.assertEqual({talk.info.identity.status for talk in port.talks}, {CertificateStatus.UNVERIFIED})


class EnvoyCompatibleTests(PolicyCase):
    """Everyone comes in, and whom a policy refuses as nobody."""

    async def test_nothing_is_said_of_who_was_refused(self) -> None:
        """What the policies before the one that refused have said does not stay with the client."""

        @policy("tells", without_certificate=True)
        def tells(peer: Peer) -> Verdict:
            """Say something."""
            return Accept({"team": "blue"})

        @policy("never_later", without_certificate=True)
        async def never_later(peer: Peer) -> Verdict:
            """Say no."""
            return Reject("never_later")

        @policy("tells_later", without_certificate=True)
        async def tells_later(peer: Peer) -> Verdict:
            """Say something, after a while."""
            return Accept({"team": "red"})

        strangers = (None, Authority("stranger").issue("x"), self.good)
        for rules in ((tells, never), (tells, never_later), (tells, never, tells_later), (tells_later, never_later)):
            port = self.start([use(kind) for kind in rules], mode=FALLBACK, envoy_compatible=True)
            for client in strangers:
                self.assertTrue((await self.visit(port, client)).ok)
            for talk in port.talks:
                self.assertEqual(talk.info.attributes, {})
                self.assertIsNone(talk.info.identity.verified)


class ReentrantTests(PolicyCase):
    """A policy that does a handshake of its own while it is asked."""

    async def test_a_handshake_within_a_handshake(self) -> None:
        """Both come to their end, and each client is judged by its own certificate."""
        inner: list[Any] = []

        @policy("shakes", needs_chain=True)
        def shakes(peer: Peer) -> Verdict:
            """Do the beginning of another handshake."""
            ends = socket.socketpair()
            connection = openssl.accept(SSL.Context(SSL.TLS_SERVER_METHOD), ends[0])
            ends[0].setblocking(False)
            inner.append(openssl.do_handshake(connection, lambda ok, store: False))
            for end in ends:
                end.close()
            return Accept({"name": peer.common_name})

        narrow = Authority("inter", self.root)
        port = self.start([use(shakes)])
        for client in (self.good, narrow.issue("deep")):
            self.assertTrue((await self.visit(port, client)).ok)
        self.assertEqual([talk.info.attributes["name"] for talk in port.talks], ["good", "deep"])
        self.assertEqual(inner, [openssl.WANT] * 2)

    async def test_the_question_stays(self) -> None:
        """What OpenSSL asks after a handshake within a handshake still finds whom to ask."""
        @policy("shakes")
        def shakes(peer: Peer) -> Verdict:
            """Do the beginning of another handshake."""
            ends = socket.socketpair()
            ends[0].setblocking(False)
            openssl.do_handshake(openssl.accept(SSL.Context(SSL.TLS_SERVER_METHOD), ends[0]))
            for end in ends:
                end.close()
            return Accept()

        # OpenSSL looks at name constraints when everything else was asked.
        client = narrow_authority(self.root).issue("client", dns=["outside.example"])
        port = self.start([use(shakes)], mode=FALLBACK)
        self.assertTrue((await self.visit(port, client)).ok)
        self.assertIs(port.talks[0].info.identity.status, CertificateStatus.UNVERIFIED)
        strict = self.start([use(shakes)])
        self.assertFalse((await self.visit(strict, client)).ok)
        self.assertEqual(strict.failures, {Reason.NAME_CONSTRAINT: 1})


class LeakTests(PolicyCase):
    """Handshakes leave nothing behind."""

    async def test_nothing_waits_for_the_collector(self) -> None:
        """Neither accepted nor refused connections leave cycles with OpenSSL's objects in them."""
        port = self.start([use(named)])
        for client in (self.good, self.bad, self.good, self.bad):
            await self.visit(port, client)
        await port.idle()
        await until(lambda: not port.transports)
        port.talks.clear()
        gc.collect()
        gc.disable()
        try:
            for client in (self.good, self.bad) * 5:
                await self.visit(port, client)
            await port.idle()
            port.talks.clear()
            await until(lambda: True)
            left = [one for one in gc.get_objects() if isinstance(one, Hearing)]
        finally:
            gc.enable()
        self.assertEqual(len(left), 0)


class ConnectionLeakTests(AccessCase):
    """Connections leave nothing behind."""

    async def test_nothing_waits_for_the_collector(self) -> None:
        """A connection whose requests were answered or refused is gone with its OpenSSL objects when it has ended."""
        running = await self.start(rule("/", policies=(use(named),)))
        clients = [self.root.issue(name) for name in ("good", "bad")]

        async def visit() -> None:
            for client in clients:
                await self.ask(running, client, get("/", close=True))
            await until(lambda: running.counts().connections == 0)

        await visit()
        gc.collect()
        gc.disable()
        try:
            for _ in range(4):
                await visit()
            left = [one for one in gc.get_objects() if isinstance(one, (HTTPConnection, TLSServer))]
        finally:
            gc.enable()
        self.assertEqual(left, [])

    async def test_client_leaves(self) -> None:
        """Nor does one whose client has left while a policy was deciding about a request."""
        asked: list[Peer] = []

        @policy("slow")
        async def slow(peer: Peer) -> Verdict:
            """Never decide."""
            asked.append(peer)
            await Deferred()
            return Accept()

        running = await self.start(rule("/", policies=(use(slow),), policy_timeout=30.0))
        context = client_context(self.root, self.root.issue("good"))

        async def visit() -> None:
            count = len(asked)
            client = await in_thread(self.open, running.address(), context)
            client.sendall(get("/"))
            await until(lambda: len(asked) > count)
            client.close()
            await until(lambda: running.counts().connections == 0)

        await visit()
        gc.collect()
        gc.disable()
        try:
            for _ in range(4):
                await visit()
            asked.clear()
            await until(lambda: True)
            left = [one for one in gc.get_objects() if isinstance(one, (HTTPConnection, TLSServer))]
        finally:
            gc.enable()
        self.assertEqual(left, [])

    @staticmethod
    def open(address: tuple[str, int], context: Any) -> Any:
        return context.wrap_socket(socket.create_connection(address, 10), server_hostname="a.example")


class UnverifiedRuleTests(AccessCase):
    """Rules whose policies read the chain, for clients that have none."""

    async def test_no_chain(self) -> None:
        """They are told that there is none, and decide; it is no failure of theirs."""
        seen: list[Any] = []

        @policy("chained", needs_chain=True, without_certificate=True)
        def chained(peer: Peer) -> Verdict:
            """Read the chain."""
            seen.append(len(peer.certificates))
            return Accept() if peer.certificates else Reject("chained")

        running = await self.start(rule("/", policies=(use(chained),), client=ClientRequirement.NONE))
        for client in (None, Authority("stranger").issue("x"), self.root.issue("good")):
            await self.ask(running, client, get("/", close=True))
        self.assertEqual(seen, [0, 0, 2])
        self.assertEqual(running.metrics.requests("edge", "app", "").refused, {"chained": 2})


class RetiredTests(AccessCase):
    """A configuration that is replaced while a rule's policy decides about a request."""

    async def test_the_request_is_answered(self) -> None:
        """It is answered as decided, and the connection closed after it."""
        waiting: list[Deferred[Verdict]] = []

        @policy("slow")
        async def slow(peer: Peer) -> Verdict:
            """Wait for the test."""
            waiting.append(Deferred())
            return await waiting[-1]

        running = await self.start(rule("/", policies=(use(slow),), client=ClientRequirement.VERIFIED))
        for verdict, line in ((Accept(), b"HTTP/1.1 200 OK"), (Reject("slow"), b"HTTP/1.1 403 Forbidden")):
            waiting.clear()
            asking = Deferred.fromCoroutine(self.ask(running, self.root.issue("good"), get("/") * 3))
            await until(lambda: waiting)
            running.reload(running.generation.gateway)
            (one,) = waiting
            one.callback(verdict)
            self.assertEqual(await asking, [line])
            self.assertEqual(len(waiting), 1)


class FailingGateTests(AccessCase):
    """What goes wrong after a rule's policies have decided."""

    async def test_the_connection_ends(self) -> None:
        """A client whose request cannot be gone on with after a wait does not wait for ever."""

        @policy("slow")
        async def slow(peer: Peer) -> Verdict:
            """Wait a moment."""
            waiting: Deferred[None] = Deferred()
            reactor.callLater(0, waiting.callback, None)
            await waiting
            return Accept()

        running = await self.start(rule("/", policies=(use(slow),), client=ClientRequirement.VERIFIED))
        def fail(*_: object) -> None:
            raise RuntimeError("a fault of the gateway")

        self.patch(HTTPConnection, "forward", fail)
        self.assertEqual(await self.ask(running, self.root.issue("good"), get("/")), [])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class InFlightTests(RecheckCase):
    """Clients that are being judged while what they are judged by changes."""

    async def test_decided_before_the_change(self) -> None:
        """Who was accepted by an answer that no longer holds when the connection opens is cut off."""
        waiting: list[Deferred[Verdict]] = []

        @policy("listed")
        async def listed(peer: Peer) -> Verdict:
            """Wait for the test."""
            if waiting:
                return Reject("listed") if peer.common_name in self.refused else Accept()
            waiting.append(Deferred())
            return await waiting[0]

        running = await self.start(listed)
        context = client_context(self.root, self.root.issue("bad"))

        def begin() -> Any:
            return context.wrap_socket(socket.create_connection(running.address(), 20), server_hostname="a.example")

        tls = await in_thread(begin)
        self.addCleanup(tls.close)
        await until(lambda: waiting)
        self.refused.add("bad")
        self.environment.changed()
        # The look at every connection is over.
        await until(lambda: not running.generation._rechecks["edge"]._left)
        waiting[0].callback(Accept())
        await until(lambda: not running.counts().connections)
        self.assertEqual(running.counts().rechecked, {"listed": 1})

    async def test_begun_before_the_reload(self) -> None:
        """Who had not sent a byte when a configuration took over is judged by that one too."""
        running = await self.start(self.listed)
        plain = await in_thread(socket.create_connection, running.address(), 20)
        self.addCleanup(plain.close)
        await until(lambda: running.generation.connections == 1)
        self.refused.add("bad")

        @policy("other")
        def other(peer: Peer) -> Verdict:
            """Refuse everyone."""
            return Reject("other")

        self.refused.clear()
        running.reload(self.model(other))
        await until(lambda: not running.generation._rechecks["edge"]._left)
        context = client_context(self.root, self.root.issue("bad"))

        def go_on() -> bytes:
            try:
                tls = context.wrap_socket(plain, server_hostname="a.example")
                self.addCleanup(tls.close)
                return self.ask(tls)
            except OSError:
                return b""

        self.assertEqual(await in_thread(go_on), b"")
        await until(lambda: not running.counts().connections)
        self.assertEqual(running.counts().rechecked, {"other": 1})

    async def test_verified_in_fallback(self) -> None:
        """Who counts as verified and would not now is cut off, although everyone comes in."""
        for settings in ({"mode": FALLBACK}, {"mode": FALLBACK, "envoy_compatible": True}):
            running = await self.start_with(settings)
            good, bad = await self.connect(running), await self.connect(running, name="bad")
            self.refused.add("bad")
            self.environment.changed()
            await until(lambda running=running: running.counts().connections == 1)  # type: ignore[misc]  # bound now
            self.assertEqual((await self.alive(good), await self.alive(bad)), (True, False))
            other = Authority("other")
            model = self.model(None, other)
            (listener,) = model.listeners
            assert listener.tls is not None and listener.tls.client_validation is not None
            wanted = evolve(listener.tls.client_validation, mode=FALLBACK)
            listener = evolve(listener, tls=evolve(listener.tls, client_validation=wanted))
            new = Generation(reactor, evolve(model, listeners=(listener,)), Metrics()).tls_listener("edge")
            (transport,) = running.generation._open_on(running.generation.tls_listener("edge"))
            verdict = new.judge_again(transport)
            self.assertEqual(getattr(verdict, "code", None), Reason.UNKNOWN_CA)
            self.refused.clear()
            await in_thread(good.close)
            await running.stop()

    async def test_by_another_chain(self) -> None:
        """Who came in by another chain than the one that OpenSSL tries first stays, for as long as that one is good."""

        class Alternatives:
            """Looks at other chains."""

            alternative_chains = 4

            def check(self, peer: Peer) -> Verdict:
                """Refuse those on the list."""
                return Accept()

        inter, other = Authority("inter", self.root), Authority("other")
        crossed = Authority("inter", other)
        key: Any = inter.key.public_key()
        certificate = (
            x509.CertificateBuilder().subject_name(inter.name).issuer_name(other.name).public_key(key)
            .serial_number(7).not_valid_before(crossed.certificate.not_valid_before_utc)
            .not_valid_after(crossed.certificate.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .sign(other.key, SHA256())  # type: ignore[arg-type]  # of a kind that signs
        )  # fmt: skip
        issued = inter.issue("good")
        client = evolve(issued, chain=(certificate, inter.certificate))
        kind = self.listed
        model = self.model(kind)
        (listener,) = model.listeners
        assert listener.tls is not None and listener.tls.client_validation is not None
        before = listener.tls.client_validation.policies or ()
        rules = (PolicyUse(kind, Alternatives(), self.environment), *before)
        wanted = evolve(listener.tls.client_validation, policies=rules)
        listener = evolve(listener, tls=evolve(listener.tls, client_validation=wanted))
        running = await start_gateway(self, evolve(model, listeners=(listener,)))
        tls = await self.connect(running, client)
        bad = await self.connect(running, name="bad")
        self.refused.add("bad")
        self.environment.changed()
        await until(lambda: not running.generation._rechecks["edge"]._left)
        self.assertEqual((await self.alive(tls), await self.alive(bad)), (True, False))
        (transport,) = running.generation._open_on(running.generation.tls_listener("edge"))
        elsewhere = Generation(reactor, self.model(None, Authority("elsewhere")), Metrics()).tls_listener("edge")
        self.assertEqual(getattr(elsewhere.judge_again(transport), "code", None), Reason.UNKNOWN_CA)

    async def start_with(self, settings: dict[str, Any]) -> Any:
        """Serve a gateway whose validation has these settings."""
        model = self.model(self.listed)
        (listener,) = model.listeners
        assert listener.tls is not None and listener.tls.client_validation is not None
        wanted = evolve(listener.tls.client_validation, **settings)
        listener = evolve(listener, tls=evolve(listener.tls, client_validation=wanted))
        return await start_gateway(self, evolve(model, listeners=(listener,)))


class ManyTests(SynchronousTestCase):
    """Many open connections at once."""

    def test_not_all_at_a_time(self) -> None:
        """Policies that wait are asked about some at a time, so that none is out of time for the number of others."""
        waiting: list[Deferred[Verdict]] = []

        class Listener:
            """Judges later."""

            model = mock.Mock()

            def judge_again(self, transport: Any) -> Deferred[Verdict]:
                """Wait for the test."""
                waiting.append(Deferred())
                return waiting[-1]

        clock = Clock()
        listener: Any = Listener()
        info = mock.Mock(listener=listener.model.name)
        transports: list[Any] = [mock.Mock(spec=TLSServer, state=3, connected=1, info=info) for _ in range(100)]
        again = Recheck(clock, listener, lambda: transports, lambda transport: listener)
        again.begin()
        for _ in range(10):
            clock.advance(0)
        self.assertEqual(len(waiting), recheck.AT_A_TIME)
        done = 0
        while done < len(waiting):
            waiting[done].callback(Accept())
            done += 1
            clock.advance(0)
        self.assertEqual((done, clock.getDelayedCalls()), (100, []))
