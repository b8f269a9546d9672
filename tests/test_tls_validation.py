"""Which client certificates come in, and what the others are told: real handshakes, real alerts."""
from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier
from OpenSSL import SSL
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from edgegw.identity import CertificateStatus
from edgegw.model import ClientValidation, Listener, ValidationMode
from edgegw.tls import openssl
from edgegw.verdict import Reason
from tests.gateway import (
    ANY_USAGE,
    BOTH,
    CODE_SIGNING,
    NO_USAGE,
    SERVER,
    Authority,
    Issued,
    client_context,
    files,
    gateway,
    https_listener,
    in_thread,
    run,
    start_gateway,
    start_upstream,
    until,
    validation,
)
from tests.tls_peers import TLS1_2, TLS1_3, BarePort, Outcome, connect, start_port, visit

FALLBACK = ValidationMode.ALLOW_INSECURE_FALLBACK

# Alerts by number (RFC 8446 §6.2).
HANDSHAKE_FAILURE = 40
BAD_CERTIFICATE = 42
UNSUPPORTED_CERTIFICATE = 43
CERTIFICATE_EXPIRED = 45
CERTIFICATE_UNKNOWN = 46
UNKNOWN_CA = 48
DECRYPT_ERROR = 51
CERTIFICATE_REQUIRED = 116


@frozen
class Kind:
    """A client certificate and what becomes of it.

    :ivar alerts: under TLS 1.2 and TLS 1.3; ``None`` is let in.
    :ivar reason: how the refusal is counted.
    """

    certificate: Issued | None
    alerts: tuple[int, int] | None = None
    reason: Reason | None = None


def forged(root: Authority, authority_key: bool) -> Issued:
    """Issue from an authority that has the root's name and another key."""
    impostor = Authority()
    impostor.name = root.name
    issued = impostor.issue("client")
    if authority_key:
        return issued
    cert = issued.certificate
    builder = (
        x509.CertificateBuilder().subject_name(cert.subject).issuer_name(cert.issuer)
        .public_key(issued.key.public_key()).serial_number(cert.serial_number)
        .not_valid_before(cert.not_valid_before_utc).not_valid_after(cert.not_valid_after_utc)
    )  # fmt: skip
    return Issued(builder.sign(impostor.key, hashes.SHA256()), issued.key)


def self_signed() -> Issued:
    """Make a certificate that is its own issuer."""
    own = Authority("self")
    leaf = own.issue("self")
    name = x509.Name([])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(leaf.key.public_key()).serial_number(7)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )  # fmt: skip
    return Issued(builder.sign(leaf.key, hashes.SHA256()), leaf.key)


