"""What a certificate says, in every shape that a client can send one."""
from __future__ import annotations

import ipaddress
import subprocess
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.distinguished_name import rfc2253
from edgegw.identity import (
    FACTS,
    Certificate,
    CertificateStatus,
    ConnectionInfo,
    Identity,
    certificate,
    fact,
    normalise_fingerprint,
)

from .client_certificates import (
    connection,
    extension,
    general_names,
    handmade,
    recorded,
    recorded_attribute_names,
    tlv,
)

KEY = ec.generate_private_key(ec.SECP256R1())

EMAIL, DNS, URI, IP = 0x81, 0x82, 0x86, 0x87

PROPERTIES = (
    "sha256", "sha256_colons", "subject", "issuer", "common_name", "serial", "uris", "dns_names", "emails",
    "ip_addresses", "malformed_names", "spiffe_id", "not_before", "not_after", "pem", "url_encoded_pem", "parse_error",
)


def issue(subject: x509.Name, names: list[x509.GeneralName] | None = None) -> bytes:
    """Give the DER of a real, self-signed certificate."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")]))
        .public_key(KEY.public_key())
        .serial_number(4097)
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2050, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


class RecordedFactsTests(SynchronousTestCase):
    """The facts are those that Envoy gives of the same certificates."""

    def test_facts(self) -> None:
        """Subject, serial number and alternative names are Envoy's, with the deviations that are meant."""
        deviations = {
            # The last space, escaped or not, does not survive the end of a header.
            ("c-spaces", "subject"): "CN=\\#hash first,O=\\ lead and trail\\20",
            ("string-onespace", "subject"): "CN=\\20",
            ("string-T61String", "subject"): "CN=ab\\C3\\A9\\,\\20",
            ("string-BMPString", "subject"): "CN=abq\\,\\20",
            ("string-UniversalString", "subject"): "CN=abq\\,\\20",
            ("string-IA5String", "subject"): "CN=abq\\,\\20",
            ("string-NumericString", "subject"): "CN=abq\\,\\20",
            ("string-PrintableString", "subject"): "CN=a&@\\,\\20",
            # One name with a comma in it is not two.
            ("c-specialsan", "uri"):
                'spiffe://example.com/a;b%2Cc=d"e"\\f,https://example.com/q?x=1&y=%22z%22#frag',
            ("c-specialsan", "dns"): 'we;ird%2Cdns="x".internal.corp',
            # An IPv4-compatible address (deprecated) in the form of RFC 5952.
            ("c-ipodd", "ip"): "::ffff:10.1.2.3,::,::1,2001:db8::1:0:0:1,1:0:2:3:4:5:6:7,::a01:203",
            # What is no name is not told.
            ("san-nuldns", "dns"): "z.corp",
            ("san-8dns", "dns"): "z.corp",
            ("san-nluri", "uri"): "",
            ("san-spacedns", "dns"): "",
            ("san-spacedns", "uri"): "",
        }
        names = {"subject": "subject", "serial": "serial", "uri": "uris", "dns": "dns_names",
                 "email": "emails", "ip": "ip_addresses"}
        for name, row in recorded().items():
            info = connection(row.chain[0])
            for envoys, ours in names.items():
                expected = deviations.get((name, envoys), row.facts[envoys])
                self.assertEqual(fact(info, ours), expected, f"{name} {ours}")
            self.assertEqual(fact(info, "not_before"), "2025-01-01T00:00:00.000Z")
            self.assertEqual(fact(info, "not_after"), "2045-01-01T00:00:00.000Z")
            self.assertIsNone(row.chain[0].parse_error, name)

    def test_attribute_names(self) -> None:
        """Every attribute type has Envoy's name, or its number and the value in hexadecimal."""
        for dotted, expected in recorded_attribute_names().items():
            name = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(dotted), "ab")])
            self.assertEqual(Certificate(issue(name)).subject, expected)

    def test_malformed_names(self) -> None:
        """Names with NUL, line ends, spaces or bytes beyond ASCII are named as malformed, escaped."""
        rows = recorded()
        self.assertEqual(rows["san-nuldns"].chain[0].malformed_names, ("DNS:ab\\00d.corp",))
        self.assertEqual(rows["san-8dns"].chain[0].malformed_names, ("DNS:ab\\E9d.corp",))
        self.assertEqual(rows["san-nluri"].chain[0].malformed_names, ("URI:ab\\0Ad:corp",))
        self.assertEqual(rows["san-emptydns"].chain[0].malformed_names, ("DNS:", "URI:"))
        self.assertEqual(rows["san-spacedns"].chain[0].malformed_names, ("DNS:\\20a b\\20", "URI:\\20x\\20"))

    def test_common_name(self) -> None:
        """The common name is the most specific one and stands there as it was issued."""
        rows = recorded()
        self.assertEqual(rows["c-special"].chain[0].common_name, "x/y")
        self.assertEqual(rows["c-unicode"].chain[0].common_name, "Ünïcödé 🔒")
        self.assertEqual(rows["c-control"].chain[0].common_name, "line1\nX-Injected: yes")
        self.assertEqual(rows["c-emptysubj"].chain[0].common_name, "")

    def test_issuer(self) -> None:
        """The issuer is written as the subject is."""
        row = recorded()["c-inter"]
        self.assertEqual(row.chain[0].issuer, "CN=Edge Test Intermediate CA,O=Edge Test,C=US")
        self.assertEqual(row.chain[1].subject, row.chain[0].issuer)


