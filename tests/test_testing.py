"""What plugin authors test with: certificates, clients, an environment, assertions and the contract."""
from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from attrs import define, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from edgegw.api import (
    Accept,
    Duration,
    Explanation,
    FilePath,
    HTTPAnswer,
    HTTPUnavailable,
    IEnvironment,
    Peer,
    Reason,
    Reject,
    Size,
    Verdict,
    option,
    policy,
)
from edgegw.interfaces import IFollowed, IHTTPClient
from edgegw.kinds.policy import PolicyKind
from edgegw.testing import (
    NO_USAGE,
    SERVER,
    Authority,
    ConfigError,
    FakeEnvironment,
    HTTPRequest,
    Request,
    anonymous_peer,
    assert_accepts,
    assert_rejects,
    build,
    check_plugin,
    check_plugin_later,
    default_authority,
    document_of,
    examples_of,
    judge,
    judge_later,
    make_key,
    odd_certificates,
    odd_peers,
    options,
    peer,
    result_of,
)


def folder_of(case: SynchronousTestCase) -> Path:
    """Make an empty folder."""
    folder = Path(case.mktemp()).absolute()
    folder.mkdir()
    return folder


# --- certificates and clients -------------------------------------------------------------------


class AuthorityTests(SynchronousTestCase):
    """Certificates are real ones."""

    def verify(self, authority: Authority, leaf: x509.Certificate, *above: x509.Certificate) -> Any:
        """Verify a client's certificate as cryptography does."""
        verifier = PolicyBuilder().store(Store([authority.certificate])).build_client_verifier()
        return verifier.verify(leaf, list(above))

    def test_chain(self) -> None:
        """A chain over intermediates verifies, and what its owner sends is without the root."""
        root = Authority()
        middle = Authority("middle", issuer=root, path_length=1)
        issued = Authority("low", issuer=middle, path_length=0).issue("client", dns=["client.example"])
        self.assertEqual(len(issued.chain), 2)
        self.assertEqual(issued.root, root.certificate)
        self.verify(root, issued.certificate, *issued.chain)
        self.assertRaises(VerificationError, self.verify, root, issued.certificate)
        self.assertEqual(issued.without_chain().chain, ())
        self.assertEqual(x509.load_pem_x509_certificates(issued.chain_pem), [issued.certificate, *issued.chain])
        self.assertEqual(x509.load_pem_x509_certificate(issued.pem), x509.load_der_x509_certificate(issued.der))

    def test_names_and_usages(self) -> None:
        """The names are the ones that were asked for, and so is the extended key usage."""
        issued = Authority().issue(
            None, dns=["a.example"], uris=["spiffe://a/b"], emails=["a@b.example"], ips=["192.0.2.1", "::1"]
        )
        names = issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertEqual(len(list(names.value)), 5)
        self.assertTrue(names.critical)
        usages = issued.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        self.assertEqual(list(usages.value), [ExtendedKeyUsageOID.CLIENT_AUTH])
        server = Authority().issue(usages=SERVER).certificate
        self.assertEqual(
            list(server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value), list(SERVER)
        )
        bare = Authority().issue(usages=NO_USAGE).certificate
        self.assertRaises(x509.ExtensionNotFound, bare.extensions.get_extension_for_class, x509.ExtendedKeyUsage)

    def test_times(self) -> None:
        """Expired and future certificates are in one call, and any validity can be given."""
        now = datetime.now(UTC)
        authority = Authority()
        self.assertTrue(authority.issue().certificate.not_valid_after_utc > now)
        self.assertTrue(authority.issue_expired().certificate.not_valid_after_utc < now)
        self.assertTrue(authority.issue_future(dns=["a.example"]).certificate.not_valid_before_utc > now)
        for days in (-10_000, 10_000):
            begin = now.replace(microsecond=0) + timedelta(days=days)
            self.assertEqual(authority.issue(not_before=begin).certificate.not_valid_before_utc, begin)
            self.assertEqual(authority.issue(not_after=begin).certificate.not_valid_after_utc, begin)
        old = Authority(not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))
        self.assertTrue(old.certificate.not_valid_after_utc < now)

    def test_keys(self) -> None:
        """Keys are of the kinds that clients have; another kind is refused with the list of them."""
        for kind, wanted in (
            ("EC", ec.EllipticCurvePrivateKey), ("P-384", ec.EllipticCurvePrivateKey),
            ("P-521", ec.EllipticCurvePrivateKey), ("Ed25519", ed25519.Ed25519PrivateKey), ("RSA", rsa.RSAPrivateKey),
            ("RSA-1024", rsa.RSAPrivateKey),
        ):  # fmt: skip
            issued = Authority(key=kind).issue(key=kind)
            self.assertIsInstance(issued.key, wanted)
            loaded: Any = load_pem_private_key(issued.key_pem, None)
            self.assertEqual(loaded.public_key(), issued.certificate.public_key())
        weak: Any = make_key("RSA-1024")
        self.assertEqual(weak.key_size, 1024)
        self.assertIn("P-384", str(self.assertRaises(ValueError, make_key, "DSA")))

    def test_serial_and_extensions(self) -> None:
        """A serial number and extensions of one's own are taken as they are."""
        constraint = x509.NameConstraints([x509.DNSName("a.example")], None)
        authority = Authority(extensions=[(constraint, True)])
        self.assertEqual(
            authority.certificate.extensions.get_extension_for_class(x509.NameConstraints).value, constraint
        )
        self.assertEqual(authority.issue(serial=77).certificate.serial_number, 77)

    def test_crl(self) -> None:
        """A list of revoked certificates is signed by the authority and has those that were named."""
        authority = Authority()
        gone, here = authority.issue(), authority.issue()
        revoked = authority.crl(gone, 12345, number=7)
        self.assertTrue(revoked.is_signature_valid(authority.certificate.public_key()))  # type: ignore[arg-type]
        self.assertIsNotNone(revoked.get_revoked_certificate_by_serial_number(gone.certificate.serial_number))
        self.assertIsNotNone(revoked.get_revoked_certificate_by_serial_number(12345))
        self.assertIsNone(revoked.get_revoked_certificate_by_serial_number(here.certificate.serial_number))
        self.assertEqual(revoked.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number, 7)
        self.assertEqual(len(authority.crl(number=None).extensions), 1)

    def test_write(self) -> None:
        """Files for commands have the chain and the key, which nobody else may read."""
        folder = folder_of(self)
        authority = Authority()
        issued = Authority("middle", issuer=authority).issue()
        certificate, key = issued.write(folder, "alice")
        self.assertEqual(Path(certificate).read_bytes(), issued.chain_pem)
        self.assertEqual(Path(key).read_bytes(), issued.key_pem)
        self.assertEqual(stat.S_IMODE(os.stat(key).st_mode), 0o600)
        self.assertTrue(os.path.isabs(certificate))
        self.assertEqual(Path(authority.write(folder)[0]).name, "ca.pem")


