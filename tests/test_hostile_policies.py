"""What a hostile client, server or file may try with the policies that come with the gateway."""
from __future__ import annotations

import json
import os
from base64 import b64encode, encodebytes
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from edgegw.certificate import Certificate
from edgegw.der import DERError, elements, only
from edgegw.following import read_regular_file
from edgegw.http_client import trust_of
from edgegw.model import PolicyAny, PolicyNot
from edgegw.policies import crl_files
from edgegw.policies.allow_list import AllowList
from edgegw.policies.allowed_urls import AllowedURLs, plain_url
from edgegw.policies.certificate_parts import MOST_NAMES, certificate_parts, x509_extensions
from edgegw.policies.crl import CRL
from edgegw.policies.directory_names import attributes, canonical
from edgegw.policies.distinguished_names import IssuerName, SubjectName
from edgegw.policies.distribution_points import points_of
from edgegw.policies.extended_key_usage import ExtendedKeyUsage
from edgegw.policies.hashes import CertificateHash
from edgegw.policies.list_files import Listed
from edgegw.policies.name_constraints import NameConstraints
from edgegw.policies.ocsp_answers import Rules, UnusableAnswer, read_answer
from edgegw.policies.ocsp_questions import ask_about, responder_urls
from edgegw.policies.other_names import other_names
from edgegw.policies.rate_limit import RateLimit
from edgegw.policies.revoked_entries import read_time
from edgegw.policies.rfc4514 import MAX_NAME
from edgegw.policies.serial import SerialNumber
from edgegw.policies.spiffe import Spiffe
from edgegw.policies.subject_alt_names import SubjectAltNames
from edgegw.policies.text_matchers import MAX_REGEX_TEXT
from edgegw.policies.validity import Validity
from edgegw.policy_chain import build_chain
from edgegw.testing import Authority, FakeEnvironment, build, judge, peer
from edgegw.testing.handshakes import policy_rules
from edgegw.tls.staples import certificates_in
from edgegw.verdict import Accept, Reason
from tests.client_certificates import extension, general_names, handmade, tlv
from tests.revocation_parts import HOUR, Environment, Responder, delegate, directory, idp, listed, pem, point

CA = Authority("ca")
COMMON_NAME = bytes.fromhex("550403")
SAN = "551d11"
DNS, URI, OTHER_NAME, DIRECTORY_NAME = 0x82, 0x86, 0xA0, 0xA4


def attribute(value: bytes, oid: bytes = COMMON_NAME) -> bytes:
    """Give a relative name with one attribute."""
    return tlv(0x31, tlv(0x30, tlv(0x06, oid), tlv(0x0C, value)))


def with_names(*names: tuple[int, bytes]) -> Certificate:
    """Make a certificate with these alternative names."""
    return handmade(extensions=[general_names(*names)])


class _Counts:
    accepted = errors = slow = cached = 0
    seconds = 0.0

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}


def under_not(kind: Any, config: Any, client: Any) -> Any:
    """Ask ``not:`` about a client, as a listener does."""
    (rule,) = policy_rules([(kind, config)])
    chain = build_chain([PolicyNot(rule)], lambda label: _Counts(), lambda label, text: None)
    return chain.check(client, [])


