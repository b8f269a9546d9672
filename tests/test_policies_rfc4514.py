"""Distinguished names as text, read and compared."""
from __future__ import annotations

from collections.abc import Hashable

from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.distinguished_name import ATTRIBUTE_NAMES, rfc2253
from edgegw.policies.rfc4514 import Attribute, attribute_type, comparable, parse_name, read_name

from .client_certificates import recorded, tlv

CN, OU, ORGANIZATION_IDENTIFIER = "2.5.4.3", "2.5.4.11", "2.5.4.97"

TYPES = (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.LOCALITY_NAME,
         NameOID.ORGANIZATION_IDENTIFIER, x509.ObjectIdentifier("1.2.3.4"))
VALUES = st.text(alphabet=st.sampled_from('aA ,+"\\<>;=#é日\n\x01\x7f\u00a0'), min_size=1, max_size=6)
PARTS = st.lists(st.tuples(st.sampled_from(TYPES), VALUES), min_size=1, max_size=3, unique_by=lambda one: one[0])
NAMES = st.lists(PARTS, max_size=4)


def same(one: str, other: str) -> bool:
    """Whether two texts are the same name."""
    return comparable(parse_name(one)) == comparable(parse_name(other))


def encoded(name: x509.Name) -> bytes:
    """Give the contents of a name's DER."""
    der = name.public_bytes()
    return der[2:] if der[1] < 0x80 else der[2 + (der[1] & 0x7F):]


class ReadingTests(SynchronousTestCase):
    """What a text says."""

    def test_rfc_examples(self) -> None:
        """The examples of RFC 4514 §4 are read as it says."""
        self.assertEqual(parse_name("UID=jsmith,DC=example,DC=net"), (
            (Attribute("0.9.2342.19200300.100.1.1", "jsmith"),),
            (Attribute("0.9.2342.19200300.100.1.25", "example"),),
            (Attribute("0.9.2342.19200300.100.1.25", "net"),),
        ))
        self.assertEqual(
            parse_name("OU=Sales+CN=J.  Smith,DC=net")[0], (Attribute(OU, "Sales"), Attribute(CN, "J.  Smith"))
        )
        self.assertEqual(parse_name('CN=James \\"Jim\\" Smith\\, III')[0], (Attribute(CN, 'James "Jim" Smith, III'),))
        self.assertEqual(parse_name("CN=Before\\0dAfter")[0], (Attribute(CN, "Before\rAfter"),))
        self.assertEqual(parse_name("1.3.6.1.4.1.1466.0=#04024869")[0], (
            Attribute("1.3.6.1.4.1.1466.0", b"\x04\x02Hi"),
        ))
        self.assertEqual(parse_name("CN=Lu\\C4\\8Di\\C4\\87")[0], (Attribute(CN, "Lučić"),))

    def test_spaces(self) -> None:
        """Spaces around separators do not count; escaped ones and those inside do."""
        self.assertEqual(parse_name(" CN = a b , O=c "), parse_name("CN=a b,O=c"))
        self.assertEqual(parse_name("CN=\\ a\\ ")[0][0].value, " a ")
        self.assertEqual(parse_name("CN=\\20a\\20 ,O=b")[0][0].value, " a ")
        self.assertEqual(parse_name("CN=a\\\\ ,O=b")[0][0].value, "a\\")
        self.assertEqual(parse_name("CN=a\\\\\\ ,O=b")[0][0].value, "a\\ ")
        self.assertEqual(parse_name("CN=,O=b")[0][0].value, "")
        self.assertEqual(parse_name("  "), ())

    def test_quotes(self) -> None:
        """What ``openssl`` prints with quotes around it is read."""
        self.assertTrue(same('O = "Acme, Inc.", C = US', "O=Acme\\, Inc.,C=US"))
        self.assertTrue(same('O="a\\"b+c"', 'O=a\\"b\\+c'))

    def test_types(self) -> None:
        """Types are known by each of their names in any case, and by their numbers."""
        for written in ("CN", "cn", "commonName", "2.5.4.3", "OID.2.5.4.3", "oid.2.5.4.3"):
            self.assertEqual(parse_name(f"{written}=a"), ((Attribute(CN, "a"),),), written)
        for oid, name in ATTRIBUTE_NAMES.items():
            self.assertEqual(attribute_type(name), oid)
        self.assertEqual(attribute_type("organizationIdentifier"), ORGANIZATION_IDENTIFIER)
        self.assertEqual(attribute_type("emailAddress"), attribute_type("E"))

    def test_hexadecimal(self) -> None:
        """A value in hexadecimal is the text that is in it, or its bytes."""
        self.assertTrue(same("CN=#0c0161", "CN=a"))
        self.assertTrue(same("2.5.4.97=#1303616263", "organizationIdentifier=abc"))
        self.assertEqual(parse_name("CN=#0201ff")[0][0].value, b"\x02\x01\xff")
        self.assertFalse(same("CN=#0201ff", "CN=\\#0201ff"))

    def test_faults(self) -> None:
        """What is no name is a fault that says what is wrong."""
        for text, words in {
            "client": "has no type and = at 'client'",
            "CN=a,": "has no type and = at ''",
            "CN=a,,O=b": "has no type and = at ',O=b'",
            "=a": "has no type",
            "/C=US/O=Acme/CN=client": "begins with a slash",
            "CN=a;O=b": "has a ';' that must be escaped",
            "CN=a<b": "has a '<' that must be escaped",
            'CN=a"b': "has a '\"' that must be escaped",
            "CN=a\\": "must be escaped",
            "CN=a\\x": "must be escaped",
            "CN=\\ff": "has escaped bytes that are not UTF-8",
            "CN=#0": "is no hexadecimal after #",
            "CN=#": "is no hexadecimal after #",
            "CN=#zz": "is no hexadecimal after #",
            'CN="a': "has a quotation that does not end",
            'CN="a"b': "must be escaped",
            "foo=a": "'foo' is no attribute type that is known here",
            "1.2.99999999999999999999999999999999999999999=a": "is no attribute type",
            "3.1=a": "is no attribute type",
        }.items():
            self.assertIn(words, str(self.assertRaises(ValueError, parse_name, text)), text)

    @given(st.text(alphabet='CNOU=,+"\\# ;<>1.2aé\x00\n', max_size=30))
    def test_any_text(self, text: str) -> None:
        """Whatever is written is a name or a fault of one line."""
        try:
            parse_name(text)
        except ValueError as error:
            self.assertNotIn("\n", str(error))

    def test_long(self) -> None:
        """A name of a hundred thousand characters is read at once, whatever is in it."""
        for part in ("CN=a,", "CN=\\\\", "CN=\\20", "a", "+CN=b", '"', "\\", " "):
            text = "CN=a" + part * 20_000
            try:
                parse_name(text)
            except ValueError:
                pass


