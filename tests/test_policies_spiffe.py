"""The policy spiffe: workloads come in by their IDs, and no trust domain speaks for another."""
from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.api import Accept, FilePath, Reason, Reject
from edgegw.identity import Certificate, CertificateStatus
from edgegw.policies.path_rules import PathPatterns, is_trust_domain, parse_spiffe_id, pattern_fault
from edgegw.policies.spiffe import Config, Spiffe, TrustDomain
from edgegw.policies.spiffe_bundle import read_bundle
from edgegw.testing import Authority, FakeEnvironment, Issued, check_plugin, handshake
from tests.client_certificates import general_names
from tests.x509_chains import NOW, Made, key_usage, make, make_raw, name, peer_with, verified_chain

KIND: Any = Spiffe
DAY = timedelta(days=1)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def uri(text: str) -> x509.UniformResourceIdentifier:
    """Give a URI as an alternative name."""
    return x509.UniformResourceIdentifier(text)


class SpiffeCase(SynchronousTestCase):
    """Has a policy with bundles in files."""

    def policy(self, bundles: dict[str, bytes], paths: Sequence[str] = ("/**",), **options: Any) -> Any:
        """Configure the policy with trust domains whose bundles these are."""
        return KIND.build(*configured(self, bundles, paths, **options))


def configured(
    case: SynchronousTestCase, bundles: dict[str, bytes], paths: Sequence[str] = ("/**",), **options: Any
) -> tuple[Config, FakeEnvironment]:
    """Give options with trust domains whose bundles these are, and an environment with the files."""
    directory = Path(case.mktemp()).absolute()
    directory.mkdir(parents=True)
    domains = {}
    for domain, bundle in bundles.items():
        path = directory / f"{domain}.bundle"
        path.write_bytes(bundle)
        domains[domain] = TrustDomain(FilePath(str(path)), tuple(paths))
    return Config(domains, **options), FakeEnvironment(directory)


ROOT = make("root", ca=True)
TENANT = make("tenant a", ca=True)
TRUST = {"example.com": ROOT.pem, "tenant-a": TENANT.pem}


class EnvoyTests(SpiffeCase):
    """The same clients come in as with Envoy's SPIFFE validator."""

    def test_table(self) -> None:
        """Each row of what was recorded of Envoy 1.40 comes out the same."""
        plain: dict[str, Any] = {"usage": None, "purposes": None}
        inter = make("intermediate", ROOT, ca=True)
        wrong = make("wrong ca", ca=True)
        client = uri("spiffe://example.com/ns/prod/sa/client1")
        rows: dict[str, tuple[bool, Made, list[Made]]] = {
            "c-valid": (True, make("x", ROOT, names=[x509.DNSName("client1.internal.corp"), client], **plain), []),
            "c-uri": (True, make("x", ROOT, names=[client], **plain), []),
            "c-uri2": (True, make("x", ROOT, names=[client, uri("https://example.com/two")], **plain), []),
            "c-inter": (True, make("x", inter, names=[client], **plain), [inter]),
            "c-tenanta": (True, make("x", TENANT, names=[uri("spiffe://tenant-a/w")], **plain), []),
            "c-tenantb": (False, make("x", ROOT, names=[uri("spiffe://tenant-b/w")], **plain), []),
            "c-otherspiffe": (False, make("x", ROOT, names=[uri("spiffe://other.example/w")], **plain), []),
            "c-nosan": (False, make("x", ROOT, **plain), []),
            "c-dns": (False, make("x", ROOT, names=[x509.DNSName("svc.internal.corp")], **plain), []),
            "c-wrongca": (False, make("x", wrong, names=[client], **plain), []),
            "c-expired": (False, make("x", ROOT, names=[client], not_after=NOW - DAY, **plain), []),
            "c-caleaf": (False, make("x", ROOT, ca=True, names=[client]), []),
        }
        judge = self.policy(TRUST, allow_more_uris=True)
        for row, (accepted, leaf, sent) in rows.items():
            chain = verified_chain(leaf, sent, [ROOT, TENANT])
            verdict = None if chain is None else judge.check(peer_with(chain))
            self.assertEqual(isinstance(verdict, Accept), accepted, f"{row}: {verdict}")

    def test_second_uri(self) -> None:
        """Unless it is asked for, a second URI is refused, as the specification demands."""
        chain = [make("x", ROOT, names=[uri("spiffe://example.com/a"), uri("https://example.com/two")])]
        verdict = self.policy(TRUST).check(peer_with([*(one.certificate for one in chain), ROOT.certificate]))
        self.assertEqual(verdict.code, Reason.SPIFFE_ID)
        self.assertIn("2 URIs", verdict.detail)


