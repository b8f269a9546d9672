"""Session tickets: how long they hold, and that no decision is skipped by resuming."""
from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from twisted.trial.unittest import TestCase

from edgegw.identity import CertificateStatus
from edgegw.model import ClientValidation, Listener, TLSSettings, ValidationMode
from edgegw.tls import verification as verification_module
from edgegw.verdict import Reason
from tests.gateway import SERVER, Authority, Issued, https_listener, in_thread, validation
from tests.tls_peers import TLS1_2, TLS1_3, BarePort, Outcome, start_port, visit

FALLBACK = ValidationMode.ALLOW_INSECURE_FALLBACK
VERSIONS = (TLS1_2, TLS1_3)


class SessionCase(TestCase):
    """An authority, a client, and ports."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.server = self.pki.issue("a.example", dns=["a.example"], usages=SERVER)
        self.client = self.pki.issue("client", dns=["client.example"])

    def listener(self, client_validation: ClientValidation | None = None, **settings: Any) -> Listener:
        """Give a listener; ``settings`` are those of TLS."""
        return https_listener([self.server], client_validation, tls=TLSSettings((), **settings))

    def start(self, client_validation: ClientValidation | None = None, **settings: Any) -> BarePort:
        """Serve it."""
        return start_port(self, self.listener(client_validation, **settings))

    async def first(self, port: BarePort, version: int, certificate: Issued | None = None, **more: Any) -> Outcome:
        """Connect without a session."""
        outcome = await visit(port, version=version, certificate=certificate, **more)
        self.assertTrue(outcome.ok)
        self.assertFalse(port.talks[-1].info.resumed)
        return outcome

    async def again(
        self, port: BarePort, version: int, session: SSL.Session | None, certificate: Issued | None = None, **more: Any
    ) -> bool:
        """Connect with a session; whether it was resumed, when the client was let in at all."""
        outcome = await visit(port, version=version, session=session, certificate=certificate, **more)
        self.assertTrue(outcome.ok)
        return bool(port.talks[-1].info.resumed)


class TicketTests(SessionCase):
    """Tickets on and off, and their lifetime."""

    async def test_resumed(self) -> None:
        """A session is resumed, is counted as that, and keeps the client's verified identity."""
        port = self.start(validation(self.pki))
        for version in VERSIONS:
            session = (await self.first(port, version, self.client)).session
            before = port.talks[-1].info.identity
            self.assertTrue(await self.again(port, version, session))
            after = port.talks[-1].info.identity
            self.assertEqual(after.status, CertificateStatus.VERIFIED)
            self.assertEqual(after.certificate.der, before.certificate.der)
        resumed = sum(number for key, number in port.counts.tls.items() if key[3])
        self.assertEqual(resumed, 2)

    async def test_off(self) -> None:
        """Without tickets nothing is resumed."""
        port = self.start(validation(self.pki), session_tickets=False)
        for version in VERSIONS:
            session = (await self.first(port, version, self.client)).session
            self.assertFalse(await self.again(port, version, session, self.client))

    async def test_off_where_the_chain_is_needed(self) -> None:
        """A ticket does not hold the chain, so a listener that is asked for it gives none."""
        port = start_port(self, self.listener(validation(self.pki)), needs_chain=True)
        for version in VERSIONS:
            session = (await self.first(port, version, self.client)).session
            self.assertFalse(await self.again(port, version, session, self.client))

    async def test_lifetime(self) -> None:
        """A session is resumed for its lifetime, which no resumption prolongs."""
        port = self.start(session_lifetime=2.0)
        sessions = {version: (await self.first(port, version)).session for version in VERSIONS}
        renewed = {}
        for version in VERSIONS:
            outcome = await visit(port, version=version, session=sessions[version])
            self.assertTrue(port.talks[-1].info.resumed)
            renewed[version] = outcome.session
        await in_thread(time.sleep, 3.1)
        for version in VERSIONS:
            self.assertFalse(await self.again(port, version, sessions[version]))
            self.assertFalse(await self.again(port, version, renewed[version]))


