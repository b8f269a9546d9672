"""Certificates are asked about, and no answer that is not one lets anybody in: the policy ``ocsp``."""
from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import unquote

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.api import HTTPAnswer, HTTPUnavailable, Peer, Reject
from edgegw.certificate import Certificate
from edgegw.config.faults import ConfigError
from edgegw.der import elements, only
from edgegw.environment import Environments
from edgegw.model import PolicyUse
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.policies import ocsp as ocsp_module
from edgegw.policies.ocsp import OCSP, Config
from edgegw.policies.ocsp_answers import Answer, Rules, UnusableAnswer, read_answer
from edgegw.policies.ocsp_questions import Question, ask_about, responder_urls
from edgegw.testing import NO_USAGE, Authority, Issued, check_plugin, peer, result_of
from edgegw.testing.options import options
from tests.client_certificates import tlv
from tests.gateway import SERVER, https_listener, run, validation
from tests.http_service import Asked, reply, start_service
from tests.revocation_parts import DAY, HOUR, UNKNOWN, Environment, Responder, delegate, directory, ocsp_at
from tests.tls_peers import start_port, visit

OK = "200"
URL = "http://ocsp.example/"


def code(verdict: Any) -> str:
    """Give the reason of a refusal, or ``200`` and what an acceptance says."""
    if isinstance(verdict, Reject):
        return str(verdict.code)
    return f"{OK} {dict(verdict.attributes)['ocsp']}"


def question_of(one: Issued, authority: Authority, nonce: bool = True, id_hash: Any = "sha1") -> Question:
    """Make the question about a certificate."""
    return ask_about(Certificate(one.der), Certificate(authority.der), id_hash, nonce)


# --- answers made by hand -------------------------------------------------------------------