class PeerTests(SynchronousTestCase):
    """Clients for policies to judge."""

    def test_names(self) -> None:
        """A client with a real certificate is one line."""
        client = peer(
            dns=["A.example"], uris=["spiffe://a.example/b"], emails=["a@b.example"], ips=["192.0.2.9"], common_name="x"
        )
        self.assertEqual(
            (client.dns_names, client.spiffe_id, client.emails, client.ip_addresses, client.common_name),
            (("A.example",), "spiffe://a.example/b", ("a@b.example",), ("192.0.2.9",), "x"),
        )
        self.assertTrue(client.verified)
        self.assertEqual([one.subject for one in client.certificates], ["CN=x", "CN=default test root"])
        self.assertEqual(peer(key="Ed25519", serial=255).serial, "ff")

    def test_given_certificates(self) -> None:
        """Certificates of every kind are taken, with the chain that is known of them."""
        root = Authority("the root")
        issued = Authority("the middle", issuer=root).issue("leaf")
        client = peer(issued)
        self.assertEqual([one.subject for one in client.certificates], ["CN=leaf", "CN=the middle", "CN=the root"])
        self.assertEqual([one.subject for one in client.connection.identity.chain], ["CN=the middle"])
        assert client.certificate is not None
        for given in (issued.certificate, issued.der, client.certificate):
            self.assertEqual(peer(given).sha256, client.sha256)
            self.assertEqual(len(peer(given).chain), 1)
        self.assertEqual(len(peer(issued, chain=[issued, root.certificate]).chain), 2)
        self.assertRaises(TypeError, peer, issued, dns=["other.example"])
        self.assertRaises(TypeError, peer, issued, key="RSA")

    def test_connection(self) -> None:
        """The facts of the connection can be set, each by its name."""
        now = datetime(2020, 1, 1, tzinfo=UTC)
        client = peer(
            address="2001:db8::1", port=7, listener="inner", server_name="API.example.", tls_version="TLSv1.2",
            cipher="c", group=None, resumed=True, attributes={"a": "b"}, now=now,
        )  # fmt: skip
        self.assertEqual(
            (client.address, client.listener, client.server_name, client.tls_version, client.cipher, client.group,
             client.resumed, client.attributes, client.now, client.connection.peer_port),
            ("2001:db8::1", "inner", "api.example", "TLSv1.2", "c", None, True, {"a": "b"}, now, 7),
        )  # fmt: skip
        self.assertFalse(peer(verified=False).verified)

    def test_time(self) -> None:
        """A policy is told the time in UTC, whatever zone a test has it in; without a zone it would be any time."""
        noon = datetime(2026, 7, 15, 14, tzinfo=ZoneInfo("Europe/Berlin"))
        for client in (peer(now=noon), anonymous_peer(now=noon), peer(), anonymous_peer()):
            self.assertEqual(client.now.tzinfo, UTC)
        self.assertEqual(peer(now=noon).now.hour, 12)
        for make in (peer, anonymous_peer):
            self.assertRaises(ValueError, make, now=datetime(2026, 7, 15, 12))

    def test_anonymous(self) -> None:
        """A client without a certificate has none of its facts."""
        client = anonymous_peer(address="192.0.2.8")
        self.assertEqual((client.certificate, client.verified, client.sha256, client.chain), (None, False, "", ()))
        self.assertEqual(client.address, "192.0.2.8")

    def test_request(self) -> None:
        """At a route's rule there is a request; a header that came twice has no value."""
        request = Request("POST", "/x", "a.example", {"Accept": "text/plain", "cookie": None})
        client = peer(request=request)
        assert client.request is not None
        self.assertEqual(client.request.header("ACCEPT"), "text/plain")
        self.assertIsNone(client.request.header("Cookie"))
        self.assertIsNone(client.request.header("other"))
        self.assertIsNone(peer().request)
        self.assertEqual(anonymous_peer(request=request).request, request)

    def test_one_authority(self) -> None:
        """Clients of one test have one authority."""
        self.assertEqual(peer().chain[-1], default_authority().certificate)


