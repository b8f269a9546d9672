"""The policy rfc5280: what OpenSSL lets pass is refused by name, and nothing else is."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.api import Accept, Reason, Reject
from edgegw.identity import Certificate, CertificateStatus
from edgegw.policies.certificate_parts import certificate_parts
from edgegw.policies.crl_rules import MOST_CRL_FAULTS, crl_faults
from edgegw.policies.profile_rules import RULES, X509_STRICT, Rule
from edgegw.policies.rfc5280 import RFC5280, Config, chain_faults, chosen_rules
from edgegw.testing import Issued, check_plugin, handshake
from tests.client_certificates import general_names, recorded, tlv
from tests.limbo_cases import CASES, Case
from tests.x509_chains import DEFAULT, NOW, Made, make, make_raw, peer_with, raw_name, verified_chain

KIND: Any = RFC5280
EVERY = chosen_rules(Config(rules=(Rule.ALL,)))


def policy(*rules: Rule, **options: Any) -> Any:
    """Configure the policy; it needs no environment."""
    return KIND.build(Config(rules=rules, **options), None)


def by_hand(case: Case) -> list[Certificate]:
    """Put a case's chain together by names, whatever OpenSSL says to it."""
    chain = [case.leaf]
    others = [*case.anchors, *reversed(case.sent)]
    while chain[-1] not in case.anchors:
        issuer = certificate_parts(chain[-1].certificate.der).issuer
        chain.append(next(one for one in others if certificate_parts(one.certificate.der).subject == issuer))
        others.remove(chain[-1])
    return [one.certificate for one in chain]


class LimboTests(SynchronousTestCase):
    """Chains of x509-limbo come out as it says they must."""

    def test_every_case(self) -> None:
        """OpenSSL with partial chains and this policy with all rules let in what is good, and nothing else."""
        judge = policy(Rule.ALL)
        wrong = []
        for make_case in CASES:
            case = make_case()
            chain = verified_chain(case.leaf, case.sent, case.anchors)
            verdict = None if chain is None else judge.check(peer_with(chain))
            if isinstance(verdict, Accept) is not case.accepted:
                wrong.append(f"{case.id}: {verdict}")
        self.assertEqual(wrong, [])

    def test_the_rule_alone_refuses(self) -> None:
        """Each case that OpenSSL may let pass is refused by the one rule that is for it."""
        wrong = []
        for case in (make_case() for make_case in CASES):
            if case.rule:
                verdict = policy(Rule(case.rule)).check(peer_with(by_hand(case)))
                if not isinstance(verdict, Reject) or not verdict.detail.startswith(f"{case.rule}: "):
                    wrong.append(f"{case.id}: {verdict}")
        self.assertEqual(wrong, [])

    def test_every_rule_has_a_case(self) -> None:
        """No rule is without a certificate that it refuses."""
        self.assertEqual({case.rule for case in (make_case() for make_case in CASES)} - {""}, set(EVERY))


