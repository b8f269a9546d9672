"""Policies in real handshakes: who comes in, which alert others get, and that nothing gets past a failing plugin."""
from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from edgegw.api import Accept, Peer, Reason, Reject, Verdict, policy
from edgegw.identity import CertificateStatus
from edgegw.kinds.policy import PolicyKind
from edgegw.model import (
    OnMissing,
    PolicyAll,
    PolicyAny,
    PolicyNot,
    PolicyRule,
    PolicyUse,
    RefuseWith,
    ValidationMode,
)
from tests.gateway import SERVER, Authority, client_context, https_listener, in_thread, until, validation
from tests.tls_peers import TLS1_2, TLS1_3, BarePort, Greeter, Outcome, connect, start_port, try_tls

reactor: Any = global_reactor
FALLBACK = ValidationMode.ALLOW_INSECURE_FALLBACK

CERTIFICATE_UNKNOWN, HANDSHAKE_FAILURE, INTERNAL_ERROR, CERTIFICATE_REQUIRED = 46, 40, 80, 116
BAD_CERTIFICATE, UNKNOWN_CA, REVOKED = 42, 48, 44


def use(kind: PolicyKind) -> PolicyUse:
    """Put a kind without options to use."""
    return PolicyUse(kind, kind.build(None, None))  # type: ignore[arg-type]  # these look at no environment


def asleep(seconds: float) -> Deferred[None]:
    """Fire after some seconds, unless it is cancelled."""
    done: Deferred[None] = Deferred(lambda _: timer.cancel())
    timer = reactor.callLater(seconds, lambda: done.callback(None))
    return done


@policy("named")
def named(peer: Peer) -> Verdict:
    """Let clients in that are called good."""
    if peer.common_name == "good":
        return Accept({"name": peer.common_name})
    return Reject("named", f"{peer.common_name} is not good")


@policy("later")
async def later(peer: Peer) -> Verdict:
    """Let clients in that are called good, after a while."""
    await asleep(0.01)
    return Accept({"later": "yes"}) if peer.common_name == "good" else Reject("later", "not good")


@policy("anyone", without_certificate=True)
def anyone(peer: Peer) -> Verdict:
    """Let everyone in, and say so of those without a certificate."""
    return Accept({"anonymous": str(peer.certificate is None)})