class UndecidedTests(SynchronousTestCase):
    """A policy under ``not`` that cannot say who a client is lets nobody in."""

    def assert_kept_out(self, kind: Any, config: Any, client: Any) -> None:
        """Assert that the policy refuses, and that ``not`` makes no acceptance of that."""
        self.assertEqual(judge(kind, config, client).code, Reason.CERTIFICATE_INVALID)
        self.assertEqual(under_not(kind, config, client).code, Reason.CERTIFICATE_INVALID)

    def file(self, text: str) -> str:
        """Write a list; gives its path."""
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path.absolute())

    def test_plain_refusal(self) -> None:
        """A client that is not one of those to be kept out comes in."""
        config = {"dns": ["evil.example"]}
        self.assertIsInstance(under_not(SubjectAltNames, config, peer(dns=["good.example"])), Accept)
        self.assertEqual(under_not(SubjectAltNames, config, peer(dns=["evil.example"])).code, Reason.EXCLUDED)

    def test_hidden_behind_other_names(self) -> None:
        """A name behind thousands of others is not overlooked."""
        names = [(DNS, b"x%d.example" % number) for number in range(1024)]
        client = peer(with_names(*names, (DNS, b"evil.example")))
        self.assert_kept_out(SubjectAltNames, {"dns": ["evil.example"]}, client)
        listed = {"file": self.file("dns\nevil.example\n"), "by": "dns"}
        self.assert_kept_out(AllowList, listed, client)
        self.assert_kept_out(AllowList, listed, peer(with_names(*names[:100], (DNS, b"evil.example"))))
        self.assertIsInstance(under_not(AllowList, listed, peer(with_names(*names[:100]))), Accept)

    def test_hidden_in_a_long_name(self) -> None:
        """A name that is too long for an expression is not overlooked."""
        long = b"spiffe://evil.example/" + b"a" * MAX_REGEX_TEXT
        config = {"uri": [{"regex": "spiffe://evil\\.example/.*"}]}
        self.assert_kept_out(SubjectAltNames, config, peer(with_names((URI, long))))
        self.assertEqual(judge(SubjectAltNames, {"uri": [{"prefix": "x:"}]}, peer(with_names((URI, long)))).code,
                         Reason.SUBJECT_ALT_NAME)
        client = peer(handmade(subject=attribute(b"evil" + b"a" * MAX_REGEX_TEXT)))
        self.assert_kept_out(SubjectName, {"common_name": [{"regex": "evil.*"}]}, client)

    def test_names_that_cannot_be_read(self) -> None:
        """A certificate whose names are no DER is on no list, and not off it either."""
        broken = handmade(extensions=[extension(SAN, b"\x30\x03\x82\x7fx")])
        self.assert_kept_out(AllowList, {"file": self.file("dns\nevil.example\n"), "by": "dns"}, peer(broken))

    def test_any_of_several(self) -> None:
        """Where one of several cannot decide, the refusal of another does not stand for both."""
        never = (b"\x17\x0d250101000000Z", b"\x17\x0d270101000060Z")
        client = peer(handmade(extensions=[general_names((DNS, b"good.example"))], validity=never))
        rules = policy_rules([(SubjectAltNames, {"dns": ["evil.example"]}), (Validity, {"max_lifetime": "1h"})])
        for members in (rules, rules[::-1]):
            chain = build_chain([PolicyNot(PolicyAny(members))], lambda label: _Counts(), lambda label, text: None)
            self.assertEqual(chain.check(client, []).code, Reason.CERTIFICATE_INVALID)

    def test_second_form_of_a_signature(self) -> None:
        """Whoever has a certificate can give it another hash, and no other serial number, as the documentation says."""
        issued = CA.issue("client", serial=0x4F8A).certificate
        r, s = decode_dss_signature(issued.signature)
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        outer = only(issued.public_bytes(Encoding.DER), 0x30)
        parts = [outer[start:stop] for _, start, stop in elements(outer)]
        signature = tlv(0x03, b"\0" + encode_dss_signature(r, order - s))
        other = Certificate(tlv(0x30, tlv(0x30, parts[0]), tlv(0x30, parts[1]), signature))
        other.x509.verify_directly_issued_by(CA.certificate)
        own = Certificate(issued.public_bytes(Encoding.DER)).sha256
        self.assertNotEqual(other.sha256, own)
        self.assertIsInstance(under_not(CertificateHash, {"hashes": [own]}, peer(other)), Accept)
        self.assertEqual(judge(SerialNumber, {"deny": ["4F8A"]}, peer(other)).code, Reason.SERIAL)

    def test_svid_that_cannot_be_read(self) -> None:
        """A workload whose certificate cannot be read is not taken for another one."""
        usage = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.15"), b"\x03\x09")
        client = CA.issue(uris=["spiffe://example.com/evil"], extensions=[(usage, False)])
        config = {"trust_domains": {"example.com": {"bundle": self.file(CA.pem.decode()), "paths": ["/evil"]}}}
        self.assert_kept_out(Spiffe, config, peer(client))


