"""``subject_alt_names``: every row of Envoy's table, and what Envoy leaves open."""
from __future__ import annotations

from typing import Any

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.certificate import Certificate
from edgegw.config import ConfigError
from edgegw.policies.subject_alt_names import Config, SubjectAltNames, literal_dns_name, parse_dns_names
from edgegw.policies.text_matchers import TextMatch
from edgegw.testing import (
    Authority,
    FakeEnvironment,
    anonymous_peer,
    assert_accepts,
    assert_rejects,
    build,
    check_plugin,
    examples_of,
    options,
    peer,
)
from edgegw.verdict import Accept, Reason, Reject

from .client_certificates import general_names, handmade, recorded, tlv

CA = Authority()
UPN = "1.3.6.1.4.1.311.20.2.3"
EMAIL, DNS, URI, IP, OTHER_NAME = 0x81, 0x82, 0x86, 0x87, 0xA0


def other_name(oid: str, value: bytes) -> tuple[x509.ExtensionType, bool]:
    """Give an extension with one other name, whose value is this DER."""
    return x509.SubjectAlternativeName([x509.OtherName(x509.ObjectIdentifier(oid), value)]), False


def issued(**names: Any) -> Certificate:
    """Issue a certificate with these names."""
    return Certificate(CA.issue(**names).der)


ROWS = recorded()
#: The clients of the table: those that Envoy was asked about where they were recorded, and others with their names.
CLIENTS: dict[str, Certificate] = {
    "valid": ROWS["c-valid"].chain[0],
    "dns": issued(dns=["svc.internal.corp"]),
    "dnsupper": issued(dns=["SVC.Internal.Corp"]),
    "dnsdeep": issued(dns=["a.b.internal.corp"]),
    "dnsapex": issued(dns=["internal.corp"]),
    "dnsevil": issued(dns=["evilinternal.corp"]),
    "wildsan": ROWS["c-wildsan"].chain[0],
    "otherdns": issued(dns=["client1.partner.example"]),
    "uri": ROWS["c-uri"].chain[0],
    "otherspiffe": issued(uris=["spiffe://other.example/ns/prod/sa/client1"]),
    "email": ROWS["c-email"].chain[0],
    "ip": ROWS["c-ip"].chain[0],
    "upn": issued(extensions=[other_name(UPN, tlv(0x0C, b"alice@corp.example"))]),
    "nosan": ROWS["c-nosan"].chain[0],
    "specialsan": ROWS["c-specialsan"].chain[0],
}
#: Envoy's table: the options, and who comes in by them.
TABLE: list[tuple[dict[str, Any], str]] = [
    ({"dns": [{"exact": "client1.internal.corp"}]}, "valid wildsan"),
    ({"dns": [{"exact": "CLIENT1.internal.corp"}]}, "valid wildsan"),
    ({"dns": [{"suffix": ".internal.corp"}]}, "valid dns dnsdeep wildsan specialsan"),
    ({"dns": [{"suffix": "internal.corp"}]}, "valid dns dnsdeep dnsapex dnsevil wildsan specialsan"),
    ({"dns": [{"suffix": ".internal.corp", "ignore_case": True}]}, "valid dns dnsupper dnsdeep wildsan specialsan"),
    ({"dns": [{"prefix": "client1."}]}, "valid otherdns"),
    ({"dns": [{"contains": "internal"}]}, "valid dns dnsdeep dnsapex dnsevil wildsan specialsan"),
    ({"dns": [{"regex": r"[a-z0-9-]+\.internal\.corp"}]}, "valid dns"),
    ({"dns": [{"regex": "internal"}]}, ""),
    ({"uri": [{"exact": "spiffe://example.com/ns/prod/sa/client1"}]}, "valid uri"),
    ({"uri": [{"prefix": "spiffe://example.com/"}]}, "valid uri specialsan"),
    ({"email": [{"exact": "client1@internal.corp"}]}, "valid email"),
    ({"ip": [{"exact": "10.1.2.3"}]}, "valid ip"),
    ({"ip": [{"exact": "2001:db8::1"}]}, "ip"),
    ({"other_name": [{"oid": UPN, "exact": "alice@corp.example"}]}, "upn"),
    ({"dns": [{"exact": "nobody.example"}], "email": [{"exact": "client1@internal.corp"}]}, "valid email"),
    # with require_client_certificate: false, which changes nothing for those who send one
    ({"dns": [{"exact": "client1.internal.corp"}]}, "valid wildsan"),
]