class OddPeerTests(SynchronousTestCase):
    """Clients that nobody expects."""

    def test_facts(self) -> None:
        """None of their facts raises, and warnings are not the author's trouble."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            odd_certificates.cache_clear()
            for what, client in odd_peers():
                for name in ("subject", "issuer", "serial", "dns_names", "uris", "emails", "ip_addresses", "spiffe_id",
                             "common_name", "sha256", "ip", "verified", "certificates"):  # fmt: skip
                    getattr(client, name)
                self.assertTrue(what)

    def test_what_is_among_them(self) -> None:
        """Version 1, many names, control characters, garbage and no certificate at all are among them."""
        found = dict(odd_peers())
        self.assertEqual(len(found["200 DNS names"].dns_names), 200)
        self.assertEqual(found["garbage"].subject, "")
        self.assertIsNone(found["no certificate"].certificate)
        self.assertEqual(found["a serial number of 1000 bits"].serial, "01" + "00" * 124)
        self.assertTrue(any("\x00" in one.common_name for one in found.values()))
        version1 = found["version 1"].certificate
        assert version1 is not None
        self.assertEqual(version1.x509.version, x509.Version.v1)
        expired = found["expired"].certificate
        assert expired is not None and expired.not_after is not None
        self.assertTrue(expired.not_after < datetime.now(UTC))

    def test_signatures(self) -> None:
        """Even one that no library makes is signed by the key in it."""
        version1 = dict(odd_certificates())["version 1"].x509
        public: Any = version1.public_key()
        public.verify(version1.signature, version1.tbs_certificate_bytes, ec.ECDSA(version1.signature_hash_algorithm))


# --- the environment ----------------------------------------------------------------------------


class EnvironmentTests(SynchronousTestCase):
    """The gateway as a policy sees it, in the test's hands."""

    def test_interfaces(self) -> None:
        """It is what the gateway gives."""
        env = FakeEnvironment(folder_of(self))
        (Path(env.directory) / "file").write_bytes(b"")
        verifyObject(IEnvironment, env)
        verifyObject(IHTTPClient, env.http())
        verifyObject(IFollowed, env.follow("file", len))

    def test_time(self) -> None:
        """Time passes when the test says so, and never back."""
        env = FakeEnvironment()
        self.assertEqual(env.seconds(), 0.0)
        env.advance(1.5)
        self.assertEqual(env.seconds(), 1.5)
        self.assertRaises(ValueError, env.advance, -1)

    def test_follow(self) -> None:
        """A file is read again when the test says so; what cannot be read leaves the last value."""
        env = FakeEnvironment(folder_of(self))
        path = Path(env.directory) / "list"
        self.assertRaises(OSError, env.follow, "list", int)
        path.write_text("1")
        followed = env.follow("list", int)
        self.assertEqual((followed.value, followed.error), (1, ""))
        self.assertFalse(env.reread())
        path.write_text("2")
        self.assertTrue(env.reread())
        self.assertEqual((followed.value, env.changes), (2, 1))
        path.write_text("x")
        self.assertFalse(env.reread())
        self.assertEqual((followed.value, env.changes), (2, 1))
        self.assertIn("invalid literal", followed.error)
        path.unlink()
        self.assertFalse(env.reread())
        path.write_text("2")
        self.assertTrue(env.reread())
        self.assertEqual((followed.value, followed.error), (2, ""))

    def test_follow_limit(self) -> None:
        """A file that is too long is refused, now and later."""
        env = FakeEnvironment(folder_of(self))
        path = Path(env.directory) / "list"
        path.write_bytes(bytes(11))
        self.assertRaises(ValueError, env.follow, str(path), len, 10)
        path.write_bytes(bytes(10))
        followed = env.follow(str(path), len, 10)
        path.write_bytes(bytes(11))
        env.reread()
        self.assertEqual((followed.value, bool(followed.error)), (10, True))

    def test_every(self) -> None:
        """What is due runs when the test says so: at once, and then after its time."""
        env = FakeEnvironment()
        calls: list[float] = []

        async def call() -> None:
            calls.append(env.seconds())

        env.every(10, call)
        self.assertEqual((env.run_due(), env.run_due()), (1, 0))
        env.advance(9.9)
        env.run_due()
        env.advance(0.1)
        env.run_due()
        self.assertEqual(calls, [0.0, 10.0])
        self.assertRaises(ValueError, env.every, 0, call)

    def test_every_that_fails_or_waits(self) -> None:
        """What such a function raises comes out, and one that waits is told so."""
        env = FakeEnvironment()

        async def fail() -> None:
            raise ZeroDivisionError

        env.every(1, fail)
        self.assertRaises(ZeroDivisionError, env.run_due)
        env.every(1, Deferred)
        self.assertRaises(AssertionError, env.run_due)

    def test_http(self) -> None:
        """The test answers requests, and sees what was asked."""
        env = FakeEnvironment(http=lambda request: HTTPAnswer(200, {}, request.body * 2))
        asked = env.http().request("POST", "https://a.example/", headers={"X-A": "b"}, body=b"ab", timeout=2)
        answer = result_of(asked)
        self.assertEqual((answer.status, answer.body), (200, b"abab"))
        self.assertEqual(
            env.requests, [HTTPRequest("POST", "https://a.example/", {"x-a": "b"}, b"ab", 2, 1_048_576)]
        )
        asked = env.http().request("POST", "https://a.example/", body=bytes(6), limit=11)
        self.assertRaises(HTTPUnavailable, result_of, asked)

    def test_http_otherwise(self) -> None:
        """A service may be away or take its time; without an answer the test is told so."""

        def away(request: HTTPRequest) -> HTTPAnswer:
            raise HTTPUnavailable("refused")

        for http, wanted in (
            (away, HTTPUnavailable), (None, AssertionError), (lambda request: None, AssertionError),
            (lambda request: Deferred(), AssertionError),
        ):  # fmt: skip
            self.assertRaises(wanted, result_of, FakeEnvironment(http=http).http().request("GET", "https://a.example/"))
        later = FakeEnvironment(http=lambda request: succeed(HTTPAnswer(204, {}, b"")))
        self.assertEqual(result_of(later.http().request("GET", "https://a.example/")).status, 204)

    def test_http_authorities(self) -> None:
        """The file of a service's authorities is read, and refused if there is none in it."""
        env = FakeEnvironment(folder_of(self))
        self.assertRaises(OSError, env.http, "ca.pem")
        Authority().write(env.directory)
        env.http("ca.pem")
        self.assertRaises(ValueError, env.http, "ca-key.pem")

    def test_counters_and_log(self) -> None:
        """What was counted and logged can be read."""
        env = FakeEnvironment()
        count = env.counter("looked_up", "Look-ups.")
        self.assertEqual(env.counters, {"looked_up": 0})
        count(2)
        env.counter("looked_up", "Look-ups.")(1)
        self.assertEqual(env.counters, {"looked_up": 3})
        self.assertRaises(ValueError, env.counter, "Looked-Up", "")
        env.gauge("size", "How many there are.")(7)
        self.assertEqual(env.gauges, {"size": 7})
        self.assertRaises(ValueError, env.gauge, "_", "")
        env.log.warn("no {what}", what="luck")
        self.assertEqual(env.messages, ["no luck"])
        env.changed()
        self.assertEqual(env.changes, 1)


