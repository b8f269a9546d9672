"""Every client certificate of Envoy's table comes in or is refused as there, in real handshakes of both versions.

What Envoy 1.40 did was recorded with its own clients; the tables below are those of its profiles.  Each refusal has
one reason, which is the same in the metrics, in the handshake record, in the log and in a rehearsal with the
client's certificate alone, as ``edgegw explain`` plays it.

Where the gateway decides otherwise, the row is in :data:`DIFFERENCES`, with why, and with the setting that gives
Envoy's result where there is one.
"""
from __future__ import annotations

import io
import json
import warnings
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto
from twisted.internet import reactor as global_reactor
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import provider

from edgegw.config import ConfigError
from edgegw.config.scalars import Unparsable
from edgegw.config.suites import parse_cipher_suite, parse_signature_algorithm
from edgegw.explain_command import run_explain
from edgegw.identity import CertificateStatus
from edgegw.model import (
    ClientValidation,
    Listener,
    PolicyAny,
    PolicyNot,
    PolicyRule,
    PolicyUse,
    TLSSettings,
    ValidationMode,
)
from edgegw.model.tls import DEFAULT_GROUPS
from edgegw.observe.metrics import Metrics
from edgegw.policies.hashes import CertificateHash, SPKIHash
from edgegw.policies.key_strength import KeyStrength
from edgegw.policies.subject_alt_names import SubjectAltNames
from edgegw.policies.validity import Validity
from edgegw.proxy.generation import Generation
from edgegw.testing import FakeEnvironment, options
from edgegw.tls import openssl
from edgegw.tls.listener import TLSListener
from edgegw.tls.rehearsal import ClientSide, rehearse
from edgegw.verdict import Accept, Reason, Reject
from tests.envoy_clients import EnvoyClients, recorded_chain, recorded_names, recorded_root
from tests.gateway import SERVER, Authority, Issued, gateway, https_listener, trust_anchor, validation
from tests.tls_peers import TLS1_2, TLS1_3, BarePort, start_port, visit

reactor: Any = global_reactor

FALLBACK: Final = ValidationMode.ALLOW_INSECURE_FALLBACK
VERSIONS: Final = (TLS1_2, TLS1_3)
SHOWN: Final = {TLS1_2: "TLS 1.2", TLS1_3: "TLS 1.3"}

#: What became of a client: it came in, its connection ended without an alert, or it got the alert with this number.
IN: Final = None
CLOSED: Final = 0
Fate = int | None
Fates = tuple[Fate, Fate]

_NO_CERTIFICATE: Final = (40, 116)
_EXPIRED: Final = (45, 45)
_PURPOSE: Final = (43, 43)
_UNKNOWN_CA: Final = (48, 48)
_UNKNOWN: Final = (46, 46)
_HASH: Final = (114, 114)
_IN: Final[Fates] = (IN, IN)

#: Profile ``basic``: one CA, a certificate required; what each client got under TLS 1.2 and 1.3.
BASIC: Final[Mapping[str, Fates]] = {
    "nocert": _NO_CERTIFICATE,
    "c-valid": _IN,
    "c-valid-rsa": _IN,
    "c-wrongca": _UNKNOWN_CA,
    "c-impost": _UNKNOWN_CA,
    "c-impostnoaki": (51, 51),
    "c-selfsigned": _UNKNOWN_CA,
    "c-expired": _EXPIRED,
    "c-notyet": _EXPIRED,
    "c-revoked": _IN,
    "c-serverauth": _PURPOSE,
    "c-bothauth": _IN,
    "c-anyeku": _PURPOSE,
    "c-codesign": _PURPOSE,
    "c-noeku": _IN,
    "c-inter": _IN,
    "c-internochain": _UNKNOWN_CA,
    "c-interfull": _IN,
    "c-interwrong": _IN,
    "c-deep": _IN,
    "c-pathlen": _UNKNOWN_CA,
    "c-ncok": _IN,
    "c-ncbad": _UNKNOWN,
    "c-nonca": _UNKNOWN_CA,
    "c-nosan": _IN,
    "c-emptysubj": _IN,
    "c-critext": _UNKNOWN,
    "c-caleaf": _IN,
    "c-kusign": (CLOSED, 47),
    "c-kursaenc": (43, 47),
    "c-sha1": _IN,
    "c-rsa1024": _IN,
    "c-rsa4096": _IN,
    "c-p384": _IN,
    "c-p521": (IN, 116),
    "c-ed25519": _NO_CERTIFICATE,
    "c-bigsan": (IN, CLOSED),
    "c-tenanta": _UNKNOWN_CA,
    "c-tenantb": _UNKNOWN_CA,
    "c-upn": _IN,
}

