"""``edgegw explain``: what an operator is told of a certificate, and that it is what the gateway does."""
from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from edgegw.explain_command import run_explain
from edgegw.explanation import client as client_files
from edgegw.explanation.client import UnusableFile, read_certificates
from edgegw.explanation.text import explanation_text
from edgegw.identity import CertificateStatus
from edgegw.reason_explanations import EXPLANATIONS
from edgegw.tap import read
from edgegw.verdict import Reason
from tests.gateway import NO_USAGE, SERVER, Authority, Issued, in_thread, run, start_gateway
from tests.http_service import reply, start_service
from tests.tls_peers import TLS1_2, TLS1_3, try_tls

#: One listener; the policies go where ``%s`` stands.
SIMPLE = """\
listeners:
  - name: edge
    address: 127.0.0.1
    port: 0
    tls:
      certificates: [{certificate: server.pem, private_key: server-key.pem}]
      client_validation: {ca_certificates: [ca.pem]%s}
"""

#: Policies of the tests' own.
PLUGIN = '''\
"""Policies that say and do odd things."""
from edgegw.api import Accept, Explanation, Reject, policy


@policy("greeted", codes={"not_greeted": Explanation("It is no friend.", "A stranger.", "Be a friend.")})
def greeted(peer):
    """Let friends in."""
    if peer.common_name.startswith("friend"):
        return Accept({"year": str(peer.now.year), "odd": "\\x1b[31m"})
    return Reject("not_greeted", "\\x1b[2J not " + peer.common_name)


@policy("broken")
def broken(peer):
    """Fail."""
    raise RuntimeError("\\x1b]0;boom\\x07")


@policy("silent", without_certificate=True)
def silent(peer):
    """Let everyone in."""
    return Accept()


@policy("chained", needs_chain=True)
def chained(peer):
    """Let in whose chain is good."""
    return Accept() if peer.verified else Reject("chained", "its chain is not good")


@policy("chained_rule", needs_chain=True)
def chained_rule(peer):
    """Count the certificates of the chain."""
    return Accept({"length": str(len(peer.certificates))})


@policy("waiting")
async def waiting(peer):
    """Let friends in, after all."""
    return Accept({"waited": "yes"}) if peer.common_name.startswith("friend") else Reject("waiting", "no friend")
'''


@frozen
class Printed:
    """What the command printed, and its exit status."""

    status: int
    output: str
    errors: str


class ExplainCase(TestCase):
    """A folder with a configuration and certificates."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "plugins").mkdir(parents=True)
        (self.folder / "plugins" / "odd.py").write_text(PLUGIN)
        self.root = Authority("Root CA")
        self.inter = Authority("Issuing CA", self.root)
        self.write("ca.pem", self.root.pem)
        self.server = self.root.issue("server", dns=["a.example", "*.b.example"], usages=SERVER)
        self.write_server("server", self.server)
        self.configure("")

    def write(self, name: str, data: bytes | str) -> str:
        """Write a file; gives its path."""
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path)

    def write_server(self, name: str, issued: Issued) -> None:
        """Write a server's certificate and key."""
        self.write(f"{name}.pem", issued.chain_pem)
        key = self.write(f"{name}-key.pem", issued.key_pem)
        os.chmod(key, 0o600)

    def configure(self, validation: str, more: str = "", document: str = SIMPLE) -> None:
        """Write the configuration.

        :param validation: more of the client validation, as flow YAML.
        """
        text = document % validation if "%s" in document else document
        self.config = self.write("edgegw.yaml", text + more)

    def explain(self, *arguments: str) -> Printed:
        """Run the command in this process."""
        output, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(output), redirect_stderr(errors):
            try:
                status = run_explain(["--config", self.config, *arguments])
            except SystemExit as ended:
                status = int(ended.code or 0)
        return Printed(status, output.getvalue(), errors.getvalue())

    def document(self, client: Issued | None, *arguments: str) -> dict[str, Any]:
        """Explain a client as JSON; gives the document, with the exit status as ``exit``."""
        own = () if client is None else ("--cert", self.write("client.pem", client.chain_pem))
        printed = self.explain(*own, "--json", *arguments)
        self.assertTrue(printed.output, printed.errors)
        return {**json.loads(printed.output), "exit": printed.status}


class FingerprintTests(ExplainCase):
    """Policies that judge a ClientHello, which is not this command's."""

    JA3, JA4 = "e7d705a3286e19ea42f587b344ee6865", "t13d1516h2_8daaf6152771_e5627efa2ab1"

    def test_told(self) -> None:
        """What is said of a client's fingerprints is judged; without a word of them nothing is let in."""
        self.configure(f", policies: [tls_fingerprint: {{allow: ['t13d1516h2_*'], deny: [{self.JA3}]}}]")
        client = self.root.issue("client")
        for arguments, reason in (
            ((), Reason.NO_FINGERPRINT),
            (("--ja4", self.JA4), ""),
            (("--ja4", self.JA4, "--ja3", self.JA3.upper()), Reason.TLS_FINGERPRINT),
            (("--ja3", self.JA3), Reason.TLS_FINGERPRINT),
            (("--ja4", self.JA4.replace("16h2", "16h1")), Reason.TLS_FINGERPRINT),
        ):
            document = self.document(client, *arguments)
            self.assertEqual((document.get("reason", ""), document["exit"]), (reason, 3 if reason else 0), arguments)

    def test_not_understood(self) -> None:
        """What is no whole fingerprint is not taken for one."""
        self.configure("")
        for name, text in (("ja4", "t13d*"), ("ja3", "abc"), ("ja4", ""), ("ja3", self.JA4), ("ja4", self.JA3)):
            printed = self.explain(f"--{name}", text)
            self.assertEqual(printed.status, 2)
            self.assertIn("is no whole JA", printed.errors)


