"""What a listener shows and agrees to: certificates by name and key type, versions, suites, groups, ALPN."""
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.model import TLSSettings, TLSVersion
from edgegw.tls import openssl
from edgegw.tls.context import CertificateTable, ContextError, make_context
from edgegw.tls.names import check_tls
from edgegw.verdict import Reason
from tests.gateway import SERVER, Authority, Finished, Issued, https_listener, run, server_certificate, validation
from tests.tls_peers import TLS1_2, TLS1_3, BarePort, start_port, visit

NONE = TLSSettings(())


def groups(*names: str) -> Any:
    """Give what makes a client offer these groups only."""

    def configure(context: SSL.Context) -> None:
        openssl.set_groups(context, names)

    return configure


class CertificateCase(TestCase):
    """An authority and ports."""

    def setUp(self) -> None:
        self.pki = Authority()

    def server(self, common_name: str, *names: str, key: str = "EC") -> Issued:
        """Issue a server's certificate."""
        return self.pki.issue(common_name, dns=names, usages=SERVER, key=key)

    def start(self, certificates: Sequence[Issued], settings: TLSSettings = NONE, **options: Any) -> BarePort:
        """Serve them."""
        return start_port(self, https_listener(certificates, tls=settings, **options))

    async def s_client(self, port: BarePort, *options: str) -> Finished:
        """Connect with the openssl command."""
        return await run("openssl", "s_client", "-connect", "{}:{}".format(*port.address), *options)

    async def shown(self, port: BarePort, **settings: Any) -> str | None:
        """Give the common name of the certificate that a client is shown."""
        return (await visit(port, **settings)).common_name