def accepts(document: dict[str, Any] | str, certificate: Certificate) -> bool:
    """Whether the policy lets a certificate in; a refusal must have the policy's own code."""
    verdict = build(SubjectAltNames, document).check(peer(certificate))
    assert isinstance(verdict, Accept) or verdict.code == Reason.SUBJECT_ALT_NAME, verdict
    return isinstance(verdict, Accept)


class EnvoysTableTests(SynchronousTestCase):
    """Envoy 1.40 lets the same clients in."""

    def test_rows(self) -> None:
        """Every row of the table, with every client of it."""
        for document, accepted in TABLE:
            found = {name for name, certificate in CLIENTS.items() if accepts(document, certificate)}
            self.assertEqual(found, set(accepted.split()), document)

    def test_no_certificate(self) -> None:
        """A client without a certificate is refused, and left to the listener where the gateway asks."""
        kind: Any = SubjectAltNames
        self.assertFalse(kind.without_certificate)
        for document, _ in TABLE:
            policy = kind.build(options(kind, document), FakeEnvironment())
            verdict = policy.check(anonymous_peer())
            self.assertEqual(verdict, Reject(Reason.NO_CERTIFICATE))


class DNSTests(SynchronousTestCase):
    """DNS names."""

    def test_wildcard_in_the_certificate(self) -> None:
        """A wildcard is one whole first label, whatever the case of the rest."""
        certificate = issued(dns=["*.Corp.Example"])
        for name, expected in {
            "a.corp.example": True, "A.CORP.EXAMPLE": True, "xn--bcher-kva.corp.example": True,
            "a.b.corp.example": False, "corp.example": False, "example": False, "a.corp.examples": False,
        }.items():
            self.assertEqual(accepts({"dns": [{"exact": name}]}, certificate), expected, name)

    def test_other_wildcards(self) -> None:
        """A wildcard that is part of a label, not the first one, or stands alone is no wildcard."""
        names = ("a*.corp.example", "*a.corp.example", "a.*.example", "*", "*.*.example", "*corp.example", "**.corp")
        for name in names:
            certificate = handmade(extensions=[general_names((DNS, name.encode()))])
            for wanted in ("ab.corp.example", "a.corp.example", "corp.example", "a.b.example", "a.corp"):
                self.assertFalse(accepts({"dns": [{"exact": wanted}]}, certificate), (name, wanted))

    def test_wildcard_in_the_configuration(self) -> None:
        """A wildcard in the configuration is a fault that says what to write."""
        with self.assertRaises(ConfigError) as caught:
            options(SubjectAltNames, {"dns": [{"exact": "*.internal.corp"}]})
        text = str(caught.exception)
        self.assertIn("'*.internal.corp' has a wildcard, which only a certificate may have", text)
        self.assertIn(r"write suffix: .internal.corp for all names below it, or regex: [^.]+\.internal\.corp for", text)
        self.assertTrue(accepts({"dns": [{"regex": r"[^.]+\.internal\.corp"}]}, CLIENTS["dns"]))
        self.assertFalse(accepts({"dns": [{"regex": r"[^.]+\.internal\.corp"}]}, CLIENTS["dnsdeep"]))
        with self.assertRaises(ConfigError) as caught:
            options(SubjectAltNames, {"dns": [{"exact": "a*.corp"}]})
        self.assertIn(r"write regex: a[^.]+\.corp for any label", str(caught.exception))

    def test_international_names(self) -> None:
        """An international name is compared as the A-labels that certificates have."""
        certificate = issued(dns=["xn--bcher-kva.example"])
        self.assertTrue(accepts({"dns": [{"exact": "Bücher.example"}]}, certificate))
        self.assertTrue(accepts({"dns": [{"exact": "bücher.example"}]}, issued(dns=["*.example"])))

    def test_names_that_are_none(self) -> None:
        """What matches no certificate is a fault."""
        for matcher, words in {
            ("exact", ".internal.corp"): "write suffix: .internal.corp",
            ("exact", "a b"): "is no DNS name",
            ("exact", "bü cher"): "is no international host name",
            ("suffix", ".bücher"): "A-labels",
            ("contains", " "): "printable ASCII without spaces",
        }.items():
            with self.assertRaises(ConfigError) as caught:
                options(SubjectAltNames, {"dns": [dict([matcher])]})
            self.assertIn(words, str(caught.exception), str(matcher))

    @given(st.from_regex(r"[a-c]{1,2}(\.[a-c]{1,2}){0,2}", fullmatch=True),
           st.from_regex(r"(\*\.)?[a-cA-C]{1,2}(\.[a-c]{1,2}){0,2}", fullmatch=True))
    def test_exact(self, wanted: str, name: str) -> None:
        """exact is equality but for case, or all labels but the first where the certificate has a wildcard."""
        first, _, rest = wanted.partition(".")
        expected = wanted == name.lower() or (bool(first and rest) and name.lower() == f"*.{rest}")
        certificate = handmade(extensions=[general_names((DNS, name.encode()))])
        self.assertEqual(accepts({"dns": [{"exact": wanted}]}, certificate), expected)