class ResultTests(SynchronousTestCase):
    """Coroutines without a reactor."""

    def test_results(self) -> None:
        """A coroutine's or a Deferred's result comes out, and so does what it raises."""

        async def give() -> int:
            return await succeed(7)

        async def fail() -> None:
            raise ZeroDivisionError

        self.assertEqual(result_of(give()), 7)
        self.assertEqual(result_of(succeed(8)), 8)
        self.assertRaises(ZeroDivisionError, result_of, fail())

    def test_waiting(self) -> None:
        """What waits is ended, and the test is told."""
        cancelled: list[object] = []
        self.assertRaises(AssertionError, result_of, Deferred(cancelled.append))
        self.assertEqual(len(cancelled), 1)


# --- options ------------------------------------------------------------------------------------


@frozen
class Inner:
    """Options inside options."""

    size: Size = option("A size.", default=1024)


@frozen
class Config:
    """Options of every sort."""

    suffixes: tuple[str, ...] = option("Endings.", min_items=1)
    wait: Duration = option("A time.", default=30.0)
    file: FilePath | None = option("A file.", default=None)
    mode: Literal["strict", "lax"] = option("How strictly.", default="strict")
    inner: tuple[Inner, ...] = option("More.", default=())
    names: Mapping[str, int] | None = option("Numbers by name.", default=None)