class KeyTypeTests(CertificateCase):
    """RSA and ECDSA side by side."""

    def setUp(self) -> None:
        super().setUp()
        self.both = [self.server("rsa", "a.example", key="RSA"), self.server("ecdsa", "a.example")]

    async def test_by_signature_algorithms(self) -> None:
        """A client is shown the certificate that it can verify, whichever comes first in the configuration."""
        for certificates in (self.both, self.both[::-1]):
            port = self.start(certificates)
            for version in ("-tls1_2", "-tls1_3"):
                for algorithms, name in {
                    "ECDSA+SHA256": "ecdsa",
                    "RSA-PSS+SHA256": "rsa",
                    "RSA-PSS+SHA256:ECDSA+SHA256": "ecdsa",
                }.items():
                    done = await self.s_client(port, version, "-sigalgs", algorithms, "-servername", "a.example")
                    if name == "ecdsa" and ":" in algorithms:
                        # Either will do for a client that knows both.
                        self.assertRegex(done.text, r"subject=CN = (ecdsa|rsa)")
                    else:
                        self.assertIn(f"subject=CN = {name}", done.text)

    async def test_by_cipher_suites(self) -> None:
        """In TLS 1.2 the suite decides too."""
        port = self.start(self.both)
        for suite, name in {
            "ECDHE-RSA-AES128-GCM-SHA256": "rsa",
            "ECDHE-ECDSA-AES128-GCM-SHA256": "ecdsa",
        }.items():
            done = await self.s_client(port, "-tls1_2", "-cipher", suite)
            self.assertIn(f"subject=CN = {name}", done.text)

    async def test_no_common_algorithm(self) -> None:
        """A client that can verify neither gets handshake_failure."""
        port = self.start([self.both[1]])
        done = await self.s_client(port, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
        self.assertIn("SSL alert number 40", done.text)
        await port.idle()
        self.assertEqual(port.failures, {Reason.NO_SHARED_CIPHER: 1})

    async def test_signature_algorithms_for_clients(self) -> None:
        """The configured signature algorithms are what clients are asked to sign with."""
        settings = evolve(NONE, signature_algorithms=("ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256"))
        port = start_port(self, https_listener(self.both, validation(self.pki), tls=settings))
        done = await self.s_client(port, "-tls1_3")
        self.assertRegex(done.text, r"(?m)^Requested Signature Algorithms: ECDSA\+SHA256:RSA-PSS\+SHA256$")
        self.assertTrue((await visit(port, certificate=self.pki.issue("client"))).ok)
        outcome = await visit(port, certificate=self.pki.issue("client", key="P-384"), version=TLS1_3)
        self.assertFalse(outcome.ok)


class NameTests(CertificateCase):
    """Certificates by SNI."""

    async def test_exact_and_wildcard(self) -> None:
        """Exact SANs come before wildcards, which take one label; the rest is shown the default."""
        port = self.start([
            self.server("default", "default.example"),
            self.server("wildcard", "*.a.example"),
            self.server("exact", "www.a.example", "other.example"),
        ])  # fmt: skip
        for name, shown in {
            "default.example": "default",
            "x.a.example": "wildcard",
            "WWW.a.example": "exact",
            "other.example": "exact",
            "x.y.a.example": "default",
            "a.example": "default",
            "unknown.example": "default",
            None: "default",
        }.items():
            self.assertEqual((name, await self.shown(port, server_name=name)), (name, shown))

    async def test_strict(self) -> None:
        """With strict names every SAN still leads to its certificate, and nothing else does."""
        port = self.start(
            [self.server("wildcard", "*.a.example"), self.server("exact", "b.example")], evolve(NONE, strict_sni=True)
        )
        self.assertEqual(await self.shown(port, server_name="x.a.example"), "wildcard")
        self.assertEqual(await self.shown(port, server_name="b.example"), "exact")
        for name in ("a.example", "x.y.a.example", None):
            self.assertEqual((await visit(port, server_name=name)).alert, 112)

    async def test_key_types_for_each_name(self) -> None:
        """For each name there is a certificate of each key type that has one for it."""
        port = self.start([
            self.server("default", "default.example"),
            self.server("wild rsa", "*.a.example", key="RSA"),
            self.server("exact ecdsa", "www.a.example"),
        ])  # fmt: skip
        for algorithms, shown in {"RSA-PSS+SHA256": "wild rsa", "ECDSA+SHA256": "exact ecdsa"}.items():
            done = await self.s_client(port, "-servername", "www.a.example", "-sigalgs", algorithms)
            self.assertIn(f"subject=CN = {shown}", done.text)

    async def test_certificates_of_one_name(self) -> None:
        """Two certificates that are called the same are still two."""
        first, second = self.server("first", "a.example"), self.server("second", "b.example")
        listener = https_listener([first, second])
        assert listener.tls is not None
        same = tuple(server_certificate(one, "tls.pem") for one in (first, second))
        port = start_port(self, evolve(listener, tls=evolve(listener.tls, certificates=same)))
        self.assertEqual(await self.shown(port, server_name="a.example"), "first")
        self.assertEqual(await self.shown(port, server_name="b.example"), "second")

    async def test_chain(self) -> None:
        """The chain is sent as it was configured: nothing is added from the trust anchors for clients."""
        inter = Authority("intermediate", self.pki)
        leaf = inter.issue("leaf", dns=["a.example"], usages=SERVER)
        port = start_port(self, https_listener([leaf], validation(self.pki, inter, required=False)))
        done = await self.s_client(port, "-showcerts")
        self.assertEqual(re.findall(r"(?m)^ \d s:CN = (.*)$", done.text), ["leaf", "intermediate"])
        bare = start_port(self, https_listener([leaf.without_chain()], validation(self.pki, inter, required=False)))
        done = await self.s_client(bare, "-showcerts")
        self.assertEqual(re.findall(r"(?m)^ \d s:CN = (.*)$", done.text), ["leaf"])

    async def test_uris_of_the_certificate_that_was_shown(self) -> None:
        """The protocol is told the URIs of the certificate that its client saw."""
        uris = {name: f"spiffe://example.com/{name}" for name in ("a", "b")}
        port = self.start(
            [self.pki.issue(name, dns=[f"{name}.example"], uris=[uri], usages=SERVER) for name, uri in uris.items()]
        )
        for name, uri in uris.items():
            await visit(port, server_name=f"{name}.example")
            self.assertEqual(port.talks[-1].info.server_uris, (uri,))


class NegotiationTests(CertificateCase):
    """Versions, suites, groups, protocols."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate = self.server("a.example", "a.example")

    async def test_versions(self) -> None:
        """Only the configured versions are spoken; a client with another one is told protocol_version."""
        for low, high, spoken in (
            (TLSVersion.TLS1_2, TLSVersion.TLS1_3, {TLS1_2: "TLSv1.2", TLS1_3: "TLSv1.3"}),
            (TLSVersion.TLS1_2, TLSVersion.TLS1_2, {TLS1_2: "TLSv1.2"}),
            (TLSVersion.TLS1_3, TLSVersion.TLS1_3, {TLS1_3: "TLSv1.3"}),
        ):
            port = self.start([self.certificate], evolve(NONE, min_version=low, max_version=high))
            for version in (TLS1_2, TLS1_3):
                outcome = await visit(port, version=version)
                self.assertEqual(outcome.version if outcome.ok else None, spoken.get(version))
                if version not in spoken:
                    self.assertEqual(outcome.alert, 70)
                    self.assertEqual(port.failures, {Reason.PROTOCOL_VERSION: 1})

    async def test_preference(self) -> None:
        """The gateway's order of suites decides, not the client's, in both versions."""
        suites = ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256")
        modern = ("TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")
        for order in (1, -1):
            settings = evolve(NONE, tls12_ciphers=suites[::order], tls13_ciphers=modern[::order])
            port = self.start([self.certificate], settings)
            for theirs in (1, -1):
                done = await self.s_client(port, "-tls1_2", "-cipher", ":".join(suites[::theirs]))
                self.assertIn(f"Cipher is {suites[::order][0]}", done.text)
                done = await self.s_client(port, "-tls1_3", "-ciphersuites", ":".join(modern[::theirs]))
                self.assertIn(f"Cipher is {modern[::order][0]}", done.text)

    async def test_safe_suites_only(self) -> None:
        """By default nothing without forward secrecy and AEAD is agreed to."""
        port = self.start([self.server("rsa", "a.example", key="RSA"), self.certificate])
        for suite in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "DHE-RSA-AES128-SHA"):
            done = await self.s_client(port, "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0")
            self.assertIn("SSL alert number 40", done.text)
        await port.idle()
        self.assertEqual(port.failures, {Reason.NO_SHARED_CIPHER: 4})

    async def test_groups(self) -> None:
        """A post-quantum group is taken where the client has it, then X25519, whatever the client likes best."""
        port = self.start([self.certificate])
        for offered, agreed in (
            (("X25519MLKEM768", "X25519"), "X25519MLKEM768"),
            (("X25519", "X25519MLKEM768"), None),
            (("P-256", "X25519"), None),
            (("P-384",), "secp384r1"),
            (("X25519",), "x25519"),
        ):
            outcome = await visit(port, configure=groups(*offered), version=TLS1_3)
            self.assertTrue(outcome.ok)
            if agreed is not None:
                assert outcome.group is not None
                self.assertEqual(outcome.group.lower(), agreed.lower())
            self.assertEqual(port.talks[-1].info.group, outcome.group)

    async def test_default_client_gets_the_post_quantum_group(self) -> None:
        """A client with OpenSSL's own defaults ends up with X25519MLKEM768."""
        port = self.start([self.certificate])
        self.assertEqual((await visit(port)).group, "X25519MLKEM768")

    async def test_no_common_group(self) -> None:
        """A client without a common group is told handshake_failure, and it is counted as that."""
        port = self.start([self.certificate], evolve(NONE, groups=("P-384",)))
        outcome = await visit(port, configure=groups("X25519"), version=TLS1_3)
        self.assertEqual(outcome.alert, 40)
        await port.idle()
        self.assertEqual(port.failures, {Reason.NO_SHARED_GROUP: 1})
        self.assertEqual((await visit(port, configure=groups("X25519", "P-384"), version=TLS1_3)).group, "secp384r1")

    async def test_alpn(self) -> None:
        """The gateway's preference decides; without overlap the connection goes on without a protocol."""
        port = self.start([self.certificate], evolve(NONE, alpn=("h2", "http/1.1")))
        for offered, agreed in (
            (("http/1.1", "h2"), b"h2"),
            (("http/1.1",), b"http/1.1"),
            (("spdy/3",), b""),
            ((), b""),
        ):
            for version in (TLS1_2, TLS1_3):
                outcome = await visit(port, alpn=offered, version=version)
                self.assertEqual((outcome.ok, outcome.alpn), (True, agreed))

    async def test_no_alpn(self) -> None:
        """A listener without protocols answers no ALPN at all."""
        port = self.start([self.certificate], evolve(NONE, alpn=()))
        outcome = await visit(port, alpn=("http/1.1",))
        self.assertEqual((outcome.ok, outcome.alpn), (True, b""))

    async def test_metrics(self) -> None:
        """What was negotiated is counted by its parameters."""
        port = self.start([self.certificate])
        await visit(port, version=TLS1_3)
        ((version, cipher, group, resumed, status),) = port.counts.tls
        self.assertEqual(
            (version, cipher, group, resumed, status.value),
            ("TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519MLKEM768", False, "none"),
        )


class BuildTests(SynchronousTestCase):
    """Contexts that cannot be built, and names that OpenSSL does not have."""

    def setUp(self) -> None:
        pki = Authority()
        self.good = server_certificate(pki.issue("a.example", dns=["a.example"], usages=SERVER))
        self.other = server_certificate(pki.issue("b.example", dns=["b.example"], usages=SERVER))

    def test_faults(self) -> None:
        """Every unusable setting is a ContextError that says which one it is, and leaves no OpenSSL error behind."""
        for settings in (
            evolve(NONE, tls12_ciphers=("NO-SUCH-SUITE",)),
            evolve(NONE, tls13_ciphers=("TLS_NO_SUCH_SUITE",)),
            evolve(NONE, groups=("P-999",)),
            evolve(NONE, signature_algorithms=("rsa_md2",)),
        ):
            self.assertRaises(ContextError, make_context, settings, [self.good], True)
        for broken in (
            evolve(self.good, private_key=self.other.private_key),
            evolve(self.good, private_key=b"nonsense"),
            evolve(self.good, chain=b"nonsense"),
            evolve(self.good, chain=b""),
        ):
            with self.assertRaises(ContextError) as caught:
                make_context(NONE, [broken], True)
            self.assertIn(self.good.name, str(caught.exception))

    def test_names_are_checked_one_by_one(self) -> None:
        """Each name that OpenSSL does not have is reported under its setting; the defaults are all there."""
        self.assertEqual(check_tls(NONE), [])
        settings = evolve(
            NONE,
            tls12_ciphers=("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-NONSENSE"),
            tls13_ciphers=("TLS_NONSENSE",),
            groups=("X25519", "nonsense"),
            signature_algorithms=("rsa_nonsense",),
        )
        self.assertEqual(
            [(setting, name) for setting, name, _ in check_tls(settings)],
            [
                ("cipher_suites", "ECDHE-RSA-NONSENSE"),
                ("cipher_suites", "TLS_NONSENSE"),
                ("groups", "nonsense"),
                ("signature_algorithms", "rsa_nonsense"),
            ],
        )

    def test_one_context_for_each_set(self) -> None:
        """Names of the same certificates share a context; only real differences make names matter."""
        one = CertificateTable(evolve(NONE, certificates=(self.good,)), True)
        self.assertFalse(one.varies)
        self.assertIs(one.find("a.example"), one.find("unknown.example"))
        two = CertificateTable(evolve(NONE, certificates=(self.good, self.other)), True)
        self.assertTrue(two.varies)
        self.assertEqual(len(two.contexts), 2)
        self.assertIs(two.find("a.example"), two.default)
        self.assertIsNot(two.find("b.example"), two.default)