class RuleTests(SynchronousTestCase):
    """Rules look at what they are for."""

    def faults(self, leaf: Made, *above: Made, rules: Sequence[Rule] = tuple(EVERY), **options: Any) -> list[str]:
        """Give what breaks rules in a chain."""
        chain = tuple(one.certificate for one in (leaf, *above))
        return list(chain_faults(chain, frozenset(rules), **options))

    def test_good_chains(self) -> None:
        """Ordinary certificates keep every rule."""
        root = make("root", ca=True)
        ica = make("intermediate", root, ca=True, path_length=0)
        names = [
            x509.DNSName("a.example"), x509.DNSName("*.a.example"), x509.RFC822Name("joe.o'neil+x@a.example"),
            x509.UniformResourceIdentifier("spiffe://example.com/ns/prod"),
            x509.UniformResourceIdentifier("https://u@a.example:1/%7Ejoe?q#f"),
            x509.UniformResourceIdentifier("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), tlv(0x0C, b"joe@a.example")),
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
            x509.DirectoryName(x509.Name.from_rfc4514_string("CN=joe,O=Acme")),
        ]  # fmt: skip
        self.assertEqual(self.faults(make("leaf", ica, names=names), ica, root), [])

    def test_recorded_certificates(self) -> None:
        """Of certificates seen elsewhere those with line breaks, NUL and broken names are found."""
        rules = frozenset({Rule.CONTROL_CHARACTERS, Rule.DNS_NAMES, Rule.STRINGS, Rule.SERIAL_NUMBER})
        found = {
            name: list(chain_faults(row.chain[:1], rules)) for name, row in recorded().items()
        }
        for name, wanted in (
            ("c-control", "control_characters: the control character U+000A in the subject"),
            ("string-ctl", "control_characters: a NUL in the subject"),
            ("san-nuldns", "control_characters: a NUL in DNS:"),
            ("string-PrintableString", "strings: a PrintableString with characters"),
            ("string-ia5high", "strings: a IA5String whose bytes are none"),
            ("serialneg", "serial_number: a serial number that is negative"),
            ("serialzero", "serial_number: a serial number that is zero"),
            ("san-8dns", "dns_names: DNS:"),
            ("san-emptydns", "dns_names: DNS: is empty"),
        ):
            self.assertTrue(any(fault.startswith(wanted) for fault in found[name]), f"{name}: {found[name]}")
        self.assertEqual(found["c-valid"], [])
        self.assertEqual(found["c-unicode"], [])

    def test_the_certificate_is_named(self) -> None:
        """The detail says which certificate of the chain is at fault, in printable ASCII."""
        root = make("root", ca=True, basic_constraints_critical=False)
        leaf = make("leaf", root)
        wanted = "basicConstraints of a CA that are not critical (certificate 2 of 2, CN=root)"
        self.assertEqual(self.faults(leaf, root), [f"basic_constraints_critical: {wanted}"])

    def test_details_are_bounded(self) -> None:
        """A certificate with a thousand bad names makes a short line in the log."""
        root = make("root", ca=True)
        names = [(0x82, b"\xff_" * 40)] * 1000
        leaf = make_raw(root, subject=raw_name(("550403", 0x0C, b"\n" * 500)), replace={"names": general_names(*names)})
        chain = [leaf.certificate, root.certificate]
        verdict = policy(Rule.ALL).check(peer_with(chain))
        self.assertIsInstance(verdict, Reject)
        self.assertLess(len(verdict.detail), 1500)
        self.assertTrue(verdict.detail.isascii() and verdict.detail.isprintable())

    def test_too_many_names(self) -> None:
        """A certificate with more names than anybody looks at is refused by the rules about names, and at once."""
        root = make("root", ca=True, constraints=x509.NameConstraints([x509.DNSName("example")], None))
        names = general_names(*[(0x82, b"a.example")] * 2049)
        leaf = make_raw(root, replace={"names": names})
        for rule in (Rule.DNS_NAMES, Rule.NAME_CONSTRAINTS, Rule.CONTROL_CHARACTERS):
            (fault,) = self.faults(leaf, root, rules=[rule])
            self.assertIn("more than 2048", fault)

    def test_unreadable_extension(self) -> None:
        """A rule that cannot read what it is about refuses; one that is about something else does not."""
        root = make("root", ca=True)
        broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.15"), b"\x03\x09")
        leaf = make("leaf", root, usage=broken)
        (fault,) = self.faults(leaf, root, rules=[Rule.KEY_USAGE])
        self.assertIn("key_usage: cannot be judged: ", fault)
        self.assertEqual(self.faults(leaf, root, rules=[Rule.SERIAL_NUMBER]), [])

    def test_unreadable_certificate(self) -> None:
        """What is no DER at all is refused by whatever rule."""
        root = make("root", ca=True)
        for der in (b"", b"\x30\x80\x00\x00", root.certificate.der + b"\0", root.certificate.der[:-1]):
            verdict = policy(Rule.SERIAL_NUMBER).check(peer_with([Certificate(der), root.certificate]))
            self.assertEqual(verdict.code, Reason.RFC5280)
            self.assertIn("cannot be read", verdict.detail)

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_nothing_raises(self, data: st.DataObject) -> None:
        """Whatever bytes stand in a certificate, the policy gives a verdict."""
        der = bytearray(SAMPLE.certificate.der)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(der) - 1))
            der[at] = data.draw(st.integers(0, 255))
        chain = (Certificate(bytes(der)), SAMPLE_CA.certificate)
        for fault in chain_faults(chain, EVERY):
            self.assertTrue(fault.isascii() and fault.isprintable(), fault)
        list(chain_faults(chain[::-1], EVERY))