@policy("dns_suffix", Config, codes={"no_name": "The certificate has no DNS name."})
def dns_suffix(config: Config, peer: Peer) -> Verdict:
    """Let clients in whose DNS names have an ending.

    Example::

        policies:
          - any:
              - dns_suffix: {suffixes: [.corp.example], wait: 1m}
              - not: {dns_suffix: {suffixes: [.lab.example]}}
    """
    if not peer.dns_names:
        return Reject("no_name")
    if all(name.endswith(config.suffixes) for name in peer.dns_names):
        return Accept({"team": peer.dns_names[0].partition(".")[0]})
    return Reject("dns_suffix", f"{len(peer.dns_names)} names")


@policy("everyone")
def everyone(peer: Peer) -> Verdict:
    """Let everyone in.

    Example::

        policies: [everyone]
    """
    return Accept()


OURS = Config((".corp.example",))


class OptionsTests(SynchronousTestCase):
    """Options as a configuration writes them."""

    def test_read(self) -> None:
        """A mapping and YAML are read with the rules of a configuration."""
        wanted = Config((".a", ".b"), 90.0, "/etc/x", "lax", (Inner(2048),))
        document = {"suffixes": [".a", ".b"], "wait": "1m30s", "file": "x", "mode": "lax", "inner": [{"size": "2KiB"}]}
        self.assertEqual(options(dns_suffix, document, "/etc"), wanted)
        self.assertEqual(options(dns_suffix, "suffixes: [.corp.example]"), OURS)
        self.assertIsNone(options(everyone))

    def test_faults(self) -> None:
        """Faults are told as edgegw check tells them."""
        error = self.assertRaises(ConfigError, options, dns_suffix, "suffixes: []\nmood: lax")
        self.assertIn("dns_suffix:2:1: mood: is no known key", str(error))
        self.assertIn("dns_suffix:1:11: suffixes: is an empty list", str(error))
        self.assertRaises(ConfigError, options, dns_suffix)
        self.assertRaises(ConfigError, options, dns_suffix, "- a list")
        self.assertRaises(ConfigError, options, everyone, "a: b")

    def test_written(self) -> None:
        """Options can be written back; those that have their default are left out."""
        self.assertEqual(document_of(OURS), {"suffixes": [".corp.example"]})
        config = Config((".a",), 90.0, "/etc/x", "lax", (Inner(2048), Inner()), {"a": 1})
        document = document_of(config)
        self.assertEqual(document["inner"], [{"size": "2KiB"}, {}])
        self.assertEqual(options(dns_suffix, document), config)

    def test_examples(self) -> None:
        """A docstring's example is found however deep it stands."""
        self.assertEqual(
            list(examples_of(dns_suffix)),
            [("any", {"suffixes": [".corp.example"], "wait": "1m"}), ("not", {"suffixes": [".lab.example"]})],
        )
        self.assertEqual(list(examples_of(everyone)), [("policies", None)])


