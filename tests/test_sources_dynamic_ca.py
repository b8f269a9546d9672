"""``dynamic_ca``: what it signs, for which names, and which CAs it takes."""
from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError
from edgegw.names import canonical_name
from edgegw.sources.dynamic_ca import DynamicCA
from edgegw.testing import SERVER, Authority, FakeEnvironment, certificate_for, check_plugin, configure

FILES = {"certificate": "ca.pem", "private_key": "ca-key.pem"}
LABEL = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", fullmatch=True)


class CACase(SynchronousTestCase):
    """A folder with a CA."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.env = FakeEnvironment(self.folder)
        self.root = Authority("root")
        self.authority = Authority("edge CA", self.root)
        self.write(self.authority)

    def write(self, authority: Authority, *above: Authority) -> None:
        """Write the CA's files."""
        (self.folder / "ca.pem").write_bytes(authority.pem + b"".join(one.pem for one in above))
        (self.folder / "ca-key.pem").write_bytes(authority.key_pem)
        (self.folder / "ca-key.pem").chmod(0o600)

    def sign(self, name: str = "a.example", **options: Any) -> list[x509.Certificate]:
        """Give the chain that is signed for a name."""
        given = certificate_for(DynamicCA, {**FILES, **options}, name, self.env)
        assert given is not None
        return x509.load_pem_x509_certificates(given.certificate)

    def fault(self, **options: Any) -> str:
        """Give why it cannot be configured."""
        error: ValueError = self.assertRaises(ValueError, configure, DynamicCA, {**FILES, **options}, self.env)
        return str(error)


class SignedTests(CACase):
    """What comes out."""

    def test_leaf(self) -> None:
        """It is for the name and for servers alone, by a new key, for a day, and verifies."""
        leaf, above = self.sign()
        now = datetime.now(UTC)
        self.assertEqual(above, self.authority.certificate)
        self.assertEqual(leaf.subject.rfc4514_string(), "CN=a.example")
        self.assertEqual(leaf.issuer, above.subject)
        key = leaf.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.assertIsInstance(key.curve, ec.SECP256R1)
        self.assertTrue(now - timedelta(minutes=6) < leaf.not_valid_before_utc < now)
        self.assertTrue(now + timedelta(hours=23) < leaf.not_valid_after_utc <= now + timedelta(hours=24))
        self.assertTrue(63 < leaf.serial_number.bit_length() <= 159)
        extensions = {type(one.value): one for one in leaf.extensions}
        self.assertEqual(
            extensions[x509.ExtendedKeyUsage].value, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        )
        usage: Any = extensions[x509.KeyUsage].value
        self.assertEqual((usage.digital_signature, usage.key_cert_sign, usage.key_agreement), (True, False, False))
        self.assertFalse(extensions[x509.SubjectAlternativeName].critical)
        identifier: Any = extensions[x509.AuthorityKeyIdentifier].value
        of_ca = above.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        self.assertEqual(identifier.key_identifier, of_ca.digest)
        self.assertIn(x509.SubjectKeyIdentifier, extensions)
        self.assertFalse(extensions[x509.BasicConstraints].value.ca)  # type: ignore[attr-defined]
        self.verify(leaf, [above])
        again, _ = self.sign()
        self.assertNotEqual(leaf.serial_number, again.serial_number)
        self.assertNotEqual(leaf.public_key(), again.public_key())

    def verify(self, leaf: x509.Certificate, above: list[x509.Certificate], name: str = "a.example") -> None:
        """See that a strict client takes it."""
        builder = PolicyBuilder().store(Store([self.root.certificate]))
        builder.build_server_verifier(x509.DNSName(name)).verify(leaf, above)

    def test_long_name(self) -> None:
        """A name too long for a common name is in subjectAltName alone, which is critical then."""
        name = f"{'x' * 60}.{'y' * 60}.example"
        leaf, _ = self.sign(name)
        self.assertEqual(list(leaf.subject), [])
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertEqual((extension.critical, extension.value.get_values_for_type(x509.DNSName)), (True, [name]))
        self.assertEqual(len(self.sign("x" * 56 + ".example")[0].subject), 1)

    def test_chain(self) -> None:
        """What the file has above the CA is shown behind it."""
        top = Authority("top", self.root)
        self.authority = Authority("below", top)
        self.write(self.authority, top)
        leaf, *above = self.sign()
        self.assertEqual(above, [self.authority.certificate, top.certificate])
        self.verify(leaf, above)

    def test_lifetime(self) -> None:
        """As long as is wanted, and no longer than the CA and what is above it live."""
        now = datetime.now(UTC)
        lived = (self.sign(lifetime="2h")[0].not_valid_after_utc - now).total_seconds()
        self.assertTrue(7199 < lived < 7260, lived)
        end = (now + timedelta(hours=3)).replace(microsecond=0)
        self.write(Authority("short", self.root, not_after=end))
        self.assertEqual(self.sign()[0].not_valid_after_utc, end)
        top = Authority("top", self.root, not_after=end)
        self.write(Authority("below", top), top)
        self.assertEqual(self.sign()[0].not_valid_after_utc, end)

    def test_keys(self) -> None:
        """CAs with other keys sign as well."""
        for kind in ("RSA", "P-384", "P-521", "Ed25519"):
            with self.subTest(kind=kind):
                self.write(Authority("CA", self.root, key=kind))
                leaf, above = self.sign()
                leaf.verify_directly_issued_by(above)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(LABEL, min_size=1, max_size=6).map(".".join).filter(lambda name: canonical_name(name) == name))
    def test_any_name(self, name: str) -> None:
        """Whatever a client may ask for is signed for as it stands."""
        chain, _ = self.signing.sign(name, 60.0, datetime.now(UTC))
        leaf = x509.load_pem_x509_certificates(chain)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), [name])

    @property
    def signing(self) -> Any:
        """The CA."""
        return configure(DynamicCA, FILES, self.env)._signing()

    def test_contract(self) -> None:
        """It keeps to what a plugin promises."""
        check_plugin(DynamicCA, FILES, {**FILES, "names": ["*.example"], "lifetime": "1h"}, env=self.env)