class SVIDTests(SpiffeCase):
    """A certificate is held to the X.509-SVID specification."""

    def verdict(self, names: Sequence[Any] = (), judge: Any = None, **options: Any) -> Any:
        """Judge a certificate of the root with these extensions."""
        wanted = names or [uri("spiffe://example.com/a")]
        leaf = make(options.pop("subject", "leaf"), ROOT, names=wanted, **options)
        return (judge or self.policy(TRUST)).check(peer_with([leaf.certificate, ROOT.certificate]))

    def assert_refused(self, wanted: str, code: Reason = Reason.SPIFFE_ID, **options: Any) -> None:
        """Make sure that a certificate is refused with a code and words."""
        verdict = self.verdict(**options)
        self.assertIsInstance(verdict, Reject)
        self.assertEqual(verdict.code, code)
        self.assertIn(wanted, verdict.detail)
        self.assertTrue(verdict.detail.isascii() and verdict.detail.isprintable())

    def test_accepted(self) -> None:
        """What was found out is kept for later policies, headers and logs."""
        verdict = self.verdict([x509.DNSName("a.example"), uri("spiffe://example.com/ns/prod/sa/web")])
        self.assertEqual(
            verdict,
            Accept({
                "spiffe_id": "spiffe://example.com/ns/prod/sa/web",
                "trust_domain": "example.com",
                "path": "/ns/prod/sa/web",
            }),
        )

    def test_usages(self) -> None:
        """Only a leaf certificate for signing in TLS, and for clients, is a workload's."""
        self.assert_refused("keyUsage has keyCertSign", usage=key_usage("digital_signature", "key_cert_sign"))
        self.assert_refused("keyUsage has cRLSign", usage=key_usage("digital_signature", "crl_sign"))
        self.assert_refused("keyUsage lacks digitalSignature", usage=key_usage("key_agreement"))
        self.assert_refused("extendedKeyUsage lacks clientAuth", purposes=x509.ExtendedKeyUsage([SERVER]))
        self.assert_refused("it is a CA's", basic_constraints=x509.BasicConstraints(True, None))
        for options in ({"usage": None}, {"purposes": None}, {"basic_constraints": None}, {"usage_critical": False}):
            self.assertIsInstance(self.verdict(**options), Accept, options)

    def test_strict(self) -> None:
        """With strict what issuers are told is demanded, too."""
        judge = self.policy(TRUST, strict=True)
        both = x509.ExtendedKeyUsage([SERVER, CLIENT])
        self.assertIsInstance(self.verdict(judge=judge, purposes=both), Accept)
        self.assertIsInstance(self.verdict(judge=judge, purposes=None), Accept)
        self.assertIsInstance(self.verdict(judge=judge, purposes=None, subject=name("")), Accept)
        self.assert_refused("it has no keyUsage", judge=judge, usage=None)
        self.assert_refused("its keyUsage is not critical", judge=judge, usage_critical=False)
        self.assert_refused("lacks serverAuth", judge=judge)
        self.assert_refused(
            "subjectAltName not critical", judge=judge, purposes=None, subject=name(""), names_critical=False
        )

    def test_ids(self) -> None:
        """IDs that the specification does not allow are refused, and the detail says why."""
        for text, wanted in (
            ("https://example.com/a", "scheme is not spiffe"),
            ("SPIFFE://example.com/a", "scheme is not spiffe"),
            ("spiffe://example.com", "the ID of a trust domain"),
            ("spiffe://example.com/", "empty or dots"),
            ("spiffe://example.com/a/", "empty or dots"),
            ("spiffe://example.com//a", "empty or dots"),
            ("spiffe://example.com/a/../b", "empty or dots"),
            ("spiffe://example.com/%61", "other than letters"),
            ("spiffe://example.com/a?b", "other than letters"),
            ("spiffe://example.com/a#b", "other than letters"),
            ("spiffe://example.com:443/a", "trust domain is not"),
            ("spiffe://u@example.com/a", "trust domain is not"),
            ("spiffe://Example.com/a", "trust domain is not"),
            ("spiffe:///a", "trust domain is not"),
            ("spiffe://" + "a" * 256 + "/a", "trust domain is not"),
            ("spiffe://example.com/" + "a" * 2048, "characters, where 2048"),
        ):
            self.assert_refused(wanted, names=[uri(text)])
        self.assertIsInstance(self.verdict([uri("spiffe://example.com/" + "a" * (2048 - 21))]), Accept)

    def test_odd_names(self) -> None:
        """No URI, and a URI with a NUL in it, also beside a good one, are refused."""
        self.assert_refused("no URI", names=[x509.DNSName("example.com")])
        good = (0x86, b"spiffe://example.com/a")
        for names in ([(0x86, b"spiffe://example.com/a\0")], [good, (0x86, b"x\0")], [good, (0x86, b"")]):
            leaf = make_raw(ROOT, replace={"names": general_names(*names)})
            for more in (False, True):
                judge = self.policy(TRUST, allow_more_uris=more)
                verdict = judge.check(peer_with([leaf.certificate, ROOT.certificate]))
                self.assertEqual(verdict.code, Reason.SPIFFE_ID, verdict)

    def test_unreadable(self) -> None:
        """A certificate whose extensions cannot be read is no SVID."""
        broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.15"), b"\x03\x09")
        self.assert_refused("it cannot be read", Reason.CERTIFICATE_INVALID, usage=broken)

    def test_unverified(self) -> None:
        """Where unverified certificates may come in, they do not by this policy."""
        leaf = make("leaf", ROOT, names=[uri("spiffe://example.com/a")])
        for status in (CertificateStatus.UNVERIFIED, CertificateStatus.NONE):
            verdict = self.policy(TRUST).check(peer_with([leaf.certificate, ROOT.certificate], status))
            self.assertEqual(verdict.code, Reason.SPIFFE_TRUST_DOMAIN)


