"""CRLs read: what they say is kept, and what is not understood is refused."""
from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.certificate import Certificate
from edgegw.policies.allowed_urls import AllowedURLs, is_public, plain_url
from edgegw.policies.revocation_list import RevocationList, read_lists
from edgegw.testing import Authority
from tests.client_certificates import extension, tlv
from tests.revocation_parts import DELTA, UNKNOWN, der, entry, handmade_crl, idp, listed, pem

REASONS = x509.ReasonFlags


def read_one(data: bytes, strict: bool = False) -> RevocationList:
    """Read the one list there is."""
    (found,) = read_lists(data, strict)
    return found


class ListTests(SynchronousTestCase):
    """What is read of a CRL, and what is not taken for one."""

    def setUp(self) -> None:
        self.ca = Authority("ca")
        self.client = self.ca.issue("client")

    def refused(self, data: bytes, wanted: str, strict: bool = False) -> None:
        """Assert that a list is refused with words about it."""
        error = self.assertRaises(ValueError, read_lists, data, strict)
        self.assertIn(wanted, str(error))

    def test_facts(self) -> None:
        """Issuer, times, number and entries are what the CA has written."""
        begin, end = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2051, 2, 3, tzinfo=UTC)
        entries = [entry(5, REASONS.key_compromise), entry(2**158 - 1), entry(7, when=datetime(2052, 3, 4, tzinfo=UTC))]
        found = read_one(der(listed(self.ca, *entries, begin=begin, end=end, number=77)))
        self.assertEqual((found.issuer, found.this_update, found.next_update, found.number), ("CN=ca", begin, end, 77))
        self.assertEqual(
            {serial: str(said) for serial, said in found.revoked.items()},
            {5: "on 2026-01-31 (keyCompromise)", 2**158 - 1: "on 2026-01-31", 7: "on 2052-03-04"},
        )
        self.assertIn("CN=ca", repr(found))

    def test_no_entry(self) -> None:
        """A list on which nobody stands is a list."""
        self.assertEqual(read_one(der(listed(self.ca))).revoked, {})

    def test_forms_of_files(self) -> None:
        """DER, PEM, several blocks and blocks beside certificates are all read."""
        one, two = listed(self.ca, self.client), listed(Authority("other"))
        self.assertEqual(read_lists(der(one)), read_lists(pem(one)))
        both = read_lists(b"# a bundle\n" + self.ca.pem + pem(one) + b"text\n" + pem(two).replace(b"\n", b"\r\n"))
        self.assertEqual([found.issuer for found in both], ["CN=ca", "CN=other"])

    def test_long_files(self) -> None:
        """A long list is the same in PEM as in DER, whatever the length of its lines."""
        row = tlv(0x17, b"260101000000Z")
        binary = handmade_crl(self.ca, [tlv(0x02, number.to_bytes(20, "big")) + row for number in range(1, 12_000)])
        text = b64encode(binary)
        self.assertGreater(len(text), 2 * 262_144)
        for size in (64, 77, len(text)):
            lines = b"\n".join([text[at:at + size] for at in range(0, len(text), size)])
            block = b"-----BEGIN X509 CRL-----\n" + lines + b"\n-----END X509 CRL-----\n"
            found = read_one(block)
            self.assertEqual(found, read_one(binary))
            self.assertEqual(found.revoked.keys(), set(range(1, 12_000)))
            self.refused(block.replace(b"=", b"", 1) if b"=" in text else block.replace(text[:4], b"?", 1), "")

    def test_no_list(self) -> None:
        """A file without a CRL, an empty one among them, is refused with what would be right."""
        for data in (b"", b"\n", self.ca.pem, self.client.key_pem, b"0", b"-----BEGIN X509 CRL"):
            self.refused(data, "there is no CRL in it; ")

    def test_half_a_file(self) -> None:
        """A file that was cut off anywhere is refused and never read in part."""
        whole = pem(listed(self.ca, self.client))
        for size in range(0, len(whole) - 2, 7):
            self.assertRaises(ValueError, read_lists, whole[:size])
        binary = der(listed(self.ca, self.client))
        for size in range(len(binary)):
            self.assertRaises(ValueError, read_lists, binary[:size])
        self.assertRaises(ValueError, read_lists, binary + b"\0")

    def test_delta(self) -> None:
        """A list of changes is refused: it does not say who was revoked before."""
        self.refused(der(listed(self.ca, extensions=[DELTA])), "delta CRL")
        self.refused(der(listed(self.ca, extensions=[(DELTA[0], False)])), "delta CRL")

    def test_indirect(self) -> None:
        """A list with other issuers' certificates is refused, whether its head or an entry says so."""
        self.refused(der(listed(self.ca, extensions=[idp(indirect_crl=True)])), "indirect CRL")
        issuer = x509.CertificateIssuer([x509.DirectoryName(Authority("other").name)])
        self.refused(der(listed(self.ca, entry(5, extensions=[(issuer, True)]))), "indirect CRL")

    def test_some_reasons(self) -> None:
        """A list for some reasons only is refused."""
        some = idp(only_some_reasons=frozenset([REASONS.key_compromise]))
        self.refused(der(listed(self.ca, extensions=[some])), "onlySomeReasons")

    def test_unknown_critical_extensions(self) -> None:
        """What must be understood and is not refuses the list, in its head and in entries; other things do not."""
        strange = x509.UnrecognizedExtension(UNKNOWN, b"\x05\x00")
        self.refused(der(listed(self.ca, extensions=[(strange, True)])), "critical extension that is not known")
        read_one(der(listed(self.ca, extensions=[(strange, False)])))
        for critical in (True, False):
            fields = (tlv(0x06, b"\x2a\x03"), b"\x01\x01\xff" if critical else b"", tlv(0x04, b"\x05\x00"))
            row = tlv(0x02, b"\x05") + tlv(0x17, b"260101000000Z") + tlv(0x30, tlv(0x30, *fields))
            made = handmade_crl(self.ca, [row])
            if critical:
                self.refused(made, "an entry has a critical extension that is not known")
            else:
                self.assertEqual(list(read_one(made).revoked), [5])

    def test_removed(self) -> None:
        """An entry that takes a certificate off the list does not revoke it, unless another one does."""
        self.assertEqual(list(read_one(der(listed(self.ca, entry(5, REASONS.remove_from_crl), entry(6)))).revoked), [6])
        both = [entry(5, REASONS.certificate_hold), entry(5, REASONS.remove_from_crl)]
        for rows in (both, both[::-1]):
            self.assertEqual(list(read_one(der(listed(self.ca, *rows))).revoked), [5])

    def test_long_entries(self) -> None:
        """Entries with everything that RFC 5280 knows are read."""
        dated = x509.InvalidityDate(datetime(2020, 1, 1, tzinfo=UTC))
        rows = [entry(at, REASONS.superseded, extensions=[(dated, False)]) for at in range(1, 400)]
        found = read_one(der(listed(self.ca, *rows)))
        self.assertEqual({str(one) for one in found.revoked.values()}, {"on 2026-01-31 (superseded)"})
        padded = extension("551d18", tlv(0x18, b"20200101000000Z")) + extension("2a0304", b"\x04" + b"\x78" * 121)
        row = tlv(0x02, b"\x05") + tlv(0x17, b"260101000000Z") + tlv(0x30, padded)
        self.assertGreater(len(row), 0x80)
        self.assertEqual(list(read_one(handmade_crl(self.ca, [row])).revoked), [5])

    def test_broken_entries(self) -> None:
        """One entry that is none refuses the whole list."""
        time, number = tlv(0x17, b"260101000000Z"), tlv(0x02, b"\x05")
        for row in (
            b"", number, time, number + number, number + tlv(0x17, b"2601010000Z"),
            number + tlv(0x17, b"269901000000Z"), tlv(0x02) + time, number + time + b"\x30",
            number + time + tlv(0x31), number + time + tlv(0x30) + b"\0",
            b"\x02\x81\x01\x05" + time, number + time + tlv(0x30, extension("551d15", tlv(0x0A, b"\x01\x01"))),
        ):  # fmt: skip
            self.refused(handmade_crl(self.ca, [number + time, row]), "CRL of CN=ca")

    def test_odd_heads(self) -> None:
        """Version 1, two versions of the algorithm, other times: what is wrong is refused, what is old is read."""
        old = handmade_crl(self.ca, [tlv(0x02, b"\x05") + tlv(0x17, b"990101000000Z")], version=b"")
        self.assertEqual(str(read_one(old).revoked[5]), "on 1999-01-01")
        self.assertIsNone(read_one(handmade_crl(self.ca, times=[b"260101000000Z"])).next_update)
        number = tlv(0x30, extension("551d14", b"\x02\x01\x07"))
        self.assertEqual(read_one(handmade_crl(self.ca, extensions=number)).number, 7)
        self.refused(handmade_crl(self.ca, version=b"", extensions=number), "version 1")
        self.refused(handmade_crl(self.ca, version=b"\x02\x01\x02"), "version")
        self.refused(handmade_crl(self.ca, extensions=number[:2] + number[2:] * 2), "CRL of")
        self.refused(handmade_crl(self.ca, inner=tlv(0x30, tlv(0x06, b"\x2b\x65\x70"))), "algorithm")
        for time in (b"260101000000+", b"26010100000Z", b"26-101000000Z", b"20260101000000.1Z"):
            self.refused(handmade_crl(self.ca, times=[time]), "CRL of")

    def test_strict(self) -> None:
        """With strict a list without a number, or signed with SHA-1, is refused; without it both are read."""
        read_one(der(listed(self.ca, entry(5))), strict=True)
        weak = handmade_crl(self.ca, sha1=True)
        self.assertTrue(read_one(weak).is_signed_by(Certificate(self.ca.der)))
        self.refused(weak, "SHA-1", strict=True)
        self.refused(der(listed(self.ca, number=None)), "no cRLNumber", strict=True)
        read_one(der(listed(self.ca, number=None)))

    def test_signatures(self) -> None:
        """Lists signed in every way that CAs sign are told from those that another has signed."""
        for kind, more in (
            ("EC", {}), ("P-384", {"digest": hashes.SHA384()}), ("P-521", {"digest": hashes.SHA512()}), ("RSA", {}),
            ("RSA", {"digest": hashes.SHA512()}), ("RSA", {"pss": True}), ("Ed25519", {}),
        ):  # fmt: skip
            ca = Authority("ca", key=kind)
            found = read_one(der(listed(ca, entry(5), **more)))
            self.assertTrue(found.is_signed_by(Certificate(ca.der)), kind)
            self.assertFalse(found.is_signed_by(Certificate(self.ca.der)), kind)
            self.assertEqual(found.signers, {Certificate(ca.der)})
            for at in (-1, -40, 60):
                changed = bytearray(der(listed(ca, entry(5), **more)))
                changed[at] ^= 1
                try:
                    self.assertFalse(read_one(bytes(changed)).is_signed_by(Certificate(ca.der)), (kind, at))
                except ValueError:
                    pass

    def test_issuer_that_must_not_sign_lists(self) -> None:
        """A key whose certificate says that it signs no lists has signed none."""
        for allowed in (True, False):
            # In the order of RFC 5280 §4.2.1.3: digitalSignature first, cRLSign the seventh.
            flags = x509.KeyUsage(True, False, False, False, False, False, allowed, False, False)
            signer = self.ca.issue("signer", extensions=[(flags, True)])
            found = read_one(der(listed(self.ca, key=signer.key)))
            self.assertEqual(found.is_signed_by(Certificate(signer.der)), allowed)

    @given(st.dictionaries(st.integers(1, 2**159 - 1), st.sampled_from([None, *REASONS]), max_size=30))
    @settings(max_examples=40, deadline=None)
    def test_any_entries(self, rows: dict[int, x509.ReasonFlags | None]) -> None:
        """Whatever stands on a list is found on it, and nothing else."""
        found = read_one(der(listed(self.ca, *[entry(serial, reason) for serial, reason in rows.items()])))
        kept = {serial for serial, reason in rows.items() if reason is not REASONS.remove_from_crl}
        self.assertEqual(set(found.revoked), kept)

    @given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), min_size=1, max_size=4))
    @settings(max_examples=300, deadline=None)
    def test_any_bytes(self, data: list[tuple[int, int]]) -> None:
        """Whatever was done to a list, it is read or refused, and never counts as signed."""
        scope = idp(full_name=[x509.UniformResourceIdentifier("http://a.example/")])
        whole = bytearray(der(listed(self.ca, entry(5, REASONS.superseded), extensions=[scope])))
        original = read_one(bytes(whole))
        for at, byte in data:
            whole[at % len(whole)] = byte
        try:
            (found,) = read_lists(bytes(whole))
        except ValueError:
            return
        signed = found.is_signed_by(Certificate(self.ca.der))
        self.assertEqual(signed, found == original)