# --- assertions ---------------------------------------------------------------------------------


@policy("waiting", Config, cache_seconds=1.0, without_certificate=True)
class Waiting:
    """Ask a service, and look at the chain although nobody was told."""

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self.http = env.http()
        self.closed = 0

    async def check(self, peer: Peer) -> Verdict:
        """Ask."""
        answer = await self.http.request("GET", "https://a.example/")
        return Accept({"body": answer.body.decode()}) if answer.status == 200 else Reject("waiting")

    def close(self) -> None:
        """Count."""
        self.closed += 1


def answering(status: int) -> FakeEnvironment:
    """Give an environment whose services give one answer."""
    return FakeEnvironment(http=lambda request: HTTPAnswer(status, {}, b"yes"))


def kind(function: Any, **more: Any) -> PolicyKind:
    """Make a kind of a function that judges."""
    function.__doc__ = function.__doc__ or "A policy of a test."
    return policy("tried", **more)(function)


class AssertionTests(SynchronousTestCase):
    """Assertions about policies."""

    def fails(self, wanted: str, call: Any, *args: Any, **options: Any) -> None:
        """See that an assertion fails with a text."""
        self.assertIn(wanted, str(self.assertRaises(AssertionError, call, *args, **options)))

    def test_accepts(self) -> None:
        """It passes for who comes in, with the attributes that were said, and fails otherwise."""
        client = peer(dns=["a.corp.example"])
        verdict = assert_accepts(dns_suffix, OURS, client, team="a")
        self.assertEqual(verdict, Accept({"team": "a"}))
        assert_accepts(dns_suffix, {"suffixes": [".corp.example"]}, client)
        assert_accepts(everyone, None, client)
        self.fails("team", assert_accepts, dns_suffix, OURS, client, team="b")
        self.fails("was refused with dns_suffix: 1 names", assert_accepts, dns_suffix, OURS, peer(dns=["mtls.com"]))

    def test_rejects(self) -> None:
        """It passes for who does not, with the code that was said, and fails otherwise."""
        self.assertEqual(assert_rejects(dns_suffix, OURS, peer(), "no_name"), Reject("no_name"))
        assert_rejects(dns_suffix, OURS, peer(dns=["mtls.com"]))
        self.fails("refused with no_name, and not", assert_rejects, dns_suffix, OURS, peer(), "dns_suffix")
        self.fails("was accepted", assert_rejects, dns_suffix, OURS, peer(dns=["a.corp.example"]))
        undeclared = kind(lambda peer: Reject("other"))
        self.fails("does not declare", assert_rejects, undeclared, None, peer(), "other")
        self.fails("does not declare", assert_rejects, build(undeclared), None, peer(), "other")
        assert_rejects(kind(lambda peer: Reject(Reason.SUBJECT)), None, peer(), Reason.SUBJECT)
        assert_rejects(kind(lambda peer: Reject("subject")), None, peer(), "subject")

    def test_neither(self) -> None:
        """What is no verdict is told as what it is: a refusal of everybody."""
        for answer in (None, True, "yes", Accept):
            judged = kind(lambda peer, answer=answer: answer)
            self.fails("which is neither Accept nor Reject", judge, judged, None, peer())

    def test_as_the_gateway_judges(self) -> None:
        """An answer that the gateway makes a refusal of passes no assertion, for whatever it is taken."""

        async def accepts(peer: Peer) -> Verdict:
            return Accept()

        class Friendly(Accept):  # type: ignore[misc]  # attrs' frozen classes can be derived from
            pass

        for function, words in (
            (lambda peer: Accept({"n": 5}), "the attribute 'n' a value that is no text: 5"),
            (lambda peer: Accept({5: "n"}), "an attribute whose name is no text: 5"),
            (lambda peer: Accept([("n", "5")]), "attributes that are no mapping: [('n', '5')]"),
            (lambda peer: accepts(peer), "something to await"),
            (lambda peer: Friendly(), "neither Accept nor Reject"),
            (lambda peer: Reject("tried", 5), "no text"),
        ):
            for call in (assert_accepts, assert_rejects, judge):
                self.fails(words, call, kind(function), None, peer())
        many = peer(dns=[f"host-{at:04}.example" for at in range(2000)])
        assert_rejects(everyone, None, many, Reason.CERTIFICATE_INVALID)

    def test_one_client_for_several_questions(self) -> None:
        """What a policy says of a client is not known to it when it is asked again."""
        client = peer(attributes={"team": "a"})
        for _ in range(2):
            assert_accepts(kind(lambda peer: Accept({"seen": ",".join(peer.attributes)})), None, client, seen="team")

    def test_waiting(self) -> None:
        """An async policy is run to its end; one that waits for the world fails."""
        assert_accepts(Waiting, OURS, peer(), env=answering(200), body="yes")
        assert_rejects(Waiting, OURS, peer(), "waiting", env=answering(404))
        never = FakeEnvironment(http=lambda request: Deferred())
        self.fails("it waits", judge, Waiting, OURS, peer(), never)

    def test_as_the_gateway_asks(self) -> None:
        """The chain is there only for policies that said so, and so are clients without a certificate."""

        def length(peer: Peer) -> Verdict:
            """Tell the chain's length."""
            return Accept({"length": str(len(peer.chain))})

        self.assertRaises(RuntimeError, judge, kind(length), None, peer())
        assert_accepts(kind(length, needs_chain=True), None, peer(), length="2")
        self.fails("without_certificate=True", judge, everyone, None, anonymous_peer())
        assert_accepts(Waiting, OURS, anonymous_peer(), env=answering(200))
        request = Request("GET", "/x")
        assert_accepts(kind(lambda peer: Accept({"path": peer.request.path})), None, peer(request=request), path="/x")

    def test_built(self) -> None:
        """A policy that was built keeps what it remembers; one that was not is closed after each question."""
        built = build(Waiting, OURS, answering(200))
        assert_accepts(built, None, peer())
        assert_accepts(built, None, anonymous_peer())
        self.assertEqual(built.policy.closed, 0)
        built.close()
        self.assertEqual(built.policy.closed, 1)
        self.assertRaises(TypeError, judge, built, OURS, peer())
        made: list[Any] = []
        build_it = PolicyKind.build
        self.patch(PolicyKind, "build", lambda kind, *given: made.append(build_it(kind, *given)) or made[-1])
        assert_accepts(Waiting, OURS, peer(), env=answering(200))
        self.assertEqual(made[0].closed, 1)

    def test_misuse(self) -> None:
        """What is no kind, or has other options, is told."""
        for given in ((lambda config, peer: Accept(), OURS), (dns_suffix, None), (dns_suffix, 7), (everyone, OURS)):
            self.assertRaises(TypeError, judge, *given, peer())
        self.assertRaises(ConfigError, judge, dns_suffix, {"suffix": 1}, peer())


