"""Policies in real handshakes, as plugin authors test them."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.api import Accept, HTTPAnswer, Peer, Reject, Verdict, option, policy
from edgegw.identity import CertificateStatus
from edgegw.model import XFCC, Listener, OnMissing, PolicyAny, PolicyNot, Protocol, RefuseWith, ValidationMode
from edgegw.proxy.generation import GenerationError
from edgegw.testing import Authority, FakeEnvironment, build, handshake, serve
from edgegw.testing.handshakes import policy_rules


@frozen
class Config:
    """The options."""

    suffix: str = option("The ending of names that come in.", default=".corp.example")


@policy("dns_suffix", Config)
def dns_suffix(config: Config, peer: Peer) -> Verdict:
    """Let clients in whose DNS names have an ending."""
    if peer.dns_names and all(name.endswith(config.suffix) for name in peer.dns_names):
        return Accept({"team": peer.dns_names[0].partition(".")[0]})
    return Reject("dns_suffix", f"{peer.dns_names}")


@policy("by_address", without_certificate=True)
def by_address(peer: Peer) -> Verdict:
    """Let clients of one address in."""
    return Accept() if peer.address == "127.0.0.9" else Reject("by_address", peer.address)


@policy("asking", Config)
class Asking:
    """Ask a service."""

    def __init__(self, config: Config, env: Any) -> None:
        self.http = env.http()
        self.asked = 0
        self.closed = False

    async def check(self, peer: Peer) -> Verdict:
        """Ask."""
        self.asked += 1
        answer = await self.http.request("GET", "https://a.example/")
        return Accept({"asked": "yes"}) if answer.status == 200 else Reject("asking", str(answer.status))

    def close(self) -> None:
        """Note it."""
        self.closed = True


@policy("requested")
def requested(peer: Peer) -> Verdict:
    """Let requests in that have a header."""
    assert peer.request is not None
    return Accept() if peer.request.header("x-key") == "open" else Reject("requested")


@policy("broken")
def broken(peer: Peer) -> Verdict:
    """Fail."""
    raise ZeroDivisionError


AUTHORITY = Authority("the clients' root")
OURS = AUTHORITY.issue("ours", dns=["a.corp.example"])
OTHER = AUTHORITY.issue("other", dns=["mtls.com"])


class HandshakeTests(TestCase):
    """One handshake in one line."""

    async def test_accepted(self) -> None:
        """A client whom the policies let in gets its answer, and the upstream hears of it."""
        outcome = await handshake([(dns_suffix, Config())], OURS)
        self.assertEqual((outcome.accepted, outcome.code, outcome.status, outcome.body), (True, "", 200, b"hello"))
        self.assertEqual(outcome.status_of_client, CertificateStatus.VERIFIED)
        self.assertEqual(outcome.attributes, {"team": "a"})
        (ruling,) = outcome.rulings
        self.assertEqual((ruling.policy, ruling.verdict), ("dns_suffix", Accept({"team": "a"})))
        self.assertEqual((outcome.alert, outcome.error), (None, None))
        self.assertIn("DNS=a.corp.example", outcome.headers["x-forwarded-client-cert"])

    async def test_refused(self) -> None:
        """One whom they do not gets an alert, and the reason is known."""
        for version in ("TLSv1.2", "TLSv1.3"):
            outcome = await handshake([dns_suffix], OTHER, tls_version=version)
            self.assertEqual((outcome.accepted, outcome.code, outcome.status), (False, "dns_suffix", None))
            self.assertEqual(outcome.detail, "('mtls.com',)")
            self.assertIsNotNone(outcome.alert)
            self.assertIsNotNone(outcome.error)
            self.assertEqual(outcome.headers, {})
            self.assertEqual(outcome.attributes, {})

    async def test_untrusted(self) -> None:
        """A certificate of an authority that is not trusted does not come to the policies."""
        outcome = await handshake([dns_suffix], OURS, trust=[Authority()])
        self.assertEqual((outcome.accepted, outcome.code, outcome.rulings), (False, "unknown_ca", ()))
        self.assertEqual(outcome.alert, 48)

    async def test_expired(self) -> None:
        """Neither does one that has expired."""
        outcome = await handshake([dns_suffix], AUTHORITY.issue_expired(dns=["a.corp.example"]))
        self.assertEqual((outcome.code, outcome.alert), ("certificate_expired", 45))

    async def test_no_certificate(self) -> None:
        """A client without one is refused, or let in where none is required."""
        outcome = await handshake([dns_suffix])
        self.assertEqual((outcome.accepted, outcome.code, outcome.alert), (False, "no_certificate", 116))
        self.assertEqual(outcome.status_of_client, CertificateStatus.NONE)
        self.assertTrue((await handshake(required=False)).accepted)
        self.assertFalse((await handshake([dns_suffix], required=False)).accepted)
        self.assertTrue((await handshake([dns_suffix], required=False, on_missing=OnMissing.ACCEPT)).accepted)

    async def test_without_certificate(self) -> None:
        """A policy that judges everybody sees where a client without a certificate comes from."""
        options: dict[str, Any] = {"required": False, "on_missing": OnMissing.ACCEPT}
        self.assertTrue((await handshake([by_address], address="127.0.0.9", **options)).accepted)
        outcome = await handshake([by_address], **options)
        self.assertEqual((outcome.code, outcome.detail), ("by_address", "127.0.0.1"))

    async def test_broken_policy(self) -> None:
        """A policy that fails lets nobody in."""
        outcome = await handshake([broken], OURS)
        self.assertEqual((outcome.accepted, outcome.code), (False, "policy_error"))
        self.assertIn("ZeroDivisionError", outcome.detail)

    async def test_no_policies(self) -> None:
        """No policies let in whoever is trusted; an empty list nobody."""
        self.assertTrue((await handshake(client=OURS)).accepted)
        self.assertEqual((await handshake([], OURS)).code, "no_policy")

    async def test_waiting(self) -> None:
        """A policy that waits decides after the handshake, before the request is read."""
        from twisted.internet import reactor

        clock: Any = reactor

        def service(status: int) -> FakeEnvironment:
            return FakeEnvironment(http=lambda request: deferLater(clock, 0, HTTPAnswer, status, {}, b""))

        outcome = await handshake([Asking], OURS, env=service(200))
        self.assertEqual((outcome.accepted, outcome.attributes), (True, {"asked": "yes"}))
        outcome = await handshake([Asking], OURS, env=service(403))
        self.assertEqual((outcome.accepted, outcome.code, outcome.status), (False, "asking", None))
        outcome = await handshake([Asking], OURS, env=service(403), refuse_with=RefuseWith.RESPONSE)
        self.assertEqual((outcome.accepted, outcome.code, outcome.status), (False, "asking", 403))

    async def test_too_late(self) -> None:
        """One that never decides refuses when its time is over."""
        env = FakeEnvironment(http=lambda request: Deferred())
        outcome = await handshake([Asking], OURS, env=env, policy_timeout=0.01)
        self.assertEqual((outcome.accepted, outcome.code), (False, "policy_timeout"))

    async def test_combined(self) -> None:
        """Policies are combined as the model combines them."""
        (rule,) = policy_rules([(dns_suffix, {"suffix": ".com"})])
        either = PolicyAny((*policy_rules([dns_suffix]), rule))
        self.assertTrue((await handshake([either], OTHER)).accepted)
        self.assertEqual((await handshake([PolicyNot(rule)], OTHER)).code, "excluded")

    async def test_fallback(self) -> None:
        """With AllowInsecureFallback a stranger comes in, and is shown as unverified."""
        outcome = await handshake(
            client=OURS, trust=[Authority()], mode=ValidationMode.ALLOW_INSECURE_FALLBACK
        )
        self.assertEqual((outcome.accepted, outcome.status_of_client), (True, CertificateStatus.UNVERIFIED))
        self.assertNotIn("x-forwarded-client-cert", outcome.headers)

    async def test_names(self) -> None:
        """The name that a client asks for is the client's choice."""
        self.assertTrue((await handshake(client=OURS, sni="a.edge.example")).accepted)
        self.assertTrue((await handshake(client=OURS, sni=None)).accepted)

    async def test_rule(self) -> None:
        """Policies of a route's rule see the request, and refuse it with 403."""
        self.assertTrue((await handshake(client=OURS, rule=[requested], headers={"X-Key": "open"})).accepted)
        outcome = await handshake(client=OURS, rule=[requested], method="POST", path="/x")
        self.assertEqual((outcome.accepted, outcome.status, outcome.code), (False, 403, "requested"))

    async def test_listener(self) -> None:
        """A whole listener can be given for what there is no word for here."""
        listener = Listener("inner", 0, Protocol.HTTPS, "127.0.0.1", policies=policy_rules([dns_suffix]))
        self.assertEqual((await handshake(client=OTHER, listener=listener)).code, "dns_suffix")