class ComparisonTests(SynchronousTestCase):
    """Which names are the same."""

    def test_the_same(self) -> None:
        """Case, spaces and the order within one part do not count."""
        for one, other in (
            ("CN=Client,O=ACME", "cn=client,o=Acme"),
            ("CN=a  b,O= c", "CN=A B,O=C"),
            ("CN=\\ a\\ ", "CN=a"),
            ("OU=rdn+CN=multi,O=Multi", "CN=multi+OU=rdn,O=Multi"),
            ("emailAddress=A@B.example", "E=a@b.example"),
        ):
            self.assertTrue(same(one, other), (one, other))

    def test_not_the_same(self) -> None:
        """Order, numbers, types, parts and characters beyond ASCII do."""
        for one, other in (
            ("CN=a,O=b", "O=b,CN=a"),
            ("CN=a", "CN=a,O=b"),
            ("CN=a,CN=a", "CN=a"),
            ("CN=a+O=b", "CN=a,O=b"),
            ("CN=a", "OU=a"),
            ("CN=ab", "CN=a b"),
            ("CN=a", "CN=a\\0a"),
            ("CN=a", "CN=a\\00"),
            ("CN=\u212a", "CN=k"),
            ("CN=É", "CN=é"),
            ("CN=e\u0301", "CN=é"),
            ("1.2.3.4=a", "1.2.3.4=A"),
            ("1.2.3.4=a", "1.2.3.4=a\\ "),
        ):
            self.assertFalse(same(one, other), (one, other))


class CertificateTests(SynchronousTestCase):
    """Names that are in certificates."""

    def compared(self, name: x509.Name) -> Hashable:
        """Give a name as the gateway reads it from a certificate."""
        return read_name(rfc2253(encoded(name))).comparable

    @given(NAMES)
    def test_written_and_read(self, parts: list[list[tuple[x509.ObjectIdentifier, str]]]) -> None:
        """What the gateway writes of a certificate's name is read as what is in the certificate."""
        name = x509.Name([
            x509.RelativeDistinguishedName([x509.NameAttribute(oid, value, _validate=False) for oid, value in part])
            for part in parts
        ])
        read = read_name(rfc2253(encoded(name)))
        self.assertEqual(
            [sorted(relative) for relative in read.name],
            [sorted((oid.dotted_string, value) for oid, value in part) for part in reversed(parts)],
        )
        self.assertEqual(read.comparable, comparable(read.name))

    @given(NAMES)
    def test_written_by_others(self, parts: list[list[tuple[x509.ObjectIdentifier, str]]]) -> None:
        """What ``cryptography`` writes of the same name is the same name."""
        plain = str.maketrans("\n\x01\x7f", "nxd")
        name = x509.Name([
            x509.RelativeDistinguishedName([
                x509.NameAttribute(oid, value.translate(plain), _validate=False) for oid, value in part
            ])
            for part in parts
        ])
        self.assertEqual(comparable(parse_name(name.rfc4514_string())), self.compared(name))

    def test_recorded(self) -> None:
        """The subjects of all recorded certificates are read, and are the same as themselves in the configuration."""
        for label, row in recorded().items():
            subject = row.chain[0].subject
            self.assertEqual(read_name(subject).comparable, comparable(parse_name(subject)), label)

    def test_hostile(self) -> None:
        """Huge object identifiers, values of no type and thousands of attributes are read without an exception."""
        arc = b"\x2a" + b"\xff" * 62 + b"\x7f"
        for oid, value in ((arc, tlv(0x0C, b"a")), (b"\x55\x04\x03", tlv(0x30)), (b"\x55\x04\x03", tlv(0x0C, b"\xff")),
                           (b"\x2a\x03", tlv(0x1E, b"\xd8\x00\xdc\x00"))):
            one = tlv(0x31, tlv(0x30, tlv(0x06, oid), value))
            for number in (1, 3000):
                self.assertEqual(len(read_name(rfc2253(one * number)).name), number)