class TrustDomainTests(SpiffeCase):
    """A workload is judged by the authorities of its own trust domain."""

    def verdict(self, judge: Any, leaf: Made, *above: Made, **options: Any) -> Any:
        """Judge a chain that was verified."""
        return judge.check(peer_with([one.certificate for one in (leaf, *above)], **options))

    def assert_refused(self, wanted: str, verdict: Any) -> None:
        """Make sure that it is the trust domain that does not fit."""
        self.assertIsInstance(verdict, Reject)
        self.assertEqual(verdict.code, Reason.SPIFFE_TRUST_DOMAIN)
        self.assertIn(wanted, verdict.detail)

    def test_another_domains_authority(self) -> None:
        """One domain's authority cannot make workloads of another's, though the listener trusts both."""
        forged = make("forged", TENANT, names=[uri("spiffe://example.com/ns/prod/sa/admin")])
        verdict = self.verdict(self.policy(TRUST), forged, TENANT)
        self.assert_refused("bundle of example.com, but in CN=tenant a", verdict)
        own = make("own", TENANT, names=[uri("spiffe://tenant-a/w")])
        self.assertIsInstance(self.verdict(self.policy(TRUST), own, TENANT), Accept)

    def test_unknown_domain(self) -> None:
        """A domain that is not configured is refused, also one whose name only begins like another's."""
        for domain in ("other", "example.com.evil", "example.co"):
            leaf = make("x", ROOT, names=[uri(f"spiffe://{domain}/a")])
            self.assert_refused("not configured", self.verdict(self.policy(TRUST), leaf, ROOT))

    def test_same_name_other_key(self) -> None:
        """An authority with the right name and another key is another one."""
        impostor = make("root", ca=True)
        for options in ({}, {"aki": None}):
            leaf = make("x", impostor, names=[uri("spiffe://example.com/a")], **options)  # type: ignore[arg-type]
            self.assert_refused("does not end in the bundle", self.verdict(self.policy(TRUST), leaf, impostor))

    def test_bundle_of_an_intermediate(self) -> None:
        """The bundle may have what is in the middle of the chain."""
        inter = make("intermediate", ROOT, ca=True)
        leaf = make("x", inter, names=[uri("spiffe://example.com/a")])
        self.assertIsInstance(self.verdict(self.policy({"example.com": inter.pem}), leaf, inter, ROOT), Accept)
        other = make("x", ROOT, names=[uri("spiffe://example.com/a")])
        self.assert_refused("does not end", self.verdict(self.policy({"example.com": inter.pem}), other, ROOT))

    def test_bundle_above_the_chain(self) -> None:
        """The bundle may have who has signed where the listener's trust ends, or a renewed root of the same key."""
        inter = make("intermediate", ROOT, ca=True)
        leaf = make("x", inter, names=[uri("spiffe://example.com/a")])
        self.assertIsInstance(self.verdict(self.policy(TRUST), leaf, inter), Accept)
        direct = make("x", ROOT, names=[uri("spiffe://example.com/a")])
        self.assertIsInstance(self.verdict(self.policy(TRUST), direct), Accept)
        renewed = make("root", ca=True, key=ROOT.key)
        self.assertIsInstance(self.verdict(self.policy({"example.com": renewed.pem}), leaf, inter, ROOT), Accept)

    def test_chain_that_went_on(self) -> None:
        """A root that another has signed is in the bundle, though OpenSSL went on to the other."""
        above = make("another root", ca=True)
        crossed = make("root", above, ca=True, key=ROOT.key)
        leaf = make("x", ROOT, names=[uri("spiffe://example.com/a")])
        chain = verified_chain(leaf, [crossed], [above])
        assert chain is not None
        self.assertEqual(len(chain), 3)
        self.assertIsInstance(self.policy(TRUST).check(peer_with(chain)), Accept)

    def test_bundle_above_is_held_to_its_limits(self) -> None:
        """Who has signed counts only while valid, within its path length, and for names that it permits."""
        key = ec.generate_private_key(ec.SECP256R1())
        inter = make("intermediate", make("top", ca=True, key=key), ca=True)
        leaf = make("x", inter, names=[uri("spiffe://example.com/a")])

        def judged(**options: Any) -> Any:
            top = make("top", ca=True, key=key, **options)
            return self.verdict(self.policy({"example.com": top.pem}), leaf, inter)

        self.assertIsInstance(judged(), Accept)
        self.assertIsInstance(judged(path_length=1), Accept)
        self.assertIsInstance(judged(constraints=x509.NameConstraints([uri("example.com")], None)), Accept)
        for options in (
            {"path_length": 0},
            {"not_after": NOW - DAY},
            {"not_before": NOW + DAY},
            {"constraints": x509.NameConstraints([uri("example.net")], None)},
        ):
            self.assert_refused("does not end", judged(**options))

    def test_many_of_one_name(self) -> None:
        """A bundle with many authorities of one name does not make many signatures to check."""
        pems = b"".join(make("root", ca=True, ski=None).pem for _ in range(12))
        impostor = make("root", ca=True)
        leaf = make("x", impostor, names=[uri("spiffe://example.com/a")], aki=None)
        bundle = read_bundle(pems + impostor.pem, "example.com")
        self.assertTrue(bundle.anchors((leaf.certificate, impostor.certificate), NOW))
        self.assertFalse(bundle.anchors((leaf.certificate,), NOW))

    def test_signing_certificates(self) -> None:
        """A CA between may have its trust domain's ID, not a workload's, and must be a CA that signs."""
        for names, wanted in (
            ([uri("spiffe://example.com")], ""),
            ([uri("https://example.com/ca")], ""),
            ([uri("spiffe://example.com/ca")], "the SPIFFE ID of a workload"),
            ([uri("spiffe://example.com:1")], "a SPIFFE ID that is none"),
        ):
            inter = make("intermediate", ROOT, ca=True, names=names)
            leaf = make("x", inter, names=[uri("spiffe://example.com/a")])
            verdict = self.verdict(self.policy(TRUST), leaf, inter, ROOT)
            if wanted:
                self.assert_refused(wanted, verdict)
            else:
                self.assertIsInstance(verdict, Accept)
        for options, wanted in (
            ({"basic_constraints": None}, "it is no CA's"),
            ({"usage": key_usage("crl_sign")}, "lacks keyCertSign"),
        ):
            inter = make("intermediate", ROOT, ca=True, **options)
            leaf = make("x", inter, names=[uri("spiffe://example.com/a")])
            self.assert_refused(wanted, self.verdict(self.policy(TRUST), leaf, inter, ROOT))
        bare = make("intermediate", ROOT, ca=True, usage=None)
        leaf = make("x", bare, names=[uri("spiffe://example.com/a")], purposes=None)
        self.assertIsInstance(self.verdict(self.policy(TRUST), leaf, bare, ROOT), Accept)
        self.assert_refused("it has no keyUsage", self.verdict(self.policy(TRUST, strict=True), leaf, bare, ROOT))

    def test_rotation(self) -> None:
        """A bundle that changes holds at once: a new authority comes in, a removed one no more."""
        config, environment = configured(self, {"example.com": ROOT.pem})
        judge = KIND.build(config, environment)
        bundle = Path(config.trust_domains["example.com"].bundle)
        new = make("new root", ca=True)
        old_leaf, new_leaf = (make("x", one, names=[uri("spiffe://example.com/a")]) for one in (ROOT, new))

        def let_in() -> list[bool]:
            verdicts = self.verdict(judge, old_leaf, ROOT), self.verdict(judge, new_leaf, new)
            return [isinstance(one, Accept) for one in verdicts]

        self.assertEqual(let_in(), [True, False])
        bundle.write_bytes(ROOT.pem + new.pem)
        environment.reread()
        self.assertEqual(let_in(), [True, True])
        bundle.write_bytes(new.pem)
        environment.reread()
        self.assertEqual(let_in(), [False, True])
        bundle.write_bytes(b"broken")
        environment.reread()
        self.assertEqual(let_in(), [False, True])