class OpenSSLTests(SynchronousTestCase):
    """The ``openssl`` command says the same."""

    def test_openssl(self) -> None:
        """Fingerprint, PEM, subject and issuer are what ``openssl x509`` prints."""
        with TemporaryDirectory() as directory:
            path = Path(directory, "client.pem")
            for name in (
                "c-valid", "c-special", "c-unicode", "c-spaces", "c-control", "c-multirdn", "string-T61String",
            ):
                client = recorded()[name].chain[0]
                path.write_text(client.pem)
                printed = subprocess.run(
                    ["openssl", "x509", "-in", path, "-fingerprint", "-sha256", "-subject", "-issuer",
                     "-nameopt", "RFC2253"],
                    check=True, capture_output=True, text=True,
                ).stdout
                fingerprint, subject, issuer, pem = printed.split("\n", 3)
                self.assertEqual(fingerprint.partition("=")[2], client.sha256_colons)
                self.assertEqual(normalise_fingerprint(fingerprint), client.sha256)
                self.assertEqual(subject, f"subject={client.subject}")
                self.assertEqual(issuer, f"issuer={client.issuer}")
                self.assertEqual(pem, client.pem)


class OddCertificateTests(SynchronousTestCase):
    """No certificate makes a property raise; what cannot be read is empty, and said to be."""

    def test_version_1(self) -> None:
        """A version 1 certificate has a subject and no alternative names, and is no error."""
        client = handmade(tlv(0x31, tlv(0x30, tlv(6, b"\x55\x04\x03"), tlv(0x0C, b"old"))), version=b"")
        self.assertEqual(client.subject, "CN=old")
        self.assertEqual((client.uris, client.dns_names, client.spiffe_id), ((), (), None))
        self.assertIsNone(client.parse_error)

    def test_not_der(self) -> None:
        """Bytes that are no certificate have a hash and no facts."""
        for der in (b"", b"0", b"junk", b"\x30\x80\x00\x00", b"\x30\x82\x00\x01\x00", handmade().der + b"\0",
                    b"\x3f" * 40, b"\x30\x85" + bytes(9)):
            client = Certificate(der)
            self.assertIsNotNone(client.parse_error)
            self.assertEqual(len(client.sha256), 64)
            self.assertEqual((client.subject, client.issuer, client.serial, client.not_after), ("", "", "", None))
            self.assertEqual((client.uris, client.dns_names, client.malformed_names), ((), (), ()))

    def test_duplicate_extension(self) -> None:
        """Of two extensions with alternative names none counts."""
        client = handmade(extensions=[general_names((DNS, b"a.example")), general_names((DNS, b"b.example"))])
        self.assertEqual(client.dns_names, ())
        self.assertIn("two subject alternative names", client.parse_error or "")

    def test_broken_neighbour(self) -> None:
        """A broken extension beside the alternative names does not take them away."""
        client = handmade(extensions=[extension("551d0f", b"\xff\xff"), general_names((DNS, b"a.example"))])
        self.assertEqual(client.dns_names, ("a.example",))
        self.assertIsNone(client.parse_error)

    def test_broken_alternative_names(self) -> None:
        """Alternative names that are not DER, or constructed strings, give none; the subject stays."""
        for names in ((DNS, b"a.example"), (0xA2, tlv(0x16, b"b.example"))), ((DNS, b"a.example"), (0x1F, b"")):
            client = handmade(
                tlv(0x31, tlv(0x30, tlv(6, b"\x55\x04\x03"), tlv(0x0C, b"x"))), extensions=[general_names(*names)]
            )
            self.assertEqual((client.dns_names, client.subject), ((), "CN=x"))
            self.assertIn("subject alternative names", client.parse_error or "")

    def test_unreadable_string(self) -> None:
        """A value whose bytes are not of its type is written as hexadecimal, as one of no string type is."""
        for tag, value, expected in (
            (0x0C, b"a\xe9q", "CN=#0C0361E971"),
            (0x1E, b"\xd8\x3d\xdd\x12", "CN=#1E04D83DDD12"),
            (0x1E, b"a", "CN=#1E0161"),
            (0x03, b"\x00a", "CN=#03020061"),
        ):
            client = handmade(tlv(0x31, tlv(0x30, tlv(6, b"\x55\x04\x03"), tlv(tag, value))))
            self.assertEqual(client.subject, expected)
            self.assertEqual(client.common_name, "")

    def test_monstrous_attribute_type(self) -> None:
        """An attribute type of tens of kilobytes costs nothing and gives no subject."""
        client = handmade(tlv(0x31, tlv(0x30, tlv(6, b"\x2b" + b"\xff" * 60_000 + b"\x01"), tlv(0x0C, b"x"))))
        self.assertEqual(client.subject, "")
        self.assertIn("subject", client.parse_error or "")

    def test_times(self) -> None:
        """Both kinds of time are read; what is no time is ``None`` and an error."""
        client = handmade(validity=(b"\x17\x0d500101000000Z", b"\x18\x0f99991231235959Z"))
        self.assertEqual(client.not_before, datetime(1950, 1, 1, tzinfo=UTC))
        self.assertEqual(client.not_after, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        client = handmade(validity=(b"\x17\x0d251301000000Z", b"\x17\x0f20450101000000Z"))
        self.assertEqual((client.not_before, client.not_after), (None, None))
        self.assertIn("not_before", client.parse_error or "")

    def test_many_names(self) -> None:
        """Twenty thousand names are read."""
        client = handmade(extensions=[general_names(*[(DNS, b"n%d.example" % n) for n in range(20_000)])])
        self.assertEqual(len(client.dns_names), 20_000)

    def test_bad_ip_address(self) -> None:
        """An IP address with a mask, as name constraints have it, is malformed."""
        client = handmade(extensions=[general_names((IP, bytes(8)), (IP, b"\x0a\x01\x02\x03"))])
        self.assertEqual(client.ip_addresses, ("10.1.2.3",))
        self.assertEqual(len(client.malformed_names), 1)

    @settings(max_examples=400, deadline=None)
    @given(st.data())
    def test_damaged(self, data: st.DataObject) -> None:
        """A certificate damaged anywhere gives facts or none, and never an exception."""
        der = bytearray(DAMAGED[data.draw(st.integers(0, len(DAMAGED) - 1))])
        for _ in range(data.draw(st.integers(1, 4))):
            der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
        client = Certificate(bytes(der[: data.draw(st.one_of(st.just(len(der)), st.integers(0, len(der))))]))
        for name in PROPERTIES:
            getattr(client, name)
        for name in FACTS:
            text = fact(connection(client), name)
            self.assertTrue(text.isascii() and (not text or text.isprintable()))
            self.assertEqual(text, text.strip())

    @given(st.binary(max_size=200))
    def test_anything(self, der: bytes) -> None:
        """Arbitrary bytes give no exception either."""
        client = Certificate(der)
        for name in PROPERTIES:
            getattr(client, name)


DAMAGED = [row.chain[0].der for name, row in recorded().items() if name.startswith("c-")]

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;=%\"\\<>^`{|}", min_size=1, max_size=30)
ATTRIBUTES = st.tuples(
    st.sampled_from([x509.NameOID.ORGANIZATION_NAME, x509.NameOID.ORGANIZATIONAL_UNIT_NAME,
                     x509.NameOID.LOCALITY_NAME, x509.NameOID.DOMAIN_COMPONENT]),
    st.text(min_size=1, max_size=20),
)