#: Why a client is refused, wherever it is refused for its chain or for having none.
REASONS: Final[Mapping[str, Reason]] = {
    "nocert": Reason.NO_CERTIFICATE,
    "c-wrongca": Reason.UNKNOWN_CA,
    "c-impost": Reason.UNKNOWN_CA,
    "c-impostnoaki": Reason.CERTIFICATE_SIGNATURE,
    "c-selfsigned": Reason.UNKNOWN_CA,
    "c-expired": Reason.CERTIFICATE_EXPIRED,
    "c-notyet": Reason.CERTIFICATE_NOT_YET_VALID,
    "c-serverauth": Reason.CERTIFICATE_PURPOSE,
    "c-anyeku": Reason.CERTIFICATE_PURPOSE,
    "c-codesign": Reason.CERTIFICATE_PURPOSE,
    "c-internochain": Reason.UNKNOWN_CA,
    "c-pathlen": Reason.CHAIN_TOO_LONG,
    "c-ncbad": Reason.NAME_CONSTRAINT,
    "c-nonca": Reason.UNKNOWN_CA,
    "c-critext": Reason.CRITICAL_EXTENSION,
    "c-kusign": Reason.CERTIFICATE_PURPOSE,
    "c-kursaenc": Reason.CERTIFICATE_PURPOSE,
    "c-tenanta": Reason.UNKNOWN_CA,
    "c-tenantb": Reason.UNKNOWN_CA,
}


@frozen
class Difference:
    """A row in which the gateway, with its defaults, decides otherwise than Envoy.

    :ivar here: what the client gets here.
    :ivar reason: why it is refused here, where it is.
    :ivar why: why that is so.
    :ivar setting: what gives Envoy's result; ``""`` where nothing does.
    """

    here: Fates
    reason: Reason | None
    why: str
    setting: str = ""


#: Of profile ``basic``.
DIFFERENCES: Final[Mapping[str, Difference]] = {
    "c-sha1": Difference(
        (42, 42),
        Reason.CERTIFICATE_WEAK,
        "A signature over SHA-1 can be forged (RFC 9155 §2, SP 800-131A); OpenSSL's security level 2 refuses it.",
        "security_level: 0",
    ),
    "c-rsa1024": Difference(
        (42, 42),
        Reason.CERTIFICATE_WEAK,
        "RSA of 1024 bits has 80 bits of security (SP 800-57), and level 2 demands 112.",
        "security_level: 1",
    ),
    "c-p521": Difference(
        (47, IN),
        Reason.NO_SHARED_GROUP,
        "BoringSSL does not offer ecdsa_secp521r1_sha512, and in TLS 1.2, where that names no curve, takes the key all "
        "the same.  OpenSSL has it the other way round: TLS 1.3 has the algorithm, and in TLS 1.2 the groups that a "
        "listener exchanges keys with are the curves that it takes certificates on (RFC 8422 §5.1).",
        "groups with P-521, and signature_algorithms without ecdsa_secp521r1_sha512",
    ),
    "c-ed25519": Difference(
        _IN,
        None,
        "BoringSSL does not offer ed25519 unless told to.  It is as good as P-256 (RFC 8410, FIPS 186-5).",
        "signature_algorithms without ed25519",
    ),
    "c-bigsan": Difference(
        _IN,
        None,
        "Envoy dies of its own ticket under TLS 1.3, after the request; without stateless resumption it lets the "
        "client in, too.",
    ),
}

#: Rows of other profiles that the gateway has another way for; each is tried out below.
OTHER_PROFILES: Final[Mapping[str, str]] = {
    "untrusted": "AllowInsecureFallback requires no certificate (Gateway API), as kgateway has it with "
    "untrusted_optional.  With any policy one is required; a policy that excludes nobody makes it Envoy's profile.",
    "untrusted_san, untrusted_hash": "Policies are enforced in fallback mode, too.  envoy_compatible: true lets "
    "everyone in, and then those without a certificate as well.",
    "require_noca, require_emptyvc": "A requirement without a CA lets everyone in with Envoy, and is a fault of the "
    "configuration here.",
    "hash_noca, hash_noca_optional": "There is no validation without a CA.  AllowInsecureFallback with "
    "certificate_hash decides by the pin alone; whoever comes in by it counts as unverified, since nobody has vouched "
    "for the names.",
    "seed": "A wildcard in an exact matcher matches that text in a certificate and nothing else, which nobody means: "
    "it is a fault of the configuration here.  As a regular expression it can be had.",
}