def envelope(signed: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """Make an answer of what is signed and its signature."""
    basic = tlv(0x30, signed, algorithm, tlv(0x03, b"\0", signature))
    typed = tlv(0x30, tlv(0x06, bytes.fromhex("2b0601050507300101")), tlv(0x04, basic))
    return tlv(0x30, tlv(0x0A, b"\0"), tlv(0xA0, typed))


def signed_answer(signed: bytes, key: Any, weak: bool = False) -> bytes:
    """Sign an answer with ECDSA, and SHA-256 or SHA-1."""
    oid = "2a8648ce3d0401" if weak else "2a8648ce3d040302"
    signature = key.sign(signed, ec.ECDSA(hashes.SHA1() if weak else hashes.SHA256()))
    return envelope(signed, tlv(0x30, tlv(0x06, bytes.fromhex(oid))), signature)


def pss_answer(signed: bytes, key: Any, told: int) -> bytes:
    """Sign an answer with RSASSA-PSS and a salt of 32 bytes, telling another length perhaps."""
    sha256 = tlv(0x30, tlv(0x06, bytes.fromhex("608648016503040201")), b"\x05\0")
    mgf = tlv(0x30, tlv(0x06, bytes.fromhex("2a864886f70d010108")), sha256)
    parameters = tlv(0x30, tlv(0xA0, sha256), tlv(0xA1, mgf), tlv(0xA2, tlv(0x02, bytes([told]))))
    signature = key.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    return envelope(signed, tlv(0x30, tlv(0x06, bytes.fromhex("2a864886f70d01010a")), parameters), signature)


def _fields(signed: bytes) -> list[tuple[int, bytes]]:
    body = only(signed, 0x30)
    return [(tag, body[start:stop]) for tag, start, stop in elements(body)]


def _single(signed: bytes) -> bytes:
    """Give the contents of the one ``SingleResponse``."""
    (answers,) = [value for tag, value in _fields(signed) if tag == 0x30]
    return only(answers, 0x30)


def _with_singles(signed: bytes, singles: list[bytes]) -> bytes:
    """Give what is signed with other answers in it."""
    answers = b"".join([tlv(0x30, one) for one in singles])
    return tlv(0x30, *[tlv(tag, answers if tag == 0x30 else value) for tag, value in _fields(signed)])


def _strange(critical: bool) -> bytes:
    """Give the extensions of a ``SingleResponse``."""
    fields = (tlv(0x06, b"\x2a\x03"), b"\x01\x01\xff" if critical else b"", tlv(0x04, b"\x05\x00"))
    return tlv(0xA1, tlv(0x30, tlv(0x30, *fields)))


class AnswerCase(SynchronousTestCase):
    """A CA, a client of it, and a responder."""

    def setUp(self) -> None:
        self.ca = Authority("ca")
        self.client = self.ca.issue("client")
        self.responder = Responder(self.ca)
        self.question = question_of(self.client, self.ca)

    def read(self, data: bytes | None = None, now: datetime | None = None, **rules: Any) -> Answer:
        """Read the responder's answer."""
        given = self.responder(self.question.request) if data is None else data
        return read_answer(given, self.question, now or datetime.now(UTC), evolve(Rules(), **rules))

    def refused(self, wanted: str, data: bytes | None = None, now: datetime | None = None, **rules: Any) -> None:
        """Assert that the answer says nothing, in these words."""
        error = self.assertRaises(UnusableAnswer, self.read, data, now, **rules)
        self.assertIn(wanted, str(error))


class AnswerTests(AnswerCase):
    """Which answers say something."""

    def test_good(self) -> None:
        """An answer of the certificate's issuer is taken, its times with it."""
        answer = self.read()
        self.assertEqual(answer.status, "good")
        self.assertEqual(answer.this_update, self.responder.begin.replace(microsecond=0))
        assert self.responder.end is not None
        self.assertEqual(answer.next_update, self.responder.end.replace(microsecond=0))

    def test_revoked_and_unknown(self) -> None:
        """That a certificate is revoked, when and why, and that it is not known, is told."""
        serial = self.client.certificate.serial_number
        self.responder.revoked.add(serial)
        answer = self.read()
        self.assertEqual((answer.status, answer.revoked), ("revoked", "on 2026-01-31 (keyCompromise)"))
        self.responder.revoked.clear()
        self.responder.unknown.add(serial)
        self.assertEqual(self.read().status, "unknown")

    def test_request(self) -> None:
        """The request names issuer and serial as RFC 6960 wants it, and has a nonce of 32 bytes or none."""
        for name, algorithm in (("sha1", hashes.SHA1()), ("sha256", hashes.SHA256())):
            asked = ocsp.load_der_ocsp_request(question_of(self.client, self.ca, id_hash=name).request)
            wanted = ocsp.OCSPRequestBuilder().add_certificate(self.client.certificate, self.ca.certificate, algorithm)
            same = wanted.build()
            self.assertEqual(
                (asked.issuer_name_hash, asked.issuer_key_hash, asked.serial_number, asked.hash_algorithm.name),
                (same.issuer_name_hash, same.issuer_key_hash, same.serial_number, name),
            )
            (nonce,) = asked.extensions
            self.assertEqual(len(nonce.value.nonce), 32)
        plain = question_of(self.client, self.ca, nonce=False)
        self.assertEqual(len(ocsp.load_der_ocsp_request(plain.request).extensions), 0)
        self.assertNotEqual(question_of(self.client, self.ca).nonce, self.question.nonce)

    def test_get(self) -> None:
        """A short request without a nonce may be asked for with GET, and comes out of the URL as it went in."""
        plain = question_of(self.client, self.ca, nonce=False)
        for base in ("http://a.example", "http://a.example/", "http://a.example/ocsp"):
            url = plain.get_url(base)
            assert url is not None
            self.assertEqual(b64decode(unquote(url.removeprefix(base).removeprefix("/"))), plain.request)
        self.assertIsNone(plain.get_url("http://a.example/?x"))
        self.assertIsNone(self.question.get_url("http://a.example/"))
        self.assertIsNone(evolve(plain, request=plain.request * 3).get_url("http://a.example/"))

    def test_keys(self) -> None:
        """Answers are verified with every kind of key."""
        for kind in ("P-384", "RSA", "Ed25519"):
            self.ca = Authority("ca", key=kind)
            self.client = self.ca.issue("client")
            self.responder = Responder(self.ca)
            self.question = question_of(self.client, self.ca)
            self.assertEqual(self.read().status, "good")
            changed = bytearray(self.responder(self.question.request))
            changed[-1] ^= 1
            self.assertRaises(UnusableAnswer, self.read, bytes(changed))

    def test_named_by_name(self) -> None:
        """A responder may say by name who it is."""
        self.responder.by_name = True
        self.assertEqual(self.read().status, "good")
        self.responder.signer = delegate(self.ca)
        self.assertEqual(self.read().status, "good")

    def test_somebody_else(self) -> None:
        """Nobody but the issuer, and whom it has charged with that, speaks for it."""
        other = Authority("ca")
        imposter = Responder(other)
        answer = imposter.answer(ocsp.load_der_ocsp_request(self.question.request))
        self.refused("signed by nobody who is known", answer)
        imposter.by_name = True
        answer = imposter.answer(ocsp.load_der_ocsp_request(self.question.request))
        self.refused("signature is wrong", answer)
        imposter.certificates = [other.certificate]
        answer = imposter.answer(ocsp.load_der_ocsp_request(self.question.request))
        self.refused("not charged by the certificate's issuer", answer)

    def test_delegates(self) -> None:
        """A responder's certificate must come from the issuer itself, be for that purpose, and be valid."""
        now = datetime.now(UTC)
        self.responder.signer = delegate(self.ca)
        self.assertEqual(self.read().status, "good")
        usage = x509.KeyUsage(False, True, False, False, False, False, False, False, False)
        signing = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        strange = x509.UnrecognizedExtension(UNKNOWN, b"\x05\x00")
        inter = Authority("inter", self.ca)
        for made, wanted in (
            (delegate(Authority("ca")), "not charged"),
            (delegate(inter), "not charged"),
            (delegate(self.ca, usages=SERVER), "not for signing OCSP"),
            (delegate(self.ca, usages=NO_USAGE), "not for signing OCSP"),
            (delegate(self.ca, usages=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), "not for signing OCSP"),
            (delegate(self.ca, not_after=now - DAY), "not valid now"),
            (delegate(self.ca, not_before=now + DAY), "not valid now"),
            (delegate(self.ca, no_check=False), "lacks id-pkix-ocsp-nocheck"),
            (delegate(self.ca, extensions=[(usage, True)]), "not for signatures"),
            (delegate(self.ca, extensions=[(strange, True)]), "critical extension that is not known"),
            (self.client, "not for signing OCSP"),
        ):  # fmt: skip
            self.responder.signer = made
            self.refused(wanted)
        self.responder.signer = delegate(self.ca, no_check=False)
        self.assertEqual(self.read(nocheck_required=False).status, "good")
        self.responder.signer = delegate(self.ca, extensions=[(signing, True)])
        self.assertEqual(self.read().status, "good")
        self.responder.certificates = []
        self.refused("signed by nobody who is known")

    def test_times(self) -> None:
        """An answer holds from its beginning to its end, give or take a minute."""
        now = datetime.now(UTC)
        minute = timedelta(seconds=60)
        for begin, end, wanted in (
            (-HOUR, HOUR, ""), (minute / 2, HOUR, ""), (2 * minute, HOUR, "holds only from"), (-HOUR, -minute / 2, ""),
            (-HOUR, -2 * minute, "holds only until"), (-minute, None, ""), (-HOUR, None, "does not say until when"),
        ):  # fmt: skip
            self.responder.begin = now + begin
            self.responder.end = None if end is None else now + end
            if wanted:
                self.refused(wanted)
            else:
                self.assertEqual(self.read().status, "good")

    def test_other_certificate(self) -> None:
        """An answer about another certificate, or another CA's of the same number, says nothing."""
        self.responder.echo = False
        self.refused("another certificate", self.responder(question_of(self.ca.issue(), self.ca).request))
        other = Authority("other")
        twin = other.issue(serial=self.client.certificate.serial_number)
        self.refused("another certificate", self.responder(question_of(twin, other).request))

    def test_several_certificates(self) -> None:
        """An answer may be about other certificates, too, as long as nothing critical is said of any."""
        others = [self.ca.issue() for _ in range(2)]
        parts = [ocsp.load_der_ocsp_response(self.responder(question_of(one, self.ca).request)) for one in others]
        own = ocsp.load_der_ocsp_response(self.responder(self.question.request)).tbs_response_bytes
        singles = [_single(one.tbs_response_bytes) for one in parts]
        for extra, wanted in ((b"", ""), (_strange(False), ""), (_strange(True), "critical extension")):
            merged = _with_singles(own, [*singles, _single(own) + extra])
            data = signed_answer(merged, self.ca.key)
            if wanted:
                self.refused(wanted, data)
            else:
                self.assertEqual(self.read(data).status, "good")

    def test_good_and_revoked(self) -> None:
        """An answer that calls the certificate good and revoked as well calls it revoked, in whatever order."""
        good = ocsp.load_der_ocsp_response(self.responder(self.question.request)).tbs_response_bytes
        self.responder.revoked.add(self.client.certificate.serial_number)
        revoked = ocsp.load_der_ocsp_response(self.responder(self.question.request)).tbs_response_bytes
        for singles in ([_single(good), _single(revoked)], [_single(revoked), _single(good)]):
            data = signed_answer(_with_singles(good, singles), self.ca.key)
            self.assertEqual(self.read(data).status, "revoked")

    def test_nonce(self) -> None:
        """Another nonce is never taken; none is unless it is demanded."""
        self.assertEqual(self.read(nonce_required=True).status, "good")
        self.responder.nonce = b"x" * 32
        self.refused("another nonce")
        self.responder.nonce, self.responder.echo = None, False
        self.assertEqual(self.read().status, "good")
        self.refused("does not repeat the nonce", nonce_required=True)

    def test_critical(self) -> None:
        """An extension that must be understood and is not makes the answer say nothing."""
        strange = x509.UnrecognizedExtension(UNKNOWN, b"\x05\x00")
        self.responder.extensions = [(strange, False)]
        self.assertEqual(self.read().status, "good")
        self.responder.extensions = [(strange, True)]
        self.refused("critical extension")

    def test_errors(self) -> None:
        """A responder that says it cannot answer has not answered."""
        for status in ocsp.OCSPResponseStatus:
            if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
                data = ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
                self.refused(status.name.lower(), data)

    def test_weak_signature(self) -> None:
        """A signature with SHA-1 is none: who chooses the nonce could have made it with another."""
        signed = ocsp.load_der_ocsp_response(self.responder(self.question.request)).tbs_response_bytes
        self.assertEqual(self.read(signed_answer(signed, self.ca.key)).status, "good")
        self.refused("signed with ECDSA with sha1", signed_answer(signed, self.ca.key, weak=True))

    def test_pss(self) -> None:
        """A signature of RSASSA-PSS is verified with the parameters that it names."""
        self.ca = Authority("ca", key="RSA")
        self.client = self.ca.issue("client")
        self.question = question_of(self.client, self.ca)
        signed = ocsp.load_der_ocsp_response(Responder(self.ca)(self.question.request)).tbs_response_bytes
        self.assertEqual(self.read(pss_answer(signed, self.ca.key, 32)).status, "good")
        self.refused("its signature is wrong", pss_answer(signed, self.ca.key, 24))

    def test_not_an_answer(self) -> None:
        """What is no answer, or the beginning of one, is told as that."""
        whole = self.responder(self.question.request)
        cut = [whole[:size] for size in range(0, len(whole), 5)]
        for data in (b"<html>", whole + b"\0", self.client.der, *cut):
            self.assertRaises(UnusableAnswer, self.read, data)

    @given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), min_size=1, max_size=4))
    @settings(max_examples=300, deadline=None)
    def test_any_bytes(self, changes: list[tuple[int, int]]) -> None:
        """Whatever was done to an answer, it says the same or nothing."""
        for signer in (None, delegate(self.ca)):
            self.responder.signer = signer
            data = bytearray(self.responder(self.question.request))
            original = self.read(bytes(data))
            for at, byte in changes:
                data[at % len(data)] = byte
            try:
                self.assertEqual(self.read(bytes(data)), original)
            except UnusableAnswer:
                pass

    def test_urls(self) -> None:
        """The responders that a certificate names are read, and nothing else of that extension."""
        made = self.ca.issue(extensions=[ocsp_at(URL, "ldap://x", URL, "http://b.example")])
        self.assertEqual(responder_urls(Certificate(made.der)), (URL, "ldap://x", "http://b.example"))
        self.assertEqual(responder_urls(Certificate(self.client.der)), ())