def kinds(root: Authority) -> dict[str, Kind]:
    """Make one certificate of each kind."""
    inter = Authority("intermediate", root)
    deep = inter
    for number in range(8):
        deep = Authority(f"intermediate {number}", deep)
    no_path = Authority("path length 0", root, path_length=0)
    constrained = x509.NameConstraints([x509.DNSName("inside.example")], None)
    narrow = Authority("narrow", root)
    narrow.certificate = _with(narrow, root, constrained)
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    leaf = root.issue("a leaf")
    pretender = Authority("a leaf")
    pretender.key, pretender.name, pretender.issuer = leaf.key, leaf.certificate.subject, root
    pretender.certificate = leaf.certificate
    ca = (UNKNOWN_CA, UNKNOWN_CA)
    purpose = (UNSUPPORTED_CERTIFICATE, UNSUPPORTED_CERTIFICATE)
    expired = (CERTIFICATE_EXPIRED, CERTIFICATE_EXPIRED)
    return {
        "none": Kind(None, (HANDSHAKE_FAILURE, CERTIFICATE_REQUIRED), Reason.NO_CERTIFICATE),
        "valid": Kind(root.issue("client", dns=["client.example"])),
        "valid RSA": Kind(root.issue("client", key="RSA")),
        "valid P-384": Kind(root.issue("client", key="P-384")),
        # Envoy has no Ed25519; OpenSSL does.
        "valid Ed25519": Kind(root.issue("client", key="Ed25519")),
        "for both purposes": Kind(root.issue("client", usages=BOTH)),
        "without a purpose": Kind(root.issue("client", usages=NO_USAGE)),
        "without names": Kind(root.issue(None, subject=x509.Name([]), dns=["client.example"])),
        "by an intermediate": Kind(inter.issue("client")),
        "ten below the root": Kind(Authority("the last", deep).issue("client"), ca, Reason.CHAIN_TOO_LONG),
        "nine below the root": Kind(deep.issue("client")),
        "names in their bounds": Kind(narrow.issue("client", dns=["a.inside.example"])),
        "stranger": Kind(Authority("stranger").issue("client"), ca, Reason.UNKNOWN_CA),
        "forged": Kind(forged(root, True), ca, Reason.UNKNOWN_CA),
        "forged, no key id": Kind(
            forged(root, False), (DECRYPT_ERROR, DECRYPT_ERROR), Reason.CERTIFICATE_SIGNATURE
        ),
        "self-signed": Kind(self_signed(), ca, Reason.UNKNOWN_CA),
        "expired": Kind(root.issue_expired(), expired, Reason.CERTIFICATE_EXPIRED),
        # OpenSSL says bad_certificate where Envoy says certificate_expired.
        "not yet valid": Kind(
            root.issue_future(), (BAD_CERTIFICATE, BAD_CERTIFICATE), Reason.CERTIFICATE_NOT_YET_VALID
        ),
        "for servers only": Kind(root.issue("client", usages=SERVER), purpose, Reason.CERTIFICATE_PURPOSE),
        "for any purpose": Kind(root.issue("client", usages=ANY_USAGE), purpose, Reason.CERTIFICATE_PURPOSE),
        "for signing code": Kind(root.issue("client", usages=CODE_SIGNING), purpose, Reason.CERTIFICATE_PURPOSE),
        "intermediate left out": Kind(inter.issue("client").without_chain(), ca, Reason.UNKNOWN_CA),
        "path length broken": Kind(
            Authority("below it", no_path).issue("client"), ca, Reason.CHAIN_TOO_LONG
        ),
        "issued by a leaf": Kind(pretender.issue("client"), ca, Reason.UNKNOWN_CA),
        "names out of bounds": Kind(
            narrow.issue("client", dns=["outside.example"]),
            (CERTIFICATE_UNKNOWN, CERTIFICATE_UNKNOWN),
            Reason.NAME_CONSTRAINT,
        ),
        "unknown critical extension": Kind(
            root.issue("client", extensions=[(unknown, True)]),
            (CERTIFICATE_UNKNOWN, CERTIFICATE_UNKNOWN),
            Reason.CRITICAL_EXTENSION,
        ),
        "RSA of 1024 bits": Kind(
            root.issue("client", key="RSA-1024"), (BAD_CERTIFICATE, BAD_CERTIFICATE), Reason.CERTIFICATE_WEAK
        ),
    }


def _with(authority: Authority, issuer: Authority, extension: x509.ExtensionType) -> x509.Certificate:
    cert = authority.certificate
    builder = (
        x509.CertificateBuilder().subject_name(cert.subject).issuer_name(cert.issuer)
        .public_key(authority.key.public_key()).serial_number(cert.serial_number)
        .not_valid_before(cert.not_valid_before_utc).not_valid_after(cert.not_valid_after_utc)
        .add_extension(extension, critical=True)
    )  # fmt: skip
    for one in cert.extensions:
        builder = builder.add_extension(one.value, one.critical)
    return builder.sign(issuer.key, hashes.SHA256())


class ValidationCase(TestCase):
    """A root, a server's certificate and ports."""

    def setUp(self) -> None:
        self.root = Authority()
        self.server = self.root.issue("a.example", dns=["a.example"], usages=SERVER)

    def listener(self, client_validation: ClientValidation | None, **options: Any) -> Listener:
        """Give a listener that validates so."""
        return https_listener([self.server], client_validation, **options)

    def start(self, client_validation: ClientValidation | None) -> BarePort:
        """Serve it."""
        return start_port(self, self.listener(client_validation))

    def check_let_in(self, outcome: Outcome, note: str) -> None:
        """See that a client got its answer and a clean end."""
        seen = (outcome.reply, outcome.closed, outcome.alert, outcome.error)
        self.assertEqual(seen, (b"hello", True, None, None), note)


class AlertTests(ValidationCase):
    """Each kind of certificate under both versions."""

    async def table(self, version: int) -> None:
        """Try every kind where only valid certificates come in."""
        port = self.start(validation(self.root, max_depth=10))
        expected: dict[Reason, int] = {}
        for name, kind in kinds(self.root).items():
            outcome = await visit(port, certificate=kind.certificate, version=version, configure=_allow_weak)
            if kind.alerts is None:
                self.check_let_in(outcome, name)
                continue
            self.assertEqual((name, outcome.alert), (name, kind.alerts[version == TLS1_3]))
            self.assertEqual(outcome.reply, b"")
            assert kind.reason is not None
            expected[kind.reason] = expected.get(kind.reason, 0) + 1
            self.assertEqual((name, port.failures), (name, expected))
        await port.idle()

    async def test_tls_1_2(self) -> None:
        """In TLS 1.2 the alert ends the handshake, and each refusal is counted once by its reason."""
        await self.table(TLS1_2)

    async def test_tls_1_3(self) -> None:
        """In TLS 1.3 the client has its handshake done by then, and gets the alert all the same."""
        await self.table(TLS1_3)

    async def test_fallback_believes_none_of_them(self) -> None:
        """Where everybody is let in, what would have been refused is unverified, under both versions."""
        port = self.start(validation(self.root, mode=FALLBACK, max_depth=10))
        for version in (TLS1_2, TLS1_3):
            for name, kind in kinds(self.root).items():
                outcome = await visit(port, certificate=kind.certificate, version=version, configure=_allow_weak)
                self.check_let_in(outcome, name)
                identity = port.talks[-1].info.identity
                if kind.certificate is None:
                    expected = CertificateStatus.NONE
                else:
                    expected = CertificateStatus.VERIFIED if kind.alerts is None else CertificateStatus.UNVERIFIED
                    self.assertEqual(identity.certificate.der, kind.certificate.der)
                self.assertEqual((name, identity.status), (name, expected))
        self.assertEqual(port.failures, {})