class NameTests(CACase):
    """Which names are signed for."""

    def is_signed(self, name: str, **options: Any) -> bool:
        """Whether there is one."""
        return certificate_for(DynamicCA, {**FILES, **options}, name, self.env) is not None

    def test_names(self) -> None:
        """Those that are listed, and with a wildcard all below."""
        names = ["a.example", "*.B.Example"]
        for name, wanted in (
            ("a.example", True), ("x.a.example", False), ("x.b.example", True), ("x.y.b.example", True),
            ("b.example", False), ("xb.example", False), ("example", False),
        ):
            self.assertEqual(self.is_signed(name, names=names), wanted, name)
        self.assertTrue(self.is_signed("anything"))

    def test_no_names(self) -> None:
        """What is no host name is a fault."""
        for name in ("*", "a b", "*.*.example", "a.*.example", "*."):
            error = self.assertRaises(ConfigError, configure, DynamicCA, {**FILES, "names": [name]}, self.env)
            self.assertIn("is no host name", str(error))

    def test_constraints(self) -> None:
        """What the CA's name constraints do not permit is not signed for: no client would take it."""
        constraints = x509.NameConstraints([x509.DNSName("apps.example")], [x509.DNSName("bad.apps.example")])
        self.write(Authority("constrained", self.root, extensions=[(constraints, True)]))
        for name, wanted in (
            ("a.apps.example", True), ("apps.example", True), ("bad.apps.example", False),
            ("x.bad.apps.example", False), ("notapps.example", False), ("a.example", False),
        ):
            self.assertEqual(self.is_signed(name), wanted, name)