NC = x509.NameConstraints([x509.DNSName("example"), x509.RFC822Name(".example")], [x509.DNSName("no.example")])
SAMPLE_CA = make("ca", ca=True, constraints=NC)
SAMPLE = make(
    "leaf",
    SAMPLE_CA,
    names=[
        x509.DNSName("a.example"), x509.RFC822Name("a@b.example"), x509.UniformResourceIdentifier("https://a.example/"),
        x509.DirectoryName(x509.Name.from_rfc4514_string("CN=joe,O=Acme")),
        x509.OtherName(x509.ObjectIdentifier("1.2.3"), tlv(0x0C, b"x")),
    ],
)  # fmt: skip


class NameConstraintTests(SynchronousTestCase):
    """Names are compared as RFC 5280 wants it."""

    def judge(self, constraints: x509.NameConstraints, *names: tuple[int, bytes], **options: Any) -> list[str]:
        """Give what the rule says to a leaf with these names below a CA with these constraints."""
        root = make("root", ca=True, constraints=constraints)
        leaf = make_raw(root, replace={"names": general_names(*names)}, **options)
        chain = (leaf.certificate, root.certificate)
        return [fault.partition(" (cert")[0] for fault in chain_faults(chain, frozenset({Rule.NAME_CONSTRAINTS}))]

    def assert_all(self, wanted: str, constraints: x509.NameConstraints, tag: int, *names: bytes) -> None:
        """Make sure that each name alone is refused with ``wanted``; ``""`` for one that is not."""
        for name in names:
            found = self.judge(constraints, (tag, name))
            self.assertEqual(len(found), 1 if wanted else 0, f"{name!r}: {found}")
            if wanted:
                self.assertIn(wanted, found[0])

    def test_dns(self) -> None:
        """A DNS constraint is for the name and all below it, in either case."""
        tree = x509.NameConstraints([x509.DNSName("a.example")], [x509.DNSName("no.a.example")])
        self.assert_all("", tree, 0x82, b"a.example", b"A.EXAMPLE", b"x.y.a.example", b"noa.a.example")
        self.assert_all("is not permitted", tree, 0x82, b"example", b"aa.example", b"a.example.net")
        self.assert_all("is excluded", tree, 0x82, b"no.a.example", b"x.NO.a.example", b"*.no.a.example")
        self.assert_all("is excluded", tree, 0x82, b"*.a.example")
        self.assert_all("", tree, 0x82, b"*.b.a.example")
        self.assert_all("where constraints of its kind hold", tree, 0x82, b"a_b.a.example", b".a.example", b"")

    def test_everything(self) -> None:
        """An empty DNS constraint is for every DNS name."""
        nothing = x509.NameConstraints(None, [x509.DNSName("placeholder.example")])
        nothing._excluded_subtrees = [x509.DNSName("")]
        self.assert_all("is excluded", nothing, 0x82, b"a.example", b"*.example")
        self.assert_all("", nothing, 0x81, b"a@a.example")

    def test_addresses(self) -> None:
        """A constraint is a mailbox, a host, or with a leading dot the hosts below a domain."""
        tree = x509.NameConstraints(
            [x509.RFC822Name("Joe@a.example"), x509.RFC822Name("b.example"), x509.RFC822Name(".c.example")], None
        )
        self.assert_all("", tree, 0x81, b"Joe@A.example", b"x@b.example", b"x@y.c.example", b"x@z.y.c.example")
        self.assert_all("is not permitted", tree, 0x81, b"joe@a.example", b"x@a.example", b"x@y.b.example")
        self.assert_all("is not permitted", tree, 0x81, b"x@c.example")
        self.assert_all("where constraints of its kind hold", tree, 0x81, b"b.example", b"x@y@b.example", b"@b.example")

    def test_addresses_elsewhere(self) -> None:
        """An address in the subject is constrained too, and one of another kind is refused."""
        tree = x509.NameConstraints([x509.RFC822Name("b.example")], None)
        subject = raw_name(("550403", 0x0C, b"x"), ("2a864886f70d010901", 0x16, b"x@no.example"))
        self.assertEqual(
            self.judge(tree, (0x81, b"x@b.example"), subject=subject),
            ["name_constraints: email:x@no.example is not permitted"],
        )
        mailbox = tlv(0x06, bytes.fromhex("2b06010505070809")) + tlv(0xA0, tlv(0x0C, b"x@b.example"))
        self.assert_all("cannot be compared", tree, 0xA0, mailbox)

    def test_uris(self) -> None:
        """A URI's host is compared, and a URI without a host name does not pass."""
        tree = x509.NameConstraints(
            [x509.UniformResourceIdentifier("a.example"), x509.UniformResourceIdentifier(".b.example")], None
        )
        self.assert_all("", tree, 0x86, b"https://a.example/x", b"spiffe://A.example/y", b"https://u@x.b.example:1")
        self.assert_all("is not permitted", tree, 0x86, b"https://x.a.example/", b"https://b.example", b"x://a.example.net")
        self.assert_all("has no host name", tree, 0x86, b"urn:a", b"https://[::1]/", b"https://192.0.2.1/")

    def test_addresses_of_hosts(self) -> None:
        """Networks are compared by family, and a mask with holes is none."""
        from ipaddress import ip_network

        tree = x509.NameConstraints([x509.IPAddress(ip_network("10.0.0.0/8"))], None)
        self.assert_all("", tree, 0x87, bytes([10, 1, 2, 3]))
        self.assert_all("is not permitted", tree, 0x87, bytes([11, 1, 2, 3]), bytes(16))
        self.assert_all("where constraints", tree, 0x87, bytes(8))

    def test_names(self) -> None:
        """Distinguished names are compared without regard to case, string types and spaces."""
        base = x509.DirectoryName(x509.Name.from_rfc4514_string("O=Acme  Inc,C=US"))
        tree = x509.NameConstraints([base], None)
        country = ("550406", 0x13, b"US")
        for organization, wanted in ((b" ACME inc ", []), (b"Acme", ["is not permitted"])):
            subject = raw_name(country, ("55040a", 0x13, organization), ("550403", 0x0C, b"x"))
            found = self.judge(tree, (0x82, b"a.example"), subject=subject)
            self.assertEqual([fault[-16:] for fault in found], wanted)

    def test_malformed(self) -> None:
        """Constraints that are none are faults of their own, even if no name is of their kind."""
        for value in (b"", b"\x30\x00", b"\x30\x02\xa0\x00", tlv(0x30, tlv(0xA2)), tlv(0x30, tlv(0xA1), tlv(0xA0)),
                      tlv(0x30, tlv(0xA0, tlv(0x30, tlv(0x87, b"\0" * 6 + b"\xff\x01")))),
                      tlv(0x30, tlv(0xA0, tlv(0x30, tlv(0x82, b"a.example"), tlv(0x80, b"\0"))))):  # fmt: skip
            broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), value)
            root = make("root", ca=True, extra=[(broken, True)])
            leaf = make("leaf", root, names=[x509.RFC822Name("a@a.example")])
            found = list(chain_faults((leaf.certificate, root.certificate), frozenset({Rule.NAME_CONSTRAINTS})))
            self.assertEqual(len(found), 1, f"{value!r}: {found}")