def _allow_weak(context: SSL.Context) -> None:
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")


class ModeTests(ValidationCase):
    """Required, asked for, fallback; where chains may end."""

    async def test_not_required(self) -> None:
        """A client without a certificate comes in; one with a bad certificate does not."""
        port = self.start(validation(self.root, required=False))
        self.check_let_in(await visit(port), "none")
        self.assertEqual(port.talks[-1].info.identity.status, CertificateStatus.NONE)
        self.check_let_in(await visit(port, certificate=self.root.issue("client")), "valid")
        self.assertEqual(port.talks[-1].info.identity.status, CertificateStatus.VERIFIED)
        self.assertEqual((await visit(port, certificate=Authority("x").issue("client"))).alert, UNKNOWN_CA)
        self.assertEqual(len(port.talks), 2)

    async def test_nobody_is_asked(self) -> None:
        """Without client validation a client that has a certificate is not asked for it."""
        port = self.start(None)
        self.check_let_in(await visit(port, certificate=self.root.issue("client")), "not asked")
        self.assertIsNone(port.talks[-1].info.identity.certificate)

    async def test_depth(self) -> None:
        """The depth counts the certificates above the client's own, the trust anchor among them."""
        inter = Authority("intermediate", self.root)
        clients = [self.root.issue("one"), inter.issue("two"), Authority("below", inter).issue("three")]
        for depth in (1, 2, 3):
            port = self.start(validation(self.root, max_depth=depth))
            for number, client in enumerate(clients, 1):
                outcome = await visit(port, certificate=client)
                self.assertEqual((depth, number, outcome.ok), (depth, number, number <= depth))
                if number > depth:
                    self.assertEqual(outcome.alert, UNKNOWN_CA)

    async def test_intermediate_as_anchor(self) -> None:
        """A chain may end in an intermediate; the root's other clients are strangers then."""
        inter = Authority("intermediate", self.root)
        port = self.start(validation(inter))
        self.check_let_in(await visit(port, certificate=inter.issue("client")), "with chain")
        self.check_let_in(await visit(port, certificate=inter.issue("client").without_chain()), "without")
        self.assertEqual((await visit(port, certificate=self.root.issue("client"))).alert, UNKNOWN_CA)

    async def test_leaf_as_anchor(self) -> None:
        """A client's own certificate may be the trust anchor, and lets nobody else in."""
        mine = self.root.issue("mine")
        port = self.start(validation(mine))
        self.check_let_in(await visit(port, certificate=mine), "mine")
        self.assertEqual((await visit(port, certificate=self.root.issue("other"))).alert, UNKNOWN_CA)

    async def test_several_anchors(self) -> None:
        """Any of several trust anchors will do."""
        second = Authority("second")
        port = self.start(validation(self.root, second))
        for authority in (self.root, second):
            self.check_let_in(await visit(port, certificate=authority.issue("client")), authority.name.rfc4514_string())

    async def test_no_trust_anchor(self) -> None:
        """A listener whose trust anchors were all unreadable refuses everyone, with an alert; others serve."""
        for mode in ValidationMode:
            broken = start_port(self, self.listener(ClientValidation(mode, ())))
            for certificate in (None, self.root.issue("client")):
                outcome = await visit(broken, certificate=certificate)
                self.assertEqual((outcome.alert, outcome.reply), (HANDSHAKE_FAILURE, b""))
            self.assertEqual(broken.failures, {Reason.NO_TRUST_ANCHOR: 2})
            self.assertEqual(broken.talks, [])
        self.check_let_in(await visit(self.start(None)), "the other listener")

    async def test_a_bad_signature_disturbs_nobody(self) -> None:
        """What OpenSSL noted about a certificate that was let in unverified is not blamed on other connections."""
        port = self.start(validation(self.root, mode=FALLBACK))
        bad = forged(self.root, False)
        outcomes = await gatherResults(
            [visit(port, certificate=bad if number % 2 else None, version=version)
             for number in range(6) for version in (TLS1_2, TLS1_3)]
        )  # fmt: skip
        for outcome in outcomes:
            self.check_let_in(outcome, "beside a bad signature")

    async def test_a_bad_signature_in_a_segment_of_its_own(self) -> None:
        """Nor on the rest of its own handshake, when that has not come yet."""
        port = self.start(validation(self.root, mode=FALLBACK))
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = client_context(self.root, forged(self.root, False), version=ssl.TLSVersion.TLSv1_2)
        client = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
        plain = connect(port.address)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        steps = 0
        real = openssl.do_handshake

        def counted(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            return real(*arguments)

        self.patch(openssl, "do_handshake", counted)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                flight = outgoing.read()
            while flight:
                record = 5 + int.from_bytes(flight[3:5], "big")
                before = steps
                plain.sendall(flight[:record])
                flight = flight[record:]
                await until(lambda before=before: steps > before)  # type: ignore[misc]  # bound now
            incoming.write(await in_thread(plain.recv, 65_536))
        self.assertGreater(steps, 3)
        await port.talk()
        plain.close()
        await port.idle()
        self.assertEqual(port.failures, {})

    async def test_chain(self) -> None:
        """Who asks for the chain gets what the client sent above its own certificate, in its order."""
        inter = Authority("intermediate", self.root)
        port = start_port(self, self.listener(validation(self.root)), needs_chain=True)
        client = inter.issue("client")
        for version in (TLS1_2, TLS1_3):
            self.check_let_in(await visit(port, certificate=client, version=version), "chain")
            chain = port.talks[-1].info.identity.chain
            self.assertEqual([one.der for one in chain], [inter.certificate.public_bytes(Encoding.DER)])

    async def test_connection_facts(self) -> None:
        """What is known of a connection is told to its protocol."""
        port = self.start(validation(self.root))
        await visit(port, certificate=self.root.issue("client"), version=TLS1_3)
        info = port.talks[-1].info
        self.assertEqual(
            (info.listener, info.peer, info.local_port, info.server_name, info.tls_version, info.resumed),
            ("edge", "127.0.0.1", port.address[1], "a.example", "TLSv1.3", False),
        )
        self.assertGreater(info.peer_port, 0)


class AlertRaceTests(ValidationCase):
    """TLS 1.3: the client has sent its request before the refusal reaches it."""

    RUNS = 200

    async def test_curl_reports_the_alert_every_time(self) -> None:
        """Of 200 runs of curl without a certificate each one reports the alert, none a broken pipe."""
        upstream = start_upstream(self)
        running = await start_gateway(self, gateway([self.listener(validation(self.root))], upstream))
        url = "https://{}:{}/".format(*running.address())
        found: dict[tuple[int, str], int] = {}

        async def several(number: int) -> None:
            for _ in range(number):
                done = await run("curl", "-sSk", "--tlsv1.3", "--max-time", "20", url)
                words = "alert" if "alert certificate required" in done.text else done.text
                found[done.exit, words] = found.get((done.exit, words), 0) + 1

        await gatherResults([Deferred.fromCoroutine(several(self.RUNS // 8)) for _ in range(8)])
        self.assertEqual({key for key in found if key[0] not in (35, 56) or key[1] != "alert"}, set(), found)
        self.assertEqual(sum(found.values()), self.RUNS)
        await running.idle()
        self.assertEqual(running.counts().handshake_failures, {Reason.NO_CERTIFICATE: self.RUNS})
        self.assertEqual(running.in_progress(), 0)
        self.assertEqual(upstream.requests, [])

    async def test_a_client_that_sends_much(self) -> None:
        """A client that has a large body under way when it is refused still gets the alert."""
        upstream = start_upstream(self)
        running = await start_gateway(self, gateway([self.listener(validation(self.root))], upstream))
        url = "https://{}:{}/".format(*running.address())
        for _ in range(20):
            done = await run("curl", "-sSk", "--tlsv1.3", "-T", "-", "-H", "Expect:", url, stdin=bytes(100_000))
            self.assertIn("alert certificate required", done.text)

    async def test_every_kind_of_tool(self) -> None:
        """openssl's client reports it too, by its number."""
        port = self.start(validation(self.root))
        done = await run("openssl", "s_client", "-connect", "{}:{}".format(*port.address), "-tls1_3", "-ign_eof")
        self.assertIn("SSL alert number 116", done.text)
        cert, key = files(self, self.root.issue_expired())
        done = await run(
            "openssl", "s_client", "-connect", "{}:{}".format(*port.address), "-cert", cert, "-key", key, "-tls1_2"
        )
        self.assertIn("SSL alert number 45", done.text)