class Web:
    """Responders in an environment's network, by their host.

    :ivar asked: URLs in their order.
    """

    def __init__(self, responders: dict[str, Callable[[bytes], bytes]]) -> None:
        self.responders = responders
        self.asked: list[str] = []

    def __call__(self, request: Any) -> HTTPAnswer:
        self.asked.append(request.url)
        host = request.url.split("/")[2]
        responder = self.responders.get(host)
        if responder is None:
            raise HTTPUnavailable(f"{request.method} {host}: connection refused")
        if request.method == "GET":
            return HTTPAnswer(200, {}, responder(b64decode(unquote(request.url.rpartition("/")[2]))))
        assert request.headers["content-type"] == "application/ocsp-request"
        return HTTPAnswer(200, {}, responder(request.body))


class OCSPCase(SynchronousTestCase):
    """A CA with an intermediate, and the responder that their certificates name."""

    def setUp(self) -> None:
        self.root = Authority("root")
        self.inter = Authority("inter", self.root, extensions=[ocsp_at("http://root.example/")])
        self.responder = Responder(self.inter)
        self.web = Web({"ocsp.example": self.responder})
        self.env = Environment(http=self.web)
        self.client = self.issue("client")

    def issue(self, name: str = "client", url: str = URL, authority: Authority | None = None, **more: Any) -> Issued:
        """Issue a certificate that names a responder."""
        return (authority or self.inter).issue(name, extensions=[ocsp_at(url)], **more)

    def build(self, **given: Any) -> Any:
        """Make a policy."""
        return OCSP.build(Config(**given), self.env)

    def ask(self, policy: Any, one: Issued | Peer | None = None) -> str:
        """Ask it about a client."""
        who = one or self.client
        return code(result_of(policy.check(who if isinstance(who, Peer) else peer(who))))