class BundleTests(SynchronousTestCase):
    """Bundles are read as they are written, and what is none is a fault."""

    def jwk(self, made: Made, **fields: Any) -> dict[str, Any]:
        """Give a certificate as SPIRE writes it."""
        return {"use": "x509-svid", "kty": "EC", "x5c": [b64encode(made.certificate.der).decode()], **fields}

    def read(self, document: Any) -> list[Certificate]:
        """Read a bundle of ``example.com``."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        return list(read_bundle(data, "example.com").authorities)

    def test_pem(self) -> None:
        """PEM has any number of certificates, and text between them."""
        self.assertEqual(
            self.read(b"# one\n" + ROOT.pem + b"\n# two\n" + TENANT.pem + ROOT.pem),
            [ROOT.certificate, TENANT.certificate],
        )

    def test_spiffe_bundle(self) -> None:
        """Of a SPIFFE bundle the first certificate of each key for X.509-SVIDs counts."""
        keys = [
            self.jwk(ROOT),
            self.jwk(TENANT, use="jwt-svid"),
            self.jwk(TENANT, x5c=[]),
            {"use": "x509-svid"},
            "odd",
            self.jwk(TENANT, x5c=[*self.jwk(TENANT)["x5c"], "ignored"]),
        ]
        document = {"spiffe_sequence": 1, "spiffe_refresh_hint": 300, "keys": keys}
        self.assertEqual(self.read(document), [ROOT.certificate, TENANT.certificate])
        self.assertEqual(
            self.read({"trust_domains": {"example.com": {"keys": keys[:1]}, "other": {"keys": []}}}),
            [ROOT.certificate],
        )

    def test_emptied(self) -> None:
        """A bundle without a key that counts is one that nobody is trusted by, as the specification demands."""
        for document in (
            {"keys": []},
            {"keys": [self.jwk(ROOT, use="x")]},
            {"trust_domains": {"example.com": {"keys": []}}},
        ):
            self.assertEqual(self.read(document), [])

    def test_no_bundles(self) -> None:
        """What is none is refused with the reason."""
        crl = (
            x509.CertificateRevocationListBuilder().issuer_name(ROOT.subject).last_update(NOW).next_update(NOW + DAY)
        ).sign(ROOT.key, hashes.SHA256())
        for document, wanted in (
            (b"", "neither PEM"),
            (b"hello", "neither PEM"),
            (b"{", "no JSON"),
            (b"{" * 100_000, "no JSON"),
            ({}, "no list of keys"),
            ({"keys": {}}, "no list of keys"),
            ({"keys": [self.jwk(ROOT, x5c=["!"])]}, "an x5c of it has no certificate"),
            ({"keys": [self.jwk(ROOT, x5c=["AAAA"])]}, "an x5c of it has no certificate"),
            ({"keys": [self.jwk(ROOT, x5c=[1])]}, "an x5c of it has no certificate"),
            ({"trust_domains": {"other": {"keys": []}}}, "no bundle of example.com"),
            (make("leaf", ROOT).pem, "is no CA's"),
            (make("ca", ROOT, ca=True, usage=key_usage("crl_sign")).pem, "is no CA's"),
            (ROOT.pem + crl.public_bytes(Encoding.PEM), "a CRL is in it"),
        ):
            with self.assertRaises(ValueError) as raised:
                self.read(document)
            self.assertIn(wanted, str(raised.exception))


class PathTests(SpiffeCase):
    """Paths are compared segment by segment."""

    def test_patterns(self) -> None:
        """Exact ones, one segment, part of one, and the rest."""
        for pattern, fits, others in (
            ("/a/b", ["/a/b"], ["/a", "/a/b/c", "/A/b", "/a/bb", "/x/a/b"]),
            ("/a/*", ["/a/b", "/a/x.y"], ["/a", "/a/b/c", "/b/a"]),
            ("/*/b", ["/a/b"], ["/b", "/a/a/b", "/a/bb"]),
            ("/a/web-*", ["/a/web-", "/a/web-1"], ["/a/web", "/a/web-1/x", "/a/xweb-1"]),
            ("/a/*-web", ["/a/-web", "/a/x-web"], ["/a/x-web2", "/a/x/y-web"]),
            ("/a/**", ["/a/b", "/a/b/c"], ["/a", "/ab", "/b/a/c"]),
            ("/**", ["/a", "/a/b"], [""]),
            ("/a.c/*", ["/a.c/x"], ["/abc/x"]),
        ):
            patterns = PathPatterns([pattern])
            self.assertEqual([path for path in fits if not patterns.match(path)], [], pattern)
            self.assertEqual([path for path in others if patterns.match(path)], [], pattern)
        several = PathPatterns(["/a", "/b/*", "/c/**"])
        self.assertEqual([several.match(path) for path in ("/a", "/b/x", "/c/x/y")], [True] * 3)
        self.assertEqual([several.match(path) for path in ("/b", "/d")], [False] * 2)

    def test_no_patterns(self) -> None:
        """What is no pattern is a fault of the configuration."""
        for pattern in (
            "", "a", "spiffe://a/b", "/", "/a/", "/a//b", "/./a", "/a/../b", "/**/a", "/a**", "/a*b*", "/a b", "/%61",
        ):  # fmt: skip
            self.assertIsNotNone(pattern_fault(pattern), pattern)
            self.assertRaises(ValueError, PathPatterns, [pattern])
            self.assertRaises(ValueError, TrustDomain, FilePath("bundle"), (pattern,))

    def test_in_the_policy(self) -> None:
        """A path that is not let in is refused with the ones that are."""
        judge = self.policy(TRUST, ["/ns/prod/sa/*", "/ops/**"])
        rows = (("/ns/prod/sa/web", True), ("/ns/dev/sa/web", False), ("/ops/a/b", True), ("/ops", False))
        for path, accepted in rows:
            leaf = make("x", ROOT, names=[uri(f"spiffe://example.com{path}")])
            verdict = judge.check(peer_with([leaf.certificate, ROOT.certificate]))
            self.assertEqual(isinstance(verdict, Accept), accepted, path)
            if not accepted:
                self.assertEqual(verdict.code, Reason.SPIFFE_ID)
                self.assertIn("/ns/prod/sa/*, /ops/**", verdict.detail)

    def test_configuration(self) -> None:
        """Names of trust domains are checked when the configuration is read."""
        for domain in ("", "Example.com", "spiffe://example.com", "a/b", "a:1", "a b"):
            self.assertFalse(is_trust_domain(domain))
            self.assertRaises(ValueError, Config, {domain: TrustDomain(FilePath("bundle"))})

    @given(st.lists(st.from_regex(r"[A-Za-z0-9._-]{0,7}[A-Za-z0-9]", fullmatch=True), max_size=5))
    def test_round_trip(self, segments: list[str]) -> None:
        """Every ID that the specification allows is read, and its own path as a pattern fits it alone."""
        path = "".join(f"/{segment}" for segment in segments)
        self.assertEqual(parse_spiffe_id(f"spiffe://example.com{path}"), ("example.com", path))
        if path:
            patterns = PathPatterns([path])
            self.assertTrue(patterns.match(path))
            self.assertFalse(patterns.match(path + "x"))
            self.assertTrue(PathPatterns(["/**"]).match(path))
            self.assertTrue(PathPatterns(["/*" * len(segments)]).match(path))
            self.assertFalse(PathPatterns(["/*" * (len(segments) + 1)]).match(path))

    @given(st.text(alphabet="spife:/.a-%*é\0?#@", max_size=30))
    def test_anything_as_id(self, text: str) -> None:
        """Whatever a URI is, it is an ID or a ValueError."""
        try:
            found = parse_spiffe_id(text)
        except ValueError:
            return
        self.assertEqual(f"spiffe://{found.trust_domain}{found.path}", text)


class ContractTests(SpiffeCase):
    """The policy keeps to what every plugin promises."""

    def test_contract(self) -> None:
        """It judges every odd client without raising, and its options and example are documented."""
        for options in ({}, {"strict": True}, {"allow_more_uris": True}):
            config, environment = configured(self, TRUST, ["/ns/*/sa/*", "/ops/**"], **options)
            check_plugin(KIND, config, env=environment)


class HandshakeTests(TestCase):
    """The policy in real handshakes."""

    async def outcome(self, client: Issued, **options: Any) -> Any:
        """Have a client shake hands with a gateway that trusts both authorities."""
        config, environment = configured(self, {"example.com": EXAMPLE.pem, "tenant-a": OTHER.pem}, **options)
        return await handshake([(KIND, config)], client, trust=[EXAMPLE, OTHER], env=environment)

    async def test_accepted(self) -> None:
        """A workload comes in, from the authority itself and from below it."""
        below = Authority("intermediate", issuer=EXAMPLE)
        for authority in (EXAMPLE, below):
            outcome = await self.outcome(authority.issue("web", uris=["spiffe://example.com/ns/prod/sa/web"]))
            self.assertTrue(outcome.accepted, outcome)
            (ruling,) = outcome.rulings
            self.assertEqual(ruling.verdict.attributes["path"], "/ns/prod/sa/web")

    async def test_refused(self) -> None:
        """Another domain's workload, another path and a client without an ID do not come in."""
        for client, code in (
            (OTHER.issue("forged", uris=["spiffe://example.com/ns/prod/sa/web"]), "spiffe_trust_domain"),
            (EXAMPLE.issue("x", uris=["spiffe://unknown.example/ns/prod/sa/web"]), "spiffe_trust_domain"),
            (EXAMPLE.issue("x", uris=["spiffe://example.com/ns/dev/sa/web"]), "spiffe_id"),
            (EXAMPLE.issue("x", dns=["web.example"]), "spiffe_id"),
        ):
            outcome = await self.outcome(client, paths=["/ns/prod/**"])
            self.assertEqual((outcome.accepted, outcome.code), (False, code))


EXAMPLE = Authority("example root")
OTHER = Authority("tenant root")
