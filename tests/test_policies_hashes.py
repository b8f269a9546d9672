"""``certificate_hash`` and ``spki_hash``: pins, in the configuration and in files."""
from __future__ import annotations

import subprocess
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError
from edgegw.policies.hashes import (
    CertificateHash,
    CertificateHashConfig,
    SPKIHash,
    normalise_spki_hash,
    parse_certificate_hashes,
)
from edgegw.testing import (
    Authority,
    FakeEnvironment,
    Issued,
    assert_accepts,
    assert_rejects,
    build,
    check_plugin,
    options,
    peer,
)
from edgegw.verdict import Accept, Reason

CA = Authority()
MINE = CA.issue("mine")
OTHER = CA.issue("other")
RENEWED = evolve(
    MINE,
    certificate=x509.CertificateBuilder(
        MINE.certificate.issuer, MINE.certificate.subject, MINE.certificate.public_key(), 4711,
        MINE.certificate.not_valid_before_utc, MINE.certificate.not_valid_after_utc,
    ).sign(CA.key, hashes.SHA256()),
)  # fmt: skip


def fingerprint(issued: Issued) -> str:
    """Give the SHA-256 of a certificate as 64 lower-case digits."""
    return sha256(issued.der).hexdigest()


def spki(issued: Issued) -> str:
    """Give the SHA-256 of a certificate's public key in base64, as ``cryptography`` encodes it."""
    key = issued.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(sha256(key).digest()).decode()


def colons(digits: str) -> str:
    """Write digits as ``openssl x509 -fingerprint`` does."""
    return bytes.fromhex(digits).hex(":").upper()


class CertificateHashTests(SynchronousTestCase):
    """Pins of certificates."""

    def test_pins(self) -> None:
        """The certificate that is pinned comes in, however its hash is written, and no other."""
        digest = fingerprint(MINE)
        for written in (digest, digest.upper(), colons(digest), colons(digest).lower(), f" {digest} ",
                        f"SHA256 Fingerprint={colons(digest)}"):
            assert_accepts(CertificateHash, {"hashes": [written]}, peer(MINE))
            refused = assert_rejects(CertificateHash, {"hashes": [written]}, peer(OTHER), Reason.CERTIFICATE_HASH)
            self.assertEqual(refused.detail, f"{fingerprint(OTHER)} is none of the 1 pinned")
        assert_rejects(CertificateHash, {"hashes": [digest]}, peer(RENEWED), Reason.CERTIFICATE_HASH)

    def test_one_is_enough(self) -> None:
        """Any one pin of several lets in, also where one item has several."""
        for listed in ([fingerprint(OTHER), fingerprint(MINE)], [f"{fingerprint(OTHER)}, {colons(fingerprint(MINE))}"],
                       [f"- {fingerprint(OTHER)} - {fingerprint(MINE)}"]):
            assert_accepts(CertificateHash, {"hashes": listed}, peer(MINE))

    def test_unverified(self) -> None:
        """A pin holds for certificates that are not verified, too."""
        assert_accepts(CertificateHash, {"hashes": [fingerprint(MINE)]}, peer(MINE, verified=False))
        assert_rejects(CertificateHash, {"hashes": [fingerprint(MINE)]}, peer(OTHER, verified=False))

    def test_faults(self) -> None:
        """A hash that is none, and no hash at all, are faults."""
        for document, words in (
            ({"hashes": ["ab"]}, "'ab' is no SHA-256 fingerprint"),
            ({"hashes": [fingerprint(MINE)[:-1] + "g"]}, "is no SHA-256 fingerprint"),
            ({"hashes": [colons(fingerprint(MINE))[:-1]]}, "is no SHA-256 fingerprint"),
            ({"hashes": [","]}, "',' names no hash"),
            ({}, "names no hash; give hashes, or a file"),
        ):
            with self.assertRaises(ConfigError) as caught:
                options(CertificateHash, document)
            self.assertIn(words.partition("; ")[0], str(caught.exception))

    def test_openssl(self) -> None:
        """What the ``openssl`` command prints is what is pinned."""
        path = Path(self.mktemp())
        path.write_bytes(MINE.pem)
        printed = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256"],
                                 capture_output=True, check=True, text=True).stdout
        assert_accepts(CertificateHash, {"hashes": [printed.strip()]}, peer(MINE))


