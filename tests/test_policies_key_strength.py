"""``key_strength``: keys and signatures, of the client's certificate and of the chain."""
from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.certificate import Certificate
from edgegw.config import ConfigError
from edgegw.der import DERError
from edgegw.policies.encoded_parts import encoded_parts
from edgegw.policies.key_strength import KeyStrength
from edgegw.policies.object_identifiers import oid_bytes
from edgegw.policies.public_keys import NO_HASH, PublicKey, public_key, signature_hash
from edgegw.testing import (
    Authority,
    assert_accepts,
    assert_rejects,
    build,
    check_plugin,
    examples_of,
    make_key,
    options,
    peer,
)
from edgegw.verdict import Accept, Reason, Reject

from .client_certificates import tlv

CA = Authority()
RSA_OID = "1.2.840.113549.1.1.1"
ECDSA_SHA256 = tlv(0x06, oid_bytes("1.2.840.10045.4.3.2"))


def signed(key: Any, digest: Any = None, signer: Any = CA.key, pad: Any = None) -> Certificate:
    """Issue a certificate for a key, signed in some way."""
    made = x509.CertificateBuilder(
        CA.name, x509.Name([]), key.public_key(), 4711,
        CA.certificate.not_valid_before_utc, CA.certificate.not_valid_after_utc,
    ).sign(signer, digest, rsa_padding=pad)  # fmt: skip
    return Certificate(made.public_bytes(Encoding.DER))


def spelled(spki: bytes, algorithm: bytes = ECDSA_SHA256) -> Certificate:
    """Make a certificate, without a real signature, of the encodings of a key and of a signature algorithm."""
    validity = tlv(0x30, tlv(0x17, b"250101000000Z"), tlv(0x18, b"20450101000000Z"))
    head = b"\xa0\x03\x02\x01\x02" + tlv(0x02, b"\x01")
    tbs = tlv(0x30, head, tlv(0x30, algorithm), tlv(0x30), validity, tlv(0x30), spki)
    return Certificate(tlv(0x30, tbs, tlv(0x30, algorithm), tlv(0x03, b"\x00")))


def whole(number: int) -> bytes:
    """Encode an INTEGER."""
    return tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def rsa_key(modulus: int, exponent: int, oid: str = RSA_OID) -> bytes:
    """Encode an RSA key."""
    numbers = tlv(0x30, whole(modulus), whole(exponent))
    return tlv(0x30, tlv(0x30, tlv(0x06, oid_bytes(oid)), tlv(0x05)), tlv(0x03, b"\x00", numbers))


def other_key(oid: str, parameters: bytes = b"") -> bytes:
    """Encode a key of another type."""
    return tlv(0x30, tlv(0x30, tlv(0x06, oid_bytes(oid)), parameters), tlv(0x03, b"\x00\x04"))


def refusal(certificate: Certificate, **document: Any) -> str | None:
    """Give why a certificate is too weak; ``None`` if it is not."""
    verdict = build(KeyStrength, document).check(peer(certificate))
    if isinstance(verdict, Reject):
        assert verdict.code == Reason.CERTIFICATE_WEAK, verdict
        return verdict.detail
    return None