def narrow_authority(root: Authority) -> Authority:
    """Make an authority for names under inside.example alone."""
    narrow = Authority("narrow", root)
    builder = (
        x509.CertificateBuilder()
        .subject_name(narrow.name)
        .issuer_name(root.name)
        .public_key(narrow.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(narrow.certificate.not_valid_before_utc)
        .not_valid_after(narrow.certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(x509.NameConstraints([x509.DNSName("inside.example")], None), critical=True)
    )
    narrow.certificate = builder.sign(root.key, SHA256())
    return narrow


class PolicyCase(TestCase):
    """Ports whose clients have to pass policies."""

    def setUp(self) -> None:
        self.root = Authority()
        self.server = self.root.issue("server", dns=["a.example"], usages=SERVER)
        self.good = self.root.issue("good")
        self.bad = self.root.issue("bad")

    def start(
        self, policies: Sequence[PolicyRule] | None, make: Callable[..., Any] = Greeter, **settings: Any
    ) -> BarePort:
        """Start a port with these policies."""
        rules = None if policies is None else tuple(policies)
        wanted = evolve(validation(self.root), policies=rules, **settings)
        return start_port(self, https_listener([self.server], wanted), make)

    async def visit(self, port: BarePort, client: Any, version: int = TLS1_3, **settings: Any) -> Outcome:
        """Give what a client saw."""
        return await in_thread(try_tls, port.address, certificate=client, version=version, **settings)


class HandshakeTests(PolicyCase):
    """Policies that do not wait decide in the handshake."""

    async def test_accept_and_refuse(self) -> None:
        """One certificate comes in and another of the same CA gets an alert, in both versions of TLS."""
        port = self.start([use(named)])
        for version in (TLS1_2, TLS1_3):
            self.assertTrue((await self.visit(port, self.good, version)).ok)
            refused = await self.visit(port, self.bad, version)
            self.assertEqual((refused.reply, refused.alert), (b"", CERTIFICATE_UNKNOWN))
        self.assertEqual(port.failures, {"named": 2})
        self.assertEqual(port.talks[0].info.attributes, {"name": "good"})
        self.assertEqual(len(port.talks), 2)
        refused_entries = [one for one in port.record.entries(9, refused=True)[0] if one["reason"] == "named"]
        self.assertEqual(refused_entries[0]["detail"], "bad is not good")

    async def test_a_certificate_with_too_much_in_it(self) -> None:
        """Names that would take long to read are refused before a policy reads them; many ordinary ones are not."""
        asked = []

        @policy("spy")
        def spy(peer: Peer) -> Verdict:
            """See who comes."""
            asked.append(len(peer.certificate.dns_names))
            return Accept()

        port = self.start([use(spy)])
        for number, comes_in in ((600, True), (2000, False)):
            many = self.root.issue("many", dns=[f"host-{at:04}.example" for at in range(number)])
            self.assertEqual((await self.visit(port, many)).ok, comes_in)
        self.assertEqual((asked, port.failures), ([600], {"certificate_invalid": 1}))
        entry = next(iter(port.record.entries(1, refused=True)[0]))
        self.assertIn("its subject alternative names: ", entry["detail"])

    async def test_the_chain_comes_first(self) -> None:
        """A certificate of another CA is refused for that, and no policy is asked about it."""
        asked = []

        @policy("spy")
        def spy(peer: Peer) -> Verdict:
            """Remember who was asked about."""
            asked.append(peer)
            return Accept()

        port = self.start([use(spy)])
        outcome = await self.visit(port, Authority("stranger").issue("good"))
        self.assertEqual((outcome.alert, port.failures, asked), (UNKNOWN_CA, {Reason.UNKNOWN_CA: 1}, []))

    async def test_what_a_policy_is_told(self) -> None:
        """It sees the certificate, the chain as cryptography's objects, and everything about the connection."""
        seen: list[Peer] = []

        @policy("spy", needs_chain=True)
        def spy(peer: Peer) -> Verdict:
            """Look at everything."""
            seen.append(peer)
            self.assertEqual([one.subject for one in peer.chain], [leaf.subject, inter.certificate.subject,
                                                                  self.root.certificate.subject])
            return Accept()

        inter = Authority("inter", self.root)
        client = inter.issue("client", dns=["c.example"], uris=["spiffe://example.com/c"])
        leaf = client.certificate
        port = self.start([use(spy)])
        self.assertTrue((await self.visit(port, client)).ok)
        peer = seen[0]
        self.assertEqual(
            (peer.listener, peer.server_name, peer.tls_version, peer.address, peer.resumed, peer.verified),
            ("edge", "a.example", "TLSv1.3", "127.0.0.1", False, True),
        )
        self.assertEqual((peer.dns_names, peer.spiffe_id), (("c.example",), "spiffe://example.com/c"))
        self.assertEqual((peer.cipher, peer.group), (port.talks[0].info.cipher, port.talks[0].info.group))

    async def test_resumed(self) -> None:
        """A resumed session is judged again: who was accepted before and would not be now does not come in."""
        allowed = {"good"}

        @policy("changing")
        def changing(peer: Peer) -> Verdict:
            """Ask what holds now."""
            return Accept() if peer.common_name in allowed else Reject("changing", str(peer.resumed))

        port = self.start([use(changing)])
        first = await self.visit(port, self.good)
        second = await self.visit(port, self.good, session=first.session)
        self.assertTrue(second.ok)
        self.assertTrue(port.talks[1].info.resumed)
        allowed.clear()
        third = await self.visit(port, self.good, session=second.session)
        self.assertEqual((third.reply, port.failures), (b"", {"changing": 1}))

    async def test_no_tickets_where_the_chain_is_needed(self) -> None:
        """A listener with a policy that reads the chain resumes nothing."""

        @policy("chained", needs_chain=True)
        def chained(peer: Peer) -> Verdict:
            """Read the chain."""
            return Accept({"length": str(len(peer.chain))})

        port = self.start([use(chained)])
        first = await self.visit(port, self.good)
        self.assertTrue((await self.visit(port, self.good, session=first.session)).ok)
        self.assertEqual([talk.info.resumed for talk in port.talks], [False, False])

    async def test_the_chain_is_not_for_everyone(self) -> None:
        """A policy that reads the chain without having said that it needs it refuses, and says what is missing."""

        @policy("greedy")
        def greedy(peer: Peer) -> Verdict:
            """Read the chain without asking for it."""
            return Accept({"length": str(len(peer.chain))})

        port = self.start([use(greedy)])
        self.assertFalse((await self.visit(port, self.good)).ok)
        self.assertEqual(port.failures, {Reason.POLICY_ERROR: 1})
        self.assertIn("needs_chain=True", str(port.record.entries(9, refused=True)[0][0]["detail"]))
        self.flushLoggedErrors()


class CombinationTests(PolicyCase):
    """Lists, all, any and not."""

    async def table(self, policies: Sequence[PolicyRule], good: bool, bad: bool) -> dict[str, int]:
        """See who comes in."""
        port = self.start(policies)
        outcomes = [(await self.visit(port, one)).ok for one in (self.good, self.bad)]
        self.assertEqual(outcomes, [good, bad])
        return dict(port.failures)

    async def test_all_of_a_list(self) -> None:
        """Every policy of a list must accept."""
        failures = await self.table([use(anyone), use(named)], True, False)
        self.assertEqual(failures, {"named": 1})

    async def test_any(self) -> None:
        """One that accepts is enough."""
        await self.table([PolicyAny((use(named), use(anyone)))], True, True)
        await self.table([PolicyAny((use(named), use(named)))], True, False)

    async def test_any_with_one_that_waits(self) -> None:
        """It is asked as a whole when the handshake is done."""
        failures = await self.table([PolicyAny((use(later), use(named)))], True, False)
        self.assertEqual(failures, {"later": 1})

    async def test_not(self) -> None:
        """Whom a policy under not accepts does not come in."""
        failures = await self.table([PolicyNot(use(named))], False, True)
        self.assertEqual(failures, {Reason.EXCLUDED: 1})

    async def test_nested(self) -> None:
        """They nest."""
        both = PolicyAll((use(named), use(anyone)))
        await self.table([PolicyAll((PolicyAny((PolicyNot(use(named)), both)),))], True, True)

    async def test_empty(self) -> None:
        """An empty list, and an empty group, refuse everyone."""
        for policies in ((), (PolicyAny(()),), (PolicyAll(()),), (use(anyone), PolicyNot(PolicyAny(())))):
            with self.subTest(policies=policies):
                failures = await self.table(policies, False, False)
                self.assertEqual(failures, {Reason.NO_POLICY: 2})

    async def test_attributes(self) -> None:
        """What policies say of a client adds up, later ones see it, and what was said first stays."""

        @policy("second")
        def second(peer: Peer) -> Verdict:
            """Say another name."""
            return Accept({"name": "other", "seen": ",".join(sorted(peer.attributes))})

        port = self.start([use(named), use(second), use(later)])
        self.assertTrue((await self.visit(port, self.good)).ok)
        self.assertEqual(port.talks[0].info.attributes, {"name": "good", "seen": "name", "later": "yes"})


class NastyTests(PolicyCase):
    """Plugins that do what they must not: the client is refused, and nothing else happens."""

    async def refused(self, kind: PolicyKind, code: str = Reason.POLICY_ERROR, under_not: bool = True) -> str:
        """See that a kind lets nobody in, and that the port goes on; gives the detail of the record."""
        detail = ""
        for rule in (use(kind), PolicyNot(use(kind)))[: 2 if under_not else 1]:
            port = self.start([rule])
            for version in (TLS1_2, TLS1_3):
                outcome = await self.visit(port, self.good, version)
                self.assertEqual((kind.name, outcome.reply, port.talks), (kind.name, b"", []))
            self.assertEqual(port.failures, {code: 2})
            detail = str(port.record.entries(9, refused=True)[0][0]["detail"])
        self.flushLoggedErrors()
        return detail

    async def test_raises(self) -> None:
        """Exceptions of every sort, those that usually end a process among them."""
        for raised in (RuntimeError("oops\nx"), SystemExit(3), GeneratorExit(), MemoryError(), StopIteration()):

            @policy("raises")
            def raises(peer: Peer, error: BaseException = raised) -> Verdict:
                """Fail."""
                raise error

            detail = await self.refused(raises)
            self.assertIn(type(raised).__name__, detail)

    async def test_recursion(self) -> None:
        """One that calls itself for ever."""

        @policy("deep")
        def deep(peer: Peer) -> Verdict:
            """Fall."""
            return deep(peer)  # type: ignore[no-any-return]  # it never does

        self.assertIn("RecursionError", await self.refused(deep))

    async def test_wrong_results(self) -> None:
        """What is no verdict: true values, nothing, the class in place of an object, look-alikes."""

        class Lookalike:
            attributes: ClassVar[dict[str, str]] = {}
            code = "named"

        class Derived(Accept):  # type: ignore[misc]  # attrs' frozen classes can be derived from
            pass

        for result in (True, 1, None, "accept", Accept, Lookalike(), Derived(), object()):

            @policy("wrong")
            def wrong(peer: Peer, result: Any = result) -> Verdict:
                """Say something else."""
                return result  # type: ignore[no-any-return]  # on purpose

            self.assertIn("neither Accept nor Reject", await self.refused(wrong))

    async def test_odd_representations(self) -> None:
        """A result that cannot even be shown."""

        class Hidden:
            def __repr__(self) -> str:
                raise RuntimeError("no")

        @policy("hidden")
        def hidden(peer: Peer) -> Any:
            """Give it."""
            return Hidden()

        self.assertIn("Hidden", await self.refused(hidden))

    async def test_forgotten_await(self) -> None:
        """A plain function that gives a coroutine: it is closed, without a warning at the end of its life."""

        async def answer() -> Verdict:
            return Accept()

        @policy("forgetful")
        def forgetful(peer: Peer) -> Any:
            """Forget to await."""
            return answer()

        self.assertIn("await", await self.refused(forgetful))
        gc.collect()
        self.assertEqual(self.flushWarnings(), [])

    async def test_codes_and_attributes(self) -> None:
        """A code that was not declared, and attributes that are not text."""

        @policy("undeclared")
        def undeclared(peer: Peer) -> Verdict:
            """Refuse with a code of the client's choice."""
            return Reject(f"user_{peer.common_name}", "x")

        self.assertIn(
            "the code 'user_good', which it does not declare (codes={...}); its detail was 'x'",
            await self.refused(undeclared),
        )
        for attributes, words in (
            ({"ok": "yes", "a": 1, "b": 2}, "the attribute 'a' a value that is no text: 1"),
            ({1: "a"}, "an attribute whose name is no text: 1"),
            ({"a": "x", "b": b"y" * 1000}, "the attribute 'b' a value that is no text: b'yyyy"),
            (None, "attributes that are no mapping: None"),
            ([("a", "b")], "attributes that are no mapping: [('a', 'b')]"),
        ):

            @policy("attributed")
            def attributed(peer: Peer, attributes: Any = attributes) -> Verdict:
                """Say something odd."""
                return Accept(attributes)

            self.assertIn(words, await self.refused(attributed))

    async def test_changes_what_it_is_given(self) -> None:
        """One that tampers with the peer changes nothing for those after it."""

        @policy("tampers")
        def tampers(peer: Any) -> Verdict:
            """Change the certificate."""
            peer.connection.identity.certificate = None
            return Accept()

        self.assertIn("FrozenInstanceError", await self.refused(tampers))

    async def test_async_failures(self) -> None:
        """The same after the handshake: exceptions, wrong results, cancelling itself."""

        @policy("raises")
        async def raises(peer: Peer) -> Verdict:
            """Fail after a while."""
            await asleep(0.001)
            raise RuntimeError("later")

        @policy("true")
        async def true(peer: Peer) -> Any:
            """Say yes in the wrong way."""
            return True

        @policy("cancels")
        async def cancels(peer: Peer) -> Any:
            """Cancel what it waits for."""
            waiting = asleep(5)
            waiting.cancel()
            await waiting

        @policy("foreign")
        async def foreign(peer: Peer) -> Any:
            """Await what is no Deferred."""

            class Foreign:
                def __await__(self) -> Any:
                    yield "something"

            await Foreign()

        for kind in (raises, true, cancels):
            await self.refused(kind)
        await self.refused(foreign, Reason.POLICY_ERROR)

    async def test_one_does_not_hurt_another(self) -> None:
        """While a policy fails for some clients others come in, on one port."""

        @policy("picky")
        def picky(peer: Peer) -> Verdict:
            """Fail for bad ones."""
            if peer.common_name == "bad":
                raise SystemExit(1)
            return Accept()

        port = self.start([use(picky)])
        for _ in range(3):
            self.assertFalse((await self.visit(port, self.bad)).ok)
            self.assertTrue((await self.visit(port, self.good)).ok)
        self.flushLoggedErrors()


class WaitingTests(PolicyCase):
    """Policies that wait decide after the handshake, before a byte of the application is read."""

    async def test_accept_and_refuse(self) -> None:
        """One comes in, the other's connection ends without a word."""
        port = self.start([use(later)])
        self.assertTrue((await self.visit(port, self.good)).ok)
        refused = await self.visit(port, self.bad)
        self.assertEqual((refused.reply, port.failures, len(port.talks)), (b"", {"later": 1}, 1))
        self.assertEqual(port.talks[0].info.attributes, {"later": "yes"})

    async def test_nothing_is_read_before(self) -> None:
        """What the client sends at once is there for the protocol when the policies have accepted."""
        gate: Deferred[None] = Deferred()

        @policy("gated")
        async def gated(peer: Peer) -> Verdict:
            """Wait for the test."""
            await gate
            return Accept()

        port = self.start([use(gated)], policy_timeout=30.0)
        visiting = self.visit(port, self.good, data=b"x" * 100_000)
        waiting = Deferred.fromCoroutine(visiting)
        await until(lambda: any(one.state == 2 for one in port.transports))
        self.assertEqual((port.counts.bytes_received, port.talks), (0, []))
        gate.callback(None)
        self.assertTrue((await waiting).ok)

    async def test_too_late(self) -> None:
        """One that does not decide in time refuses, is cancelled, and is not waited for if it does not heed that."""
        ends: list[str] = []

        @policy("slow")
        async def slow(peer: Peer) -> Verdict:
            """Never decide."""
            try:
                await Deferred()
            finally:
                ends.append("cancelled")
            return Accept()

        stubborn_gate: Deferred[None] = Deferred()

        @policy("stubborn")
        async def stubborn(peer: Peer) -> Verdict:
            """Go on although it was cancelled."""
            try:
                await Deferred()
            except BaseException:
                await stubborn_gate
            return Accept()

        for kind in (slow, stubborn):
            port = self.start([use(kind)], policy_timeout=0.02)
            outcome = await self.visit(port, self.good)
            self.assertEqual((outcome.reply, port.failures, port.talks), (b"", {Reason.POLICY_TIMEOUT: 1}, []))
        self.assertEqual(ends, ["cancelled"])
        stubborn_gate.callback(None)

    async def test_client_leaves(self) -> None:
        """A client that leaves while its policies decide ends them."""
        ends: list[str] = []

        @policy("slow")
        async def slow(peer: Peer) -> Verdict:
            """Never decide."""
            try:
                await Deferred()
            finally:
                ends.append("over")
            return Accept()

        port = self.start([use(slow)], policy_timeout=30.0)

        def leave() -> None:
            context = client_context(self.root, self.good)
            with connect(port.address) as plain, context.wrap_socket(plain, server_hostname="a.example"):
                plain.close()

        await in_thread(leave)
        await until(lambda: ends == ["over"])
        await port.idle()
        self.assertEqual(port.failures, {Reason.CLIENT_CLOSED: 1})

    async def test_many_at_once(self) -> None:
        """They wait side by side."""
        port = self.start([use(later)])
        outcomes = [Deferred.fromCoroutine(self.visit(port, self.good)) for _ in range(20)]
        self.assertTrue(all([(await one).ok for one in outcomes]))

    async def test_refuse_with_response(self) -> None:
        """Where the listener says so, the protocol is made to tell the client that it is refused."""
        port = self.start([use(later)], refuse_with=RefuseWith.RESPONSE)
        self.assertTrue((await self.visit(port, self.bad)).ok)
        self.assertEqual(port.refusals, [Reject("later", "not good")])
        self.assertEqual(port.failures, {"later": 1})

    async def test_rulings(self) -> None:
        """The record has what each policy said, and how long it took."""
        port = self.start([use(named), use(later)])
        await self.visit(port, self.good)
        entry = port.record.entries(9)[0][0]
        policies = entry["policies"]
        assert isinstance(policies, list)
        self.assertEqual([one["policy"] for one in policies], ["[0].named", "[1].later"])


class MissingTests(PolicyCase):
    """Clients without a certificate."""

    async def test_refused_by_default(self) -> None:
        """Where policies are a certificate is demanded, required or not, in fallback mode too."""
        for settings in ({"required": False}, {"mode": FALLBACK}, {}):
            port = self.start([use(named)], **settings)
            outcome = await self.visit(port, None)
            self.assertEqual((outcome.alert, port.failures), (CERTIFICATE_REQUIRED, {Reason.NO_CERTIFICATE: 1}))

    async def test_accepted_where_it_says_so(self) -> None:
        """``on_missing: accept`` lets them in, if the policies that judge them accept."""
        for settings in ({"required": False}, {"mode": FALLBACK}):
            port = self.start([use(named), use(anyone)], on_missing=OnMissing.ACCEPT, **settings)
            self.assertTrue((await self.visit(port, None)).ok)
            self.assertEqual(port.talks[0].info.attributes, {"anonymous": "True"})
            self.assertFalse((await self.visit(port, self.bad)).ok)

    async def test_policies_that_judge_them(self) -> None:
        """One that refuses clients without a certificate is heeded."""

        @policy("nobody", without_certificate=True)
        def nobody(peer: Peer) -> Verdict:
            """Refuse those without a certificate."""
            return Reject("nobody", "no") if peer.certificate is None else Accept()

        port = self.start([use(nobody)], required=False, on_missing=OnMissing.ACCEPT)
        self.assertFalse((await self.visit(port, None)).ok)
        self.assertEqual(port.failures, {"nobody": 1})


class FallbackTests(PolicyCase):
    """AllowInsecureFallback with policies."""

    async def test_policies_are_enforced(self) -> None:
        """Whoever shows a certificate has to pass them, verified or not; what is unverified stays so."""
        port = self.start([use(named)], mode=FALLBACK)
        stranger = Authority("stranger")
        self.assertTrue((await self.visit(port, self.good)).ok)
        self.assertTrue((await self.visit(port, stranger.issue("good"))).ok)
        self.assertFalse((await self.visit(port, self.bad)).ok)
        self.assertFalse((await self.visit(port, stranger.issue("bad"))).ok)
        self.assertEqual(
            [talk.info.identity.status for talk in port.talks],
            [CertificateStatus.VERIFIED, CertificateStatus.UNVERIFIED],
        )

    async def test_as_envoy(self) -> None:
        """``envoy_compatible`` lets everyone in; whom a policy refuses counts as unverified."""
        for kind in (named, later):
            port = self.start([use(kind)], mode=FALLBACK, envoy_compatible=True)
            for client in (self.good, self.bad, Authority("stranger").issue("bad"), None):
                self.assertTrue((await self.visit(port, client)).ok)
            self.assertEqual(
                [talk.info.identity.status.value for talk in port.talks],
                ["verified", "unverified", "unverified", "none"],
            )

    async def test_names_out_of_bounds(self) -> None:
        """A fault that OpenSSL finds after the policies were asked leaves the client unverified."""
        narrow = narrow_authority(self.root)
        seen: list[bool] = []

        @policy("spy")
        def spy(peer: Peer) -> Verdict:
            """Remember whether the client was verified."""
            seen.append(peer.verified)
            return Accept()

        port = self.start([use(spy)], mode=FALLBACK)
        for client in (self.root.issue_expired("good"), narrow.issue("good", dns=["outside.example"])):
            seen.clear()
            self.assertTrue((await self.visit(port, client)).ok)
            self.assertEqual((seen[-1], port.talks[-1].info.identity.status), (False, CertificateStatus.UNVERIFIED))


class AlertTests(PolicyCase):
    """The alert says what kind of refusal it was, as far as OpenSSL can be made to."""

    async def test_by_reason(self) -> None:
        """Reasons that have an alert of their own get it; what a plugin thinks of is certificate_unknown."""
        expected = {
            Reason.CERTIFICATE_REVOKED: REVOKED,
            Reason.CERTIFICATE_HASH: BAD_CERTIFICATE,
            Reason.SUBJECT_ALT_NAME: CERTIFICATE_UNKNOWN,
            Reason.RATE_LIMITED: HANDSHAKE_FAILURE,
            Reason.CRL_MISSING: UNKNOWN_CA,
            "special": CERTIFICATE_UNKNOWN,
        }
        for code, alert in expected.items():

            @policy("special")
            def special(peer: Peer, code: str = code) -> Verdict:
                """Refuse."""
                return Reject(code)

            port = self.start([use(special)])
            for version in (TLS1_2, TLS1_3):
                self.assertEqual((code, (await self.visit(port, self.good, version)).alert), (code, alert))


class CacheTests(PolicyCase):
    """Answers that are used again."""

    async def test_by_certificate(self) -> None:
        """A costly policy is asked once about a certificate, and again when it says that something has changed."""
        asked: list[str] = []

        @policy("costly", cache_seconds=60.0)
        async def costly(peer: Peer) -> Verdict:
            """Count."""
            asked.append(peer.common_name)
            return Accept() if peer.common_name == "good" else Reject("costly")

        port = self.start([use(costly)])
        for _ in range(3):
            self.assertTrue((await self.visit(port, self.good)).ok)
            self.assertFalse((await self.visit(port, self.bad)).ok)
        self.assertEqual(asked, ["good", "bad"])
        listener: Any = port.profile.first
        listener.verification.policies.forget()
        self.assertTrue((await self.visit(port, self.good)).ok)
        self.assertEqual(asked, ["good", "bad", "good"])

    async def test_failures_are_not_kept(self) -> None:
        """An exception is no answer: the next connection asks again."""
        fails = [True]

        @policy("flaky", cache_seconds=60.0)
        def flaky(peer: Peer) -> Verdict:
            """Fail once."""
            if fails.pop() if fails else False:
                raise RuntimeError("once")
            return Accept()

        port = self.start([use(flaky)])
        self.assertFalse((await self.visit(port, self.good)).ok)
        self.assertTrue((await self.visit(port, self.good)).ok)
        self.flushLoggedErrors()