class DecisionTests(OCSPCase):
    """Who comes in."""

    def test_contract(self) -> None:
        """It keeps to what is asked of every plugin."""
        check_plugin(OCSP, Config(), Config(soft_fail=True, check="chain", nonce="none"), env=self.env)

    def test_answers(self) -> None:
        """Who is good comes in; who is revoked, or not known, does not."""
        revoked, unknown = self.issue(), self.issue()
        self.responder.revoked.add(revoked.certificate.serial_number)
        self.responder.unknown.add(unknown.certificate.serial_number)
        for soft in (False, True):
            policy = self.build(soft_fail=soft)
            found = [self.ask(policy, one) for one in (self.client, revoked, unknown)]
            self.assertEqual(found, [f"{OK} good", "certificate_revoked", "ocsp_unknown"])
        verdict = result_of(policy.check(peer(revoked)))
        self.assertIn(f"serial {revoked.certificate.serial_number:x}", verdict.detail.replace(" 0", " "))
        self.assertIn("was revoked on 2026-01-31 (keyCompromise)", verdict.detail)

    def test_unavailable(self) -> None:
        """Without an answer nobody comes in unless that is written out, and then it is told."""
        del self.web.responders["ocsp.example"]
        self.assertEqual(self.ask(self.build()), "ocsp_unavailable")
        self.assertEqual(self.ask(self.build(soft_fail=True)), f"{OK} unavailable")
        detail = result_of(self.build().check(peer(self.client))).detail
        self.assertIn("connection refused", detail)

    def test_no_responder(self) -> None:
        """A certificate that names nobody who can be asked does not come in."""
        policy = self.build()
        self.assertEqual(self.ask(policy, self.inter.issue("plain")), "ocsp_unavailable")
        self.assertEqual(self.ask(policy, peer(self.client, chain=[self.client])), "ocsp_unavailable")
        self.assertEqual(self.web.asked, [])

    def test_not_verified(self) -> None:
        """For a client whose chain is not verified nobody is asked."""
        self.assertEqual(self.ask(self.build(), peer(self.client, verified=False)), "ocsp_unavailable")
        self.assertEqual(self.ask(self.build(soft_fail=True), peer(self.client, verified=False)), f"{OK} unavailable")
        self.assertEqual(self.web.asked, [])

    def test_chain(self) -> None:
        """With ``check: chain`` the intermediates are asked about, too; the trust anchor is not."""
        root = Responder(self.root)
        self.web.responders["root.example"] = root
        policy = self.build(check="chain")
        self.assertEqual(self.ask(policy), f"{OK} good")
        self.assertEqual(self.web.asked, [URL, "http://root.example/"])
        root.revoked.add(self.inter.certificate.serial_number)
        self.assertEqual(self.ask(self.build(check="chain")), "certificate_revoked")
        self.assertEqual(self.ask(self.build()), f"{OK} good")
        del self.web.responders["root.example"]
        self.assertEqual(self.ask(self.build(check="chain")), "ocsp_unavailable")
        self.assertEqual(self.ask(self.build(check="chain", soft_fail=True)), f"{OK} unavailable")

    def test_configured_responder(self) -> None:
        """A responder of the configuration is asked in place of the one in the certificate."""
        self.web.responders = {"127.0.0.1:8080": self.responder}
        self.assertEqual(self.ask(self.build(responder="http://127.0.0.1:8080/ocsp")), f"{OK} good")
        self.assertEqual(self.ask(self.build(responder="http://127.0.0.1:8080/"), self.inter.issue()), f"{OK} good")
        self.assertEqual(self.web.asked, ["http://127.0.0.1:8080/ocsp", "http://127.0.0.1:8080/"])

    def test_who_may_be_asked(self) -> None:
        """A certificate cannot have the gateway ask its own network, nor anybody but those who are listed."""
        for url in (
            "http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest/meta-data", "http://localhost:8080/",
            "http://10.0.0.1/", "ldap://ocsp.example/", "file:///etc/passwd", "http://u:p@ocsp.example/",
            "http://ocsp.example/../x", "http://2130706433/",
        ):  # fmt: skip
            verdict = result_of(self.build().check(peer(self.issue(url=url))))
            self.assertEqual((verdict.code, "must not be asked" in verdict.detail), ("ocsp_unavailable", True), url)
        self.assertEqual(self.web.asked, [])
        policy = self.build(responders=("pki.example", "http://127.0.0.1:8080/ocsp"))
        self.web.responders = {"pki.example": self.responder, "127.0.0.1:8080": self.responder}
        self.assertEqual(self.ask(policy), "ocsp_unavailable")
        self.assertEqual(self.ask(policy, self.issue(url="http://127.0.0.1:8080/")), "ocsp_unavailable")
        self.assertEqual(self.web.asked, [])
        self.assertEqual(self.ask(policy, self.issue(url="http://127.0.0.1:8080/ocsp/x")), f"{OK} good")
        self.assertEqual(self.ask(policy, self.issue(url="http://pki.example/")), f"{OK} good")

    def test_several_responders(self) -> None:
        """The next responder is asked where one gives nothing, as long as there is time."""
        self.web.responders = {
            "b.example": lambda request: b"junk", "c.example": self.responder, "d.example": self.responder,
        }  # fmt: skip
        urls = [f"http://{name}.example/" for name in "abcd"]
        client = self.inter.issue(extensions=[ocsp_at(*urls)])
        self.assertEqual(self.ask(self.build(), client), f"{OK} good")
        self.assertEqual(self.web.asked, urls[:3])

        def slow(request: bytes) -> bytes:
            self.env.advance(3.0)
            return b"junk"

        self.web.responders["b.example"] = slow
        self.web.asked.clear()
        detail = result_of(self.build(timeout=2.0).check(peer(client))).detail
        self.assertEqual(self.web.asked, urls[:2])
        self.assertIn("no time is left for http://c.example/", detail)

    def test_nonce(self) -> None:
        """A nonce is sent with POST, checked, and left out with GET."""
        self.responder.echo = False
        for nonce, wanted in (("send", f"{OK} good"), ("require", "ocsp_unavailable"), ("none", f"{OK} good")):
            self.assertEqual(self.ask(self.build(nonce=nonce)), wanted)
            self.assertEqual(self.env.requests[-1].method, "GET" if nonce == "none" else "POST")
        self.responder.nonce = b"y" * 32
        self.assertEqual(self.ask(self.build()), "ocsp_unavailable")

    def test_nocheck(self) -> None:
        """A responder that could be revoked itself counts only where that is written out."""
        self.responder.signer = delegate(self.inter, no_check=False)
        self.assertEqual(self.ask(self.build()), "ocsp_unavailable")
        self.assertEqual(self.ask(self.build(responder_without_nocheck="accept")), f"{OK} good")

    def test_odd_answers(self) -> None:
        """An answer with another status than 200 is none."""
        self.env = Environment(http=lambda request: HTTPAnswer(503, {}, self.responder(request.body)))
        self.assertEqual(self.ask(self.build()), "ocsp_unavailable")

    def test_odd_certificates(self) -> None:
        """A certificate whose authorityInfoAccess is broken names nobody."""
        broken = x509.UnrecognizedExtension(x509.ExtensionOID.AUTHORITY_INFORMATION_ACCESS, b"\x30\x03\x30\x05\x00")
        self.assertEqual(self.ask(self.build(), self.inter.issue(extensions=[(broken, False)])), "ocsp_unavailable")

    def test_options(self) -> None:
        """What cannot be meant is a fault where the configuration is read."""
        for text, wanted in (
            ("{responder: 'ldap://a.example'}", "no plain http or https URL"),
            ("{responders: ['*.example.com']}", "is no host"),
            ("{responder: 'http://a.example', responders: [a.example]}", "would do nothing"),
            ("{nonce: sometimes}", "send or require or none"),
        ):
            error = self.assertRaises(ConfigError, options, OCSP, text)
            self.assertIn(wanted, str(error))