class OtherTypesTests(SynchronousTestCase):
    """Mail and IP addresses, URIs, other names."""

    def test_mail(self) -> None:
        """The host's case does not count, the mailbox's does."""
        certificate = issued(emails=["Alice@Corp.Example"])
        self.assertTrue(accepts({"email": [{"exact": "Alice@corp.EXAMPLE"}]}, certificate))
        self.assertFalse(accepts({"email": [{"exact": "alice@corp.example"}]}, certificate))
        self.assertTrue(accepts({"email": [{"exact": "alice@corp.example", "ignore_case": True}]}, certificate))
        self.assertFalse(accepts({"email": [{"suffix": "@corp.example"}]}, certificate))

    def test_uri(self) -> None:
        """Of a URI every character counts."""
        self.assertFalse(accepts({"uri": [{"exact": "SPIFFE://example.com/ns/prod/sa/client1"}]}, CLIENTS["uri"]))
        self.assertFalse(accepts({"uri": [{"exact": "spiffe://example.com/ns/prod/sa/client1/"}]}, CLIENTS["uri"]))

    def test_addresses(self) -> None:
        """Addresses are compared as such, whatever their spelling, and by their networks."""
        certificate = issued(ips=["10.1.2.3", "2001:db8::1", "::ffff:10.9.9.9"])
        for matcher, expected in (
            ({"exact": "2001:0DB8:0:0::1"}, True),
            ({"exact": "10.1.2.4"}, False),
            ({"exact": "10.9.9.9"}, False),
            ({"exact": "::ffff:10.9.9.9"}, True),
            ({"exact": "::ffff:a09:909"}, True),
            ({"network": "10.1.0.0/16"}, True),
            ({"network": "10.9.0.0/16"}, False),
            ({"network": "10.1.2.3"}, True),
            ({"network": "2001:db8::/32"}, True),
            ({"network": "2001:db9::/32"}, False),
            ({"network": "0.0.0.0/0"}, True),
            ({"prefix": "10.1."}, True),
            ({"regex": r"10\.1\.2\.\d"}, True),
            ({"suffix": ".4"}, False),
        ):
            self.assertEqual(accepts({"ip": [matcher]}, certificate), expected, matcher)

    def test_addresses_that_are_none(self) -> None:
        """An address or network that is none is a fault."""
        for matcher, words in (
            ({"exact": "10.1.2"}, "is no IP address"),
            ({"exact": "10.1.2.3/32"}, "is no IP address"),
            ({"exact": "fe80::1%eth0"}, "is no IP address"),
            ({"network": "10.1.2.3/8"}, "has host bits set"),
            ({"network": "10.0.0.0/33"}, "is no network"),
            ({"network": "10.0.0.0/8", "exact": "10.0.0.1"}, "has exact and network"),
            ({"network": "10.0.0.0/8", "ignore_case": True}, "means nothing for addresses"),
        ):
            with self.assertRaises(ConfigError) as caught:
                options(SubjectAltNames, {"ip": [matcher]})
            self.assertIn(words, str(caught.exception))

    def test_other_names(self) -> None:
        """An other name matches by its type and text, whatever the type of the string."""
        codecs = {0x0C: "utf-8", 0x16: "latin-1", 0x13: "latin-1", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}
        for tag, codec in codecs.items():
            certificate = issued(extensions=[other_name(UPN, tlv(tag, "a@corp.example".encode(codec)))])
            self.assertTrue(accepts({"other_name": [{"oid": UPN, "exact": "a@corp.example"}]}, certificate), hex(tag))
            self.assertTrue(accepts({"other_name": [{"oid": UPN, "suffix": "@corp.example"}]}, certificate))
            self.assertFalse(accepts({"other_name": [{"oid": UPN, "exact": "A@corp.example"}]}, certificate))
            self.assertFalse(accepts({"other_name": [{"oid": "1.2.3.4", "exact": "a@corp.example"}]}, certificate))

    def test_other_names_that_are_no_text(self) -> None:
        """A value that is no string matches by its DER, and no text that looks like it does."""
        number = tlv(0x02, b"\x2a")
        certificate = issued(extensions=[other_name("1.2.3.4", number)])
        self.assertTrue(accepts({"other_name": [{"oid": "1.2.3.4", "der": "02012A"}]}, certificate))
        self.assertFalse(accepts({"other_name": [{"oid": "1.2.3.5", "der": "02012a"}]}, certificate))
        self.assertFalse(accepts({"other_name": [{"oid": "1.2.3.4", "regex": ".*"}]}, certificate))
        disguised = issued(extensions=[other_name("1.2.3.4", tlv(0x0C, b"02012a"))])
        self.assertFalse(accepts({"other_name": [{"oid": "1.2.3.4", "der": "02012a"}]}, disguised))

    def test_other_names_with_a_nul(self) -> None:
        """A NUL in an other name ends nothing and matches nothing."""
        certificate = issued(extensions=[other_name(UPN, tlv(0x0C, b"alice@corp.example\x00.evil"))])
        self.assertFalse(accepts({"other_name": [{"oid": UPN, "exact": "alice@corp.example"}]}, certificate))
        self.assertFalse(accepts({"other_name": [{"oid": UPN, "prefix": "alice@"}]}, certificate))

    def test_broken_other_names(self) -> None:
        """Other names that cannot be read are refused as such, and never stop another type from matching."""
        kind = tlv(0x06, b"\x2a\x03")
        for value in (b"", kind, kind + tlv(0xA0), kind + b"\xa0\x05", kind + tlv(0xA0, tlv(0x0C), tlv(0x0C))):
            certificate = handmade(extensions=[general_names((OTHER_NAME, value), (DNS, b"a.example"))])
            document: dict[str, Any] = {"other_name": [{"oid": "1.2.3", "exact": "x"}]}
            assert_rejects(SubjectAltNames, document, peer(certificate), Reason.CERTIFICATE_INVALID)
            document["dns"] = [{"exact": "a.example"}]
            assert_accepts(SubjectAltNames, document, peer(certificate))

    def test_other_name_faults(self) -> None:
        """A type or value that cannot be one is a fault."""
        for matcher, words in (
            ({"exact": "a"}, "oid"),
            ({"oid": "1.2.x", "exact": "a"}, "'1.2.x' is no object identifier"),
            ({"oid": "1.2.3"}, "says nothing to match"),
            ({"oid": "1.2.3", "der": "0g"}, "'0g' is no hexadecimal"),
            ({"oid": "1.2.3", "der": "00", "ignore_case": True}, "means nothing for der"),
        ):
            with self.assertRaises(ConfigError) as caught:
                options(SubjectAltNames, {"other_name": [matcher]})
            self.assertIn(words, str(caught.exception))