class KgatewayTests(SynchronousTestCase):
    """kgateway's ``verify-certificate-hash``."""

    def test_its_own_spellings(self) -> None:
        """The spellings of kgateway's own tests are read: one, several with commas, a list in a text."""
        one, two = fingerprint(MINE), fingerprint(OTHER)
        for text, expected in (
            (one, (one,)),
            (f"{one},{two}", (one, two)),
            (f"{colons(one)},{two}", (one, two)),
            (f"- {one}\n- {two}\n", (one, two)),
            (f"\n  - {one}\n\n  - {two}", (one, two)),
            (f",,{one},", (one,)),
        ):
            self.assertEqual(parse_certificate_hashes(text), expected, repr(text))

    def test_one_bad_item(self) -> None:
        """One bad item refuses the whole list, and so does a list of nothing."""
        for text in (f"{fingerprint(MINE)},zz", f"{fingerprint(MINE)} {fingerprint(OTHER)}", "", " , - "):
            self.assertRaises(ValueError, parse_certificate_hashes, text)

    def test_as_an_option(self) -> None:
        """The options take the text as it is."""
        config = CertificateHashConfig(f"- {colons(fingerprint(MINE))} - {fingerprint(OTHER)}")
        self.assertEqual(config.hashes, (fingerprint(MINE), fingerprint(OTHER)))

    @given(
        st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.booleans(), st.booleans()), min_size=1, max_size=4),
        st.sampled_from((",", "-", " ,\n", "\n- ", ", ,", "\t-\t")),
    )
    def test_any_list(self, digests: list[tuple[bytes, bool, bool]], separator: str) -> None:
        """Every list that can be written is read as what was written."""
        written = []
        for digest, with_colons, upper in digests:
            text = digest.hex(":") if with_colons else digest.hex()
            written.append(text.upper() if upper else text)
        self.assertEqual(parse_certificate_hashes(separator.join(written)), tuple(one.hex() for one, _, _ in digests))

    @given(st.text(alphabet="0123456789abcdefABCDEF:-, \ng", max_size=140))
    def test_any_text(self, text: str) -> None:
        """Whatever else is written is a fault, or fingerprints."""
        try:
            found = parse_certificate_hashes(text)
        except ValueError:
            return
        self.assertTrue(found and all(len(bytes.fromhex(one)) == 32 for one in found))


class SPKIHashTests(SynchronousTestCase):
    """Pins of keys."""

    def test_pins(self) -> None:
        """The key that is pinned comes in, with a renewed certificate, too, and no other."""
        for written in (spki(MINE), f" {spki(MINE)} ", f"sha256//{spki(MINE)}"):
            assert_accepts(SPKIHash, {"hashes": [written]}, peer(MINE))
            assert_accepts(SPKIHash, {"hashes": [written]}, peer(RENEWED))
            refused = assert_rejects(SPKIHash, {"hashes": [written]}, peer(OTHER), Reason.SPKI_HASH)
            self.assertEqual(refused.detail, f"{spki(OTHER)} is none of the 1 pinned")

    def test_kinds_of_keys(self) -> None:
        """The hash is the same as everybody's for every kind of key."""
        for kind in ("RSA", "P-384", "Ed25519"):
            issued = CA.issue(key=kind)
            assert_accepts(SPKIHash, {"hashes": [spki(issued)]}, peer(issued))

    def test_faults(self) -> None:
        """A hash that is none, and no hash at all, are faults."""
        for document, words in (
            ({"hashes": ["!!!!"]}, "'!!!!' is no SHA-256 in base64"),
            ({"hashes": [spki(MINE)[:-4]]}, "is no SHA-256 in base64"),
            ({"hashes": [fingerprint(MINE)]}, "is no SHA-256 in base64"),
            ({"hashes": [spki(MINE)[:-1]]}, "is no SHA-256 in base64"),
            ({"hashes": []}, "names no hash"),
        ):
            with self.assertRaises(ConfigError) as caught:
                options(SPKIHash, document)
            self.assertIn(words, str(caught.exception))

    def test_unreadable(self) -> None:
        """What is no certificate is refused as unreadable, so that not does not let it in."""
        assert_rejects(SPKIHash, {"hashes": [spki(MINE)]}, peer(b"\x30\x03abc"), Reason.CERTIFICATE_INVALID)
        assert_rejects(SPKIHash, {"hashes": [spki(MINE)]}, peer(b""), Reason.CERTIFICATE_INVALID)

    @given(st.binary(min_size=32, max_size=32))
    def test_any_hash(self, digest: bytes) -> None:
        """Every hash is read as itself."""
        self.assertEqual(normalise_spki_hash(b64encode(digest).decode()), b64encode(digest).decode())

    @given(st.text(max_size=60))
    def test_any_text(self, text: str) -> None:
        """Whatever else is written is a fault."""
        try:
            self.assertEqual(len(normalise_spki_hash(text)), 44)
        except ValueError:
            pass