class LargeCertificateTests(SynchronousTestCase):
    """What a certificate of a hundred kilobytes costs is bounded, and what is left out is refused."""

    def refused(self, kind: Any, config: Any, certificate: Certificate) -> str:
        """Assert that a certificate is refused as one that cannot be judged; gives the detail."""
        verdict = judge(kind, config, peer(certificate))
        self.assertEqual(verdict.code, Reason.CERTIFICATE_INVALID)
        return str(verdict.detail)

    def test_long_names(self) -> None:
        """A subject or issuer that is long as text is not taken apart, although few bytes make it."""
        certificate = handmade(subject=attribute(b"\0" * 100) * 60)
        self.assertIsNone(certificate.excess)
        self.assertGreater(len(certificate.subject), MAX_NAME)
        self.assertIn("characters", self.refused(SubjectName, {"names": ["CN=x"]}, certificate))
        path = Path(self.mktemp()).absolute()
        path.write_text("subject\nCN=x\n")
        self.assertIn("characters", self.refused(AllowList, {"file": str(path), "by": "subject"}, certificate))
        issued = Certificate(CA.der)
        issued.issuer = certificate.subject
        self.assertIn("characters", self.refused(IssuerName, {"names": ["CN=x"]}, issued))
        self.assertIn("characters", self.refused(SerialNumber, {"deny": ["1"], "issuer": "CN=x"}, issued))
        self.assertRaises(DERError, canonical, attribute(b"a") * 513)
        self.assertEqual(len(list(attributes(attribute(b"a") * 512))), 512)

    def test_many_usages(self) -> None:
        """Thousands of usages are refused without a look at each."""
        usages = tlv(0x30, *[tlv(0x06, b"\x2a" + bytes([at % 100])) for at in range(2049)])
        detail = self.refused(ExtendedKeyUsage, {"all_of": ["clientAuth"]}, handmade(extensions=[
            extension("551d25", usages)]))
        self.assertIn("more than 2048", detail)

    def test_many_other_names(self) -> None:
        """Thousands of other names are refused without a look at each."""
        value = tlv(0x06, b"\x2a\x03") + tlv(0xA0, tlv(0x0C, b"a"))
        certificate = with_names(*[(OTHER_NAME, value)] * 1025)
        self.assertRaises(DERError, other_names, certificate)
        self.refused(SubjectAltNames, {"other_name": [{"oid": "1.2.3", "exact": "b"}]}, certificate)

    def test_many_extensions(self) -> None:
        """A certificate with hundreds of extensions is none that is taken apart."""
        many = [extension("2a03" + f"{at % 100:02x}", b"") for at in range(257)]
        self.assertRaises(DERError, certificate_parts, handmade(extensions=many).der)
        self.assertEqual(len(certificate_parts(handmade(extensions=many[1:]).der).extensions), 256)

    def test_large_extensions(self) -> None:
        """No objects are made of an extension of many kilobytes."""
        client = CA.issue(dns=[f"a-long-name-{number}.example" for number in range(1000)])
        self.assertRaises(DERError, x509_extensions, Certificate(client.der))

    def test_many_alternative_names(self) -> None:
        """No more alternative names are read than are judged, and one that shows that there are too many."""
        many = with_names(*[(DNS, b"a")] * (MOST_NAMES + 9))
        self.assertEqual(len(certificate_parts(many.der).alternative_names or ()), MOST_NAMES + 1)

    def test_many_distribution_points(self) -> None:
        """Hundreds of distribution points without a name are refused, and of many names the first are looked at."""
        nameless = tlv(0x30, tlv(0xA1))
        self.assertRaises(DERError, points_of, handmade(extensions=[extension("551d1f", tlv(0x30, nameless * 257))]))
        names = tlv(0x30, tlv(0xA0, tlv(0xA0, *[tlv(URI, b"http://a/%d" % at) for at in range(40)])))
        found = points_of(handmade(extensions=[extension("551d1f", tlv(0x30, names))]))
        self.assertEqual(len(found.urls), 32)

    def test_many_responders(self) -> None:
        """Responders are looked for among the first access descriptions."""
        other = tlv(0x30, tlv(0x06, b"\x2a\x03"), tlv(URI, b""))
        responder = tlv(0x30, tlv(0x06, bytes.fromhex("2b06010505073001")), tlv(URI, b"http://a/"))
        for before, wanted in ((63, ("http://a/",)), (64, ())):
            certificate = handmade(extensions=[extension("2b06010505070101", tlv(0x30, other * before, responder))])
            self.assertEqual(responder_urls(certificate), wanted)

    def test_key_identifier_twice(self) -> None:
        """An authority key identifier has each part once."""
        for value in (tlv(0x80, b"a") * 2, tlv(0x83, b"a")):
            parts = certificate_parts(handmade(extensions=[extension("551d23", tlv(0x30, value))]).der)
            self.assertRaises(DERError, lambda parts=parts: parts.authority_key_identifier)

    def test_deep_directory_names(self) -> None:
        """Names of directories are compared with constraints as deep as these are, and at no other depth."""
        base = attribute(b"acme") + attribute(b"devices")
        constraints = NameConstraints(tlv(0x30, tlv(0xA0, tlv(0x30, tlv(DIRECTORY_NAME, tlv(0x30, base))))))
        self.assertEqual(constraints.permitted._depths, {2})
        for rdns, inside in ((base, True), (base + attribute(b"x") * 500, True), (attribute(b"acme"), False),
                             (attribute(b"x") + base, False)):
            self.assertEqual(constraints.permitted.has(DIRECTORY_NAME, tlv(0x30, rdns)), inside)

    def test_long_lists(self) -> None:
        """To say how many are pinned costs a refusal nothing."""
        path = Path(self.mktemp()).absolute()
        path.write_text("a\nb\nc\n")
        pins = Listed(["a", "x"], str(path), str, FakeEnvironment())
        self.assertEqual(len(pins), 4)
        self.assertEqual(len(Listed(["a", "x"], None, str, FakeEnvironment())), 2)
        self.assertIn("none of the 1 pinned", judge(CertificateHash, {"hashes": ["00" * 32]}, peer()).detail)