class TypeTests(SynchronousTestCase):
    """A name of one type never passes for one of another."""

    def test_types(self) -> None:
        """The same text under another type matches nothing."""
        texts = {"dns": DNS, "uri": URI, "email": EMAIL}
        for in_certificate, tag in texts.items():
            certificate = handmade(extensions=[general_names((tag, b"spiffe:a@b.example"))])
            for wanted in texts:
                document = {wanted: [{"contains": "a@b.example"}]}
                self.assertEqual(accepts(document, certificate), wanted == in_certificate, (wanted, in_certificate))

    def test_common_name(self) -> None:
        """A name in the subject is no alternative name."""
        self.assertFalse(accepts({"dns": [{"exact": "client1.internal.corp"}]}, CLIENTS["nosan"]))

    def test_malformed_names(self) -> None:
        """Malformed names never match, not even by the part that looks good, and are told of."""
        for name in (b"good.corp\x00.evil", b"good.corp\n", b" good.corp", b"g\xf6\xf6d.corp", b""):
            certificate = handmade(extensions=[general_names((DNS, name), (URI, name), (EMAIL, name))])
            for wanted in ("dns", "uri", "email"):
                for matcher in ({"prefix": "g"}, {"contains": "good"}, {"regex": r"[\s\S]*"}):
                    self.assertFalse(accepts({wanted: [matcher]}, certificate), (name, matcher))
        self.assertTrue(accepts({"dns": [{"suffix": ".corp"}]}, ROWS["san-nuldns"].chain[0]), "its other name is good")
        refused = assert_rejects(SubjectAltNames, {"dns": [{"exact": "ab"}]}, peer(ROWS["san-nuldns"].chain[0]))
        self.assertIn("malformed DNS:ab\\00d.corp", refused.detail)

    def test_addresses_of_wrong_length(self) -> None:
        """An address that is none, or a network, matches no network."""
        network = b"\x0a\x00\x00\x00\xff\x00\x00\x00"
        certificate = handmade(extensions=[general_names((IP, b"\x0a\x00\x00"), (IP, network))])
        self.assertFalse(accepts({"ip": [{"network": "0.0.0.0/0"}, {"network": "::/0"}]}, certificate))