class URLTests(SynchronousTestCase):
    """Which URLs of certificates are asked."""

    def test_allowed(self) -> None:
        """Hosts, hosts with ports and beginnings allow what they say, and nothing that only looks like it."""
        entries = ["pki.example.com", "h.example:8080", "https://x.example/crl", "http://y.example/a/", "[::1]"]
        allowed = AllowedURLs(entries)
        for url in (
            "http://pki.example.com", "https://pki.example.com/any?x=1", "http://PKI.example.com:80/",
            "http://h.example:8080/", "https://x.example/crl", "https://x.example/crl/a",
            "https://x.example:443/crl?a", "http://y.example/a/b",
            "http://[::1]/a",
        ):  # fmt: skip
            self.assertTrue(allowed.allows(plain_url(url)), url)
        for url in (
            "http://pki.example.com:8080/", "http://pki.example.com.evil.example/", "http://evil.example/pki.example.com",
            "http://h.example/", "https://x.example/crl2", "http://x.example/crl", "https://x.example/", "http://y.example/a",
            "http://[::2]/a",
        ):  # fmt: skip
            self.assertFalse(allowed.allows(plain_url(url)), url)

    def test_not_plain(self) -> None:
        """What two HTTP clients could read in two ways is no URL."""
        for url in (
            "", "pki.example.com", "ftp://a.example/", "ldap:///CN=ca", "http://", "http:///a", "http://a.example:0/",
            "http://a.example:99999/", "http://u@a.example/", "http://a.example#b", "http://a.example\\@b.example/",
            "http://a.example/a b", "http://a.example/../a", "http://a.example/%2E%2e/a", "http://a.example/.",
            "http://a.example/\x00", "http://ä.example/", "http://a.example/" + "a" * 1024, "http://a.example:80:80/",
            "http://a.example/%zz", "http://-a.example/",
        ):  # fmt: skip
            self.assertRaises(ValueError, plain_url, url)

    def test_not_entries(self) -> None:
        """An entry that is neither a host nor a URL is a fault of the configuration."""
        for wrong in ("", "*.example.com", "a b", "ftp://a.example/", "http://a.example/?q", "a.example:", "//a/"):
            self.assertRaises(ValueError, AllowedURLs, [wrong])

    def test_public(self) -> None:
        """Addresses of this machine and of private networks are told, however they are spelt."""
        for url in ("http://ocsp.example.com/", "http://8.8.8.8/", "http://[2606:4700::1]/", "http://ocsp.internal/"):
            self.assertTrue(is_public(plain_url(url)), url)
        for url in (
            "http://localhost/", "http://a.localhost/", "http://127.0.0.1/", "http://10.1.2.3/", "http://169.254.169.254/",
            "http://[::1]/", "http://[fd00::1]/", "http://[::ffff:127.0.0.1]/", "http://127.1/", "http://2130706433/",
            "http://0x7f.1/", "http://0x7f000001/", "http://0177.0.0.1/",
        ):  # fmt: skip
            self.assertFalse(is_public(plain_url(url)), url)
