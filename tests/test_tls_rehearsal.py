"""A rehearsed handshake ends as a real one does, with the client's private key at hand and without."""
from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.trial.unittest import TestCase

from edgegw.api import Accept, Reason, Reject
from edgegw.identity import CertificateStatus
from edgegw.model import OnMissing, PolicyUse
from edgegw.observe.metrics import Metrics
from edgegw.proxy.generation import Generation
from edgegw.tls.rehearsal import ClientSide, Rehearsed, rehearse
from tests.gateway import SERVER, Authority, Issued, gateway, https_listener, validation
from tests.test_tls_policies import CERTIFICATE_UNKNOWN, FALLBACK, anyone, later, named, use
from tests.tls_peers import TLS1_2, TLS1_3

reactor: Any = global_reactor


class RehearsalTests(TestCase):
    """What comes of it."""

    def setUp(self) -> None:
        self.root = Authority()
        self.server = self.root.issue("server", dns=["a.example"], usages=SERVER)

    async def play(
        self, policies: tuple[PolicyUse, ...] | None, client: Issued | None, with_key: bool, version: int = TLS1_3,
        **settings: Any,
    ) -> Rehearsed:
        """Rehearse one."""
        ask = settings.pop("ask_waiting", True)
        wanted = evolve(validation(self.root), policies=policies, **settings)
        listener = https_listener([self.server], wanted)
        generation = Generation(reactor, gateway([listener]), Metrics())
        judge = generation.tls_listener(listener.name)
        side = ClientSide(server_name="a.example", version=version)
        if client is not None:
            key = client.key if with_key else None
            side = evolve(side, certificate=client.certificate, chain=client.chain, key=key)
        return await rehearse(judge, judge.certificates.find("a.example"), side, ask)

    async def test_as_in_a_handshake(self) -> None:
        """The verdict, its reason, the status and the chain are what a gateway would give."""
        inter = Authority("inter", self.root)
        good, bad = inter.issue("good"), inter.issue("bad")
        rows = [
            (good, Accept({"name": "good"}), CertificateStatus.VERIFIED, 3),
            (bad, "named", CertificateStatus.VERIFIED, 3),
            (good.without_chain(), Reason.UNKNOWN_CA, CertificateStatus.UNVERIFIED, 1),
            (Authority("stranger").issue("good"), Reason.UNKNOWN_CA, CertificateStatus.UNVERIFIED, 1),
            (self.root.issue_expired("good"), Reason.CERTIFICATE_EXPIRED, CertificateStatus.UNVERIFIED, 2),
            (self.root.issue("good", key="RSA-1024"), Reason.CERTIFICATE_WEAK, CertificateStatus.UNVERIFIED, 1),
            (self.root.issue("good", usages=SERVER), Reason.CERTIFICATE_PURPOSE, CertificateStatus.UNVERIFIED, 2),
            (None, Reason.NO_CERTIFICATE, CertificateStatus.NONE, 0),
        ]
        for client, wanted, status, length in rows:
            for with_key in (True, False):
                for version in (TLS1_2, TLS1_3):
                    with self.subTest(client=client and client.certificate.subject, key=with_key, version=version):
                        got = await self.play((use(named),), client, with_key, version)
                        verdict = got.verdict if isinstance(got.verdict, Accept) else got.verdict.code
                        self.assertEqual((verdict, got.status, len(got.chain)), (wanted, status, length))
        refused = await self.play((use(named),), bad, False)
        self.assertEqual(refused.alert, CERTIFICATE_UNKNOWN)
        self.assertEqual([ruling.policy for ruling in refused.rulings], ["named"])

    async def test_fallback(self) -> None:
        """In AllowInsecureFallback what is unverified is told so, and policies are asked about it."""
        stranger = Authority("stranger")
        for with_key in (True, False):
            good = await self.play((use(named),), stranger.issue("good"), with_key, mode=FALLBACK)
            self.assertEqual((good.verdict, good.status), (Accept({"name": "good"}), CertificateStatus.UNVERIFIED))
            bad = await self.play((use(named),), stranger.issue("bad"), with_key, mode=FALLBACK)
            self.assertEqual(bad.verdict, Reject("named", "bad is not good"))
            all_in = await self.play(
                (use(named),), self.root.issue("bad"), with_key, mode=FALLBACK, envoy_compatible=True
            )
            self.assertEqual((all_in.verdict, all_in.status), (Accept(), CertificateStatus.UNVERIFIED))

    async def test_policies_that_wait(self) -> None:
        """They are asked, or left out where that is wanted."""
        for with_key in (True, False):
            refused = await self.play((use(later),), self.root.issue("bad"), with_key)
            self.assertEqual(refused.verdict, Reject("later", "not good"))
            accepted = await self.play((use(named), use(later)), self.root.issue("good"), with_key)
            self.assertEqual(accepted.verdict, Accept({"name": "good", "later": "yes"}))
            left_out = await self.play((use(later),), self.root.issue("bad"), with_key, ask_waiting=False)
            self.assertEqual((type(left_out.verdict), left_out.not_asked), (Accept, True))

    async def test_without_a_certificate(self) -> None:
        """Clients without one are judged too."""
        got = await self.play(
            (use(anyone),), None, False, required=False, on_missing=OnMissing.ACCEPT
        )
        self.assertEqual((got.verdict, got.status), (Accept({"anonymous": "True"}), CertificateStatus.NONE))