class AcceptedTests(ExplainCase):
    """A client that comes in."""

    def test_text(self) -> None:
        """Everything on the way to the verdict is told, in its order."""
        self.configure(", policies: [greeted, {not: {serial: {allow: ['0a']}}}]")
        issued = self.inter.issue("friend", dns=["f.example"], uris=["spiffe://example.com/f"])
        printed = self.explain("--cert", self.write("client.pem", issued.chain_pem), "--sni", "x.b.example")
        self.assertEqual((printed.status, printed.errors), (0, ""))
        places = [printed.output.find(part) for part in (
            "listener     edge\n", "AllowValidOnly: required, depth 10", "name         x.b.example\n",
            "leads to   server.pem (EC) for a.example, *.b.example\n", "(now)\n", "client       192.0.2.1, TLSv1.3\n",
            "subject    CN=friend\n", "issuer     CN=Issuing CA\n", "URI spiffe://example.com/f\n", "DNS f.example\n",
            " 0  CN=friend\n", "; the client's own\n", " 1  CN=Issuing CA\n", "; sent by the client\n",
            " 2  CN=Root CA\n", "; trust anchor ca.pem\n", "OpenSSL    ok\n",
            "[0].greeted     accepts (", f"year={datetime.now(UTC).year}, odd=\\x1b[31m\n",
            "[1].not.serial  refuses with serial (", "\nACCEPTED as verified\n", "attributes: ", "--key proves it.\n",
        )]  # fmt: skip
        self.assertNotIn(-1, places, printed.output)
        self.assertEqual(places, sorted(places))

    def test_with_the_key(self) -> None:
        """With the client's private key, PEM or DER, nothing is taken for granted."""
        issued = self.root.issue("client")
        der = issued.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        for data in (issued.key_pem, der):
            document = self.document(issued, "--key", self.write("key", data))
            self.assertEqual((document["result"], document["has_key"], document["notes"]), ("accepted", True, []))

    def test_how_certificates_may_come(self) -> None:
        """The chain may be in the same file or in others, the certificate DER, or on standard input."""
        issued = self.inter.issue("client")
        whole, leaf = self.write("whole.pem", issued.chain_pem), self.write("leaf.pem", b"a comment\n" + issued.pem)
        der, above = self.write("leaf.der", issued.der), self.write("above.pem", self.inter.pem)
        ways = [(whole,), (leaf, "--chain", above), (der, "--chain", above), (leaf, "--chain", whole)]
        for certificate, *more in ways:
            self.assertEqual(self.explain("--cert", certificate, *more).status, 0, (certificate, more))
        self.assertEqual(self.explain("--cert", leaf).status, 3)
        with patch("sys.stdin", io.TextIOWrapper(io.BytesIO(issued.chain_pem))):
            self.assertEqual(self.explain("--cert", "-").status, 0)

    def test_unverified_and_anonymous(self) -> None:
        """As what a client counts is told: verified, unverified or anonymous."""
        self.configure(", mode: AllowInsecureFallback")
        for client, status, words in (
            (self.root.issue("client"), CertificateStatus.VERIFIED, "as verified"),
            (Authority("Other").issue("client"), CertificateStatus.UNVERIFIED, "as unverified"),
            (None, CertificateStatus.NONE, "as anonymous"),
        ):
            document = self.document(client)
            self.assertEqual((document["result"], document["status"], document["exit"]), ("accepted", status, 0))
            self.assertIn(f"ACCEPTED {words}", explanation_text(document))

    def test_notes(self) -> None:
        """What could be missed is said: certificates that nobody asks for, and what a policy or a mode forgives."""
        stranger = Authority("Other").issue("client")
        for validation, client, words in (
            (", mode: AllowInsecureFallback, envoy_compatible: true, policies: [greeted]", self.root.issue("client"),
             "envoy_compatible is on"),
            (", policies: [{validity: {allow_expired: true}}]", self.root.issue_expired(),
             "has expired, which a policy of the listener forgives"),
            (", policies: [{validity: {allow_not_yet_valid: true}}]", self.root.issue_future(),
             "not valid yet, which a policy of the listener forgives"),
            (", required: false", None, ""),
        ):
            self.configure(validation)
            document = self.document(client)
            self.assertEqual(document["exit"], 0, validation)
            self.assertIn(words, " ".join(document["notes"]))
        text = SIMPLE.replace("client_validation: {ca_certificates: [ca.pem]%s}", "client_validation: disabled")
        self.configure("", document=text)
        document = self.document(stranger)
        self.assertEqual((document["exit"], document["sent"], document["status"]), (0, False, "none"))
        self.assertIn("asks for no certificate", " ".join(document["notes"]))

    def test_client_without_a_fitting_key(self) -> None:
        """A certificate that the client cannot show here is told from one that it does not have."""
        text = SIMPLE.replace("    tls:\n", "    tls:\n      signature_algorithms: [rsa_pss_rsae_sha256]\n")
        self.write_server("server", self.root.issue("server", dns=["a.example"], usages=SERVER, key="RSA"))
        for validation, reason in (("", Reason.NO_CERTIFICATE), (", required: false", None)):
            self.configure(validation, document=text)
            document = self.document(self.root.issue("client"))
            self.assertEqual((document.get("reason"), document["sent"]), (reason, False))
            said = " ".join([*document["notes"], *document.get("remedies", [])])
            self.assertIn("fits no signature algorithm that the listener takes", said)