#: Alerts that differ where the decision does not, by client or by reason: OpenSSL has one alert for each verification
#: result, none of them bad_certificate_hash_value, and none where BoringSSL finds out outside the verification.
ALERTS: Final[Mapping[str, Fates]] = {
    Reason.CERTIFICATE_NOT_YET_VALID: (42, 42),
    Reason.CERTIFICATE_HASH: (42, 42),
    Reason.SPKI_HASH: (42, 42),
    "c-kusign": _PURPOSE,
    "c-kursaenc": _PURPOSE,
}

#: Envoy's CertificateRequest, without rsa_pkcs1_sha1.
ENVOY_SIGNATURE_ALGORITHMS: Final = (
    "ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256", "rsa_pkcs1_sha256", "ecdsa_secp384r1_sha384",
    "rsa_pss_rsae_sha384", "rsa_pkcs1_sha384", "rsa_pss_rsae_sha512", "rsa_pkcs1_sha512",
)  # fmt: skip


@cache
def cast() -> EnvoyClients:
    """Give the clients, the same ones for all tests."""
    return EnvoyClients()


def use(kind: Any, document: Mapping[str, Any]) -> PolicyUse:
    """Put a policy to use, with options as a configuration writes them."""
    return PolicyUse(kind, kind.build(options(kind, document), FakeEnvironment()))


def fingerprint(name: str) -> str:
    """Give the SHA-256 of a client's certificate."""
    client = cast().clients[name]
    assert client is not None
    return sha256(client.der).hexdigest()


def key_pin(name: str) -> str:
    """Give the SHA-256 of a client's public key in base64."""
    client = cast().clients[name]
    assert client is not None
    key = client.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(sha256(key).digest()).decode()


def weak(context: SSL.Context) -> None:
    """Let a client show whatever certificate it has."""
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")


@frozen
class Row:
    """What is to become of a client.

    :ivar reason: for a refusal.
    :ivar status: what its certificate counts as, where it comes in.
    :ivar key_decides: whether the refusal needs the client's private key to come about.
    :ivar shown: whether the client sends its certificate.
    """

    name: str
    client: Issued | None
    fates: Fates
    reason: str | None = None
    status: CertificateStatus | None = None
    key_decides: bool = False
    shown: bool = True


class TableCase(TestCase):
    """Listeners as Envoy's profiles have them, and every place in which a reason is told."""

    def setUp(self) -> None:
        self.root = cast().root
        self.server = self.root.issue("a.example", dns=["a.example"], usages=SERVER)
        self.told: list[LogEvent] = []

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_namespace") == "edgegw.tls" and str(event.get("log_format")).startswith("refused"):
                self.told.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def listener(
        self,
        *anchors: Authority | Issued,
        policies: Sequence[PolicyRule] | None = None,
        tls: TLSSettings | None = None,
        **settings: Any,
    ) -> Listener:
        """Give one that trusts some anchors, the root if none is named."""
        rules = None if policies is None else tuple(policies)
        wanted = validation(*(anchors or (self.root,)), policies=rules, **settings)
        return https_listener([self.server], wanted, tls=tls)

    async def compare(self, listener: Listener, rows: Sequence[Row]) -> None:
        """Let every client try it under both versions, and rehearse the same."""
        port = start_port(self, listener)
        judge = Generation(reactor, gateway([listener]), Metrics()).tls_listener(listener.name)
        for row in rows:
            for version, fate in zip(VERSIONS, row.fates, strict=True):
                try:
                    await self.visit(port, row, version, fate)
                    await self.rehearse(judge, row, version, fate)
                except AssertionError as error:
                    raise AssertionError(f"{row.name} under {SHOWN[version]}: {error}") from error

    async def visit(self, port: BarePort, row: Row, version: int, fate: Fate) -> None:
        """Let a client try it; see what it got, and what is told of it everywhere."""
        before = dict(port.failures)
        self.told.clear()
        outcome = await visit(port, certificate=row.client, version=version, configure=weak)
        await port.idle()
        entry = port.record.entries(1)[0][0]
        if fate is IN:
            self.assertTrue(outcome.ok, outcome)
            self.assertEqual((port.failures, self.told), (before, []))
            status = row.status or (CertificateStatus.NONE if row.client is None else CertificateStatus.VERIFIED)
            self.assertEqual((entry["result"], entry["reason"], entry["status"]), ("accepted", "", status.value))
            self.assertIs(port.talks[-1].info.identity.status, status)
            return
        code = str(row.reason)
        self.assertEqual((outcome.reply, outcome.alert), (b"", fate))
        self.assertEqual(port.failures, {**before, code: before.get(Reason(code), 0) + 1})
        self.assertEqual([event["reason"] for event in self.told], [code])
        found = port.record.find(self.told[0]["handshake"])
        assert found is not None
        self.assertEqual(found["reason"], code)
        self.assertIn(found["result"], ("refused", "failed"))
        self.assertEqual(found["detail"], self.told[0]["detail"])
        if row.client is not None and row.shown:
            certificate: Any = found["certificate"]
            self.assertEqual((found, certificate["sha256"]), (entry, sha256(row.client.der).hexdigest()))

    async def rehearse(self, judge: TLSListener, row: Row, version: int, fate: Fate) -> None:
        """Play it without the client's private key, as who explains a refusal does."""
        side = ClientSide(server_name="a.example", version=version)
        if row.client is not None:
            side = evolve(side, certificate=row.client.certificate, chain=row.client.chain)
            if row.key_decides or isinstance(row.client.certificate, crypto.X509):
                side = evolve(side, key=row.client.key)
        got = await rehearse(judge, judge.certificates.find("a.example"), side)
        if fate is IN:
            self.assertIsInstance(got.verdict, Accept, got.verdict)
            if row.status is not None:
                self.assertIs(got.status, row.status)
        else:
            assert isinstance(got.verdict, Reject), got.verdict
            self.assertEqual((str(got.verdict.code), got.alert), (str(row.reason), fate))


