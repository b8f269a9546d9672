"""The plain policies in real handshakes: who comes in, and what is counted of those who do not."""
from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import TestCase

from edgegw.model import PolicyUse
from edgegw.policies.distinguished_names import IssuerName, SubjectName
from edgegw.policies.extended_key_usage import ExtendedKeyUsage
from edgegw.policies.hashes import CertificateHash, SPKIHash
from edgegw.policies.key_strength import KeyStrength
from edgegw.policies.serial import SerialNumber
from edgegw.policies.subject_alt_names import SubjectAltNames
from edgegw.policies.validity import Validity
from edgegw.testing import FakeEnvironment, options
from edgegw.verdict import Reason

from .gateway import BOTH, SERVER, Authority, Issued, https_listener, validation
from .tls_peers import TLS1_2, TLS1_3, BarePort, start_port, visit

ROOT = Authority("root")
GATEWAY = ROOT.issue("a.example", dns=["a.example"], usages=SERVER)
GOOD = ROOT.issue("good", dns=["good.corp.example"])


def spki(issued: Issued) -> str:
    """Give the SHA-256 of a certificate's public key in base64."""
    key = issued.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(sha256(key).digest()).decode()


def start(case: TestCase, *policies: tuple[Any, dict[str, Any]]) -> BarePort:
    """Serve a listener with these policies."""
    rules = tuple(
        PolicyUse(kind, kind.build(options(kind, document), FakeEnvironment())) for kind, document in policies
    )
    return start_port(case, https_listener([GATEWAY], validation(ROOT, policies=rules)))


class HandshakeTests(TestCase):
    """Each policy lets one client in and another not."""

    async def check(
        self, kind: Any, document: dict[str, Any], bad: Issued, reason: Reason, good: Issued = GOOD
    ) -> None:
        """See who comes in with either version of TLS."""
        port = start(self, (kind, document))
        for number, version in enumerate((TLS1_2, TLS1_3), 1):
            came = await visit(port, certificate=good, version=version)
            self.assertTrue(came.ok, came)
            refused = await visit(port, certificate=bad, version=version)
            self.assertFalse(refused.ok)
            self.assertEqual(refused.reply, b"")
            await port.idle()
            self.assertEqual(port.failures, {reason: number})

    async def test_subject_alt_names(self) -> None:
        """A client with the name of another is refused."""
        await self.check(SubjectAltNames, {"dns": [{"suffix": ".corp.example"}]},
                         ROOT.issue("bad", dns=["mtls.com"]), Reason.SUBJECT_ALT_NAME)

    async def test_certificate_hash(self) -> None:
        """A client with a certificate that is not pinned is refused."""
        await self.check(CertificateHash, {"hashes": [sha256(GOOD.der).hexdigest()]},
                         ROOT.issue("bad"), Reason.CERTIFICATE_HASH)

    async def test_spki_hash(self) -> None:
        """A client with a key that is not pinned is refused."""
        await self.check(SPKIHash, {"hashes": [spki(GOOD)]}, ROOT.issue("bad"), Reason.SPKI_HASH)

    async def test_subject(self) -> None:
        """A client with another subject is refused."""
        await self.check(SubjectName, {"names": ["CN=good"]}, ROOT.issue("bad"), Reason.SUBJECT)

    async def test_issuer(self) -> None:
        """A client of another CA below the same root is refused."""
        await self.check(IssuerName, {"names": ["CN=root"]}, Authority("other", ROOT).issue("bad"), Reason.ISSUER)

    async def test_extended_key_usage(self) -> None:
        """A client whose certificate is a server's, too, is refused."""
        await self.check(ExtendedKeyUsage, {"none_of": ["serverAuth"]}, ROOT.issue("bad", usages=BOTH),
                         Reason.EXTENDED_KEY_USAGE)

    async def test_key_strength(self) -> None:
        """A client with a key that is too weak is refused."""
        await self.check(KeyStrength, {"min_rsa_bits": 3072}, ROOT.issue("bad", key="RSA"), Reason.CERTIFICATE_WEAK)

    async def test_key_strength_of_the_chain(self) -> None:
        """A client whose issuer has a key that is too weak is refused, with what was sent or not."""
        weak = Authority("weak", ROOT, key="RSA")
        await self.check(KeyStrength, {"min_rsa_bits": 3072, "chain": True}, weak.issue("bad"), Reason.CERTIFICATE_WEAK,
                         Authority("strong", ROOT).issue("good"))

    async def test_validity(self) -> None:
        """A client with a certificate for too long is refused."""
        bad = ROOT.issue("bad", not_after=datetime.now(UTC) + timedelta(days=300))
        await self.check(Validity, {"max_lifetime": "2160h"}, bad, Reason.CERTIFICATE_LIFETIME)

    async def test_serial(self) -> None:
        """A client whose serial number is denied is refused."""
        bad = ROOT.issue("bad")
        document = {"deny": [f"{bad.certificate.serial_number:x}"], "issuer": "CN=root"}
        await self.check(SerialNumber, document, bad, Reason.SERIAL)


