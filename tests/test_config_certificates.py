"""Certificates and keys that a document names: what is refused, what is warned of, what comes out."""
from __future__ import annotations

import json
import os
from datetime import timedelta
from textwrap import indent

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from edgegw.config import Severity
from edgegw.config.description import describe_validation
from edgegw.environment import Environments
from edgegw.model import ServerCertificate
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.registry import Registry
from tests.config_documents import CA, LISTENERS, NOW, SERVER, ConfigTestCase, issue

_CERTIFICATE = "listeners[0].tls.certificates[0].certificate"
_KEY = "listeners[0].tls.certificates[0].private_key"
_AT_CERTIFICATE = (2, 69)
_AT_KEY = (2, 94)


class ServerCertificates(ConfigTestCase):
    """What a listener shows."""

    def assert_certificate_fault(self, content: bytes | None, part: str, at_key: bool = False) -> None:
        """Put ``content`` into one of the files and check that it is the one fault."""
        name = "server.key" if at_key else "server.pem"
        if content is None:
            (self.directory / name).unlink()
        else:
            self.write(name, content)
        line, column = _AT_KEY if at_key else _AT_CERTIFICATE
        self.assert_faults(LISTENERS, (line, column, _KEY if at_key else _CERTIFICATE, part))

    def test_loaded(self) -> None:
        """Names, key type, expiry and chain come from the leaf, other text of the file does not come along."""
        self.write("server.pem", b"subject=CN = server\n" + SERVER.pem + b"\n# its issuer\n" + CA.pem)
        (certificate,) = self._certificates()
        self.assertEqual(certificate.name, "server.pem")
        self.assertEqual(certificate.chain, SERVER.pem + CA.pem)
        self.assertEqual(certificate.dns_names, ("example.com", "*.example.com"))
        self.assertEqual(certificate.uris, ("spiffe://example.com/edge",))
        self.assertEqual(certificate.key_type, "EC")
        self.assertEqual(certificate.not_after, NOW + timedelta(days=100))
        self.assertNotIn("PRIVATE", repr(certificate))

    def _certificates(self) -> tuple[ServerCertificate, ...]:
        tls = self.load(LISTENERS).gateway.listeners[0].tls
        assert tls is not None
        return tls.certificates

    def test_key_types(self) -> None:
        """RSA, EC and Ed25519 keys, in every PEM format, also in the certificate's own file."""
        keys = [
            (rsa.generate_private_key(65537, 2048), "RSA"),
            (ec.generate_private_key(ec.SECP384R1()), "EC"),
            (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        ]
        for key, key_type in keys:
            issued = issue("server", CA, dns=["example.com"], key=key)
            self.write("server.pem", issued.pem)
            self.write("server.key", issued.key_pem)
            self.assertEqual([each.key_type for each in self._certificates()], [key_type])
        issued = issue("server", CA, dns=["example.com"])
        openssl = issued.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        both = issued.pem + parameters + openssl
        self.write("server.pem", both)
        self.write("server.key", both)
        self.assertEqual(len(self._certificates()), 1)

    def test_pem_in_the_document(self) -> None:
        """PEM may stand in place of a path, from a variable, too; the line before it is its name."""
        certificate = "web server\n" + (SERVER.pem + CA.pem).decode()
        document = LISTENERS.replace("server.pem", json.dumps(certificate)).replace("server.key", '"${KEY}"')
        tls = self.load(document, {"KEY": SERVER.key_pem.decode()}).gateway.listeners[0].tls
        assert tls is not None
        (found,) = tls.certificates
        self.assertEqual((found.name, found.chain), ("web server", SERVER.pem + CA.pem))
        self.assertEqual(found.private_key, SERVER.key_pem)
        block = indent(f"certificate: |\n{indent(SERVER.pem.decode(), '  ')}private_key: server.key", " " * 6)
        listener = f"listeners:\n  - name: web\n    port: 1\n    tls:\n     certificates:\n     -\n{block}\n"
        tls = self.load(listener).gateway.listeners[0].tls
        assert tls is not None
        self.assertRegex(tls.certificates[0].name, r"^PEM [0-9a-f]{16}$")

    def test_faults_of_pem_in_the_document(self) -> None:
        """Nothing of a key is shown in what is said about it."""
        encrypted = SERVER.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
        for key, part in (
            (issue("other").key_pem, "is not the private key of the certificate in server.pem"),
            (encrypted, "is encrypted"),
            (SERVER.key_pem[:60], "has a PEM block without its end"),
            (SERVER.pem, "has no such PEM block"),
            (b"\n".join(SERVER.key_pem.splitlines()[1:]), "is neither the path of a file nor PEM"),
            (b"my key\nof today\n" + SERVER.key_pem, "has more before its first -----BEGIN than a name"),
            (b"x" * 601 + b"\n" + SERVER.key_pem, "has more before its first -----BEGIN than a name"),
        ):
            text = LISTENERS.replace("server.key", json.dumps(key.decode()))
            self.assert_faults(text, (*_AT_KEY, _KEY, part))
            told = str(self.refusal(text))
            for line in key.decode().splitlines():
                if len(line) == 64:
                    self.assertNotIn(line[:20], told)

    def test_unreadable(self) -> None:
        """Files that are not there, are no files or are no PEM."""
        der = SERVER.certificate.public_bytes(Encoding.DER)
        for content, part in (
            (None, "server.pem cannot be read: No such file"),
            (b"", "server.pem is empty"),
            (b"garbage", "server.pem has no such PEM block"),
            (der, "server.pem is in DER"),
            (SERVER.key_pem, "server.pem has no such PEM block"),
            (SERVER.pem.replace(b"M", b"A", 5), "certificate 1 of server.pem is not valid"),
            (SERVER.pem + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 2 of"),
            (SERVER.pem[:300], "server.pem has a PEM block without its end"),
            (SERVER.pem + CA.pem[:300], "server.pem has a PEM block without its end"),
            (SERVER.pem + CA.pem[:15], "server.pem has a PEM block without its end"),
            (SERVER.pem[:300] + b"\n" + SERVER.pem, "server.pem has a PEM block without its end"),
        ):
            self.assert_certificate_fault(content, part)

    def test_unreadable_key(self) -> None:
        """Keys that are not there, are none, several, encrypted, weak or of no use for TLS."""
        password = BestAvailableEncryption(b"secret")
        encrypted = SERVER.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, password)
        traditional = SERVER.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, password)
        weak = issue("server", key=rsa.generate_private_key(65537, 1024))
        signing = dsa.generate_private_key(1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for content, part in (
            (None, "server.key cannot be read"),
            (b"", "server.key is empty"),
            (SERVER.pem, "server.key has no such PEM block"),
            (SERVER.key_pem * 2, "server.key has 2 private keys"),
            (SERVER.key_pem[:100], "server.key has a PEM block without its end"),
            (issue("server", key=ec.generate_private_key(ec.SECP192R1())).key_pem, "on the curve secp192r1"),
            (issue("server", key=ec.generate_private_key(ec.SECP256K1())).key_pem, "on the curve secp256k1"),
            (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is not valid"),
            (encrypted, "is encrypted; decrypt it: openssl pkey"),
            (traditional, "is encrypted"),
            (weak.key_pem, "has 1024 bits"),
            (signing, "of no type for TLS"),
            (CA.key_pem, "the private key belongs to certificate 2 of server.pem"),
            (issue("other").key_pem, "server.key is not the private key of the certificate in server.pem"),
        ):
            if "belongs" in part:
                self.write("server.key", content or b"")
                self.assert_faults(LISTENERS, (*_AT_CERTIFICATE, _CERTIFICATE, part))
            else:
                self.assert_certificate_fault(content, part, at_key=True)

    def test_rsa_key_whose_numbers_do_not_fit(self) -> None:
        """It is refused however often it is read, also when the certificate's own key was read before."""
        key = rsa.generate_private_key(65537, 2048)
        good = issue("server", key=key)
        numbers = key.private_numbers()
        damaged = rsa.RSAPrivateNumbers(
            numbers.p, numbers.q, numbers.d + 2, numbers.dmp1, numbers.dmq1, numbers.iqmp, numbers.public_numbers
        ).private_key(unsafe_skip_rsa_key_validation=True)
        pem = damaged.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.write("server.pem", good.pem)
        for _ in range(2):
            self.write("server.key", good.key_pem)
            self.assertEqual(self._certificates()[0].key_type, "RSA")
            self.assert_certificate_fault(pem, "is not valid", at_key=True)

    def test_both_at_once(self) -> None:
        """Certificate and key are judged together."""
        self.write("server.pem", b"garbage")
        self.write("server.key", b"garbage")
        self.assert_faults(
            LISTENERS, (*_AT_CERTIFICATE, _CERTIFICATE, "server.pem has no"), (*_AT_KEY, _KEY, "server.key has no")
        )

    def test_leaf_not_first(self) -> None:
        """A chain that begins with the issuer is a fault."""
        self.write("server.pem", CA.pem + SERVER.pem)
        self.assert_faults(LISTENERS, (*_AT_CERTIFICATE, _CERTIFICATE, "belongs to certificate 2 of server.pem"))

    def test_no_regular_file(self) -> None:
        """A pipe is refused, not waited for; so is a directory."""
        os.mkfifo(self.directory / "pipe")
        text = LISTENERS.replace("server.pem", "pipe").replace("server.key", ".")
        self.assert_faults(
            text,
            (*_AT_CERTIFICATE, _CERTIFICATE, "no regular file"),
            (2, 88, _KEY, "no regular file"),
        )

    def test_validity(self) -> None:
        """Certificates that expired or are not valid yet are warned of."""
        for days, part in (((-10, -1), "expired on 2030-05-31 00:00:00 UTC"), ((1, 9), "not valid before 2030-06-02")):
            issued = issue("server", CA, dns=["example.com"], days=days)
            self.write("server.pem", issued.pem)
            self.write("server.key", issued.key_pem)
            self.assert_warnings(LISTENERS, (*_AT_CERTIFICATE, _CERTIFICATE, part))

    def test_permissions(self) -> None:
        """A key that group or others can read or change is warned of."""
        for mode, who in ((0o640, "its group"), (0o604, "everyone"), (0o620, "its group"), (0o602, "everyone")):
            (self.directory / "server.key").chmod(mode)
            self.assert_warnings(LISTENERS, (*_AT_KEY, _KEY, f"by {who} (mode {mode:04o}); chmod 600 server.key"))

    def test_names(self) -> None:
        """A host name that no certificate has is warned of; wildcards of a certificate take one label."""
        text = LISTENERS.replace("port: 8443", "port: 8443, hostname: {}")
        for hostname, covered in (
            ("example.com", True),
            ("a.example.com", True),
            ("'*.example.com'", True),
            ("a.b.example.com", False),
            ("'*.a.example.com'", False),
            ("example.org", False),
        ):
            document = text.replace("{}", hostname)
            column = document.splitlines()[1].index("[{certificate") + 1
            expected = [] if covered else [(2, column, "listeners[0].tls.certificates", "no certificate has")]
            self.assert_warnings(document, *expected)

    def test_without_names(self) -> None:
        """A certificate without DNS names is warned of."""
        issued = issue("example.com", CA)
        self.write("server.pem", issued.pem)
        self.write("server.key", issued.key_pem)
        self.assert_warnings(LISTENERS, (*_AT_CERTIFICATE, _CERTIFICATE, "no DNS name in subjectAltName"))

    def test_order_of_the_chain(self) -> None:
        """A chain in which one is not the issuer of the one before is warned of."""
        self.write("server.pem", SERVER.pem + issue("Other CA", ca=True).pem)
        part = "certificate 2 of server.pem is not the issuer"
        self.assert_warnings(LISTENERS, (*_AT_CERTIFICATE, _CERTIFICATE, part))

    def test_paths(self) -> None:
        """Paths start from the document's directory; absolute ones and variables work too."""
        (self.directory / "sub").mkdir()
        self.write("sub/server.pem", SERVER.pem)
        text = LISTENERS.replace("server.pem", "sub/server.pem").replace("server.key", '"${KEYS}/server.key"')
        loaded = self.load(text, {"KEYS": str(self.directory.absolute())})
        self.assertEqual(loaded.warnings, ())


class TrustAnchors(ConfigTestCase):
    """CA files."""

    def _document(self, *files: str) -> str:
        return LISTENERS + f"client_validation: {{default: {{ca_certificates: [{', '.join(files)}]}}}}\n"

    def _anchors(self, *files: str) -> list[tuple[str, bytes]]:
        tls = self.load(self._document(*files)).gateway.listeners[0].tls
        assert tls is not None and tls.client_validation is not None
        return [(anchor.name, anchor.pem) for anchor in tls.client_validation.trust_anchors]

    def test_pem_in_the_document(self) -> None:
        """Anchors may stand in the document, beside files."""
        other = issue("Other CA", ca=True)
        given = json.dumps("ours\n" + (other.pem + CA.pem).decode())
        self.assertEqual(self._anchors("ca.pem", given), [("ca.pem", CA.pem), ("ours#1", other.pem)])

    def test_policies_alone(self) -> None:
        """Without CAs the policies have to decide, and whoever they accept is not verified."""
        hashes = f"policies: [certificate_hash: {{hashes: [{'ab' * 32}]}}]"
        document = f"{LISTENERS}client_validation: {{default: {{mode: AllowInsecureFallback, {hashes}}}}}\n"
        environments = Environments(None, str(self.directory), PluginCounters())
        loaded = self.load(document, find_plugins=Registry, make_environment=environments.make)
        tls = loaded.gateway.listeners[0].tls
        assert tls is not None and tls.client_validation is not None
        self.assertTrue(tls.client_validation.policies_alone)
        self.assertIn("no chain is verified, the policies decide", describe_validation(tls.client_validation))
        self.assert_faults(
            document.replace("AllowInsecureFallback", "AllowValidOnly"),
            (3, 30, "client_validation.default", "has no ca_certificates"),
            find_plugins=Registry, make_environment=environments.make,
        )

    def test_bundles(self) -> None:
        """Every certificate of every file is an anchor, once, with a name of its own."""
        other = issue("Other CA", ca=True)
        intermediate = issue("Intermediate", CA, ca=True)
        self.write("bundle.pem", b"# text\n" + other.pem + intermediate.pem + CA.pem)
        self.assertEqual(
            self._anchors("ca.pem", "bundle.pem"),
            [("ca.pem", CA.pem), ("bundle.pem#1", other.pem), ("bundle.pem#2", intermediate.pem)],
        )

    def test_unusable_file(self) -> None:
        """A CA file that cannot be used is warned of and left out."""
        self.write("bad.pem", b"garbage")
        path = "client_validation.default.ca_certificates"
        loaded = self.assert_warnings(
            self._document("no.pem", "ca.pem", "bad.pem"),
            (3, 49, f"{path}[0]", "no.pem cannot be read"),
            (3, 65, f"{path}[2]", "bad.pem has no such PEM block"),
        )
        tls = loaded.gateway.listeners[0].tls
        assert tls is not None and tls.client_validation is not None
        self.assertEqual([anchor.name for anchor in tls.client_validation.trust_anchors], ["ca.pem"])

    def test_all_unusable(self) -> None:
        """Without any usable CA file the listener refuses everyone, and ``check`` says so."""
        path = "client_validation.default.ca_certificates"
        loaded = self.assert_warnings(
            self._document("no.pem"),
            (3, 48, path, "will refuse every connection"),
            (3, 49, f"{path}[0]", "no.pem cannot be read"),
        )
        tls = loaded.gateway.listeners[0].tls
        assert tls is not None and tls.client_validation is not None
        self.assertEqual(tls.client_validation.trust_anchors, ())

    def test_damaged_certificate(self) -> None:
        """One damaged certificate of a bundle is left out, the others stay."""
        damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        self.write("bundle.pem", CA.pem + damaged)
        loaded = self.load(self._document("bundle.pem"))
        self.assertIn("bundle.pem#2 is left out", str(loaded.warnings[0]))
        self.assertEqual(self._anchors("bundle.pem"), [("bundle.pem#1", CA.pem)])

    def test_cut_off(self) -> None:
        """Of a bundle that was not written to its end the whole certificates are used, and the rest is told."""
        self.write("bundle.pem", CA.pem + issue("Other CA", ca=True).pem[:200])
        loaded = self.load(self._document("bundle.pem"))
        self.assertIn("what is not whole is left out", str(loaded.warnings[0]))
        self.assertEqual(self._anchors("bundle.pem"), [("bundle.pem", CA.pem)])
        self.write("bundle.pem", CA.pem[:200])
        self.assertIn("written in part", str(self.load(self._document("bundle.pem")).warnings[1]))

    def test_doubtful_certificates(self) -> None:
        """Expired CAs, certificates that are no CAs, and CRLs are warned of."""
        expired = issue("Old CA", ca=True, days=(-10, -1))
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(CA.certificate.subject)
            .last_update(NOW)
            .next_update(NOW + timedelta(days=1))
            .sign(CA.key, SHA256())
        )
        self.write("old.pem", expired.pem)
        self.write("crl.pem", CA.pem + crl.public_bytes(Encoding.PEM))
        path = "client_validation.default.ca_certificates"
        self.assert_warnings(
            self._document("old.pem", "server.pem", "crl.pem"),
            (3, 49, f"{path}[0]", "old.pem expired on"),
            (3, 58, f"{path}[1]", "server.pem#1 is not the certificate of a CA"),
            (3, 70, f"{path}[2]", "CRL"),
        )

    def test_own_validation_of_a_listener(self) -> None:
        """Findings stand where the file is named."""
        text = LISTENERS.replace("}]}", "}], client_validation: {ca_certificates: [no.pem]}}")
        findings = self.load(text).warnings
        self.assertEqual(
            [(found.path, found.severity) for found in findings],
            [
                ("listeners[0].tls.client_validation.ca_certificates", Severity.WARNING),
                ("listeners[0].tls.client_validation.ca_certificates[0]", Severity.WARNING),
            ],
        )
