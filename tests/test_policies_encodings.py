"""What the plain policies read for themselves: parts of certificates, object identifiers, strings, lists."""
from __future__ import annotations

from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.certificate import Certificate
from edgegw.der import DERError
from edgegw.distinguished_name import dotted
from edgegw.policies.details import listed, shown
from edgegw.policies.encoded_parts import encoded_parts
from edgegw.policies.list_files import read_list
from edgegw.policies.object_identifiers import oid_bytes
from edgegw.policies.other_names import other_names
from edgegw.policies.string_values import string_value
from edgegw.testing import Authority

from .client_certificates import extension, handmade, recorded, tlv

CA = Authority()
CLIENT = CA.issue(dns=["a.example"], key="RSA")
OIDS = st.builds(
    lambda first, second, others: ".".join(map(str, (first, second % (40 if first < 2 else 2**70), *others))),
    st.integers(0, 2), st.integers(0, 2**70), st.lists(st.integers(0, 2**70), max_size=5),
)  # fmt: skip


class EncodedPartsTests(SynchronousTestCase):
    """Parts of a certificate."""

    def test_as_cryptography(self) -> None:
        """Key, signature algorithm and extensions are those that ``cryptography`` finds."""
        for issued in (CLIENT, CA):
            theirs = issued.certificate
            parts = encoded_parts(Certificate(theirs.public_bytes(Encoding.DER)))
            key = theirs.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            self.assertEqual(parts.public_key, key)
            self.assertIn(oid_bytes(theirs.signature_algorithm_oid.dotted_string), parts.signature_algorithm)
            for one in theirs.extensions:
                value = one.value.public_bytes()
                self.assertEqual(parts.extension(oid_bytes(one.oid.dotted_string)), value)
            self.assertIsNone(parts.extension(oid_bytes("1.2.3.4")))

    def test_recorded(self) -> None:
        """Every recorded certificate can be read."""
        for name, row in recorded().items():
            for certificate in row.chain:
                encoded_parts(certificate).extension(oid_bytes("1.2.3"))
                self.assertIsInstance(other_names(certificate), tuple, name)

    def test_two_of_one_type(self) -> None:
        """An extension that is there twice is read as neither of them."""
        parts = encoded_parts(handmade(extensions=[extension("2a03", b"\x05\x00"), extension("2a03", b"\x05\x00")]))
        self.assertRaises(DERError, parts.extension, b"\x2a\x03")
        self.assertIsNone(parts.extension(b"\x2a\x04"))

    def test_critical(self) -> None:
        """A critical extension is found, and one with anything else beside its value is refused."""
        oid, value = tlv(0x06, b"\x2a\x03"), tlv(0x04, b"v")
        critical = handmade(extensions=[tlv(0x30, oid, tlv(0x01, b"\xff"), value)])
        self.assertEqual(encoded_parts(critical).extension(b"\x2a\x03"), b"v")
        for contents in (oid, oid + value + value, oid + tlv(0x05) + value, value + oid):
            parts = encoded_parts(handmade(extensions=[tlv(0x30, contents)]))
            self.assertRaises(DERError, parts.extension, b"\x2a\x03")

    def test_huge(self) -> None:
        """A huge certificate is read as any other."""
        huge = CA.issue(extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(20_000)), False)])
        self.assertEqual(encoded_parts(Certificate(huge.der)).extension(oid_bytes("1.2.3")), bytes(20_000))

    @given(st.integers(0, len(CLIENT.der) - 1), st.integers(0, 255))
    def test_any_byte_changed(self, at: int, byte: int) -> None:
        """One byte that is another raises nothing but what says that it cannot be read."""
        der = bytearray(CLIENT.der)
        der[at] = byte
        certificate = Certificate(bytes(der))
        try:
            encoded_parts(certificate).extension(oid_bytes("2.5.29.37"))
            other_names(certificate)
        except DERError:
            pass

    @given(st.binary(max_size=80))
    def test_any_bytes(self, data: bytes) -> None:
        """Bytes that are no certificate are refused as such."""
        self.assertRaises(DERError, encoded_parts, Certificate(data))