class CacheTests(OCSPCase):
    """Answers are kept as long as they hold."""

    def count(self) -> int:
        """Give how often the responder was asked since the last time."""
        number = len(self.web.asked)
        self.web.asked.clear()
        return number

    def test_until_next_update(self) -> None:
        """An answer is used until its nextUpdate and then asked for again."""
        policy = self.build()
        now = datetime.now(UTC)
        for at, asked in ((timedelta(), 1), (HOUR / 2, 0), (HOUR - timedelta(seconds=5), 0), (HOUR, 1)):
            self.ask(policy, peer(self.client, now=now + at))
            self.assertEqual(self.count(), asked, at)
        self.ask(policy, peer(self.issue("other")))
        self.assertEqual(self.count(), 1)

    def test_most(self) -> None:
        """``max_cache`` has it asked for again earlier; without a nextUpdate it is not kept at all."""
        policy = self.build(max_cache=60.0)
        for seconds, asked in ((0, 1), (59, 0), (2, 1)):
            self.env.advance(seconds)
            self.ask(policy)
            self.assertEqual(self.count(), asked)
        self.responder.begin, self.responder.end = datetime.now(UTC), None
        policy = self.build()
        for _ in range(2):
            self.assertEqual(self.ask(policy), f"{OK} good")
            self.assertEqual(self.count(), 1)

    def test_failures(self) -> None:
        """What could not be answered is not asked again for five seconds, and then is."""
        del self.web.responders["ocsp.example"]
        policy = self.build()
        for seconds, asked in ((0, 1), (4, 0), (2, 1)):
            self.env.advance(seconds)
            self.assertEqual(self.ask(policy), "ocsp_unavailable")
            self.assertEqual(self.count(), asked)
        self.web.responders["ocsp.example"] = self.responder
        self.env.advance(6)
        self.assertEqual(self.ask(policy), f"{OK} good")
        self.assertEqual(self.env.counters, {"questions": 3, "unanswered": 2})

    def test_change(self) -> None:
        """When a certificate that was good is found revoked, open connections with it are judged again."""
        policy = self.build(max_cache=10.0)
        self.ask(policy)
        self.responder.revoked.add(self.client.certificate.serial_number)
        self.assertEqual((self.ask(policy), self.env.changes), (f"{OK} good", 0))
        self.env.advance(11)
        self.assertEqual((self.ask(policy), self.env.changes), ("certificate_revoked", 1))
        self.env.advance(11)
        self.assertEqual((self.ask(policy), self.env.changes), ("certificate_revoked", 1))

    def test_issuers_are_told_apart(self) -> None:
        """An answer under one issuer's certificate is not used under another's."""
        policy = self.build()
        self.ask(policy)
        twin = Authority("inter", self.root)
        self.assertEqual(self.ask(policy, peer(self.client, chain=[self.client, twin.certificate])), "ocsp_unavailable")

    def test_bounded(self) -> None:
        """However many certificates come, no more answers and failures than allowed are remembered."""
        self.patch(ocsp_module, "_MOST", 3)
        policy = self.build()
        clients = [self.issue() for _ in range(5)]
        for one in clients:
            self.ask(policy, one)
        self.count()
        for one in reversed(clients):
            self.ask(policy, one)
        self.assertEqual(self.count(), 2)
        self.web.responders.clear()
        for _ in range(5):
            self.ask(policy, self.issue())
        self.assertEqual(len(policy._failures), 3)