class ExpiredTests(TestCase):
    """Clients whose certificate has expired, or is not valid yet."""

    async def test_without(self) -> None:
        """Without allow_expired TLS refuses them, whatever the policy measures."""
        port = start(self, (Validity, {"max_lifetime": "9999h"}))
        for bad, reason in ((ROOT.issue_expired(), Reason.CERTIFICATE_EXPIRED),
                            (ROOT.issue_future(), Reason.CERTIFICATE_NOT_YET_VALID)):
            self.assertFalse((await visit(port, certificate=bad)).ok)
            await port.idle()
            self.assertEqual(port.failures.get(reason), 1)

    async def test_allowed(self) -> None:
        """With allow_expired the expired ones come in, and those that are not valid yet do not."""
        port = start(self, (Validity, {"allow_expired": True}))
        self.assertTrue((await visit(port, certificate=ROOT.issue_expired())).ok)
        self.assertTrue((await visit(port, certificate=GOOD)).ok)
        self.assertFalse((await visit(port, certificate=ROOT.issue_future())).ok)
        await port.idle()
        self.assertEqual(port.failures, {Reason.CERTIFICATE_NOT_YET_VALID: 1})

    async def test_limit(self) -> None:
        """With max_expired those that have expired long ago are refused as expired."""
        port = start(self, (Validity, {"allow_expired": True, "max_expired": "48h"}))
        self.assertTrue((await visit(port, certificate=ROOT.issue_expired())).ok)
        old = ROOT.issue("old", not_before=datetime.now(UTC) - timedelta(days=90),
                         not_after=datetime.now(UTC) - timedelta(days=3))
        self.assertFalse((await visit(port, certificate=old)).ok)
        await port.idle()
        self.assertEqual(port.failures, {Reason.CERTIFICATE_EXPIRED: 1})

    async def test_not_yet_valid(self) -> None:
        """With allow_not_yet_valid those come in that are not valid yet, and expired ones do not."""
        port = start(self, (Validity, {"allow_not_yet_valid": True, "max_not_yet_valid": "48h"}))
        self.assertTrue((await visit(port, certificate=ROOT.issue_future())).ok)
        self.assertFalse((await visit(port, certificate=ROOT.issue_expired())).ok)
        await port.idle()
        self.assertEqual(port.failures, {Reason.CERTIFICATE_EXPIRED: 1})

    async def test_other_faults(self) -> None:
        """allow_expired forgives nothing else: an expired client of an unknown CA is refused."""
        port = start(self, (Validity, {"allow_expired": True}))
        self.assertFalse((await visit(port, certificate=Authority("root").issue_expired())).ok)
        self.assertFalse((await visit(port, certificate=ROOT.issue_expired(usages=SERVER))).ok)
        await port.idle()
        self.assertEqual(sum(port.failures.values()), 2)
        self.assertNotIn(Reason.CERTIFICATE_EXPIRED, port.failures)

    async def test_other_policies(self) -> None:
        """An expired client must satisfy the other policies, too."""
        port = start(self, (Validity, {"allow_expired": True}), (SubjectName, {"names": ["CN=good"]}))
        self.assertTrue((await visit(port, certificate=ROOT.issue_expired("good"))).ok)
        self.assertFalse((await visit(port, certificate=ROOT.issue_expired("bad"))).ok)
        await port.idle()
        self.assertEqual(port.failures, {Reason.SUBJECT: 1})