class RefusedTests(ExplainCase):
    """A client that does not come in."""

    def refused(self, client: Issued | None, reason: str, *words: str, see: str = "the alert") -> dict[str, Any]:
        """Explain a client that is refused, and look for what it has to say."""
        document = self.document(client)
        self.assertEqual((document["result"], document["reason"], document["exit"]), ("refused", reason, 3))
        said = " ".join(document["remedies"])
        for part in words:
            self.assertIn(part, said)
        self.assertIn(see, document["client_sees"])
        text = explanation_text(document)
        self.assertIn(f"\nREFUSED: {reason}\n", text)
        self.assertIn("What to do: ", text)
        return document

    def test_chain(self) -> None:
        """What OpenSSL says of a chain is told with its code and place, and what is missing by its name."""
        issued = self.inter.issue("client")
        document = self.refused(
            issued.without_chain(), Reason.UNKNOWN_CA, "issuer CN=Issuing CA of CN=client is missing",
            "Trusted are: CN=Root CA (ca.pem)", see="the alert unknown_ca (48), when it first reads",
        )
        self.assertEqual(document["errors"], [
            {"code": 20, "text": "unable to get local issuer certificate", "depth": 0}
        ])
        self.assertEqual(document["explanation"]["sentence"], EXPLANATIONS[Reason.UNKNOWN_CA].sentence)
        other = Authority("Root CA")
        self.refused(
            other.issue("client"), Reason.UNKNOWN_CA, "The trust anchor ca.pem has that subject, but another key"
        )
        self_signed = Issued(other.certificate, other.key)
        self.refused(self_signed, Reason.UNKNOWN_CA, "is self-signed and no trust anchor")

    def test_what_stands_in_it(self) -> None:
        """Dates, purposes, keys and extensions are named."""
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.7"), b"\x05\x00")
        own = x509.ObjectIdentifier("1.3.6.1.4.1.55555.8")
        for client, reason, words in (
            (self.root.issue_expired(), Reason.CERTIFICATE_EXPIRED, "was valid until 20"),
            (self.root.issue_future(), Reason.CERTIFICATE_NOT_YET_VALID, "is valid from 20"),
            (self.root.issue("s", usages=(ExtendedKeyUsageOID.SERVER_AUTH, own)), Reason.CERTIFICATE_PURPOSE,
             "is for serverAuth, 1.3.6.1.4.1.55555.8; clientAuth is needed"),
            (self.root.issue("w", key="RSA-1024"), Reason.CERTIFICATE_WEAK, "an RSA key of 1024 bits"),
            (self.root.issue("c", extensions=[(unknown, True)]), Reason.CRITICAL_EXTENSION, "1.3.6.1.4.1.55555.7"),
        ):
            with self.subTest(reason=reason):
                self.refused(client, reason, words)
        self.configure(", max_depth: 1")
        self.refused(self.inter.issue("client"), Reason.CHAIN_TOO_LONG, "max_depth is 1")
        agreement = x509.KeyUsage(False, False, False, False, True, False, False, False, False)
        self.refused(self.root.issue("k", extensions=[(agreement, True)]), Reason.CERTIFICATE_PURPOSE, "keyUsage")

    def test_signature(self) -> None:
        """A wrong signature is told with whose key did not make it."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
        now = datetime.now(UTC)
        key = self.root.issue("other")
        forged = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self.root.name)
            .public_key(key.key.public_key())  # type: ignore[arg-type]  # of a kind that certificates can have
            .serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
            .sign(Authority("Root CA").key, SHA256())  # type: ignore[arg-type]
        )  # fmt: skip
        self.refused(Issued(forged, key.key), Reason.CERTIFICATE_SIGNATURE, "The key of CN=Root CA has not signed")

    def test_no_certificate(self) -> None:
        """A client without a certificate is told apart, and what the alert is in each version of TLS."""
        document = self.refused(None, Reason.NO_CERTIFICATE, see="certificate_required (116)")
        self.assertIsNone(document["certificate"])
        document = self.document(None, "--tls", "1.2")
        self.assertEqual(document["client_sees"], "the alert handshake_failure (40)")
        self.configure(", required: false, policies: [greeted]")
        self.refused(None, Reason.NO_CERTIFICATE, "see on_missing")

    def test_policies(self) -> None:
        """A policy's refusal comes with its code's meaning and what the certificate has in that place."""
        issued = self.root.issue("client", dns=["a.example"], emails=["a@example.com"])
        for policy, reason, words in (
            ("{subject_alt_names: {dns: [{exact: b.example}]}}", Reason.SUBJECT_ALT_NAME,
             "has DNS a.example, email a@example.com."),
            ("{certificate_hash: {hashes: ['" + "0" * 64 + "']}}", Reason.CERTIFICATE_HASH, "SHA-256 is "),
            ("{spki_hash: {hashes: [47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=]}}", Reason.SPKI_HASH, "key is "),
            ("{subject: {names: [CN=x]}}", Reason.SUBJECT, "subject is CN=client."),
            ("{issuer: {names: [CN=x]}}", Reason.ISSUER, "issuer is CN=Root CA."),
            ("{serial: {allow: ['01']}}", Reason.SERIAL, "serial number is "),
            ("{validity: {max_lifetime: 1h}}", Reason.CERTIFICATE_LIFETIME, "which are 60 days; 29 days are left"),
            ("{extended_key_usage: {all_of: [serverAuth]}}", Reason.EXTENDED_KEY_USAGE, "is for clientAuth."),
            ("{not: silent}", Reason.EXCLUDED, ""),
        ):
            with self.subTest(policy=policy):
                self.configure(f", policies: [{policy}]")
                self.refused(issued, reason, words)

    def test_codes_of_plugins(self) -> None:
        """A plugin's own code is explained in its own words; without any it is said who refused."""
        self.configure(", policies: [greeted]")
        document = self.refused(self.root.issue("client"), "not_greeted", see="certificate_unknown (46)")
        self.assertEqual(document["explanation"], {
            "sentence": "It is no friend.", "cause": "A stranger.", "remedy": "Be a friend.",
        })
        self.configure(", mode: AllowInsecureFallback, policies: [chained]")
        document = self.document(Authority("Other").issue("client"))
        self.assertEqual(document["explanation"], {
            "sentence": "The plugin chained refused the client.", "cause": "",
            "remedy": "Read what it wants: edgegw plugins chained.",
        })
        self.configure(", policies: [waiting]")
        document = self.document(self.root.issue("client"))
        self.assertEqual((document["result"], document["not_asked"], document["exit"]), ("accepted", True, 4))

    def test_those_not_reached(self) -> None:
        """Of each policy that was not asked it is said why."""
        self.configure(", policies: [{any: [silent, greeted]}, greeted, {all: [silent, waiting]}]")
        client = self.root.issue("client")
        policies = self.document(client)["policies"]
        self.assertEqual([(one["policy"], one["verdict"], one.get("why", "")) for one in policies], [
            ("[0].any[0].silent", "accept", ""),
            ("[0].any[1].greeted", "not asked", "it was decided without it"),
            ("[1].greeted", "reject", ""),
            ("[2].all[0].silent", "not asked", "it was decided without it"),
            ("[2].all[1].waiting", "not asked", "it was decided without it"),
        ])  # fmt: skip
        friend = self.document(self.root.issue("friend"))
        self.assertEqual([one["verdict"] for one in friend["policies"]],
                         ["accept", "not asked", "accept", "not asked", "not asked"])
        self.assertIn("--online", friend["policies"][-1]["why"])
        self.assertIn("ACCEPTED as far as was asked, as verified", explanation_text(friend))
        stranger = self.document(Authority("Other").issue("client"))
        self.assertEqual({one.get("why") for one in stranger["policies"]}, {"the client was refused before that"})
        self.configure(", required: false, on_missing: accept, policies: [silent, greeted]")
        nobody = self.document(None)
        self.assertEqual([one.get("why") for one in nobody["policies"]],
                         [None, "it has nothing to say of clients without a certificate"])

    def test_policy_that_fails(self) -> None:
        """Its traceback is on stderr, and refuses."""
        self.configure(", policies: [broken]")
        printed = self.explain("--cert", self.write("client.pem", self.root.issue("client").pem))
        self.assertEqual(printed.status, 3)
        self.assertIn("REFUSED: policy_error", printed.output)
        self.assertIn("Traceback (most recent call last)", printed.errors)
        self.assertIn("odd.py", printed.errors)
        self.assertNotIn("\x1b", printed.errors + printed.output)

    def test_nobody_trusted(self) -> None:
        """A listener without any trust anchor refuses everyone, and explain says so."""
        self.write("ca.pem", "no certificate")
        document = self.refused(self.root.issue("client"), Reason.NO_TRUST_ANCHOR, see="handshake_failure (40)")
        self.assertEqual(document["client_validation"], "AllowValidOnly, NO TRUST ANCHOR: every connection is refused")

    def test_after_the_handshake(self) -> None:
        """Where no alert can be sent, it is told what the client sees instead."""
        stranger = Authority("Other").issue("client")
        for more, see in (
            ("", "no alert"),
            (", refuse_with: response", "its first request is answered with 403"),
            (", refuse_with: response, explain_to_client: true", "which names chained"),
        ):
            self.configure(f", mode: AllowInsecureFallback, policies: [chained]{more}")
            self.refused(stranger, "chained", see=see)

    def test_other_names(self) -> None:
        """A certificate that is sent and stands in no chain is told of."""
        document = self.document(self.root.issue("client"), "--chain", self.write("other.pem", Authority("Other").pem))
        self.assertEqual((document["result"], document["not_in_chain"]), ("accepted", ["CN=Other"]))
        self.assertIn("sent by the client, and no part of the chain", explanation_text(document))