class PolicyTests(SynchronousTestCase):
    """The policy as a configuration has it."""

    def setUp(self) -> None:
        self.root = make("root", ca=True, basic_constraints_critical=False)
        self.leaf = make("leaf", self.root)
        self.chain = [self.leaf.certificate, self.root.certificate]

    def test_off_unless_asked_for(self) -> None:
        """Rules that are not named are not applied."""
        for rule in EVERY - {Rule.BASIC_CONSTRAINTS_CRITICAL}:
            self.assertIsInstance(policy(rule).check(peer_with(self.chain)), Accept, rule)
        self.assertIsInstance(policy(Rule.BASIC_CONSTRAINTS_CRITICAL).check(peer_with(self.chain)), Reject)

    def test_groups(self) -> None:
        """Groups stand for their rules, and single ones can be left out."""
        self.assertEqual(chosen_rules(Config(rules=(Rule.X509_STRICT,))), X509_STRICT)
        self.assertEqual(EVERY, RULES.keys() | {Rule.NAME_CONSTRAINTS})
        without = policy(Rule.ALL, without=(Rule.BASIC_CONSTRAINTS_CRITICAL,))
        self.assertIsInstance(without.check(peer_with(self.chain)), Accept)
        self.assertIsInstance(policy(Rule.X509_STRICT).check(peer_with(self.chain)), Reject)

    def test_trust_anchors(self) -> None:
        """An old root can be left alone while the rest is held to the rules."""
        judge = policy(Rule.ALL, trust_anchors=False)
        self.assertIsInstance(judge.check(peer_with(self.chain)), Accept)
        self.assertIsInstance(judge.check(peer_with([self.root.certificate])), Reject)
        below = make("below", self.root, ca=True, basic_constraints_critical=False)
        leaf = make("leaf", below)
        chain = [leaf.certificate, below.certificate, self.root.certificate]
        self.assertIn("certificate 2 of 3", judge.check(peer_with(chain)).detail)

    def test_constraints_of_a_trust_anchor(self) -> None:
        """Constraints of a root that is left alone hold for names below it, but are no fault themselves."""
        dotted = x509.UnrecognizedExtension(
            x509.ObjectIdentifier("2.5.29.30"),
            tlv(0x30, tlv(0xA1, tlv(0x30, tlv(0x82, b".a.example")), tlv(0x30, tlv(0x82, b"no.example")))),
        )
        root = make("root", ca=True, extra=[(dotted, True)])
        for dns, wanted in (("a.example", [True, False]), ("no.example", [False, False])):
            chain = [make("leaf", root, names=[x509.DNSName(dns)]).certificate, root.certificate]
            verdicts = [
                policy(Rule.NAME_CONSTRAINTS, trust_anchors=held).check(peer_with(chain)) for held in (False, True)
            ]
            self.assertEqual([isinstance(verdict, Accept) for verdict in verdicts], wanted)

    def test_nothing_asked_for(self) -> None:
        """A policy that would let everybody in is a fault of the configuration."""
        for options in ({}, {"rules": (Rule.VERSION,), "without": (Rule.ALL,)},
                        {"rules": (Rule.VERSION,), "without": (Rule.VERSION,), "alternative_chains": 3}):  # fmt: skip
            self.assertRaises(ValueError, Config, **options)

    def test_unverified(self) -> None:
        """Where unverified certificates may come in, they do not by this policy."""
        for status in (CertificateStatus.UNVERIFIED, CertificateStatus.NONE):
            self.assertEqual(policy(Rule.ALL).check(peer_with(self.chain, status)).code, Reason.RFC5280)
        self.assertEqual(policy(Rule.ALL).check(empty_chain(self.chain)).code, Reason.RFC5280)

    def test_alternative_chains_alone(self) -> None:
        """Looking for other chains alone does not need the chain, nor refuse anybody."""
        judge = KIND.build(Config(alternative_chains=8), None)
        self.assertFalse(judge.needs_chain)
        self.assertEqual(judge.alternative_chains, 8)
        self.assertIsInstance(judge.check(peer_with(self.chain, CertificateStatus.UNVERIFIED)), Accept)
        self.assertTrue(policy(Rule.ALL).needs_chain)
        self.assertEqual(policy(Rule.ALL).alternative_chains, 0)

    def test_remembered_verdicts(self) -> None:
        """The same chain gets the same verdict again, another one its own, however many there were before."""
        judge = policy(Rule.SERIAL_NUMBER)
        bad = make_raw(self.root, serial=b"\0").certificate
        peers = [peer_with(self.chain), peer_with([bad, self.root.certificate])]
        for _ in range(3):
            self.assertEqual([type(judge.check(peer)) for peer in peers], [Accept, Reject])
        for number in range(1100):
            judge.check(peer_with([Certificate(b"%d" % number)]))
        self.assertLessEqual(len(judge._known), 1024)
        self.assertEqual([type(judge.check(peer)) for peer in peers], [Accept, Reject])