class DistinguishedNameTests(SynchronousTestCase):
    """Names keep what they say in RFC 2253's text, and hold nothing that could break a header."""

    @settings(deadline=None)
    @given(st.lists(st.lists(ATTRIBUTES, min_size=1, max_size=3, unique_by=lambda pair: pair[0]), max_size=4))
    def test_round_trip(self, rdns: list[list[tuple[x509.ObjectIdentifier, str]]]) -> None:
        """Another parser reads the same name out of the text, whatever characters are in it."""
        utf8 = x509.name._ASN1Type.UTF8String
        name = x509.Name([
            x509.RelativeDistinguishedName([x509.NameAttribute(oid, value, utf8) for oid, value in rdn]) for rdn in rdns
        ])
        der = name.public_bytes()
        text = rfc2253(der[len(der) - _length(der):])
        self.assertTrue(text.isascii() and (not text or text.isprintable()))
        self.assertEqual(x509.Name.from_rfc4514_string(text), name)

    @settings(deadline=None, max_examples=50)
    @given(st.lists(LABEL, max_size=4), st.lists(LABEL, max_size=4), st.lists(st.ip_addresses(), max_size=3))
    def test_alternative_names(
        self, uris: list[str], names: list[str], addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address]
    ) -> None:
        """Alternative names come out in their order as another library reads them."""
        client = Certificate(issue(x509.Name([]), [
            *[x509.UniformResourceIdentifier(uri) for uri in uris],
            *[x509.DNSName(name) for name in names],
            *[x509.IPAddress(address) for address in addresses],
        ]))
        self.assertEqual((client.uris, client.dns_names), (tuple(uris), tuple(names)))
        self.assertEqual([ipaddress.ip_address(text) for text in client.ip_addresses], addresses)
        self.assertIsNone(client.parse_error)
        self.assertEqual(client.not_after, datetime(2050, 1, 1, tzinfo=UTC))
        self.assertEqual(client.serial, "1001")