class RefusalTests(SynchronousTestCase):
    """What the record says of a refusal."""

    def test_words(self) -> None:
        """It names what was found and what was wanted."""
        refused = assert_rejects(
            SubjectAltNames, {"dns": [{"suffix": ".corp"}], "uri": [{"exact": "urn:x"}]},
            peer(dns=["a.example"], ips=["10.0.0.1"]), Reason.SUBJECT_ALT_NAME,
        )
        self.assertEqual(
            refused.detail,
            "the certificate has DNS a.example, IP 10.0.0.1; wanted is DNS suffix .corp, URI exact urn:x",
        )
        refused = assert_rejects(SubjectAltNames, {"dns": [{"suffix": ".corp"}]}, peer())
        self.assertIn("has no names", refused.detail)

    def test_many_names(self) -> None:
        """It stays short whatever the certificate and the configuration hold."""
        names = [f"{'x' * 40}.{number}.example" for number in range(500)]
        refused = assert_rejects(
            SubjectAltNames, {"dns": [{"exact": f"n{number}.corp"} for number in range(500)]}, peer(dns=names)
        )
        self.assertIn("and 495 more; wanted is", refused.detail)
        self.assertLess(len(refused.detail), 1000)

    def test_unreadable(self) -> None:
        """A certificate whose names cannot be read is refused as unreadable, so that not does not let it in."""
        certificate = handmade(extensions=[general_names((0x99, b"x"))])
        assert_rejects(SubjectAltNames, {"dns": [{"exact": "a"}]}, peer(certificate), Reason.CERTIFICATE_INVALID)
        assert_rejects(SubjectAltNames, {"dns": [{"exact": "a"}]}, peer(b"\x30\x03abc"), Reason.CERTIFICATE_INVALID)