class SharedTests(TestCase):
    """Real requests to a real server."""

    def setUp(self) -> None:
        self.ca = Authority("ca")
        self.responder = Responder(self.ca)
        self.environments = Environments(reactor, ".", PluginCounters())
        self.addCleanup(self.environments.stop)

    def answer(self, asked: Asked) -> bytes:
        """Answer a request over HTTP."""
        return reply(self.responder(asked.body), content_type="application/ocsp-response")

    async def test_one_request(self) -> None:
        """Clients that come with one certificate at the same time wait for one request, each for itself."""
        held: list[Asked] = []
        service = start_service(self, lambda asked: held.append(asked))
        client = self.ca.issue("client", extensions=[ocsp_at(service.url)])
        host = service.url.split("/")[2]
        policy: Any = OCSP.build(Config(responders=(host,), timeout=60.0), self.environments.make("ocsp", "[0]"))
        waiting = [Deferred.fromCoroutine(policy.check(peer(client))) for _ in range(10)]
        await service.request(1)
        waiting[0].cancel()
        waiting[1].addErrback(lambda failure: None)
        waiting[0].addErrback(lambda failure: None)
        held[0].talk.transport.write(self.answer(held[0]))
        for one in waiting[1:]:
            self.assertEqual(code(await one), f"{OK} good")
        self.assertEqual(len(service.requests), 1)
        self.assertEqual(policy._asked, {})

    async def test_handshake(self) -> None:
        """A revoked client of a real port is cut off, and a good one is served."""
        service = start_service(self, self.answer)
        clients = [self.ca.issue("client", extensions=[ocsp_at(service.url)]) for _ in range(2)]
        self.responder.revoked.add(clients[1].certificate.serial_number)
        host = service.url.split("/")[2]
        policy: Any = OCSP.build(Config(responders=(host,)), self.environments.make("ocsp", "[0]"))
        given: dict[str, Any] = {"policies": (PolicyUse(OCSP, policy),)}
        server = self.ca.issue("server", dns=["a.example"], usages=SERVER)
        port = start_port(self, https_listener([server], validation(self.ca, **given)))
        seen = [await visit(port, certificate=one) for one in clients]
        self.assertEqual([one.reply for one in seen], [b"hello", b""])
        self.assertEqual(port.failures, {"certificate_revoked": 1})