class ServeTests(TestCase):
    """Several handshakes with one gateway."""

    async def test_resumption(self) -> None:
        """A session is resumed, and the policies decide about it again."""
        built = build(Asking, {}, FakeEnvironment(http=lambda request: HTTPAnswer(200, {}, b"")))
        for version in ("TLSv1.2", "TLSv1.3"):
            async with serve([built], trust=[AUTHORITY]) as edge:
                first = await edge.handshake(OURS, tls_version=version)
                again = await edge.handshake(OURS, tls_version=version, session=first.session)
            self.assertEqual((first.resumed, again.resumed, again.accepted), (False, True, True))
            self.assertEqual(again.attributes, {"asked": "yes"})
        self.assertEqual(built.policy.asked, 4)
        self.assertFalse(built.policy.closed)

    async def test_cache(self) -> None:
        """An answer is used again until the policy says that it no longer holds."""
        env = FakeEnvironment(http=lambda request: HTTPAnswer(200, {}, b""))
        built = build(Asking, {}, env)
        built.policy.cache_seconds = 60.0
        async with serve([built], trust=[AUTHORITY]) as edge:
            for number in (1, 1):
                self.assertTrue((await edge.handshake(OURS)).accepted)
                self.assertEqual(built.policy.asked, number)
            env.changed()
            outcome = await edge.handshake(OURS)
        self.assertEqual((built.policy.asked, outcome.rulings[0].cached), (2, False))

    async def test_time(self) -> None:
        """Policies of the connection and of the rule judge by the time of the test, in UTC; chains by the present."""
        told: list[datetime] = []

        @policy("clocked")
        def clocked(peer: Peer) -> Verdict:
            """Note the time."""
            told.append(peer.now)
            return Accept()

        night = datetime(2001, 2, 3, 4, 5, tzinfo=ZoneInfo("Asia/Tokyo"))
        self.assertTrue((await handshake([clocked], OURS, rule=[clocked], now=night)).accepted)
        self.assertEqual(told, [night, night])
        self.assertEqual({one.tzinfo for one in told}, {UTC})
        moments = iter(night + timedelta(hours=hour) for hour in range(3))
        async with serve([clocked], trust=[OURS], now=lambda: next(moments)) as edge:
            for _ in range(3):
                await edge.handshake(OURS)
        self.assertEqual([one - night for one in told[2:]], [timedelta(hours=hour) for hour in range(3)])
        with self.assertRaises(ValueError):
            await handshake([clocked], now=datetime(2001, 2, 3))

    async def test_faulty_settings(self) -> None:
        """What the gateway does not take is raised, and leaves nothing open."""
        with self.assertRaises(GenerationError):
            await handshake(client=OURS, injectors=(XFCC(), XFCC()))

    async def test_policies_are_closed(self) -> None:
        """What was built for it gives up what it holds at the end."""
        made: list[Any] = []

        @policy("closing")
        class Closing:
            """Note its end."""

            def __init__(self, env: Any) -> None:
                made.append(self)
                self.closed = False

            def check(self, peer: Peer) -> Verdict:
                return Accept()

            def close(self) -> None:
                self.closed = True

        async with serve([Closing]):
            self.assertFalse(made[0].closed)
        self.assertTrue(made[0].closed)


class PolicyRulesTests(SynchronousTestCase):
    """What is taken for a policy."""

    def test_no_policy(self) -> None:
        """Anything else is told."""
        for wrong in (None, "dns_suffix", (dns_suffix,), (dns_suffix, Config(), 1)):
            self.assertRaises(TypeError, policy_rules, [wrong])