class KindTests(SynchronousTestCase):
    """The kind and its options."""

    def test_contract(self) -> None:
        """It keeps to what every plugin promises, about the oddest clients, too."""
        check_plugin(SubjectAltNames, *[document for document, _ in TABLE])

    def test_example(self) -> None:
        """The example in its documentation lets those in that it describes."""
        ((word, document),) = examples_of(SubjectAltNames)
        self.assertEqual(word, "policies")
        for good in (
            {"dns": ["BILLING.corp.example"]}, {"dns": ["a.Devices.Corp.Example"]}, {"ips": ["10.20.30.40"]},
            {"uris": ["spiffe://corp.example/ns/prod/sa/billing"]},
            {"extensions": [other_name(UPN, tlv(0x0C, b"alice@corp.example"))]},
        ):
            self.assertTrue(accepts(document, issued(**good)), good)
        for bad in (
            {"dns": ["devices.corp.example"]},
            {"ips": ["10.21.0.1"]},
            {"uris": ["spiffe://corpXexample/ns/a/sa/billing"]},
        ):
            self.assertFalse(accepts(document, issued(**bad)), bad)

    def test_no_matcher(self) -> None:
        """Options that would refuse everybody are a fault."""
        with self.assertRaises(ConfigError) as caught:
            options(SubjectAltNames, "")
        self.assertIn("names no matcher, which would refuse everyone", str(caught.exception))


class KgatewayTests(SynchronousTestCase):
    """kgateway's ``verify-subject-alt-names``."""

    def test_lists(self) -> None:
        """Items stand apart by commas; spaces around them and empty ones do not count."""
        expected = (TextMatch(exact="a.example"), TextMatch(exact="b.example"))
        texts = (
            "a.example,b.example", " a.example , b.example ", "a.example,,b.example,", "\na.example,\n b.example\n",
        )
        for text in texts:
            self.assertEqual(parse_dns_names(text), expected, text)
        for text in ("", " ", ",", " , ,"):
            self.assertIn("names no DNS name", str(self.assertRaises(ValueError, parse_dns_names, text)))

    def test_what_the_list_accepts(self) -> None:
        """One DNS name that is on the list is enough; mail addresses, URIs and the common name never are."""
        policy = build(SubjectAltNames, Config(dns=parse_dns_names("mtls.com, client1.internal.corp")))
        accepted = {name for name, one in CLIENTS.items() if isinstance(policy.check(peer(one)), Accept)}
        self.assertEqual(accepted, {"valid", "wildsan"})

    def test_wildcards(self) -> None:
        """A wildcard on the list is taken literally, as Envoy takes it."""
        policy = build(SubjectAltNames, Config(dns=parse_dns_names("*.internal.corp")))
        accepted = {name for name, one in CLIENTS.items() if isinstance(policy.check(peer(one)), Accept)}
        self.assertEqual(accepted, {"wildsan"})
        self.assertTrue(isinstance(policy.check(peer(issued(dns=["*.INTERNAL.corp"]))), Accept))

    def test_literal_name(self) -> None:
        """Any text becomes a matcher, and characters of expressions in it stand for themselves."""
        match = literal_dns_name("*.a+b(c.corp")
        self.assertTrue(accepts_match(match, "*.a+b(c.corp"))
        self.assertFalse(accepts_match(match, "x.a+b(c.corp"))


def accepts_match(match: TextMatch, name: str) -> bool:
    """Whether a matcher of DNS names takes a name."""
    certificate = handmade(extensions=[general_names((DNS, name.encode()))])
    return isinstance(build(SubjectAltNames, Config(dns=(match,))).check(peer(certificate)), Accept)