class OpenSSLTests(TestCase):
    """The responder that comes with OpenSSL understands the questions, and its answers are understood."""

    async def test_openssl(self) -> None:
        """``openssl ocsp`` answers for a CA, itself and through a delegate, what its index says."""
        ca = Authority("ca", key="RSA")
        path = directory(self)
        ca_file, ca_key = ca.write(path)
        clients = [ca.issue(f"client {at}", extensions=[ocsp_at(URL)]) for at in range(3)]
        rows = []
        for status, one in zip("VR", clients, strict=False):
            when = "260131000000Z,keyCompromise" if status == "R" else ""
            serial = f"{one.certificate.serial_number:X}"
            serial = "0" * (len(serial) % 2) + serial
            rows.append(f"{status}\t491231235959Z\t{when}\t{serial}\tunknown\t/CN=x\n")
        (path / "index.txt").write_text("".join(rows))
        signer = delegate(ca)
        signer_file, signer_key = signer.write(path, "signer")

        async def answer(request: Any, files: tuple[str, str]) -> HTTPAnswer:
            (path / "request.der").write_bytes(request.body)
            done = await run(
                "openssl", "ocsp", "-index", str(path / "index.txt"), "-CA", ca_file, "-rsigner", files[0], "-rkey",
                files[1], "-reqin", str(path / "request.der"), "-respout", str(path / "answer.der"), "-ndays", "1",
            )  # fmt: skip
            self.assertEqual(done.exit, 0, done.text)
            return HTTPAnswer(200, {}, (path / "answer.der").read_bytes())

        for files in ((ca_file, ca_key), (signer_file, signer_key)):
            for id_hash in ("sha1", "sha256"):
                env = Environment(http=partial(answer, files=files))
                policy: Any = OCSP.build(Config(nonce="require", certificate_id=id_hash), env)
                found = [code(await policy.check(peer(one))) for one in clients]
                self.assertEqual(found, [f"{OK} good", "certificate_revoked", "ocsp_unknown"])