class OtherChainTests(ExplainCase):
    """Where another chain is looked for because OpenSSL's is not good."""

    def test_found(self) -> None:
        """Both are shown, and a rule's policies get the good one."""
        rule = (
            "routes: [{name: app, rules: [{policies: [chained_rule], backends: [{upstream: u}]}]}]\n"
            'upstreams: [{name: u, endpoints: ["127.0.0.1:1"]}]\n'
        )
        self.configure(", policies: [{rfc5280: {alternative_chains: 4}}]", rule)
        other = Authority("Other CA")
        key: Any = self.inter.key.public_key()
        crossed_certificate = (
            x509.CertificateBuilder().subject_name(self.inter.name).issuer_name(other.name).public_key(key)
            .serial_number(7).not_valid_before(self.inter.certificate.not_valid_before_utc)
            .not_valid_after(self.inter.certificate.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .sign(other.key, SHA256())  # type: ignore[arg-type]  # of a kind that signs
        )  # fmt: skip
        issued = self.inter.issue("client")
        both = Issued(issued.certificate, issued.key, (crossed_certificate, self.inter.certificate))
        document = self.document(both, "--path", "/")
        self.assertEqual((document["result"], document["status"], document["exit"]), ("accepted", "verified", 0))
        self.assertEqual(document["errors"][0]["code"], 20)
        self.assertEqual([one["subject"] for one in document["chain"]], ["CN=client", "CN=Issuing CA"])
        self.assertEqual([one["source"] for one in document["other_chain"]],
                         ["the client's own", "sent by the client", "trust anchor ca.pem"])
        self.assertEqual(document["request"]["attributes"], {"length": "3"})
        self.assertIn("another one is", " ".join(document["notes"]))
        self.assertIn("chain, as it was found\n   0  CN=client\n", explanation_text(document))


class TimeTests(ExplainCase):
    """``--at``."""

    def test_other_times(self) -> None:
        """OpenSSL and policies judge by the time that is given, whatever zone it is in."""
        self.configure(", policies: [greeted]")
        day = timedelta(days=1)
        now = datetime.now(UTC)
        issued = self.root.issue("friend", not_before=now - 40 * day, not_after=now - 10 * day)
        self.assertEqual(self.document(issued)["reason"], Reason.CERTIFICATE_EXPIRED)
        past = now - 20 * day
        for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S+02:00", "%Y%m%dT%H%MZ"):
            at = past.strftime(form)
            document = self.document(issued, "--at", at)
            self.assertEqual((document["exit"], document["attributes"]["year"]), (0, str(past.year)), at)
            self.assertEqual(document["time"][:10], f"{past:%Y-%m-%d}")
        before = self.document(issued, "--at", f"{now - 60 * day:%Y-%m-%d}")
        self.assertEqual(before["reason"], Reason.CERTIFICATE_NOT_YET_VALID)
        self.assertIn("days after the time that is judged by", " ".join(before["remedies"]))

    def test_not_a_time(self) -> None:
        """What is no time, or none that can be, is status 2."""
        for text in ("tomorrow", "2026-13-01", "", "0001-01-01T00:00+12:00"):
            printed = self.explain("--at", text)
            self.assertEqual(printed.status, 2, text)
            self.assertIn("is no time", printed.errors)

    def test_health_checks(self) -> None:
        """Addresses of health checks are judged by that time as well."""
        more = "    health_check: {path: /up, sources: [192.0.2.0/24]}\n"
        self.configure("", more)
        old = self.root.issue_expired("old")
        at = f"{datetime.now(UTC) - timedelta(days=5):%Y-%m-%d}"
        self.assertEqual(self.document(old, "--at", at)["exit"], 0)
        self.assertEqual(self.document(old)["exit"], 3)


class NameTests(ExplainCase):
    """Listeners and names."""

    TWO = """\
listeners:
  - name: one
    port: 8443
    hostname: one.example
    tls:
      certificates: [{certificate: server.pem, private_key: server-key.pem}]
      client_validation: {ca_certificates: [ca.pem], policies: [greeted]}
  - name: two
    port: 8443
    hostname: "*.two.example"
    tls:
      strict_sni: true
      certificates: [{certificate: two.pem, private_key: two-key.pem}, {certificate: rsa.pem, private_key: rsa-key.pem}]
      client_validation: {mode: AllowInsecureFallback, ca_certificates: [ca.pem]}
  - {name: plain, port: 80, protocol: HTTP}
routes: [{name: all, rules: [{backends: [{upstream: u}]}]}]
upstreams: [{name: u, endpoints: ["127.0.0.1:1"]}]
"""

    def setUp(self) -> None:
        super().setUp()
        self.write_server("two", self.root.issue("two", dns=["*.two.example"], usages=SERVER))
        self.write_server("rsa", self.root.issue("rsa", dns=["*.two.example"], usages=SERVER, key="RSA"))
        self.configure("", document=self.TWO)

    def test_which_listener(self) -> None:
        """Without a name one of several is to be chosen; an unknown one gets the nearest; status 2."""
        for arguments, words in (
            ((), "choose a listener with --listener: one, two"),
            (("--listener", "oen"), "there is no listener oen: did you mean one?"),
            (("--listener", "plain"), "the listener plain has no TLS"),
        ):
            printed = self.explain(*arguments)
            self.assertEqual((printed.status, printed.output), (2, ""))
            self.assertIn(words, printed.errors)
        self.configure("", document="listeners: [{name: plain, port: 80, protocol: HTTP}]\n")
        self.assertIn("there is no HTTPS listener", self.explain().errors)

    def test_where_a_name_leads(self) -> None:
        """The listener's own name is asked for if there is one; another name may lead to another listener."""
        friend = self.root.issue("friend")
        document = self.document(friend, "-l", "one")
        self.assertEqual((document["server_name"], document["listener"]), ("one.example", "one"))
        document = self.document(friend, "-l", "one", "--sni", "A.Two.Example.")
        self.assertEqual((document["server_name"], document["listener"]), ("a.two.example", "two"))
        self.assertEqual([one["name"] for one in document["shown"]], ["two.pem", "rsa.pem"])
        self.assertIn("leads to the listener two of the same port", " ".join(document["notes"]))

    def test_refused_name(self) -> None:
        """A name that strict_sni refuses is told with the names that would do."""
        document = self.document(self.root.issue("friend"), "-l", "two", "--sni", "x.y.two.example")
        self.assertEqual((document["reason"], document["shown"]), (Reason.UNRECOGNIZED_NAME, None))
        self.assertIn("are for *.two.example", " ".join(document["remedies"]))
        self.assertEqual(document["client_sees"], "the alert unrecognized_name (112)")
        self.assertIn("strict_sni refuses it", explanation_text(document))

    def test_listeners_that_pass_bytes_on(self) -> None:
        """Where TLS is passed through nobody is judged here; where it ends for an upstream, as on any listener."""
        self.configure("", document="""\
listeners:
  - {name: past, port: 1, protocol: TLS, hostname: past.example, tls: {mode: Passthrough}}
  - name: ended
    port: 1
    protocol: TLS
    hostname: ended.example
    tls:
      certificates: [{certificate: two.pem, private_key: two-key.pem}]
      client_validation: {ca_certificates: [ca.pem]}
tls_routes: [{name: r, backends: [{upstream: u}]}]
upstreams: [{name: u, endpoints: ["127.0.0.1:1"]}]
""")
        friend = self.root.issue("friend")
        self.assertEqual(self.document(friend, "-l", "ended")["result"], "accepted")
        self.assertEqual(self.document(None, "-l", "ended")["reason"], Reason.NO_CERTIFICATE)
        passed = self.document(friend, "-l", "ended", "--sni", "past.example")
        self.assertEqual((passed["result"], passed["upstream"], passed["exit"]), ("passed through", "u", 0))
        nobody = self.document(friend, "-l", "ended", "--sni", "no.example")
        self.assertEqual((nobody["reason"], nobody["client_sees"]), (
            Reason.UNRECOGNIZED_NAME, "no alert: the connection is closed"
        ))
        self.assertNotIn("strict_sni refuses", explanation_text(nobody))
        self.assertIn("the listener past passes TLS through", self.explain("-l", "past").errors)

    def test_other_host(self) -> None:
        """A request for a host of another listener of the port is answered with 421."""
        arguments = ("-l", "one", "--path", "/", "--host", "a.two.example")
        request = self.document(self.root.issue("friend"), *arguments)["request"]
        self.assertEqual((request["http_status"], request["result"]), (421, "refused"))
        self.assertIn("the listener two of the same port", request["why"])


class RequestTests(ExplainCase):
    """``--path``: what a route's rule says."""

    ROUTES = """\
    health_check: {path: /up, sources: [192.0.2.0/24]}
routes:
  - name: app
    rules:
      - {matches: [{path: {value: /admin}}], policies: [greeted], backends: [{upstream: u}]}
      - {matches: [{path: {value: /later}}], policies: [{any: [greeted, waiting]}], explain_to_client: true,
         backends: [{upstream: u}]}
      - {matches: [{path: {value: /any}}], client: any, backends: [{upstream: u}]}
      - {matches: [{path: {type: Exact, value: /open}}], backends: [{upstream: u}]}
      - name: chosen
        matches:
          - path: {value: /if}
            method: POST
            headers: [{name: x-a, value: "1"}]
            query_params: [{name: q, value: "2"}]
          - {path: {value: /if}, identity: [{fact: common_name, value: friend}]}
        backends: [{upstream: u}]
upstreams: [{name: u, endpoints: ["127.0.0.1:1"]}]
"""

    def setUp(self) -> None:
        super().setUp()
        self.configure(", required: false", self.ROUTES)

    def request(self, client: Issued | None, path: str, *arguments: str) -> dict[str, Any]:
        """Explain a request; gives what is said of it, with the exit status as ``exit``."""
        document = self.document(client, "--path", path, *arguments)
        self.assertIn("\nrequest      ", explanation_text(document))
        return {**document["request"], "exit": document["exit"]}

    def test_rules(self) -> None:
        """The rule that takes it is named, with what it demands and what its policies say."""
        friend, other = self.root.issue("friend"), self.root.issue("other")
        taken = self.request(friend, "/admin/x?y")
        self.assertEqual((taken["result"], taken["exit"], taken["http_status"]), ("accepted", 0, 0))
        self.assertEqual(taken["rule"], {
            "route": "app", "number": 0, "summary": "PathPrefix /admin → u", "client": "verified",
        })
        self.assertEqual([one["policy"] for one in taken["policies"]], ["greeted"])
        refused = self.request(other, "/admin")
        self.assertEqual((refused["reason"], refused["exit"], refused["http_status"]), ("not_greeted", 3, 403))
        self.assertEqual(refused["client_sees"], "403; the connection goes on")
        later = self.request(other, "/later")
        self.assertEqual((later["result"], later["not_asked"], later["exit"]), ("accepted", True, 4))
        self.assertEqual([one["verdict"] for one in later["policies"]], ["not asked", "not asked"])
        self.assertEqual(self.request(None, "/open")["exit"], 0)
        nobody = self.request(None, "/any")
        self.assertEqual((nobody["reason"], nobody["remedies"]), (
            Reason.NO_CERTIFICATE, ["The rule has client: any; client: none would let everyone ask."],
        ))

    def test_conditions(self) -> None:
        """Method, headers, query and identity decide as in a gateway, and the rule's name is told."""
        friend, other = self.root.issue("friend"), self.root.issue("other")
        self.assertEqual(self.request(friend, "/if")["rule"]["name"], "chosen")
        self.assertEqual(self.request(other, "/if")["http_status"], 404)
        arguments = ("--method", "POST", "--header", "X-A:  1", "--header", "x-b: 2")
        self.assertEqual(self.request(other, "/if?q=2", *arguments)["rule"]["name"], "chosen")
        self.assertEqual(self.request(other, "/if?q=3", *arguments)["http_status"], 404)
        printed = " ".join(self.explain("--path", "/if?q=2", *arguments).output.split())
        self.assertIn("app.rules[chosen]: PathPrefix /if (method POST, header x-a exactly 1, query q", printed)

    def test_unverified(self) -> None:
        """A rule for verified clients says why the client's certificate is none."""
        self.configure(", mode: AllowInsecureFallback", self.ROUTES)
        refused = self.request(Authority("Other").issue("friend"), "/admin")
        self.assertEqual(refused["reason"], Reason.CLIENT_UNVERIFIED)
        self.assertIn("Trusted are: CN=Root CA (ca.pem).", refused["remedies"])
        self.assertEqual(refused["policies"][0]["why"], "the rule needs another client")
        self.assertEqual(self.request(Authority("Other").issue("friend"), "/any")["exit"], 0)

    def test_own_answers(self) -> None:
        """What the gateway answers by itself is told as such."""
        friend = self.root.issue("friend")
        for path, arguments, status, words in (
            ("/up", (), 200, "health check"),
            ("/nowhere", (), 404, "no rule takes it"),
            ("/open/../admin", (), 400, "ambiguous_paths"),
            ("/open", ("--host", "a^b"), 400, ""),
            ("/open", ("--method", "G(T"), 400, ""),
            ("/" + "x" * 17_000, (), 414, "request target"),
        ):
            with self.subTest(path=path[:20], arguments=arguments):
                answered = self.request(friend, path, *arguments)
                self.assertEqual((answered["http_status"], answered["exit"]), (status, 0 if status == 200 else 3))
                self.assertIn(words, answered["why"])

    def test_refused_before(self) -> None:
        """Where the connection is refused no request is sent, but for those that are answered all the same."""
        stranger = Authority("Other").issue("client")
        self.assertEqual(self.request(stranger, "/open")["result"], "not sent")
        self.configure("", self.ROUTES)
        document = self.document(None, "--path", "/up")
        self.assertEqual((document["reason"], document["request"]["http_status"]), (Reason.NO_CERTIFICATE, 200))
        self.assertIn("they are health checks", " ".join(document["notes"]))
        self.assertEqual(self.request(None, "/up", "--address", "198.51.100.1")["result"], "not sent")
        self.configure(", mode: AllowInsecureFallback, policies: [chained], refuse_with: response", self.ROUTES)
        told = self.request(stranger, "/open")
        self.assertEqual(told["http_status"], 403)
        self.assertIn("refuse_with: response", told["why"])

    def test_time(self) -> None:
        """A rule's policies judge by the time that is given, too."""
        at = datetime.now(UTC) + timedelta(days=20)
        taken = self.request(self.root.issue("friend"), "/admin", "--at", f"{at:%Y-%m-%d}")
        self.assertEqual(taken["policies"][0]["attributes"]["year"], f"{at:%Y}")

    def test_usage(self) -> None:
        """Parts of a request line that cannot be in one are status 2."""
        for arguments in (
            ("--path", "admin"), ("--path", "/a b"), ("--path", "/\r\nx"), ("--path", "/", "--host", "a\nb"),
            ("--method", "GET"), ("--host", "a.example"), ("--path", "/", "--method", ""), ("--header", "a: b"),
            ("--path", "/", "--header", "a"), ("--path", "/", "--header", "a b: c"),
            ("--path", "/", "--header", "a: b\r\nc: d"),
        ):
            self.assertEqual(self.explain(*arguments).status, 2, arguments)


class TunnelTests(ExplainCase):
    """Listeners with the protocol TLS, behind which there are no requests."""

    def test_request(self) -> None:
        """A client is judged; what it would ask for nobody here sees."""
        document = SIMPLE.replace("name: edge", "name: edge\n    protocol: TLS")
        self.configure("", """\
tls_routes: [{name: r, backends: [{upstream: u}]}]
upstreams: [{name: u, endpoints: ["127.0.0.1:1"]}]
""", document=document)
        got = self.document(self.root.issue("friend"), "--sni", "a.example", "--path", "/")
        self.assertEqual((got["result"], got["request"]["result"], got["exit"]), ("accepted", "passed through", 0))
        got = self.document(None, "--sni", "a.example", "--path", "/")
        self.assertEqual((got["result"], got["request"]["result"], got["exit"]), ("refused", "not sent", 3))


class RouterTests(ExplainCase):
    """Ports with an SNI router."""

    ROUTER = '''\
"""A router of the tests' own."""
from edgegw.api import PassThrough, Reject, ToListener, sni_router


@sni_router("by_name", codes={"not_ours": "The name is not ours."})
def by_name(hello, address):
    """Send names where they belong."""
    first = (hello.server_name or "").split(".")[0]
    if first == "bad":
        return Reject("not_ours", hello.server_name)
    return {"to": ToListener("edge"), "through": PassThrough("u")}.get(first)


@sni_router("later")
async def later(hello, address):
    """Send everyone to the listener, after all."""
    return ToListener("edge")
'''

    def setUp(self) -> None:
        super().setUp()
        self.write("plugins/router.py", self.ROUTER)
        self.text = SIMPLE.replace("port: 0", "port: 8443") + (
            "sni_routers: [{name: r, port: 8443, address: 127.0.0.1, router: %s}]\n"
            'routes: [{name: all, rules: [{backends: [{upstream: u}]}]}]\n'
            'upstreams: [{name: u, endpoints: ["127.0.0.1:1"]}]\n'
        )

    def route(self, router: str, *arguments: str) -> dict[str, Any]:
        """Explain a client where a router decides."""
        self.configure("", document=self.text.replace("]%s}", "]}").replace("%s", router))
        return self.document(self.root.issue("client"), *arguments)

    def test_answers(self) -> None:
        """Where the router sends a name is told, and judged there."""
        there = self.route("by_name", "--sni", "to.example", "--path", "/")
        self.assertEqual((there["result"], there["listener"], there["request"]["http_status"]),
                         ("accepted", "edge", 0))
        self.assertEqual(there["router"], "by_name sends the client to the listener edge")
        through = self.route("by_name", "--sni", "through.example", "--path", "/")
        self.assertEqual((through["result"], through["upstream"], through["exit"]), ("passed through", "u", 0))
        self.assertIn("PASSED THROUGH to the upstream u", explanation_text(through))
        bad = self.route("by_name", "--sni", "bad.example")
        self.assertEqual((bad["reason"], bad["detail"], bad["exit"]), ("not_ours", "bad.example", 3))
        self.assertEqual(bad["explanation"]["sentence"], "The name is not ours.")
        self.assertEqual(bad["client_sees"].split(",")[0], "the alert unrecognized_name (112)")
        left = self.route("by_name", "--sni", "a.example", "--path", "/", "--host", "other.example")
        self.assertIn("leaves it to the listeners' host names", left["router"])
        self.assertEqual(left["request"]["http_status"], 421)

    def test_one_that_waits(self) -> None:
        """It is not asked unless others may be."""
        document = self.route("later")
        self.assertEqual((document["result"], document["listener"], document["exit"]), ("accepted", "edge", 4))
        self.assertIn("is not asked", document["router"])
        self.assertEqual(self.document(Authority("Other").issue("client"), "--path", "/")["exit"], 4)


class DynamicCertificateTests(ExplainCase):
    """Listeners whose certificates come by name."""

    LATER = '''\
"""A source of the tests' own."""
from edgegw.api import dynamic_certificate_source


@dynamic_certificate_source("later")
async def later(name):
    """Give nothing, later."""


@dynamic_certificate_source("broken")
def broken(name):
    """Fail."""
    raise RuntimeError("boom")
'''

    def setUp(self) -> None:
        super().setUp()
        self.write("plugins/dynamic.py", self.LATER)
        os.chmod(self.write("ca-key.pem", self.root.key_pem), 0o600)

    def ask(self, source: str, *arguments: str, more: str = "", client: Issued | None = None) -> dict[str, Any]:
        """Explain a client of a listener with a source."""
        certificates = "certificates: [{certificate: server.pem, private_key: server-key.pem}]"
        document = SIMPLE.replace(certificates, f"dynamic_certificates: {{source: {source}}}{more}")
        self.configure("", document=document.replace("%s", ""))
        return self.document(client or self.root.issue("client"), *arguments)

    CA = "{dynamic_ca: {certificate: ca.pem, private_key: ca-key.pem, names: ['*.example']}}"

    def test_asked(self) -> None:
        """A plain source is asked for the name, and what it gives is told."""
        there = self.ask(self.CA, "--sni", "a.example")
        self.assertEqual((there["result"], there["exit"]), ("accepted", 0))
        self.assertIn("leads to   a.example, signed by ", explanation_text(there))
        none = self.ask(self.CA, "--sni", "a.test")
        self.assertEqual((none["reason"], none["detail"]), ("unrecognized_name", "dynamic_ca has none for a.test"))
        self.assertEqual(none["client_sees"].split(",")[0], "the alert unrecognized_name (112)")
        self.assertIn("and dynamic_ca gives others by", explanation_text(none))
        self.assertNotIn("strict_sni refuses it", explanation_text(none))
        nameless = self.ask(self.CA)
        self.assertEqual(nameless["reason"], "unrecognized_name")
        broken = self.ask("broken", "--sni", "a.example")
        self.assertEqual((broken["reason"], broken["exit"]), ("certificate_unavailable", 3))
        self.assertEqual(broken["client_sees"], "the alert internal_error (80)")
        self.flushLoggedErrors()

    def test_judged(self) -> None:
        """The client's certificate is judged as on any listener, at another time too."""
        stranger = self.ask(self.CA, "--sni", "a.example", client=Authority("Other").issue("client"))
        self.assertEqual(stranger["reason"], "unknown_ca")
        later = self.ask(self.CA, "--sni", "a.example", "--at", "2099-01-01")
        self.assertEqual(later["reason"], "certificate_expired")

    def test_one_that_waits(self) -> None:
        """It is asked only with ``--online``; a certificate stands in for its, and that is told."""
        there = self.ask("later", "--sni", "a.example")
        self.assertEqual(there["result"], "accepted")
        self.assertIn("later is not asked for a certificate", explanation_text(there))
        stranger = self.ask("later", "--sni", "a.example", client=Authority("Other").issue("client"))
        self.assertEqual(stranger["reason"], "unknown_ca")


class HostileTests(ExplainCase):
    """Files and certificates that were made to break something."""

    def test_files(self) -> None:
        """What is no certificate or key is said to be none, on one line; status 2."""
        issued = self.root.issue("client")
        good = self.write("good.pem", issued.pem)
        encrypted = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
        rows = [
            ("--cert", b"", "has no certificate in it"),
            ("--cert", issued.key_pem, "has no certificate in it"),
            ("--cert", bytes(1000), "has no certificate in it"),
            ("--cert", issued.der[:-1], "cannot be read as a certificate"),
            ("--cert", issued.pem[:-20], "has a PEM block without its end"),
            ("--cert", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "1 cannot be read"),
            ("--cert", issued.pem * 101, "100 are read at most"),
            ("--cert", b"x" * (client_files.MAX_FILE + 1), "is larger than"),
            ("--key", self.root.issue("other").key_pem, "is not the certificate's"),
            ("--key", encrypted, "is encrypted"),
            ("--key", issued.pem, "has no private key in it"),
            ("--key", issued.key_pem * 2, "has 2 private keys"),
            ("--key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be used"),
        ]
        for option, data, words in rows:
            with self.subTest(words=words):
                more = () if option == "--cert" else ("--cert", good)
                printed = self.explain(*more, option, self.write("bad", data))
                self.assertEqual((printed.status, printed.output), (2, ""))
                self.assertIn(words, printed.errors)
                self.assertEqual(len(printed.errors.splitlines()), 1, printed.errors)
        for missing in (self.config + "-not-there", str(self.folder), "\0"):
            self.assertIn("cannot be read", self.explain("--cert", missing).errors)
        for alone in ("--key", "--chain"):
            self.assertEqual(self.explain(alone, good).status, 2)

    @given(st.binary(max_size=400), st.sampled_from([b"", b"\x30", b"-----BEGIN CERTIFICATE-----\n", b"-----END "]))
    def test_any_bytes(self, data: bytes, begin: bytes) -> None:
        """Whatever is in a file, it is read or said to be of no use."""
        with patch.object(client_files, "_read", lambda path: begin + data):
            try:
                self.assertTrue(read_certificates("file"))
            except UnusableFile as error:
                self.assertIn("file", str(error))

    def test_many_blocks(self) -> None:
        """A file full of beginnings takes no longer than another of its size."""
        path = self.write("bad", b"-----BEGIN A-----" * 60_000)
        self.assertRaises(UnusableFile, read_certificates, path)

    def test_control_characters(self) -> None:
        """Nothing of a certificate or of what a policy says reaches the terminal as it is."""
        self.configure(", policies: [greeted]")
        for name in ("friend\x1b[31m\nACCEPTED", "\x1b]0;title\x07\u202e"):
            issued = self.root.issue(name, emails=["x@example.com"])
            printed = self.explain("--cert", self.write("client.pem", issued.pem))
            self.assertTrue(printed.output.isascii())
            self.assertEqual([c for c in printed.output if not c.isprintable() and c != "\n"], [])
            self.assertNotIn("\nACCEPTED\n", printed.output)

    def test_large(self) -> None:
        """A certificate with thousands of names gives no more than a page; one that TLS does not take is refused."""
        many = self.root.issue("client", dns=[f"{n}.example.com" for n in range(3000)])
        printed = self.explain("--cert", self.write("client.pem", many.pem))
        self.assertEqual(printed.status, 0)
        self.assertIn("and 2950 more", printed.output)
        self.assertLess(len(printed.output), 10_000)
        huge = self.root.issue("client", dns=[f"{'x' * 60}{n}.example.com" for n in range(3000)])
        document = self.document(huge)
        self.assertEqual((document["result"], document["reason"]), ("refused", Reason.TLS_ERROR))

    def test_no_usages(self) -> None:
        """Extensions that cannot be read, or are not there, are no reason to fail."""
        self.configure(", policies: [{extended_key_usage: {all_of: [clientAuth]}}]")
        document = self.document(self.root.issue("client", usages=NO_USAGE))
        self.assertEqual(document["remedies"], ["The certificate has no extended key usage."])


class StatusTests(ExplainCase):
    """What the exit status says."""

    def test_configuration(self) -> None:
        """A configuration that cannot be used is status 1, with its faults; its warnings do not hide the answer."""
        self.configure("", "unknown: 1\n")
        printed = self.explain()
        self.assertEqual((printed.status, printed.output), (1, ""))
        self.assertIn(f"{self.config}:8:1: ", printed.errors)
        self.assertEqual(self.explain("--config", self.config + "-not-there").status, 1)
        self.configure("")
        os.chmod(self.folder / "server-key.pem", 0o644)
        printed = self.explain("--cert", self.write("client.pem", self.root.issue("client").pem))
        self.assertEqual(printed.status, 0)
        self.assertIn("warning: ", printed.errors)

    def test_what_was_not_asked(self) -> None:
        """A check that trusts the status does not pass for want of asking; a refusal is one all the same."""
        friend, other = self.root.issue("friend"), self.root.issue("other")
        self.configure(", policies: [waiting]", RequestTests.ROUTES)
        for client, arguments in ((friend, ()), (other, ()), (friend, ("--path", "/open"))):
            self.assertEqual(self.document(client, *arguments)["exit"], 4)
        self.assertEqual(self.document(other, "--path", "/admin")["exit"], 3)
        self.configure(", policies: [greeted, waiting]")
        self.assertEqual([self.document(client)["exit"] for client in (friend, other)], [4, 3])
        self.configure(", policies: [{any: [greeted, silent]}]")
        self.assertEqual([self.document(client)["exit"] for client in (friend, other)], [0, 0])

    def test_usage(self) -> None:
        """What cannot be understood is status 2, with what would be right."""
        for arguments, words in (
            (("--sni", "*.example.com"), "without a wildcard"),
            (("--sni", "a b"), "is not a host name"),
            (("--address", "example.com"), "is not an IP address"),
            (("--tls", "1.1"), "invalid choice"),
            (("--nonsense",), "unrecognized arguments"),
        ):
            printed = self.explain(*arguments)
            self.assertEqual(printed.status, 2)
            self.assertIn(words, printed.errors)


class OnlineTests(ExplainCase):
    """``--online``."""

    async def online(self, client: Issued, *arguments: str) -> dict[str, Any]:
        """Run the command as one of its own, beside the reactor."""
        finished = await run(
            "env", f"PYTHONPATH={Path(__file__).parent.parent}", sys.executable, "-m", "edgegw", "explain", "--config",
            self.config, "--cert", self.write("client.pem", client.chain_pem), "--online", "--json", *arguments,
        )
        self.assertTrue(finished.stdout, finished.text)
        return {**json.loads(finished.stdout), "exit": finished.exit}

    async def test_services(self) -> None:
        """Policies that wait are asked, at the connection and at a rule."""
        refusal = reply(b'{"reason": "no friend"}', "403 Forbidden", content_type="application/json")
        service = start_service(self, refusal)
        rule = (
            "routes: [{name: app, rules: [{policies: [{http_check: {url: '%s'}}], backends: [{upstream: u}]}]}]\n"
            'upstreams: [{name: u, endpoints: ["127.0.0.1:1"]}]\n'
        )
        self.configure(f", policies: [{{http_check: {{url: '{service.url}'}}}}]", rule % service.url)
        client = self.root.issue("client")
        document = await self.online(client)
        self.assertEqual((document["reason"], document["exit"]), (Reason.CHECK_REFUSED, 3))
        self.assertIn("no alert: the handshake is done by then", document["client_sees"])
        self.assertIn("no friend", document["detail"])
        answers = [reply(), refusal]
        service.script = lambda request: answers.pop(0)
        document = await self.online(client, "--path", "/")
        self.assertEqual((document["result"], document["request"]["reason"]), ("accepted", Reason.CHECK_REFUSED))
        self.assertEqual(document["exit"], 3)

    async def test_lists(self) -> None:
        """Lists are fetched, and without it the explanation says that they were not."""
        client, revoked = self.root.issue("client"), self.root.issue("revoked")
        now = datetime.now(UTC)
        entry = x509.RevokedCertificateBuilder().serial_number(revoked.certificate.serial_number)
        crl = (
            x509.CertificateRevocationListBuilder().issuer_name(self.root.name)
            .last_update(now - timedelta(1)).next_update(now + timedelta(1))
            .add_revoked_certificate(entry.revocation_date(now - timedelta(1)).build())
            .sign(self.root.key, SHA256())  # type: ignore[arg-type]  # of a kind that signs
        )  # fmt: skip
        service = start_service(self, reply(crl.public_bytes(Encoding.DER)))
        self.configure(f", policies: [{{crl: {{urls: ['{service.url}']}}}}]")
        offline = await in_thread(self.document, client)
        self.assertEqual((offline["reason"], service.requests), (Reason.CRL_MISSING, []))
        self.assertIn("only with --online", " ".join(offline["remedies"]))
        self.assertEqual((await self.online(client))["exit"], 0)
        self.assertEqual((await self.online(revoked))["reason"], Reason.CERTIFICATE_REVOKED)


class SameTests(ExplainCase):
    """What is explained is what happens."""

    async def test_as_a_gateway_does(self) -> None:
        """For each client the verdict and the alert are those of a gateway with the same configuration."""
        self.configure(", policies: [greeted]")
        running = await start_gateway(self, read(self.config).gateway)
        address = running.address()
        clients = (
            self.inter.issue("friend"), self.inter.issue("friend").without_chain(), self.root.issue("client"),
            Authority("Other").issue("friend"), self.root.issue_expired("friend"), self.root.issue_future("friend"),
            self.root.issue("friend", usages=SERVER), self.root.issue("friend", usages=NO_USAGE), None,
        )  # fmt: skip
        for client in clients:
            for version, number in (("1.2", TLS1_2), ("1.3", TLS1_3)):
                data = b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n"
                seen = await in_thread(
                    try_tls, address, certificate=client, version=number, data=data, server_name="a.example"
                )
                said = self.document(client, "--tls", version, "--sni", "a.example")
                self.assertEqual((said["result"] == "accepted", said["alert"]), (seen.error is None, seen.alert))