def _length(der: bytes) -> int:
    return der[1] if der[1] < 0x80 else int.from_bytes(der[2:2 + (der[1] & 0x7F)], "big")


class SpiffeIdTests(SynchronousTestCase):
    """A SPIFFE ID is taken only from a certificate that is an X.509-SVID of a workload."""

    def test_valid(self) -> None:
        """One URI, a SPIFFE ID with a path; names of other kinds do not matter."""
        client = handmade(extensions=[general_names((URI, b"spiffe://example.org/ns/a/sa/b.c_d-E"), (DNS, b"x"))])
        self.assertEqual(client.spiffe_id, "spiffe://example.org/ns/a/sa/b.c_d-E")

    def test_second_uri(self) -> None:
        """A second URI of any scheme, or a malformed one, leaves none."""
        for other in (b"https://example.org/", b"spiffe://example.org/b", b"a\0b", b""):
            client = handmade(extensions=[general_names((URI, b"spiffe://example.org/a"), (URI, other))])
            self.assertIsNone(client.spiffe_id, other)

    def test_invalid(self) -> None:
        """What the SPIFFE ID standard does not allow is none."""
        for uri in (
            b"https://example.org/a", b"spiffe://", b"spiffe://example.org", b"spiffe://example.org/", b"spiffe:///a",
            b"spiffe://example.org/a/", b"spiffe://example.org//a", b"spiffe://example.org/a/../b",
            b"spiffe://example.org/.", b"spiffe://Example.org/a", b"spiffe://example.org:1/a", b"spiffe://u@example.org/a",
            b"spiffe://example.org/a?q", b"spiffe://example.org/a#f", b"spiffe://example.org/a%20b",
            b"SPIFFE://example.org/a", b"spiffe://example.org/" + b"a" * 2048,
        ):
            self.assertIsNone(handmade(extensions=[general_names((URI, uri))]).spiffe_id, uri)