class ObjectIdentifierTests(SynchronousTestCase):
    """Object identifiers."""

    @given(OIDS)
    def test_there_and_back(self, text: str) -> None:
        """Every identifier is read as itself."""
        encoded = oid_bytes(text)
        if len(encoded) <= 64:
            self.assertEqual(dotted(encoded), text)

    def test_as_cryptography(self) -> None:
        """The encoding is the one that certificates have."""
        for text in ("1.2.840.113549.1.1.11", "2.5.29.17", "2.999.1", "0.9.2342.19200300.100.1.25"):
            name = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(text), "a")])
            self.assertIn(tlv(0x06, oid_bytes(text)), name.public_bytes())

    def test_faults(self) -> None:
        """What is no identifier is a fault."""
        for text in ("", "1", "1.", ".1", "3.1", "1.40", "1.2.", "1..2", "01.2", "1.02", "1.2.x", "1.2.-3", "1.2 ",
                     "1.٢"):
            self.assertRaises(ValueError, oid_bytes, text)
        for encoded in (b"", b"\x80", b"\x2a\x80\x01", b"\x2a\x81", bytes(65)):
            self.assertRaises(DERError, dotted, encoded)


class StringTests(SynchronousTestCase):
    """Strings of ASN.1."""

    def test_types(self) -> None:
        """Every type of string is read as the text that it holds."""
        for tag, codec in {0x0C: "utf-8", 0x14: "latin-1", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}.items():
            self.assertEqual(string_value(tlv(tag, "aé".encode(codec))), "aé", hex(tag))
        for tag in (0x12, 0x13, 0x16, 0x1A):
            self.assertEqual(string_value(tlv(tag, b"12")), "12")

    def test_none(self) -> None:
        """What is no string, or not of its type, has no text."""
        for der in (b"", b"\x0c", b"\x0c\x02a", tlv(0x0C, b"a") + b"b", tlv(0x04, b"a"), tlv(0x0C, b"\xff"),
                    tlv(0x1E, b"a"), tlv(0x1E, b"\xd8\x00\xdc\x00"), tlv(0x1C, b"\x00\x00\xd8\x00")):
            self.assertIsNone(string_value(der), der)

    @given(st.binary(max_size=20))
    def test_any_bytes(self, data: bytes) -> None:
        """No bytes raise anything."""
        string_value(data)


class ListTests(SynchronousTestCase):
    """Files with lists."""

    def test_lines(self) -> None:
        """Items stand on lines of their own; comments, white space and empty lines do not count."""
        data = "\ufeff# first\r\n\r\n  a  # one\n\tb\n#c\na\n \nd".encode()
        self.assertEqual(read_list(data, str), {"a", "b", "d"})
        self.assertEqual(read_list(b"", str), frozenset())
        self.assertEqual(read_list(b"#", str, may_be_empty=False), frozenset())

    def test_faults(self) -> None:
        """A fault names the line, or the byte."""
        def number(text: str) -> int:
            if not text.isdigit():
                raise ValueError(f"{text!r} is no number")
            return int(text)

        for data, words in ((b"1\n# x\nx\n", "line 3: 'x' is no number"), (b"1\n\xff", "is not UTF-8 at byte 2")):
            self.assertEqual(str(self.assertRaises(ValueError, read_list, data, number)), words)
        self.assertIn("is empty", str(self.assertRaises(ValueError, read_list, b"", number, False)))

    @given(st.lists(st.binary(min_size=1, max_size=8)))
    def test_any_list(self, items: list[bytes]) -> None:
        """Every list that is written is read as what was written."""
        written = "\n".join(f"{item.hex()} # {index}" for index, item in enumerate(items))
        self.assertEqual(read_list(written.encode(), bytes.fromhex), set(items))


class DetailTests(SynchronousTestCase):
    """The words of a refusal."""

    def test_lists(self) -> None:
        """A list is cut after a few, and says how many are left out."""
        self.assertEqual(listed([]), "nothing")
        self.assertEqual(listed([], "no names"), "no names")
        self.assertEqual(listed(["a", "b"]), "a, b")
        self.assertEqual(listed([str(number) for number in range(8)]), "0, 1, 2, 3, 4 and 3 more")

    @given(st.text(max_size=300))
    def test_any_text(self, text: str) -> None:
        """Whatever a text holds, what is shown is printable ASCII and short."""
        found = shown(text)
        self.assertTrue(not found or (found.isascii() and found.isprintable()))
        self.assertLess(len(found), 1300)

    def test_hash(self) -> None:
        """What identifies a certificate is shown whole."""
        self.assertEqual(shown(sha256(b"").hexdigest()), sha256(b"").hexdigest())