def empty_chain(chain: Sequence[Certificate]) -> Any:
    """Give a client that is verified and whose chain is empty."""
    peer = peer_with(chain)
    peer._chain = ()
    return peer


class ContractTests(SynchronousTestCase):
    """The policy keeps to what every plugin promises."""

    def test_contract(self) -> None:
        """It judges every odd client without raising, and its options and example are documented."""
        check_plugin(
            KIND,
            {"rules": ["all"]},
            {"rules": ["x509_strict", "dns_names"], "without": ["version"], "trust_anchors": False},
            {"alternative_chains": 4},
        )


def issued(leaf: Made, *sent: Made) -> Issued:
    """Give a client's certificate as the tests of handshakes have it."""
    return Issued(leaf.certificate.x509, leaf.key, tuple(one.certificate.x509 for one in sent))


class HandshakeTests(TestCase):
    """The policy in real handshakes."""

    async def test_rules(self) -> None:
        """A client that OpenSSL lets in is refused with the rule that its certificate breaks."""
        root = make("root", ca=True)
        bad = make("leaf", root, names=[x509.DNSName(".a.example")])
        for rules, code in ((["dns_names"], "rfc5280"), (["x509_strict"], "")):
            outcome = await handshake([(KIND, {"rules": rules})], issued(bad), trust=[issued(root)])
            self.assertEqual((outcome.accepted, outcome.code), (not code, code))
        outcome = await handshake([(KIND, {"rules": ["all"]})], issued(bad), trust=[issued(root)])
        self.assertIn("dns_names: DNS:.a.example begins with a dot", outcome.detail)

    async def test_alternative_chains(self) -> None:
        """A client whose intermediate two roots have signed comes in by the one that has not expired."""
        old_root, new_root = make("old root", ca=True, not_after=NOW - timedelta(days=1)), make("new root", ca=True)
        old = make("intermediate", old_root, ca=True)
        new = make("intermediate", new_root, ca=True, key=old.key)
        client = issued(make("leaf", new), old, new)
        trust = [issued(old_root), issued(new_root)]
        for limit, code in ((0, "certificate_expired"), (4, "")):
            config = {"rules": ["x509_strict"], "alternative_chains": limit}
            outcome = await handshake([(KIND, config)], client, trust=trust)
            self.assertEqual((outcome.accepted, outcome.code), (not code, code))