class FaultTests(CACase):
    """CAs that cannot be used."""

    def test_files(self) -> None:
        """Files that are not there, empty, cut off or of another."""
        (self.folder / "other-key.pem").write_bytes(self.root.key_pem)
        self.assertIn("is not the private key of the CA", self.fault(private_key="other-key.pem"))
        self.assertIn("cannot be read: No such file", self.fault(certificate="no.pem"))
        self.assertIn("cannot be read: No such file", self.fault(private_key="no.pem"))
        (self.folder / "empty").write_bytes(b"")
        self.assertIn("has no certificate in it that can be read", self.fault(certificate="empty"))
        self.assertIn("has no private key in it that can be read", self.fault(private_key="empty"))
        encrypted = self.authority.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        (self.folder / "encrypted").write_bytes(encrypted)
        self.assertIn("is encrypted; decrypt it", self.fault(private_key="encrypted"))

    def test_key_that_others_may_read(self) -> None:
        """It is warned of: whoever has it can be every name."""
        (self.folder / "ca-key.pem").chmod(0o600)
        self.sign()
        self.assertEqual(self.env.messages, [])
        (self.folder / "ca-key.pem").chmod(0o640)
        self.sign()
        self.assertIn("can be read or changed by others than its owner (mode 0640); chmod 600", self.env.messages[0])

    def test_authority(self) -> None:
        """What is no CA, is not valid now, or may not stand where it does."""
        now = datetime.now(UTC)
        leaf = self.root.issue("leaf", dns=["a.example"], usages=SERVER)
        (self.folder / "ca.pem").write_bytes(leaf.pem)
        (self.folder / "ca-key.pem").write_bytes(leaf.key_pem)
        self.assertIn("is not a CA's", self.fault())
        self.write(Authority("old", self.root, not_after=now - timedelta(days=1)))
        self.assertIn("expired on", self.fault())
        self.write(Authority("new", self.root, not_before=now + timedelta(days=1)))
        self.assertIn("is not valid before", self.fault())
        narrow = Authority("narrow", self.root, path_length=0)
        self.write(narrow)
        self.sign()
        self.write(Authority("below", narrow), narrow)
        self.assertIn("certificate 2 of", self.fault())
        self.assertIn("allows 0 CAs below it, and there are 1", self.fault())
        self.write(self.authority, Authority("stranger"))
        self.assertIn("has not issued the one before it", self.fault())
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        self.write(Authority("clients", self.root, extensions=[(purposes, False)]))
        self.assertIn("is not for servers", self.fault())


class FollowingTests(CACase):
    """Files that change."""

    def issuer(self, source: Any) -> str:
        """Give who signs now."""
        given = source.certificate_for("a.example")
        leaf = x509.load_pem_x509_certificates(given.certificate)[0]
        (name,) = leaf.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(name.value)

    def test_new_authority(self) -> None:
        """A new CA signs from then on; while its files are not both there the one before does, and the log says so."""
        source = configure(DynamicCA, FILES, self.env)
        newer = Authority("newer CA", self.root)
        (self.folder / "ca.pem").write_bytes(newer.pem)
        self.env.reread()
        self.assertEqual((self.issuer(source), self.env.changes), ("edge CA", 1))
        self.issuer(source)
        self.assertEqual(len(self.env.messages), 1)
        self.assertIn("the CA before stays in use", self.env.messages[0])
        (self.folder / "ca-key.pem").write_bytes(newer.key_pem)
        self.env.reread()
        self.assertEqual((self.issuer(source), self.env.changes), ("newer CA", 2))
        self.assertIn("signed by a new CA", self.env.messages[1])

    def test_gauge(self) -> None:
        """When the CA expires can be seen."""
        configure(DynamicCA, FILES, self.env)
        expected = min(one.certificate.not_valid_after_utc for one in (self.authority,)).timestamp()
        self.assertEqual(self.env.gauges, {"ca_expiry_timestamp_seconds": expected})

    def test_expired_meanwhile(self) -> None:
        """A CA that has expired since signs nothing more."""
        source: Any = configure(DynamicCA, FILES, self.env)
        authority = source._signing()
        later = self.authority.certificate.not_valid_after_utc + timedelta(seconds=1)
        error: ValueError = self.assertRaises(ValueError, authority.sign, "a.example", 60.0, later)
        self.assertIn("the CA expired on", str(error))


class ClientTests(CACase):
    """What other libraries make of it."""

    def test_openssl(self) -> None:
        """OpenSSL's strict checks take the chain for the name."""
        context = ssl.create_default_context(cadata=self.root.pem.decode())
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        given = certificate_for(DynamicCA, FILES, "a.example", self.env)
        assert given is not None
        (self.folder / "leaf.pem").write_bytes(given.certificate)
        (self.folder / "leaf.key").write_bytes(given.private_key)
        server.load_cert_chain(self.folder / "leaf.pem", self.folder / "leaf.key")
        ends = [ssl.MemoryBIO() for _ in range(4)]
        client = context.wrap_bio(ends[0], ends[1], server_hostname="a.example")
        other = server.wrap_bio(ends[2], ends[3], server_side=True)
        for _ in range(4):
            for one, sent, taken in ((client, ends[1], ends[2]), (other, ends[3], ends[0])):
                try:
                    one.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                taken.write(sent.read())
        self.assertEqual(client.version(), "TLSv1.3")