class DecisionTests(SessionCase):
    """What is decided again when a session is resumed."""

    def later(self, days: float) -> None:
        """Let the listener's clock be ahead."""

        class Ahead:
            @staticmethod
            def now(tz: Any) -> datetime:
                return datetime.now(tz) + timedelta(days=days)

        self.patch(verification_module, "datetime", Ahead)

    async def test_expired_since(self) -> None:
        """A certificate that has expired since the session was made lets nobody in."""
        port = self.start(validation(self.pki))
        for version in VERSIONS:
            session = (await self.first(port, version, self.client)).session
            self.later(31)
            outcome = await visit(port, version=version, session=session)
            self.assertEqual(outcome.reply, b"")
            self.assertFalse(outcome.closed)
            self.patch(verification_module, "datetime", datetime)
        await port.idle()
        self.assertEqual(port.failures, {Reason.CERTIFICATE_EXPIRED: 2})

    async def test_not_yet_valid_any_more(self) -> None:
        """So does one whose time has not come, by a clock that was put back."""
        port = self.start(validation(self.pki))
        session = (await self.first(port, TLS1_3, self.client)).session
        self.later(-31)
        self.assertEqual((await visit(port, version=TLS1_3, session=session)).reply, b"")
        await port.idle()
        self.assertEqual(port.failures, {Reason.CERTIFICATE_NOT_YET_VALID: 1})

    async def test_expired_since_in_fallback(self) -> None:
        """Where everybody is let in, it is unverified from then on."""
        port = self.start(validation(self.pki, mode=FALLBACK))
        for version in VERSIONS:
            session = (await self.first(port, version, self.client)).session
            self.later(31)
            self.assertTrue(await self.again(port, version, session))
            self.assertEqual(port.talks[-1].info.identity.status, CertificateStatus.UNVERIFIED)
            self.patch(verification_module, "datetime", datetime)

    async def test_unverified_stays_unverified(self) -> None:
        """Resuming makes no stranger, and nobody without a certificate, a verified client."""
        port = self.start(validation(self.pki, mode=FALLBACK))
        stranger = Authority("stranger").issue("client")
        for version in VERSIONS:
            for certificate, status in (
                (stranger, CertificateStatus.UNVERIFIED),
                (self.pki.issue_expired(), CertificateStatus.UNVERIFIED),
                (None, CertificateStatus.NONE),
                (self.client, CertificateStatus.VERIFIED),
            ):
                session = (await self.first(port, version, certificate)).session
                self.assertTrue(await self.again(port, version, session))
                self.assertEqual(port.talks[-1].info.identity.status, status)

    async def test_not_required_stays_nobody(self) -> None:
        """A session of a client without a certificate is one without a certificate."""
        port = self.start(validation(self.pki, required=False))
        for version in VERSIONS:
            session = (await self.first(port, version)).session
            self.assertTrue(await self.again(port, version, session))
            self.assertEqual(port.talks[-1].info.identity.status, CertificateStatus.NONE)


class CarriedTests(SessionCase):
    """Sessions that are taken to where they were not made."""

    async def refused(self, made_by: BarePort, used_at: BarePort, certificate: Issued | None, **names: Any) -> None:
        """See that a session is not resumed elsewhere, and that a client with nothing else is not let in."""
        for version in VERSIONS:
            session = (await self.first(made_by, version, certificate)).session
            self.assertFalse(await self.again(used_at, version, session, self.client, **names))
            outcome = await visit(used_at, version=version, session=session, **names)
            self.assertEqual((outcome.ok, outcome.alert), (False, 116 if version == TLS1_3 else 40))

    async def test_to_another_port(self) -> None:
        """Not on another port, even with the same settings."""
        await self.refused(self.start(validation(self.pki)), self.start(validation(self.pki)), self.client)

    async def test_from_fallback(self) -> None:
        """Not from a listener that lets everybody in to one that does not."""
        made_by = self.start(validation(self.pki, mode=FALLBACK))
        used_at = self.start(validation(self.pki))
        for certificate in (None, self.client, Authority("stranger").issue("client")):
            await self.refused(made_by, used_at, certificate)

    async def test_to_another_trust(self) -> None:
        """Not from one authority's listener to another's."""
        other = Authority("other")
        await self.refused(self.start(validation(other)), self.start(validation(self.pki)), other.issue("client"))

    async def test_to_another_name(self) -> None:
        """Not from one host name's listener to another's on one port."""
        other = Authority("other")
        listeners = [
            https_listener([self.server], validation(other), name="open", hostname="a.example"),
            https_listener([self.server], validation(self.pki), name="closed", hostname="b.example"),
        ]
        port = start_port(self, listeners)
        await self.refused(port, port, other.issue("client"), server_name="b.example")

    async def test_to_another_certificate(self) -> None:
        """Not from one certificate's names to another's on one listener."""
        second = self.pki.issue("b.example", dns=["b.example"], usages=SERVER)
        port = start_port(self, https_listener([self.server, second], validation(self.pki)))
        await self.refused(port, port, self.client, server_name="b.example")

    async def test_to_another_generation(self) -> None:
        """Not after a new configuration was swapped in, though it is the same one."""
        listener = self.listener(validation(self.pki))
        port = start_port(self, listener)
        for version in VERSIONS:
            session = (await self.first(port, version, self.client)).session
            port.use([evolve(listener)])
            self.assertFalse(await self.again(port, version, session, self.client))
            self.assertFalse((await visit(port, version=version, session=session)).ok)

    async def test_forged_ticket(self) -> None:
        """A session of somebody else's server is just not resumed."""
        port = self.start()
        elsewhere = self.start()
        for version in VERSIONS:
            session = (await self.first(elsewhere, version)).session
            self.assertFalse(await self.again(port, version, session))
        self.assertEqual(port.failures, {})