class FileTests(SynchronousTestCase):
    """Files that turn into something else."""

    def test_directories(self) -> None:
        """A followed file that has become a directory costs no descriptor each time it is looked at."""
        path = self.mktemp()
        os.mkdir(path)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            self.assertRaises(OSError, read_regular_file, path, 100)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


    def test_bundle_that_revokes_all_keys(self) -> None:
        """A trust domain that publishes a bundle without keys has its workloads kept out from then on."""
        path = Path(self.mktemp()).absolute()
        key = {"use": "x509-svid", "x5c": [b64encode(CA.der).decode()]}
        path.write_text(json.dumps({"keys": [key]}))
        env = FakeEnvironment()
        policy = build(Spiffe, {"trust_domains": {"example.com": {"bundle": str(path)}}}, env)
        client = peer(CA.issue(uris=["spiffe://example.com/a"]))
        self.assertIsInstance(policy.check(client), Accept)
        path.write_text(json.dumps({"keys": []}))
        env.reread()
        self.assertEqual(policy.check(client).code, Reason.SPIFFE_TRUST_DOMAIN)

    def test_too_many_files(self) -> None:
        """A directory of CRLs with more files than are read is a fault, and not read in part."""
        self.patch(crl_files, "_MOST_FILES", 2)
        path = directory(self)
        for name in ("a", "b"):
            (path / name).write_bytes(pem(listed(CA)))
        env = Environment(path)
        build(CRL, {"directories": [str(path)]}, env)
        (path / "c").write_bytes(pem(listed(CA)))
        error = self.assertRaises(ValueError, build, CRL, {"directories": [str(path)]}, env)
        self.assertIn("it has 3 files; 2 are read", str(error))