class FactTests(SynchronousTestCase):
    """Facts by name, as templates ask for them."""

    def test_verified_only(self) -> None:
        """An unverified certificate has its status for a fact, and nothing it says."""
        client = recorded()["c-valid"].chain[0]
        of_certificate = [name for name in FACTS if fact(connection(client), name) != fact(connection(None), name)]
        for name in of_certificate:
            expected = "unverified" if name == "status" else ""
            self.assertEqual(fact(connection(client, CertificateStatus.UNVERIFIED), name), expected)
        self.assertIn("sha256_colons", of_certificate)
        self.assertEqual(fact(connection(client), "status"), "verified")
        self.assertEqual(fact(connection(None), "status"), "none")

    def test_connection(self) -> None:
        """Facts of the connection are there with and without a certificate, empty without TLS."""
        info = ConnectionInfo(
            "édge", Identity(), "2001:db8::1", server_name="a.example", tls_version="TLSv1.3",
            cipher="TLS_AES_128_GCM_SHA256", group="X25519", resumed=True,
        )
        names = ("listener", "peer", "server_name", "tls_version", "cipher", "group", "resumed")
        self.assertEqual(
            [fact(info, name) for name in names],
            ["\\C3\\A9dge", "2001:db8::1", "a.example", "TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519", "true"],
        )
        plain = ConnectionInfo("edge", Identity(), "192.0.2.1")
        self.assertEqual([fact(plain, name) for name in names], ["edge", "192.0.2.1", "", "", "", "", "false"])

    def test_common_name_escaped(self) -> None:
        """A common name comes without control characters, non-ASCII, or spaces that a header would lose."""
        rows = recorded()
        self.assertEqual(fact(connection(rows["c-control"].chain[0]), "common_name"), "line1\\0AX-Injected: yes")
        client = Certificate(issue(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, " admin\\é ")])))
        self.assertEqual(fact(connection(client), "common_name"), "\\20admin\\5C\\C3\\A9\\20")

    def test_unknown(self) -> None:
        """A fact that there is not is a KeyError."""
        self.assertRaises(KeyError, fact, connection(None), "shoe_size")


class FingerprintTests(SynchronousTestCase):
    """Fingerprints in the spellings that people paste."""

    def test_spellings(self) -> None:
        """With and without colons and prefix, in either case, they are one fingerprint."""
        client = recorded()["c-valid"].chain[0]
        for text in (
            client.sha256, client.sha256.upper(), client.sha256_colons, client.sha256_colons.lower(),
            f"SHA256 Fingerprint={client.sha256_colons}", f"sha256 Fingerprint={client.sha256_colons}\n",
        ):
            self.assertEqual(normalise_fingerprint(text), client.sha256)

    def test_refused(self) -> None:
        """SHA-1, odd lengths, stray colons, other digits and other prefixes are refused."""
        good = recorded()["c-valid"].chain[0].sha256
        for text in ("", "ab" * 20, good[:-1], good + "0", f"{good[:2]}:{good[2:]}", good[:-1] + "g", good[:-1] + "٣",
                     f"SHA1 Fingerprint={good}", f"sha256:{good}"):
            self.assertRaises(ValueError, normalise_fingerprint, text)


class CacheTests(SynchronousTestCase):
    """Certificates of clients that come back are remembered, within bounds."""

    def test_remembered(self) -> None:
        """The same bytes give the same object, until 512 others came."""
        first = certificate(b"first")
        self.assertIs(certificate(b"first"), first)
        for n in range(512):
            certificate(b"%d" % n)
        self.assertIsNot(certificate(b"first"), first)
        self.assertEqual(certificate(b"first"), first)
        self.assertEqual(hash(certificate(b"first")), hash(first))

    def test_large(self) -> None:
        """More than 16 KiB are not remembered."""
        self.assertIsNot(certificate(bytes(16_385)), certificate(bytes(16_385)))

    def test_pem(self) -> None:
        """The PEM holds the DER in lines of 64 and ends its last line."""
        client = recorded()["c-valid"].chain[0]
        first, *lines, last, end = client.pem.split("\n")
        self.assertEqual((first, last, end), ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", ""))
        self.assertEqual({len(line) for line in lines[:-1]}, {64})
        self.assertEqual(b64decode("".join(lines)), client.der)