class LaterTests(TestCase):
    """Policies that wait for the world, in a test with a reactor."""

    async def test_judge_later(self) -> None:
        """A policy may take its time."""
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        clock: Any = reactor
        env = FakeEnvironment(http=lambda request: deferLater(clock, 0, HTTPAnswer, 200, {}, b"later"))
        self.assertEqual(await judge_later(Waiting, OURS, peer(), env), Accept({"body": "later"}))
        await check_plugin_later(Waiting, OURS, env=env)


# --- the contract -------------------------------------------------------------------------------


@frozen
class Silent:
    """Says nothing of its option."""

    size: int = 1


@frozen
class Outer:
    """Has others inside."""

    silent: tuple[Silent, ...] = option("More.", default=())


class ContractTests(SynchronousTestCase):
    """check_plugin finds what an author may get wrong."""

    def breaks(self, wanted: str, tried: Any, *configs: Any) -> None:
        """See that a plugin breaks the contract, and that it is said how."""
        self.assertIn(wanted, str(self.assertRaises(AssertionError, check_plugin, tried, *configs)))

    def test_kept(self) -> None:
        """Plugins that keep to it pass."""
        check_plugin(dns_suffix, OURS, {"suffixes": [".a"], "wait": "2s"}, "suffixes: [.b]")
        check_plugin(everyone)
        check_plugin(Waiting, OURS, env=answering(200))

    def test_no_kind(self) -> None:
        """A function without the decorator is no plugin."""
        self.breaks("is the decorator missing", lambda peer: Accept())

    def test_options(self) -> None:
        """Options must be given, documented, unchangeable, and of types that a configuration has."""
        self.breaks("give check_plugin some", dns_suffix)

        @define
        class Changing:
            size: int = option("A size.", default=1)

        @frozen
        class Strange:
            size: complex = option("A size.", default=1j)

        @frozen
        class Lost:
            size: Hidden = option("A size.", default=1)  # type: ignore[name-defined]  # noqa: F821 - on purpose

        judged = kind(lambda config, peer: Accept(), config=Silent)
        self.breaks("Silent.size is not documented", judged, Silent())
        self.breaks("Silent.size is not documented", kind(lambda config, peer: Accept(), config=Outer), Outer())
        self.breaks("can be changed", kind(lambda config, peer: Accept(), config=Changing), Changing())
        self.breaks("'Hidden' is not defined", kind(lambda config, peer: Accept(), config=Lost), Lost())
        self.breaks("complex", kind(lambda config, peer: Accept(), config=Strange), Strange())
        self.breaks("are no options of", dns_suffix, Silent())
        self.breaks("is no known key", dns_suffix, {"suffixes": [".a"], "x": 1})

    def test_round_trip(self) -> None:
        """Options that no configuration could give are no options to test with."""
        self.breaks("no configuration can give", dns_suffix, Config(()))
        self.breaks("no configuration can give", dns_suffix, Config((".a",), wait=-5.0))

    def test_example(self) -> None:
        """The docstring's example must be a configuration."""

        def tried(config: Config, peer: Peer) -> Verdict:
            """Judge.

            Example::

                policies: [{tried: {suffix: 1}}]
            """
            return Accept()

        self.breaks("the docstring's example", kind(tried, config=Config), OURS)

    def test_build(self) -> None:
        """A policy that cannot be built is told, and so is one without a check."""

        class Failing:
            def __init__(self, env: IEnvironment) -> None:
                raise ValueError("no luck")

            def check(self, peer: Peer) -> Verdict:
                return Accept()

        class Lacking:
            """Loses its check."""

            def __init__(self, env: IEnvironment) -> None:
                self.check = None

            def check(self, peer: Peer) -> Verdict:  # type: ignore[no-redef]  # hidden by the attribute
                return Accept()

        self.breaks("cannot be built: ValueError: no luck", kind(Failing))
        self.breaks("has no method check", kind(Lacking))

    def test_verdicts(self) -> None:
        """Exceptions, other answers, undeclared codes and unfit details are found with an odd client."""

        async def later(peer: Peer) -> Verdict:
            return Accept()

        for judged, wanted in (
            (lambda peer: Accept({"name": peer.dns_names[0]}), "no subject alternative names: raised IndexError"),
            (lambda peer: True, "answered True"),
            (lambda peer: None, "answered None"),
            (lambda peer: Reject("other"), "refused with 'other'"),
            (lambda peer: Reject("tried", peer.common_name), "control characters"),
            (lambda peer: Reject("tried", ", ".join(peer.dns_names * 9)), "more than 4096"),
            (lambda peer: Reject("tried", 7), "which is no text"),
            (lambda peer: Accept({"serial": 7}), "the attribute 'serial' a value that is no text: 7"),
            (lambda peer: Accept({"length": str(len(peer.chain))}), "raised RuntimeError"),
            (lambda peer: later(peer), "write it with async def"),
        ):
            self.breaks(wanted, kind(judged))
        check_plugin(kind(lambda peer: Reject("tried", repr(peer.common_name))))

    def test_cache(self) -> None:
        """An answer that is kept for a certificate must come from the certificate alone."""
        by_address = kind(lambda peer: Accept({"address": peer.address}), cache_seconds=10.0)
        self.breaks("on another connection with the same certificate", by_address)
        check_plugin(kind(lambda peer: Accept({"sha256": peer.sha256}), cache_seconds=10.0))

    def test_every_fault_once(self) -> None:
        """One mistake is told once, however many clients show it."""
        error = self.assertRaises(AssertionError, check_plugin, kind(lambda peer: True))
        self.assertEqual(str(error).count("answered True"), 1)

    def test_codes(self) -> None:
        """A code without a sentence explains nothing."""
        self.breaks("has no sentence", kind(lambda peer: Accept(), codes={"no_luck": Explanation("")}))