class RevocationTests(SynchronousTestCase):
    """Answers and lists that somebody on the way has made up, and certificates that hide from them."""

    def test_broken_distribution_points(self) -> None:
        """A revoked certificate does not come in since its distribution points cannot be read."""
        broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.31"), b"\x30\x03\x02\x01\x00")
        client = CA.issue("client", extensions=[(broken, False)])
        now = datetime.now(UTC)
        everything = listed(CA, client, begin=now - 2 * HOUR)
        part = listed(CA, extensions=[idp(full_name=point("http://a.example/1").full_name)], begin=now - HOUR)
        path = directory(self)
        (path / "list.crl").write_bytes(pem(everything, part))
        policy = build(CRL, {"files": [str(path / "list.crl")], "on_missing": "accept"}, Environment(path))
        verdict = policy.check(peer(client, chain=[client.certificate, CA.certificate]))
        self.assertEqual(verdict.code, Reason.CERTIFICATE_REVOKED)

    def test_times_of_lists(self) -> None:
        """Times of lists are of the one form that they may have, and are to the second what they say."""
        self.assertEqual(read_time(0x17, b"491231235959Z"), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC))
        self.assertEqual(read_time(0x17, b"500101000000Z"), datetime(1950, 1, 1, tzinfo=UTC))
        self.assertEqual(read_time(0x18, b"99991231235959Z"), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        for tag, text in ((0x17, b"260101000000z"), (0x17, b"260101000060Z"), (0x17, b"260230000000Z"),
                          (0x18, b"260101000000Z"), (0x18, b"00000101000000Z"), (0x17, b"26010100000 Z")):
            self.assertRaises(DERError, read_time, tag, text)

    def answer_with(self, certificates: list[x509.Certificate], signer: Any = None) -> Any:
        """Read an answer that carries these certificates."""
        question = ask_about(Certificate(CA.issue("client").der), Certificate(CA.der), "sha1", with_nonce=True)
        responder = Responder(CA, signer)
        responder.certificates = certificates
        return read_answer(responder(question.request), question, datetime.now(UTC), Rules())

    def test_responder_of_another_ca(self) -> None:
        """Who is not charged by the issuer is refused for that, before anything is calculated with his key."""
        stranger = delegate(Authority("ca"))
        error = self.assertRaises(UnusableAnswer, self.answer_with, [stranger.certificate], stranger)
        self.assertIn("was not charged", str(error))

    def test_responder_of_an_old_version(self) -> None:
        """A responder's certificate that cannot be read makes an answer unusable, and no exception of it."""
        signer = delegate(CA)
        question = ask_about(Certificate(CA.issue("client").der), Certificate(CA.der), "sha1", with_nonce=True)
        answer = Responder(CA, signer)(question.request)
        old = answer.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01")
        self.assertNotEqual(answer, old)
        self.assertRaises(UnusableAnswer, read_answer, old, question, datetime.now(UTC), Rules())

    def test_ca_of_an_old_version(self) -> None:
        """CA certificates of a version that nobody knows are left out, or are a fault; they stop no configuration."""
        old = CA.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)
        text = b"-----BEGIN CERTIFICATE-----\n" + encodebytes(old) + b"-----END CERTIFICATE-----\n"
        self.assertEqual(len(certificates_in([text, CA.pem])), 1)
        self.assertRaises(ValueError, trust_of, text)

    def test_urls(self) -> None:
        """No spelling of a URL in a certificate leaves the part of a host that may be asked."""
        allowed = AllowedURLs(["http://pki.example/crl/"])
        self.assertTrue(allowed.allows(plain_url("http://pki.example/crl/a%20b;v=1/..a")))
        for path in ("..%2fadmin", "..;/admin", "%2e%2E;x=1/admin", "..%5cadmin", "a/..%3b/admin", "x%2F..", "a%00"):
            self.assertRaises(ValueError, plain_url, f"http://pki.example/crl/{path}")


class RateTests(SynchronousTestCase):
    """Tokens are taken by who they belong to."""

    def test_certificates_of_others(self) -> None:
        """Who shows another's certificate without its key uses up nothing: it is judged after the handshake."""
        for per, waits in (("identity", True), ("listener", True), ("address", False)):
            self.assertEqual(build(RateLimit, {"per": per, "rate": "1/s"}).policy.waits, waits)


class TimeTests(SynchronousTestCase):
    """Times at the ends of the calendar."""

    def test_last_day(self) -> None:
        """A certificate that never ends, and one whose end is no time, harm nothing."""
        forever = handmade(validity=(b"\x18\x0f00010101000000Z", b"\x18\x0f99991231235959Z"))
        self.assertEqual(judge_validity(forever), Reason.CERTIFICATE_LIFETIME)
        for end in (b"\x18\x0f20270229000000Z", b"\x18\x0f00000101000000Z", b"\x17\x0d270101000060Z"):
            never = handmade(validity=(b"\x17\x0d250101000000Z", end))
            self.assertEqual(judge_validity(never), Reason.CERTIFICATE_INVALID)

    def test_turn_of_the_century(self) -> None:
        """UTCTime is of 1950 to 2049."""
        old = handmade(validity=(b"\x17\x0d500101000000Z", b"\x17\x0d491231235959Z"))
        self.assertEqual((old.not_before or datetime.now(UTC)).year, 1950)
        self.assertEqual((old.not_after or datetime.now(UTC)) + timedelta(seconds=1), datetime(2050, 1, 1, tzinfo=UTC))


def judge_validity(certificate: Certificate) -> str:
    """Give why a certificate is refused that may be valid for an hour."""
    return str(judge(Validity, {"max_lifetime": "1h"}, peer(certificate)).code)