def as_envoy(
    table: Mapping[str, Fate] | Mapping[str, Fates],
    reasons: Mapping[str, str] | None = None,
    unverified: frozenset[str] = frozenset(),
) -> list[Row]:
    """Give the rows of a table of Envoy's.

    :param table: by client; one alert is that of both versions, but for a missing certificate's.
    :param reasons: for those whom a policy refuses, by client.
    :param unverified: who comes in without being believed.
    """
    rows = []
    for name, fate in table.items():
        fates: Any = fate if isinstance(fate, tuple) else _NO_CERTIFICATE if fate == 116 else (fate, fate)
        reason = {**REASONS, **(reasons or {})}.get(name)
        if fates != _IN:
            fates = ALERTS.get(name) or ALERTS.get(str(reason), fates)
        status = CertificateStatus.UNVERIFIED if name in unverified else None
        rows.append(Row(name, cast().clients[name], fates, reason, status))
    return rows


class BasicTests(TableCase):
    """Profile ``basic``: every client certificate of Envoy's table."""

    async def test_every_client(self) -> None:
        """Each comes in or is refused as with Envoy, or is a difference that is accounted for."""
        rows = []
        for row in as_envoy(BASIC):
            other = DIFFERENCES.get(row.name)
            if other is not None:
                decided = row.name == "c-p521"
                row = evolve(row, fates=other.here, reason=other.reason, key_decides=decided)
            rows.append(row)
        await self.compare(self.listener(), rows)

    async def test_every_other_certificate(self) -> None:
        """Whatever odd names and numbers Envoy was shown, signed here again for a key that is at hand, comes in."""
        with warnings.catch_warnings():
            # cryptography warns of serial numbers that are not positive.
            warnings.simplefilter("ignore")
            clients = cast().recorded()
            self.assertGreater(len(clients), 30)
            await self.compare(self.listener(), [Row(name, client, _IN) for name, client in clients.items()])

    async def test_recorded_certificates(self) -> None:
        """The very certificates that Envoy was shown would come in."""
        root = recorded_root()
        anchor = trust_anchor(Issued(root, self.root.key))
        listener = https_listener([self.server], ClientValidation(ValidationMode.ALLOW_VALID_ONLY, (anchor,)))
        judge = Generation(reactor, gateway([listener]), Metrics()).tls_listener(listener.name)
        # The others were made for their names and numbers alone, with signatures that do not hold.
        names = [name for name in recorded_names() if name.startswith("c-")]
        self.assertGreater(len(names), 15)
        for name in (*names, "c-inter", "c-interfull"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                leaf, *above = recorded_chain(name)
            for version in VERSIONS:
                side = ClientSide(leaf, chain=tuple(above), server_name="a.example", version=version)
                got = await rehearse(judge, judge.certificates.find("a.example"), side)
                self.assertEqual((name, got.verdict, got.status), (name, Accept(), CertificateStatus.VERIFIED))

    async def test_key_usage_is_told(self) -> None:
        """The detail of a refusal for what a key may not do says what is missing."""
        port = start_port(self, self.listener())
        for name in ("c-kusign", "c-kursaenc", "c-serverauth"):
            await visit(port, certificate=cast().clients[name])
            await port.idle()
        details = [entry["detail"] for entry in port.record.entries(3)[0]]
        told = "unsuitable certificate purpose (26): its keyUsage lacks digitalSignature"
        self.assertEqual(details, [told, told, "unsuitable certificate purpose (26)"])

    async def test_key_usage_in_a_resumed_session(self) -> None:
        """Who was let in unverified for its key usage is unverified in a resumed session, too."""
        port = start_port(self, self.listener(mode=FALLBACK))
        client = cast().clients["c-kusign"]
        for version in VERSIONS:
            first = await visit(port, certificate=client, version=version)
            again = await visit(port, certificate=client, version=version, session=first.session)
            self.assertTrue(again.ok)
        infos = [talk.info for talk in port.talks]
        self.assertEqual([info.resumed for info in infos], [False, True] * 2)
        self.assertEqual({info.identity.status for info in infos}, {CertificateStatus.UNVERIFIED})


class SettingTests(TableCase):
    """What gives Envoy's results where the defaults do not."""

    async def test_every_client(self) -> None:
        """With the settings of one listener every client of the table fares as with Envoy, its own crash aside."""
        settings = TLSSettings(
            (),
            groups=(*DEFAULT_GROUPS, "P-521"),
            signature_algorithms=ENVOY_SIGNATURE_ALGORITHMS,
            security_level=0,
        )
        # A client that has nothing which the list fits sends no certificate; there is none to rehearse with.
        keyless = dict.fromkeys(("c-p521", "c-ed25519"), Reason.NO_CERTIFICATE)
        listener = self.listener(tls=settings)
        port = start_port(self, listener)
        judge = Generation(reactor, gateway([listener]), Metrics()).tls_listener(listener.name)
        for row in as_envoy({**BASIC, "c-bigsan": DIFFERENCES["c-bigsan"].here}, keyless):
            for version, fate in zip(VERSIONS, row.fates, strict=True):
                shown = not (row.name in keyless and fate is not IN)
                try:
                    await self.visit(port, evolve(row, shown=shown), version, fate)
                    if row.name not in keyless:
                        await self.rehearse(judge, row, version, fate)
                except AssertionError as error:
                    raise AssertionError(f"{row.name} under {SHOWN[version]}: {error}") from error

    async def test_security_level(self) -> None:
        """Level 1 takes RSA of 1024 bits and no SHA-1; handshakes are signed over neither at any level."""
        rows = [
            Row("c-rsa1024", cast().clients["c-rsa1024"], _IN),
            Row("c-sha1", cast().clients["c-sha1"], (42, 42), Reason.CERTIFICATE_WEAK),
        ]
        await self.compare(self.listener(tls=TLSSettings((), security_level=1)), rows)
        port = start_port(self, self.listener(tls=TLSSettings((), security_level=0)))

        def old_hash(context: SSL.Context) -> None:
            weak(context)
            openssl.set_signature_algorithms(context, ("ecdsa_sha1", "rsa_pkcs1_sha1"))

        outcome = await visit(port, certificate=cast().clients["c-valid"], version=TLS1_2, configure=old_hash)
        self.assertFalse(outcome.ok)
        await port.idle()
        self.assertEqual(port.failures, {Reason.NO_SHARED_CIPHER: 1})

    async def test_depth(self) -> None:
        """The default is Envoy's, and whoever wants chains to be shorter says so."""
        self.assertEqual(ClientValidation(FALLBACK, ()).max_depth, 100)
        row = Row("c-deep", cast().clients["c-deep"], _UNKNOWN_CA, Reason.CHAIN_TOO_LONG)
        await self.compare(self.listener(max_depth=10), [row])

    async def test_key_strength(self) -> None:
        """A policy refuses the keys that Envoy does not take, by name."""
        strength = use(KeyStrength, {"key_types": ["rsa", "ec"], "curves": ["P-256", "P-384"]})
        settings = TLSSettings((), groups=(*DEFAULT_GROUPS, "P-521"))
        rows = [
            Row(name, cast().clients[name], (42, 42), Reason.CERTIFICATE_WEAK) for name in ("c-p521", "c-ed25519")
        ]
        await self.compare(self.listener(policies=[strength], tls=settings), rows)

    async def test_weak_certificates(self) -> None:
        """No other setting has SHA-1 or RSA-1024 believed; where unverified clients come in they may be pinned."""
        for parse, text in (
            (parse_cipher_suite, "DEFAULT:@SECLEVEL=0"), (parse_cipher_suite, "@SECLEVEL=0"),
            (parse_signature_algorithm, "rsa_pkcs1_sha1"), (parse_signature_algorithm, "ECDSA+SHA1"),
        ):
            self.assertRaises(Unparsable, parse, text)
        pins = use(CertificateHash, {"hashes": [fingerprint("c-sha1"), fingerprint("c-rsa1024")]})
        weak_ones = as_envoy({"c-sha1": _IN, "c-rsa1024": _IN}, unverified=frozenset({"c-sha1", "c-rsa1024"}))
        others = as_envoy({"c-valid": _HASH, "c-wrongca": _HASH, "nocert": 116},
                          dict.fromkeys(("c-valid", "c-wrongca"), Reason.CERTIFICATE_HASH))
        await self.compare(self.listener(mode=FALLBACK, policies=[pins]), [*weak_ones, *others])


class ModeTests(TableCase):
    """Envoy's policy modes."""

    CHAINS: Final[Mapping[str, Fate]] = {
        "c-valid": IN, "c-wrongca": 48, "c-expired": 45, "c-notyet": 45, "c-revoked": IN, "c-serverauth": 43,
        "c-inter": IN, "c-internochain": 48, "c-nosan": IN, "c-selfsigned": 48, "c-deep": IN,
    }  # fmt: skip
    EVERYONE: Final[Mapping[str, Fate]] = {"nocert": IN, **dict.fromkeys(CHAINS, IN)}
    BAD_CHAINS: Final = frozenset(name for name, fate in CHAINS.items() if fate is not IN)

    async def test_optional(self) -> None:
        """``optional``: no certificate comes in, a bad one does not fall back to none."""
        await self.compare(self.listener(required=False), as_envoy({"nocert": IN, **self.CHAINS}))

    async def test_nobody_is_asked(self) -> None:
        """``noclientauth``: everyone comes in, as nobody."""
        rows = [evolve(row, status=CertificateStatus.NONE) for row in as_envoy(self.EVERYONE)]
        await self.compare(https_listener([self.server]), rows)

    async def test_untrusted(self) -> None:
        """``untrusted_optional``, AllowInsecureFallback: everyone comes in, believed or not."""
        await self.compare(self.listener(mode=FALLBACK), as_envoy(self.EVERYONE, unverified=self.BAD_CHAINS))

    async def test_untrusted_and_required(self) -> None:
        """``untrusted``: with a policy that excludes nobody, a certificate of any kind is demanded."""
        nobody = PolicyNot(use(CertificateHash, {"hashes": ["00" * 32]}))
        rows = as_envoy({"nocert": 116, **dict.fromkeys(self.CHAINS, IN)}, unverified=self.BAD_CHAINS)
        await self.compare(self.listener(mode=FALLBACK, policies=[nobody]), rows)

    async def test_untrusted_san(self) -> None:
        """``untrusted_san``, envoy_compatible: no name keeps anybody out, and the wrong ones are not believed."""
        names = use(SubjectAltNames, {"dns": [{"exact": "client1.internal.corp"}]})
        rows = as_envoy(self.EVERYONE, unverified=self.BAD_CHAINS | {"c-nosan"})
        await self.compare(self.listener(mode=FALLBACK, envoy_compatible=True, policies=[names]), rows)

    async def test_untrusted_hash(self) -> None:
        """``untrusted_hash``, envoy_compatible: no pin keeps anybody out, and only who is pinned is believed."""
        pin = use(CertificateHash, {"hashes": [fingerprint("c-valid")]})
        rows = as_envoy(self.EVERYONE, unverified=frozenset(self.CHAINS) - {"c-valid"})
        await self.compare(self.listener(mode=FALLBACK, envoy_compatible=True, policies=[pin]), rows)

    async def test_enforced_in_fallback(self) -> None:
        """Without envoy_compatible a pin is enforced in fallback mode, with its reason, and demands a certificate."""
        pin = use(CertificateHash, {"hashes": [fingerprint("c-valid"), fingerprint("c-expired")]})
        refused = [name for name in self.CHAINS if name not in ("c-valid", "c-expired")]
        rows = as_envoy(
            {"nocert": 116, "c-valid": IN, "c-expired": IN, **dict.fromkeys(refused, 114)},
            dict.fromkeys(refused, Reason.CERTIFICATE_HASH),
            frozenset({"c-expired"}),
        )
        await self.compare(self.listener(mode=FALLBACK, policies=[pin]), rows)

    async def test_allow_expired(self) -> None:
        """``allow_expired``: the policy ``validity`` forgives dates, and nothing else."""
        dates = use(Validity, {"allow_expired": True, "allow_not_yet_valid": True})
        rows = as_envoy({"nocert": 116, **self.CHAINS, "c-expired": IN, "c-notyet": IN})
        await self.compare(self.listener(policies=[dates]), rows)


class AnchorTests(TableCase):
    """Where chains may end, and how long they may be."""

    async def test_intermediate(self) -> None:
        """``inter_anchor``: an intermediate is as good as a root, for those below it."""
        rows = as_envoy(
            {"c-valid": 48, "c-inter": IN, "c-internochain": IN, "c-interfull": IN, "c-deep": 48},
            dict.fromkeys(("c-valid", "c-deep"), Reason.UNKNOWN_CA),
        )
        await self.compare(self.listener(cast().inter), rows)

    async def test_leaf(self) -> None:
        """``leaf_anchor``: a self-signed certificate may be its own anchor."""
        own = cast().clients["c-selfsigned"]
        assert own is not None
        rows = as_envoy({"c-selfsigned": IN, "c-valid": 48}, {"c-valid": Reason.UNKNOWN_CA})
        await self.compare(self.listener(own), rows)

    async def test_depth(self) -> None:
        """``depth1`` and ``depth2``: so many CAs above a client, the anchor counted."""
        inters = dict.fromkeys(("c-inter", "c-interfull"), 48)
        too_long = dict.fromkeys((*inters, "c-deep"), Reason.CHAIN_TOO_LONG)
        rows = as_envoy({"c-valid": IN, **inters, "c-deep": 48}, too_long)
        await self.compare(self.listener(max_depth=1), rows)
        rows = as_envoy({"c-valid": IN, **dict.fromkeys(inters, IN), "c-deep": 48}, too_long)
        await self.compare(self.listener(max_depth=2), rows)


class PinTests(TableCase):
    """Envoy's pins, and the seed's alternative names."""

    CHAINS: Final[Mapping[str, Fate]] = {"c-selfsigned": 48, "c-expired": 45, "c-wrongca": 48}

    async def pinned(self, reason: Reason, *policies: PolicyRule) -> None:
        """See that ``c-valid`` comes in and ``c-dns`` is refused, for a reason."""
        rows = as_envoy({"nocert": 116, "c-valid": IN, "c-dns": 114, **self.CHAINS}, {"c-dns": reason})
        await self.compare(self.listener(policies=policies, required=False), rows)

    async def test_hash(self) -> None:
        """``hash``: a certificate by its digits, which demands one although none is required."""
        await self.pinned(Reason.CERTIFICATE_HASH, use(CertificateHash, {"hashes": [fingerprint("c-valid")]}))

    async def test_hash_with_colons(self) -> None:
        """``hash_colon``: as OpenSSL prints it."""
        printed = bytes.fromhex(fingerprint("c-valid")).hex(":").upper()
        await self.pinned(Reason.CERTIFICATE_HASH, use(CertificateHash, {"hashes": [printed]}))

    async def test_key(self) -> None:
        """``spki``: a certificate by its key."""
        await self.pinned(Reason.SPKI_HASH, use(SPKIHash, {"hashes": [key_pin("c-valid")]}))

    async def test_either(self) -> None:
        """``hash_or_spki``: either will do."""
        pins = PolicyAny((
            use(CertificateHash, {"hashes": [fingerprint("c-valid")]}),
            use(SPKIHash, {"hashes": [key_pin("c-dns")]}),
        ))
        rows = as_envoy({"nocert": 116, "c-valid": IN, "c-dns": IN, **self.CHAINS})
        await self.compare(self.listener(policies=[pins]), rows)

    async def test_hash_and_name(self) -> None:
        """``hash_and_san``: both are demanded, and the reason is that of the first that fails."""
        names = use(SubjectAltNames, {"dns": [{"exact": "svc.internal.corp"}]})
        pin = use(CertificateHash, {"hashes": [fingerprint("c-valid")]})
        rows = as_envoy(
            {"nocert": 116, "c-valid": 46, "c-dns": 114, **self.CHAINS},
            {"c-valid": Reason.SUBJECT_ALT_NAME, "c-dns": Reason.CERTIFICATE_HASH},
        )
        await self.compare(self.listener(policies=[names, pin]), rows)

    async def test_without_a_ca(self) -> None:
        """``hash_noca`` and ``hash_noca_optional``: in fallback mode a pin is all that counts, dates do not."""
        for pinned in (("c-selfsigned", "c-expired"), ("c-selfsigned",)):
            pins = use(CertificateHash, {"hashes": [fingerprint(name) for name in pinned]})
            others = [name for name in ("c-valid", "c-dns", "c-expired", "c-wrongca") if name not in pinned]
            rows = as_envoy(
                {"nocert": 116, **dict.fromkeys(pinned, IN), **dict.fromkeys(others, 114)},
                dict.fromkeys(others, Reason.CERTIFICATE_HASH),
                frozenset(pinned),
            )
            await self.compare(self.listener(mode=FALLBACK, policies=[pins]), rows)

    async def test_seed(self) -> None:
        """``seed``: an exact ``*.internal.corp`` is no pattern with Envoy; here that is said, and can be had."""
        refused = (
            "c-valid", "c-dns", "c-dnsdeep", "c-dnsapex", "c-dnsupper", "c-otherdns", "c-uri", "c-nosan", "c-revoked",
            "c-inter",
        )  # fmt: skip
        rows = as_envoy(
            {"nocert": 116, "c-wildsan": IN, **dict.fromkeys(refused, 46), "c-wrongca": 48, "c-expired": 45},
            dict.fromkeys(refused, Reason.SUBJECT_ALT_NAME),
        )
        exact = self.assertRaises(ConfigError, use, SubjectAltNames, {"dns": [{"exact": "*.internal.corp"}]})
        self.assertIn("write suffix: .internal.corp", str(exact))
        names = use(SubjectAltNames, {"dns": [{"regex": r"\*\.internal\.corp"}]})
        await self.compare(self.listener(policies=[names]), rows)


class AccountTests(SynchronousTestCase):
    """The account of the differences."""

    def test_every_client_is_there(self) -> None:
        """Each row of the table has its client, and a reason where it is refused."""
        for name, fates in BASIC.items():
            self.assertIn(name, cast().clients)
            here = DIFFERENCES[name].here if name in DIFFERENCES else fates
            reason = DIFFERENCES[name].reason if name in DIFFERENCES else REASONS.get(name)
            self.assertEqual((name, reason is None), (name, here == _IN))

    def test_differences_differ(self) -> None:
        """What is called a difference lets in whom Envoy refuses, or the other way round, and says why."""
        for name, one in DIFFERENCES.items():
            decisions = [[fate is IN for fate in fates] for fates in (one.here, BASIC[name])]
            self.assertNotEqual(*decisions, name)
            self.assertGreater(len(one.why), 40)


class ExplainTests(SynchronousTestCase):
    """``edgegw explain`` itself, of the certificates alone."""

    def configured(self, validation: str) -> str:
        """Write a configuration with a client validation; gives its path."""
        folder = Path(self.mktemp())
        folder.mkdir()
        server = cast().root.issue("a.example", dns=["a.example"], usages=SERVER)
        (folder / "ca.pem").write_bytes(cast().root.pem)
        (folder / "server.pem").write_bytes(server.pem + server.key_pem)
        (folder / "server.pem").chmod(0o600)
        config = folder / "edgegw.yaml"
        config.write_text(
            f"client_validation: {{default: {validation}}}\n"
            "listeners: [{name: edge, port: 8443, tls: {certificates: [{certificate: server.pem, "
            "private_key: server.pem}]}}]\n"
        )
        return str(config)

    def test_reasons(self) -> None:
        """It ends with the reason that a handshake of TLS 1.3 is refused with, for every client of the table."""
        config = self.configured("{ca_certificates: [ca.pem]}")
        folder = Path(config).parent
        for name, fates in BASIC.items():
            other = DIFFERENCES.get(name)
            reason = REASONS.get(name) if other is None else other.reason if other.here[1] is not IN else None
            self.assertEqual((name, reason is None), (name, (fates if other is None else other.here)[1] is IN))
            arguments = ["--config", config, "--json"]
            client = cast().clients[name]
            if client is not None:
                (folder / f"{name}.pem").write_bytes(client.chain_pem)
                arguments += ["--cert", str(folder / f"{name}.pem")]
            output = io.StringIO()
            with redirect_stdout(output):
                status = run_explain(arguments)
            document = json.loads(output.getvalue())
            self.assertEqual((name, status), (name, 0 if reason is None else 3))
            self.assertEqual((name, document.get("reason") or None), (name, reason and reason.value))

    def test_without_a_ca(self) -> None:
        """``require_noca`` and ``require_emptyvc``: a requirement that nobody could judge by is no configuration."""
        for written in ("{required: true}", "{}", "{ca_certificates: []}"):
            output = io.StringIO()
            with redirect_stderr(output):
                self.assertEqual(run_explain(["--config", self.configured(written)]), 1)
            self.assertIn("ca_certificates", output.getvalue())