class CRLTests(SynchronousTestCase):
    """A CRL that does not keep to RFC 5280 is told from one that does."""

    def crl(
        self,
        number: Any = x509.CRLNumber(7),  # noqa: B008  # a value
        number_critical: bool = False,
        aki: Any = DEFAULT,
        revoked: Sequence[int] = (5, 6),
        extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> x509.CertificateRevocationList:
        """Make a list with these extensions and serial numbers."""
        root = make("root", ca=True)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(root.subject)
            .last_update(NOW)
            .next_update(NOW + timedelta(days=1))
        )
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key())
        for value, critical in ((number, number_critical), (above if aki is DEFAULT else aki, False), *extra):
            if value is not None:
                builder = builder.add_extension(value, critical)
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW)
            builder = builder.add_revoked_certificate(
                entry.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False).build()
            )
        return builder.sign(root.key, hashes.SHA256())

    def test_good(self) -> None:
        """A list with and one without entries is good."""
        self.assertEqual(crl_faults(self.crl()), [])
        self.assertEqual(crl_faults(self.crl(revoked=())), [])

    def test_extensions(self) -> None:
        """rfc5280::crl::crlnumber-missing, crlnumber-critical, crl-unknown-critical-extension and their like."""
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55738.666.1"), b"")
        point = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
        self.assertEqual(crl_faults(self.crl(number=None)), ["no cRLNumber"])
        self.assertEqual(crl_faults(self.crl(number_critical=True)), ["cRLNumber is critical"])
        self.assertIn("a cRLNumber that is none", crl_faults(self.crl(number=x509.CRLNumber(1 << 160)))[0])
        self.assertEqual(crl_faults(self.crl(aki=None)), ["no authorityKeyIdentifier"])
        self.assertEqual(
            crl_faults(self.crl(aki=x509.AuthorityKeyIdentifier(None, [x509.DNSName("x")], 1))),
            ["an authorityKeyIdentifier without keyIdentifier"],
        )
        self.assertEqual(crl_faults(self.crl(extra=[(unknown, True)])), ["a critical extension that is not known"])
        self.assertEqual(crl_faults(self.crl(extra=[(unknown, False)])), [])
        self.assertEqual(
            crl_faults(self.crl(extra=[(point, False)])), ["issuingDistributionPoint is not critical"]
        )

    def test_entries(self) -> None:
        """crl-duplicate-revoked-serial, and no more faults than anybody reads."""
        self.assertEqual(crl_faults(self.crl(revoked=(5, 6, 5))), ["a serial number twice: 05"])
        self.assertEqual(len(crl_faults(self.crl(revoked=[1] * 30))), MOST_CRL_FAULTS)

    def test_by_hand(self) -> None:
        """A list of version 1 without nextUpdate, and one with an empty list of entries, are found."""
        algorithm = bytes.fromhex("300a06082a8648ce3d040302")
        now = tlv(0x17, b"250101000000Z")
        later = tlv(0x18, b"20260101000000Z")
        issuer = raw_name(("550403", 0x0C, b"root"))
        for parts, wanted in (
            ((algorithm, issuer, now), ["version 1", "no nextUpdate", "no cRLNumber", "no authorityKeyIdentifier"]),
            ((tlv(0x02, b"\1"), algorithm, raw_name(), now, later, tlv(0x30), tlv(0xA0, tlv(0x30))),
             ["an empty issuer", "before 2050, as nextUpdate", "empty list of revoked", "empty list of extensions",
              "no cRLNumber", "no authorityKeyIdentifier"]),
        ):  # fmt: skip
            crl = x509.load_der_x509_crl(tlv(0x30, tlv(0x30, *parts), algorithm, tlv(0x03, b"\0")))
            found = crl_faults(crl)
            self.assertEqual(len(found), len(wanted), found)
            for fault, text in zip(found, wanted, strict=True):
                self.assertIn(text, fault)

    def test_changed_bytes(self) -> None:
        """Whatever is changed in a list raises nothing."""
        der = self.crl().public_bytes(Encoding.DER)
        for at in range(4, len(der) - 80):
            try:
                crl = x509.load_der_x509_crl(der[:at] + bytes([der[at] ^ 1]) + der[at + 1 :])
            except (ValueError, x509.InvalidVersion):
                continue
            self.assertIsInstance(crl_faults(crl), list)