class FileTests(SynchronousTestCase):
    """Pins in files that are followed."""

    def start(self, kind: Any, first: str, **document: Any) -> tuple[Any, FakeEnvironment, Path]:
        """Make a policy whose file has this text."""
        directory = Path(self.mktemp())
        directory.mkdir()
        path = directory / "pins"
        path.write_text(first)
        env = FakeEnvironment(directory)
        return build(kind, {"file": "pins", **document}, env), env, path

    def accepted(self, policy: Any) -> set[str]:
        """Give who comes in."""
        return {name for name, one in (("mine", MINE), ("other", OTHER)) if type(policy.check(peer(one))) is Accept}

    def test_follows(self) -> None:
        """Lines that are added and removed count when the file is looked at again."""
        for kind, pin in ((CertificateHash, fingerprint), (SPKIHash, spki)):
            policy, env, path = self.start(kind, f"# the fleet\n\n  {pin(MINE)}  # of the first device\r\n")
            self.assertEqual(self.accepted(policy), {"mine"})
            path.write_text(f"{pin(MINE)}\n{pin(OTHER)}")
            self.assertEqual(self.accepted(policy), {"mine"})
            self.assertTrue(env.reread())
            self.assertEqual(self.accepted(policy), {"mine", "other"})
            path.write_text(f"{pin(OTHER)}\n")
            env.reread()
            self.assertEqual(self.accepted(policy), {"other"})
            path.write_text("")
            env.reread()
            self.assertEqual(self.accepted(policy), set(), "an empty file pins nothing")

    def test_in_addition(self) -> None:
        """The pins of the configuration hold beside those of the file."""
        policy, _, _ = self.start(CertificateHash, fingerprint(OTHER), hashes=[fingerprint(MINE)])
        self.assertEqual(self.accepted(policy), {"mine", "other"})

    def test_spoiled(self) -> None:
        """A file that is spoiled leaves the last pins in use."""
        policy, env, path = self.start(CertificateHash, fingerprint(MINE))
        path.write_text(f"{fingerprint(OTHER)}\n# a comment\nnonsense\n")
        self.assertFalse(env.reread())
        self.assertEqual(self.accepted(policy), {"mine"})

    def test_missing(self) -> None:
        """A file that is not there, or is spoiled from the beginning, is a fault of the configuration."""
        self.assertRaises(OSError, build, CertificateHash, {"file": "/nowhere/pins"})
        self.assertRaises(ValueError, self.start, CertificateHash, "nonsense")

    def test_byte_order_mark(self) -> None:
        """A file that an editor has begun with a byte order mark is read all the same."""
        policy, _, _ = self.start(CertificateHash, "\ufeff" + fingerprint(MINE))
        self.assertEqual(self.accepted(policy), {"mine"})


class KindTests(SynchronousTestCase):
    """The kinds and their options."""

    def test_contract(self) -> None:
        """They keep to what every plugin promises, about the oddest clients, too."""
        check_plugin(CertificateHash, {"hashes": [fingerprint(MINE)]})
        check_plugin(SPKIHash, {"hashes": [spki(MINE)]})