class RealKeyTests(SynchronousTestCase):
    """Keys that ``cryptography`` makes."""

    def test_defaults(self) -> None:
        """Without options what is thought strong today comes in, and nothing weaker."""
        for key in (make_key("P-256"), make_key("P-384"), make_key("P-521"), make_key("RSA"), make_key("RSA-3072"),
                    make_key("Ed25519"), ed448.Ed448PrivateKey.generate()):
            self.assertIsNone(refusal(signed(key, hashes.SHA256())), key)
        for key, words in (
            (make_key("RSA-1024"), "the certificate has an RSA key of 1024 bits, fewer than 2048"),
            (ec.generate_private_key(ec.SECP256K1()), "has a key on the curve secp256k1, which is none of P-256"),
            (ec.generate_private_key(ec.SECP224R1()), "has a key on the curve P-224"),
            (ec.generate_private_key(ec.BrainpoolP256R1()), "has a key on the curve brainpoolP256r1"),
            (dsa.generate_private_key(2048), "has a key of type dsa, which is none of rsa, ec"),
        ):
            self.assertIn(words, refusal(signed(key, hashes.SHA256())) or "")

    def test_limits_of_rsa(self) -> None:
        """Both limits are inclusive."""
        certificate = signed(make_key("RSA-3072"), hashes.SHA256())
        for limits, expected in (
            ({"min_rsa_bits": 3072}, None), ({"max_rsa_bits": 3072}, None),
            ({"min_rsa_bits": 3073}, "the certificate has an RSA key of 3072 bits, fewer than 3073"),
            ({"max_rsa_bits": 3071}, "the certificate has an RSA key of 3072 bits, more than 3071"),
        ):
            self.assertEqual(refusal(certificate, **limits), expected)

    def test_types_and_curves(self) -> None:
        """Only the types and curves that are named come in."""
        kinds = {"rsa": "RSA", "P-384": "P-384", "P-256": "P-256", "ed25519": "Ed25519"}
        certificates = {name: signed(make_key(kind), hashes.SHA256()) for name, kind in kinds.items()}
        for document, expected in (
            ({"key_types": ["rsa"]}, {"rsa"}),
            ({"key_types": ["ec"]}, {"P-256", "P-384"}),
            ({"key_types": ["ec", "ed25519"], "curves": ["P-384"]}, {"P-384", "ed25519"}),
            ({"curves": ["brainpoolP256r1"]}, {"rsa", "ed25519"}),
        ):
            self.assertEqual({name for name, one in certificates.items() if refusal(one, **document) is None}, expected)

    def test_signature_hashes(self) -> None:
        """The hash of the issuer's signature must be named, whatever the algorithm beside it."""
        root = make_key("RSA-3072")
        key = make_key()
        for digest, name in ((hashes.SHA224(), "sha224"), (hashes.SHA256(), "sha256"),
                             (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512"), (hashes.SHA3_256(), "sha3-256")):
            pss = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
            made = [signed(key, digest), signed(key, digest, root)]
            if not name.startswith("sha3"):
                made.append(signed(key, digest, root, pss))
            for certificate in made:
                self.assertEqual(signature_hash(encoded_parts(certificate).signature_algorithm), name)
                self.assertEqual(refusal(certificate) is not None, name == "sha224", name)
                self.assertIsNone(refusal(certificate, signature_hashes=[name]))
                self.assertIn(f"is signed with {name}, and wanted is", refusal(
                    certificate, signature_hashes=["sha3-512"]) or "")

    def test_signatures_without_a_hash(self) -> None:
        """Signatures that have no hash to choose come in, even where no hash does."""
        certificate = signed(make_key(), None, make_key("Ed25519"))
        self.assertIsNone(refusal(certificate, signature_hashes=["sha512"]))
        self.assertIsNone(refusal(certificate, signature_hashes=[]))
        self.assertIn("wanted is none at all", refusal(signed(make_key(), hashes.SHA256()), signature_hashes=[]) or "")


class EncodedKeyTests(SynchronousTestCase):
    """Keys that no library makes."""

    def test_huge(self) -> None:
        """An RSA key that would cost seconds is refused by its size alone."""
        self.assertEqual(refusal(spelled(rsa_key((1 << 60_000) + 1, 65_537))),
                         "the certificate has an RSA key of 60001 bits, more than 8192")

    def test_exponents(self) -> None:
        """An exponent with which everybody can sign is refused."""
        modulus = (1 << 2047) + 1
        for exponent in (1, 2, 65_536):
            self.assertIn("exponent that is 1 or even", refusal(spelled(rsa_key(modulus, exponent))) or "")
        for exponent in (3, 65_537, (1 << 256) + 1):
            self.assertIsNone(refusal(spelled(rsa_key(modulus, exponent))))

    def test_pss_keys(self) -> None:
        """Keys for RSASSA-PSS alone are RSA keys."""
        weak = spelled(rsa_key((1 << 1023) + 1, 3, "1.2.840.113549.1.1.10"))
        self.assertIn("an RSA key of 1024 bits", refusal(weak) or "")

    def test_curves(self) -> None:
        """A curve that is spelled out is refused, whatever is allowed; one that is not known is told by its number."""
        self.assertIn("on the curve explicit,", refusal(spelled(other_key("1.2.840.10045.2.1", tlv(0x30)))) or "")
        unknown = other_key("1.2.840.10045.2.1", tlv(0x06, oid_bytes("1.3.132.0.1")))
        self.assertIn("on the curve 1.3.132.0.1,", refusal(spelled(unknown)) or "")

    def test_types(self) -> None:
        """Post-quantum keys are known by name, others by their number."""
        for number, name in ((17, "ml-dsa-44"), (18, "ml-dsa-65"), (19, "ml-dsa-87")):
            certificate = spelled(other_key(f"2.16.840.1.101.3.4.3.{number}"))
            self.assertIsNone(refusal(certificate, key_types=[name]))
            self.assertIn(f"of type {name},", refusal(certificate, key_types=["rsa"]) or "")
        self.assertIn("of type 2.16.840.1.101.3.4.3.20,", refusal(spelled(other_key("2.16.840.1.101.3.4.3.20"))) or "")

    def test_signatures(self) -> None:
        """Old signatures and those that are not known never come in."""
        good = rsa_key((1 << 2047) + 1, 3)
        everything = ["sha1", "sha224", "sha256", "sha384", "sha512"]
        for oid in ("1.2.840.113549.1.1.5", "1.2.840.10045.4.1", "1.2.840.10040.4.3"):
            sha1 = spelled(good, tlv(0x06, oid_bytes(oid)))
            self.assertIn("is signed with sha1, and", refusal(sha1) or "")
            self.assertIsNone(refusal(sha1, signature_hashes=["sha1"]))
        for oid, name in (("1.2.840.113549.1.1.4", "md5"), ("1.2.840.113549.1.1.2", "md2"), ("1.2.3.4", "1.2.3.4")):
            found = refusal(spelled(good, tlv(0x06, oid_bytes(oid))), signature_hashes=everything)
            self.assertIn(f"is signed with {name}, and", found or "")
        for number in (17, 18, 19, 20, 31):
            self.assertIsNone(refusal(spelled(good, tlv(0x06, oid_bytes(f"2.16.840.1.101.3.4.3.{number}")))))

    def test_pss_parameters(self) -> None:
        """RSASSA-PSS without a hash among its parameters is SHA-1; parameters that are none are refused."""
        good = rsa_key((1 << 2047) + 1, 3)
        pss = tlv(0x06, oid_bytes("1.2.840.113549.1.1.10"))
        self.assertIn("is signed with sha1", refusal(spelled(good, pss + tlv(0x30))) or "")
        self.assertIn("is signed with sha1", refusal(spelled(good, pss + tlv(0x30, tlv(0xA2, whole(20))))) or "")
        for parameters in (b"", tlv(0x05), tlv(0x30, tlv(0xA0)), tlv(0x30, b"\xa0\x05")):
            assert_rejects(KeyStrength, {}, peer(spelled(good, pss + parameters)), Reason.CERTIFICATE_INVALID)

    def test_broken(self) -> None:
        """A key that cannot be read is refused as such."""
        algorithm = tlv(0x30, tlv(0x06, oid_bytes(RSA_OID)))
        for key in (
            tlv(0x30), tlv(0x30, tlv(0x30)), tlv(0x30, algorithm), tlv(0x30, algorithm, tlv(0x03)),
            tlv(0x30, algorithm, tlv(0x03, b"\x01", tlv(0x30, whole(5), whole(3)))),
            tlv(0x30, algorithm, tlv(0x03, b"\x00", tlv(0x30, whole(5)))),
            tlv(0x30, algorithm, tlv(0x03, b"\x00", tlv(0x30, whole(5), whole(3), whole(1)))),
            rsa_key(-5, 3), rsa_key(0, 3), rsa_key(5, 0), rsa_key(5, -3), other_key("1.2.840.10045.2.1"),
        ):
            assert_rejects(KeyStrength, {}, peer(spelled(key)), Reason.CERTIFICATE_INVALID)
        assert_rejects(KeyStrength, {}, peer(b""), Reason.CERTIFICATE_INVALID)

    @given(st.integers(1, 1 << 700), st.integers(1, 1 << 70))
    def test_numbers(self, modulus: int, exponent: int) -> None:
        """Bits and exponent are those of the numbers."""
        self.assertEqual(public_key(rsa_key(modulus, exponent)), PublicKey("rsa", modulus.bit_length(), exponent))

    @given(st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        """Bytes that are no key or algorithm raise nothing but what says so."""
        for read in (public_key, signature_hash):
            try:
                read(data)
            except DERError:
                pass

    def test_as_cryptography(self) -> None:
        """Every real key is what ``cryptography`` says it is."""
        for kind in ("RSA", "RSA-1024", "RSA-3072", "P-256", "P-384", "P-521", "Ed25519"):
            certificate = signed(make_key(kind), hashes.SHA256())
            ours, theirs = public_key(encoded_parts(certificate).public_key), certificate.x509.public_key()
            if isinstance(theirs, rsa.RSAPublicKey):
                numbers = theirs.public_numbers()
                self.assertEqual((ours.bits, ours.exponent), (theirs.key_size, numbers.e))
            elif isinstance(theirs, ec.EllipticCurvePublicKey):
                self.assertEqual(ours.curve, kind)
            else:
                self.assertEqual(ours, PublicKey("ed25519"))
        self.assertEqual(signature_hash(tlv(0x06, oid_bytes("1.3.101.112"))), NO_HASH)


class ChainTests(SynchronousTestCase):
    """The chain above the client's certificate."""

    def test_chain(self) -> None:
        """With chain every certificate but the anchor is judged; without it the client's alone."""
        weak_root = Authority("weak root", key="RSA-1024")
        weak = Authority("weak", issuer=weak_root, key="RSA-1024")
        strong = Authority("strong", issuer=weak)
        client = peer(strong.issue())
        assert_accepts(KeyStrength, {}, client)
        refused = assert_rejects(KeyStrength, {"chain": True}, client, Reason.CERTIFICATE_WEAK)
        self.assertEqual(
            refused.detail, "certificate 2 above the client's, CN=weak, has an RSA key of 1024 bits, fewer than 2048"
        )
        assert_accepts(KeyStrength, {"chain": True, "min_rsa_bits": 1024}, client)
        assert_accepts(KeyStrength, {"chain": True}, peer(Authority("below", issuer=weak_root).issue()))

    def test_a_certificate_that_is_its_own_anchor(self) -> None:
        """A client's certificate is judged even if it is the trust anchor itself."""
        weak = Authority(key="RSA-1024")
        client = peer(weak.certificate, chain=[weak.certificate])
        assert_rejects(KeyStrength, {"chain": True}, client, Reason.CERTIFICATE_WEAK)

    def test_broken_certificate_above(self) -> None:
        """A certificate of the chain that cannot be read is refused, and named by its place."""
        client = CA.issue()
        broken = peer(client, chain=[client.certificate, b"\x30\x00", CA.certificate])
        refused = assert_rejects(KeyStrength, {"chain": True}, broken, Reason.CERTIFICATE_INVALID)
        self.assertIn("certificate 1 above the client's", refused.detail)

    def test_needs_the_chain_only_where_asked(self) -> None:
        """A listener gives its session tickets up only for chain: true."""
        self.assertFalse(build(KeyStrength, {}).needs_chain)
        self.assertTrue(build(KeyStrength, {"chain": True}).needs_chain)


class KindTests(SynchronousTestCase):
    """The kind and its options."""

    def test_contract(self) -> None:
        """It keeps to what every plugin promises, about the oddest clients, too."""
        check_plugin(KeyStrength, "", {"chain": True}, {"key_types": ["rsa"], "signature_hashes": ["sha1"]})

    def test_example(self) -> None:
        """The example in its documentation lets those in that it describes."""
        ((_, document),) = examples_of(KeyStrength)
        policy = build(KeyStrength, document)
        keys = {"P-256": True, "P-521": False, "RSA-3072": True, "RSA": False, "Ed25519": False}
        for key, accepted in keys.items():
            self.assertEqual(type(policy.check(peer(CA.issue(key=key)))) is Accept, accepted, key)

    def test_faults(self) -> None:
        """Options that cannot be meant are faults."""
        for document, words in (
            ({"min_rsa_bits": 4096, "max_rsa_bits": 2048}, "no RSA key has at least 4096 and at most 2048 bits"),
            ({"min_rsa_bits": 100}, "100 is out of range"),
            ({"key_types": []}, "has an empty list of key_types"),
            ({"curves": []}, "has ec among key_types and no curves"),
            ({"curves": ["P-257"]}, "P-256"),
            ({"key_types": ["rsa1"]}, "rsa"),
            ({"signature_hashes": ["md5"]}, "sha"),
        ):
            with self.assertRaises(ConfigError) as caught:
                options(KeyStrength, document)
            self.assertIn(words, str(caught.exception))
