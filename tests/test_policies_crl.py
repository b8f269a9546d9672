"""Revoked certificates stay outside, and so does everybody else when nobody can tell: the policy ``crl``."""
from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.api import Accept, HTTPAnswer, HTTPUnavailable, Peer, Reason, Reject
from edgegw.config.faults import ConfigError
from edgegw.environment import Environments
from edgegw.model import PolicyUse
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.policies.crl import CRL, Config
from edgegw.testing import Authority, Issued, check_plugin, peer, result_of
from edgegw.testing.options import options
from tests.gateway import SERVER, https_listener, until, validation
from tests.http_service import reply, start_service
from tests.revocation_parts import (
    DAY,
    HOUR,
    Environment,
    der,
    directory,
    entry,
    handmade_crl,
    idp,
    listed,
    pem,
    point,
    points,
)
from tests.tls_peers import TLS1_2, TLS1_3, start_port, visit

CERTIFICATE_REVOKED = 44
OK = "200"


def code(verdict: Any) -> str:
    """Give the reason of a refusal, or ``200``, with what an acceptance says of the list."""
    verdict = verdict if isinstance(verdict, (Accept, Reject)) else result_of(verdict)
    if isinstance(verdict, Reject):
        return str(verdict.code)
    return OK + "".join(f" {value}" for value in verdict.attributes.values())


class CRLCase(SynchronousTestCase):
    """A root, an intermediate below it, and a client of each."""

    def setUp(self) -> None:
        self.path = directory(self)
        self.env = Environment(self.path)
        self.root = Authority("root")
        self.inter = Authority("intermediate", self.root)
        self.client = self.root.issue("client")
        self.below = self.inter.issue("below")

    def write(self, data: bytes, name: str = "list.crl") -> str:
        """Write a file; gives its path."""
        file = self.path / name
        fresh = self.path / f".{name}.new"
        fresh.write_bytes(data)
        os.replace(fresh, file)
        return str(file)

    def build(self, *lists: x509.CertificateRevocationList, **settings: Any) -> Any:
        """Make a policy, with a file of these lists if there are any."""
        if lists:
            settings["files"] = (self.write(pem(*lists)),)
        return CRL.build(Config(**settings), self.env)

    def ask(self, policy: Any, one: Issued | Peer) -> str:
        """Ask it about a client."""
        return code(policy.check(one if isinstance(one, Peer) else peer(one)))


class EnvoyTests(CRLCase):
    """Every profile and client of Envoy's table is let in or refused as Envoy does."""

    def setUp(self) -> None:
        super().setUp()
        stranger = Authority("stranger")
        self.clients = {
            "c-valid": self.client,
            "c-revoked": self.root.issue("revoked"),
            "c-inter": self.below,
            "c-interrev": self.inter.issue("revoked below"),
            # That the chain is good is judged before any policy.
            "c-wrongca": stranger.issue("stranger"),
        }
        self.root_list = listed(self.root, self.clients["c-revoked"])
        self.inter_list = listed(self.inter, self.clients["c-interrev"])

    def check(self, policy: Any, *wanted: str) -> None:
        """Assert what becomes of the clients in their order; the last must not come in."""
        found = [self.ask(policy, peer(one)) for one in self.clients.values()]
        self.assertEqual(found, [*wanted, Reason.CRL_MISSING.value])

    def test_root(self) -> None:
        """``crl_root``: clients below an intermediate have no list and stay outside."""
        self.check(self.build(self.root_list), OK, "certificate_revoked", "crl_missing", "crl_missing")

    def test_both(self) -> None:
        """``crl_both``: with a list of each CA only the revoked stay outside."""
        policy = self.build(self.root_list, self.inter_list)
        self.check(policy, OK, "certificate_revoked", OK, "certificate_revoked")

    def test_root_leaf_only(self) -> None:
        """``crl_root_leafonly``: the client's own issuer must have a list."""
        policy = self.build(self.root_list, check="leaf")
        self.check(policy, OK, "certificate_revoked", "crl_missing", "crl_missing")

    def test_inter_leaf_only(self) -> None:
        """``crl_inter_leafonly``: the intermediate's list is enough for its clients, and for no others."""
        policy = self.build(self.inter_list, check="leaf")
        self.check(policy, "crl_missing", "crl_missing", OK, "certificate_revoked")

    def test_expired(self) -> None:
        """``crl_expired``: a list that is out of date keeps everybody outside."""
        revoked = self.clients["c-revoked"]
        policy = self.build(listed(self.root, revoked, begin=datetime.now(UTC) - 3 * DAY, end=datetime.now(UTC) - DAY))
        self.check(policy, "crl_stale", "certificate_revoked", "crl_missing", "crl_missing")

    def test_future(self) -> None:
        """``crl_future``: a list that is not valid yet keeps everybody outside."""
        now = datetime.now(UTC)
        policy = self.build(listed(self.root, self.clients["c-revoked"], begin=now + DAY, end=now + 2 * DAY))
        self.check(policy, "crl_missing", "crl_missing", "crl_missing", "crl_missing")

    def test_other(self) -> None:
        """``crl_other``: a list of another CA, even one of the same name, is none."""
        for other in (Authority("other"), Authority("root")):
            policy = self.build(listed(other))
            self.check(policy, "crl_missing", "crl_missing", "crl_missing", "crl_missing")

    def test_intermediate_revoked(self) -> None:
        """``crl_interrevoked``: whoever is below a revoked intermediate stays outside, for that reason."""
        policy = self.build(listed(self.root, self.clients["c-revoked"], self.inter))
        self.check(policy, OK, "certificate_revoked", "certificate_revoked", "certificate_revoked")

    def test_in_ca(self) -> None:
        """``crl_in_ca``: the CA bundle with the lists in it can be given as it is."""
        path = self.write(self.root.pem + pem(self.root_list) + self.inter.pem)
        policy = CRL.build(Config(files=(path,)), self.env)
        self.check(policy, OK, "certificate_revoked", "crl_missing", "crl_missing")

    def test_expired_allowed(self) -> None:
        """``crl_expired_allow``: with ``on_stale: accept`` an old list still keeps the revoked outside."""
        now = datetime.now(UTC)
        old = listed(self.root, self.clients["c-revoked"], begin=now - 3 * DAY, end=now - DAY)
        policy = self.build(old, on_stale="accept")
        self.check(policy, f"{OK} stale", "certificate_revoked", "crl_missing", "crl_missing")

    def test_no_list(self) -> None:
        """``crl_notacrl`` and ``crl_blank``: a file without a list is a fault of the configuration."""
        for data in (self.root.pem, b"", b"\n"):
            config = Config(files=(self.write(data),))
            self.assertIn("no CRL in it", str(self.assertRaises(ValueError, CRL.build, config, self.env)))

    def test_untrusted(self) -> None:
        """``crl_untrusted``: Envoy lets all in whose chain is not verified; here it must be written out."""
        for answer, wanted in (("refuse", "crl_missing"), ("accept", f"{OK} missing")):
            policy = self.build(self.root_list, self.inter_list, on_missing=answer)
            for one in self.clients.values():
                self.assertEqual(self.ask(policy, peer(one, verified=False)), wanted)


class DecisionTests(CRLCase):
    """Which list counts, and what becomes of those without one."""

    def test_contract(self) -> None:
        """It keeps to what is asked of every plugin."""
        path = self.write(pem(listed(self.root)))
        check_plugin(CRL, Config(files=(path,)), Config(files=(path,), on_missing="accept"), env=self.env)

    def test_missing_accepted(self) -> None:
        """With ``on_missing: accept`` clients without a list come in, and it is told; the revoked do not."""
        policy = self.build(listed(self.root, self.inter), on_missing="accept")
        self.assertEqual(self.ask(policy, Authority("other").issue()), f"{OK} missing")
        self.assertEqual(self.ask(policy, self.below), "certificate_revoked")

    def test_missing_accepted_and_stale_refused(self) -> None:
        """That one list may be missing excuses no other that is stale."""
        now = datetime.now(UTC)
        old = listed(self.root, begin=now - 3 * DAY, end=now - DAY)
        self.assertEqual(self.ask(self.build(old, on_missing="accept"), self.below), "crl_stale")

    def test_time(self) -> None:
        """The time that is judged by is the client's, as ``explain --at`` sets it."""
        now = datetime.now(UTC)
        policy = self.build(listed(self.root, begin=now - HOUR, end=now + HOUR))
        for at, wanted in (
            (-2 * HOUR, "crl_missing"), (-HOUR - timedelta(seconds=30), OK), (HOUR - timedelta(seconds=5), OK),
            (HOUR + timedelta(seconds=5), "crl_stale"),
        ):  # fmt: skip
            self.assertEqual(self.ask(policy, peer(self.client, now=now + at)), wanted, at)

    def test_no_next_update(self) -> None:
        """A list that does not say until when it holds counts as stale."""
        path = self.write(handmade_crl(self.root, times=[b"260101000000Z"]))
        for answer, wanted in (("refuse", "crl_stale"), ("accept", f"{OK} stale")):
            self.assertEqual(self.ask(CRL.build(Config(files=(path,), on_stale=answer), self.env), self.client), wanted)

    def test_newest(self) -> None:
        """Of several lists the newest that is valid counts, whether it adds somebody or takes somebody off."""
        now = datetime.now(UTC)
        old = listed(self.root, self.client, begin=now - 2 * DAY)
        new = listed(self.root, begin=now - DAY)
        future = listed(self.root, self.client, begin=now + DAY, end=now + 2 * DAY)
        self.assertEqual(self.ask(self.build(old), self.client), "certificate_revoked")
        self.assertEqual(self.ask(self.build(old, new), self.client), OK)
        self.assertEqual(self.ask(self.build(future, new, old), self.client), OK)

    def test_forged(self) -> None:
        """A newer list that somebody else has signed takes nobody off."""
        now = datetime.now(UTC)
        real = listed(self.root, self.client, begin=now - 2 * DAY)
        forged = listed(self.root, begin=now - DAY, key=Authority("root").key)
        self.assertEqual(self.ask(self.build(real, forged), self.client), "certificate_revoked")

    def test_names_are_compared_and_not_their_bytes(self) -> None:
        """A CA that writes its name in another string type and case on its lists is still found."""
        attribute = x509.NameAttribute(x509.NameOID.COMMON_NAME, "ROOT ", _type=x509.name._ASN1Type.PrintableString)
        policy = self.build(listed(self.root, self.client, name=x509.Name([attribute])))
        self.assertEqual(self.ask(policy, self.client), "certificate_revoked")

    def test_anchor_that_is_the_client(self) -> None:
        """A client that is trusted by itself has no issuer whose list could be told: it stays outside."""
        policy = self.build(listed(self.root))
        self.assertEqual(self.ask(policy, peer(self.client, chain=[self.client])), "crl_missing")
        own = Authority("own")
        policy = self.build(listed(own, own))
        self.assertEqual(self.ask(policy, peer(own.certificate, chain=[own.certificate])), "certificate_revoked")

    def test_anchor_that_is_an_intermediate(self) -> None:
        """An intermediate that is trusted by itself needs no list of the CA above it."""
        policy = self.build(listed(self.inter))
        self.assertEqual(self.ask(policy, peer(self.below, chain=[self.below, self.inter.certificate])), OK)

    def test_details(self) -> None:
        """A refusal says who was revoked when and why, or which list is missing or old and since when."""
        policy = self.build(listed(self.root, entry(self.client, x509.ReasonFlags.key_compromise)))
        verdict: Any = policy.check(peer(self.client))
        serial = f"{self.client.certificate.serial_number:x}"
        self.assertIn(serial, verdict.detail)
        self.assertIn("CN=client", verdict.detail)
        self.assertIn("was revoked on 2026-01-31 (keyCompromise)", verdict.detail)
        verdict = policy.check(peer(self.below))
        self.assertEqual(verdict.detail, "no CRL of CN=intermediate")
        end = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
        verdict = self.build(listed(self.root, begin=end - DAY, end=end)).check(peer(self.client))
        self.assertEqual(verdict.detail, "the CRL of CN=root was to be renewed by 2026-02-03T04:05:06Z")
        verdict = self.build(listed(self.root, key=self.inter.key)).check(peer(self.client))
        self.assertIn("not signed by its key", verdict.detail)

    def test_options(self) -> None:
        """What cannot be meant is a fault where the configuration is read."""
        for text, wanted in (
            ("{}", "names no CRL"),
            ("{distribution_points: true}", "allowed_urls"),
            ("{files: [a.crl], allowed_urls: [a.example]}", "distribution_points"),
            ("{distribution_points: true, allowed_urls: ['*.example.com']}", "is no host"),
            ("{urls: ['ftp://a.example/']}", "is no plain http or https URL"),
            ("{urls: ['http://u:p@a.example/']}", "is no plain http or https URL"),
            ("{files: [a.crl], on_missing: allow}", "refuse or accept"),
        ):
            error = self.assertRaises(ConfigError, options, CRL, text)
            self.assertIn(wanted, str(error))

    def test_unreadable(self) -> None:
        """A file or directory that is not there is a fault of the configuration."""
        for settings in ({"files": ("absent.crl",)}, {"directories": ("absent",)}):
            self.assertIn("absent", str(self.assertRaises(ValueError, CRL.build, Config(**settings), self.env)))

    def test_strict(self) -> None:
        """With strict a list without a number is a fault; without it the list counts."""
        bare = listed(self.root, self.client, number=None)
        self.assertIn("cRLNumber", str(self.assertRaises(ValueError, self.build, bare, strict=True)))
        self.assertEqual(self.ask(self.build(bare), self.client), "certificate_revoked")


class ScopeTests(CRLCase):
    """Lists for a part of their issuer's certificates (issuingDistributionPoint)."""

    def part(self, *revoked: Any, **fields: Any) -> x509.CertificateRevocationList:
        """Make a list of the root's for a part."""
        return listed(self.root, *revoked, extensions=[idp(**fields)])

    def test_kinds(self) -> None:
        """A list for users speaks of no CA, one for CAs of no user, and one of attribute certificates of neither."""
        users, authorities = {"only_contains_user_certs": True}, {"only_contains_ca_certs": True}
        self.assertEqual(self.ask(self.build(self.part(**users)), self.client), OK)
        self.assertEqual(self.ask(self.build(self.part(self.client, **users)), self.client), "certificate_revoked")
        self.assertEqual(self.ask(self.build(self.part(**authorities)), self.client), "crl_missing")
        below = listed(self.inter)
        self.assertEqual(self.ask(self.build(self.part(**users), below), self.below), "crl_missing")
        self.assertEqual(self.ask(self.build(self.part(**authorities), below), self.below), OK)
        both = self.build(self.part(**users), self.part(self.inter, **authorities), below)
        self.assertEqual(self.ask(both, self.client), OK)
        self.assertEqual(self.ask(both, self.below), "certificate_revoked")
        attributes = self.part(only_contains_attribute_certs=True)
        self.assertEqual(self.ask(self.build(attributes), self.client), "crl_missing")

    def test_points(self) -> None:
        """A list of one distribution point speaks of the certificates that name it, and of no others."""
        url = "http://pki.example/1.crl"
        here = self.root.issue("here", extensions=[points("http://pki.example/0.crl", url)])
        there = self.root.issue("there", extensions=[points("http://pki.example/2.crl")])
        policy = self.build(self.part(full_name=[x509.UniformResourceIdentifier(url)]))
        found = [self.ask(policy, one) for one in (here, there, self.client)]
        self.assertEqual(found, [OK, "crl_missing", "crl_missing"])
        gone = self.build(self.part(here, full_name=[x509.UniformResourceIdentifier(url)]))
        self.assertEqual(self.ask(gone, here), "certificate_revoked")
        # A list without a distribution point is for all of them.
        self.assertEqual(self.ask(self.build(listed(self.root)), there), OK)

    def test_other_names(self) -> None:
        """Directory names, whole or relative to the issuer, are compared too, as is the issuer's own."""
        rdn = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "crl1")])
        whole = x509.DirectoryName(x509.Name([*self.root.name, *rdn]))
        relative = x509.CRLDistributionPoints([point(relative_name=rdn)])
        full = x509.CRLDistributionPoints([point(full_name=[whole])])
        for extension in (relative, full):
            one = self.root.issue("one", extensions=[(extension, False)])
            for fields in ({"relative_name": rdn}, {"full_name": [whole]}):
                self.assertEqual(self.ask(self.build(self.part(**fields)), one), OK)
                self.assertEqual(self.ask(self.build(self.part(**fields)), self.client), "crl_missing")
        own = self.part(full_name=[x509.DirectoryName(self.root.name)])
        self.assertEqual(self.ask(self.build(own), self.client), OK)

    def test_points_that_do_not_serve(self) -> None:
        """A point for some reasons only, or of another CRL issuer, is no reason to take its list for complete."""
        url = "http://pki.example/1.crl"
        policy = self.build(self.part(full_name=[x509.UniformResourceIdentifier(url)]))
        some = point(url, reasons=frozenset([x509.ReasonFlags.key_compromise]))
        other = point(url, crl_issuer=[x509.DirectoryName(Authority("other").name)])
        for one in (some, other):
            client = self.root.issue("client", extensions=[(x509.CRLDistributionPoints([one]), False)])
            self.assertEqual(self.ask(policy, client), "crl_missing")

    def test_broken_points(self) -> None:
        """A certificate whose distribution points are broken is covered by no list for a part."""
        broken = x509.UnrecognizedExtension(x509.ExtensionOID.CRL_DISTRIBUTION_POINTS, b"\x30\x05\x30\x03\xa0\x05\x00")
        client = self.root.issue("client", extensions=[(broken, False)])
        policy = self.build(self.part(full_name=[x509.UniformResourceIdentifier("http://pki.example/1.crl")]))
        self.assertEqual(self.ask(policy, client), "crl_missing")
        self.assertEqual(self.ask(self.build(listed(self.root)), client), OK)


class FollowTests(CRLCase):
    """New lists count without a restart."""

    def test_file(self) -> None:
        """A client that is put on the list stays outside from then on, and the gateway is told of the change."""
        policy = self.build(listed(self.root))
        self.assertEqual(self.ask(policy, self.client), OK)
        self.write(pem(listed(self.root, self.client)))
        self.env.look()
        self.assertEqual(self.ask(policy, self.client), "certificate_revoked")
        self.assertEqual(self.env.changes, 1)

    def test_broken_file(self) -> None:
        """A file that cannot be used leaves the last list in use."""
        policy = self.build(listed(self.root, self.client))
        self.write(b"-----BEGIN X509 CRL-----\n")
        self.env.look()
        self.assertEqual(self.ask(policy, self.client), "certificate_revoked")

    def folder(self, **files: x509.CertificateRevocationList | bytes) -> str:
        """Make or change a directory of files."""
        made = self.path / "crls"
        made.mkdir(exist_ok=True)
        for name, content in files.items():
            data = content if isinstance(content, bytes) else der(content)
            (made / f"{name}.tmp").write_bytes(data)
            os.replace(made / f"{name}.tmp", made / f"{name}.crl")
        return str(made)

    def test_directory(self) -> None:
        """Files that come, change and go in a directory are followed."""
        policy = CRL.build(Config(directories=(self.folder(),)), self.env)
        self.assertEqual(self.env.messages, [f"there is no CRL in {self.folder()} yet"])
        self.assertEqual(self.ask(policy, self.client), "crl_missing")
        for changes, root_list, wanted in ((1, listed(self.root), OK), (2, listed(self.root, self.client), None)):
            self.folder(root=root_list)
            self.env.look()
            self.assertEqual(self.ask(policy, self.client), wanted or "certificate_revoked")
            self.assertEqual(self.env.changes, changes)
        self.folder(inter=listed(self.inter))
        self.env.look()
        self.assertEqual(self.ask(policy, self.below), OK)
        os.remove(Path(self.folder()) / "root.crl")
        self.env.look()
        self.assertEqual(self.ask(policy, self.client), "crl_missing")
        self.assertEqual(self.env.changes, 4)
        self.env.look()
        self.assertEqual(self.env.changes, 4)

    def test_directory_of_links(self) -> None:
        """A Kubernetes volume, whose files are links into a hidden directory that is swapped, is followed."""
        made = self.path / "volume"
        made.mkdir()
        for at, one in enumerate((listed(self.root), listed(self.root, self.client))):
            (made / f"..{at}").mkdir()
            (made / f"..{at}" / "ca.crl").write_bytes(pem(one))
        os.symlink("..0", made / "..data")
        os.symlink("..data/ca.crl", made / "ca.crl")
        policy = CRL.build(Config(directories=(str(made),)), self.env)
        self.assertEqual(self.ask(policy, self.client), OK)
        os.symlink("..1", made / "..new")
        os.replace(made / "..new", made / "..data")
        self.env.look()
        self.assertEqual(self.ask(policy, self.client), "certificate_revoked")

    def test_broken_files_of_a_directory(self) -> None:
        """They are told of once, and take nothing from the other files, nor from what they were before."""
        folder = self.folder(junk=b"junk", root=listed(self.root, self.client), inter=listed(self.inter))
        os.mkdir(Path(folder) / "folder")
        os.mkfifo(Path(folder) / "pipe")
        policy = CRL.build(Config(directories=(folder,)), self.env)
        self.assertIn("junk.crl is not used as it is", self.env.messages[0])
        self.assertEqual(self.ask(policy, self.client), "certificate_revoked")
        self.folder(root=b"broken")
        self.env.look()
        self.env.look()
        self.assertEqual(self.ask(policy, self.client), "certificate_revoked")
        self.assertEqual([one for one in self.env.messages if "root.crl" in one][1:], [])
        self.assertEqual(self.env.counters["unusable_files"], 2)
        self.folder(root=listed(self.root))
        self.env.look()
        self.assertEqual(self.ask(policy, self.client), OK)

    def test_directory_that_goes(self) -> None:
        """A directory that cannot be read any more leaves its lists in use, and says so once."""
        folder = Path(self.folder(root=listed(self.root, self.client)))
        policy = CRL.build(Config(directories=(str(folder),)), self.env)
        os.rename(folder, self.path / "elsewhere")
        self.env.look()
        self.env.look()
        self.assertEqual(self.ask(policy, self.client), "certificate_revoked")
        self.assertEqual(len(self.env.messages), 1)

    def test_too_long(self) -> None:
        """A file with more bytes than allowed is not read."""
        path = self.folder(root=listed(self.root))
        policy = CRL.build(Config(directories=(path,), max_size=100), self.env)
        self.assertEqual(self.ask(policy, self.client), "crl_missing")
        self.assertIn("100 are allowed", self.env.messages[0])
        self.assertRaises(ValueError, self.build, listed(self.root), max_size=100)

    def test_alarm(self) -> None:
        """A list is warned of once before it is stale, and once when it is; one that a newer one replaces is not."""
        now = datetime.now(UTC)
        begin = now - 10 * DAY
        for left, settings, wanted in (
            (2 * DAY, {}, ""), (20 * HOUR, {}, "no newer one has come"), (20 * HOUR, {"warn_before": 3600.0}, ""),
            (3 * DAY, {"warn_before": 7 * 86400.0}, "no newer one has come"), (-HOUR, {}, "are refused"),
            (-HOUR, {"on_stale": "accept"}, "is stale"),
        ):  # fmt: skip
            self.env = Environment(self.path)
            self.build(listed(self.root, begin=begin, end=now + left), **settings)
            self.env.look()
            self.env.look()
            self.assertEqual(len(self.env.messages), 1 if wanted else 0, (left, self.env.messages))
            self.assertIn(wanted, "".join(self.env.messages))
        self.env = Environment(self.path)
        self.build(listed(self.root, begin=begin, end=now - HOUR), listed(self.root, begin=now - HOUR))
        self.env.look()
        self.assertEqual(self.env.messages, [])
        end = self.env.gauges["next_update_seconds"]
        self.assertLess(abs(end - (now + DAY).timestamp()), 60)


class Shelf:
    """An HTTP server for an environment: what it has by URL, and how often each was asked for."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.tags = True

    def __call__(self, request: Any) -> HTTPAnswer:
        self.asked.append(request.url)
        body = self.content.get(request.url)
        if body is None:
            raise HTTPUnavailable(f"GET {request.url}: no route to host")
        tag = f'"{hash(body)}"'
        if self.tags and request.headers.get("if-none-match") == tag:
            return HTTPAnswer(304, {}, b"")
        return HTTPAnswer(200, {"etag": tag} if self.tags else {}, body)


class FetchTests(CRLCase):
    """Lists that are fetched."""

    def setUp(self) -> None:
        super().setUp()
        self.shelf = Shelf()
        self.env = Environment(self.path, http=self.shelf)
        # What a URL gave is remembered by others that are in use.
        self.url = f"http://pki.example/{id(self)}/{self.id()}.crl"

    def put(self, *revoked: Any, url: str = "", authority: Authority | None = None, **options: Any) -> None:
        """Put a list on the shelf."""
        self.shelf.content[url or self.url] = der(listed(authority or self.root, *revoked, **options))

    def test_fetched(self) -> None:
        """A list is fetched as soon as the configuration is in use; until then there is none."""
        self.put(self.client)
        policy = self.build(urls=(self.url,))
        self.assertEqual(self.ask(policy, self.client), "crl_missing")
        self.env.run_due()
        self.assertEqual(self.ask(policy, self.client), "certificate_revoked")
        self.assertEqual((self.shelf.asked, self.env.changes), ([self.url], 1))
        self.assertEqual(self.env.counters["fetches"], 1)

    def test_schedule(self) -> None:
        """It is fetched again after half of the time until nextUpdate, an hour at most and a minute at least."""
        now = datetime.now(UTC)
        for left, refresh, wanted in (
            (30 * DAY, 3600.0, 3600.0), (30 * DAY, 600.0, 600.0), (HOUR, 3600.0, 1800.0), (HOUR / 120, 3600.0, 60.0),
            (-HOUR, 3600.0, 60.0),
        ):  # fmt: skip
            self.shelf.asked.clear()
            self.url += "x"
            self.put(begin=now - 40 * DAY, end=now + left)
            self.env = Environment(self.path, http=self.shelf)
            self.build(urls=(self.url,), refresh=refresh)
            self.env.run_due()
            for seconds, asked in ((wanted - 10, 1), (20, 2)):
                self.env.advance(seconds)
                self.env.run_due()
                self.assertEqual(len(self.shelf.asked), asked, (left, seconds))

    def test_new_list(self) -> None:
        """A new list replaces the one before and the gateway is told; an unchanged one changes nothing."""
        for tags in (True, False):
            self.shelf.tags = tags
            self.url += "x"
            self.put()
            policy = self.build(urls=(self.url,))
            before = self.env.changes
            for _ in range(3):
                self.env.look()
                self.env.advance(3600)
            self.assertEqual(self.env.changes, before + 1)
            self.assertEqual(self.ask(policy, self.client), OK)
            self.put(self.client)
            self.env.look()
            self.assertEqual(self.ask(policy, self.client), "certificate_revoked")
            self.assertEqual(self.env.changes, before + 2)

    def test_failures(self) -> None:
        """While a server is away the last list counts, and it is asked again at growing intervals."""
        self.put(self.client)
        policy = self.build(urls=(self.url,))
        self.env.run_due()
        for body in (None, b"junk", b"<html>", self.root.pem):
            if body is None:
                del self.shelf.content[self.url]
            else:
                self.shelf.content[self.url] = body
            self.env.advance(3600)
            self.env.run_due()
            self.assertEqual(self.ask(policy, self.client), "certificate_revoked")
        self.assertEqual(self.env.counters["failed_fetches"], 4)
        asked = len(self.shelf.asked)
        for seconds, more in (
            (30, 0), (15, 1), (75, 0), (10, 1), (150, 0), (20, 1), (290, 0), (20, 1), (290, 0), (20, 1),
        ):  # fmt: skip
            self.env.advance(seconds)
            self.env.run_due()
            asked += more
            self.assertEqual(len(self.shelf.asked), asked, seconds)
        self.assertIn("no CRL in it", self.env.messages[-1])

    def test_not_replaced_by_older_or_forged(self) -> None:
        """On the way nobody can put an older list, or one of their own, in the place of a good one."""
        now = datetime.now(UTC)
        self.put(self.client, begin=now - HOUR)
        policy = self.build(urls=(self.url,))
        self.env.run_due()
        self.assertEqual(self.ask(policy, self.client), "certificate_revoked")
        for more in ({"begin": now - DAY}, {"key": self.inter.key}):
            self.put(**{"begin": now, **more})
            self.env.look()
            self.env.advance(3600)
            self.env.run_due()
            self.assertEqual(self.ask(policy, self.client), "certificate_revoked")
        self.put(begin=now)
        self.env.advance(3600)
        self.env.run_due()
        self.assertEqual(self.ask(policy, self.client), OK)

    def test_forged_at_first(self) -> None:
        """A forged list that came first keeps everybody outside until the real one comes."""
        self.put(begin=datetime.now(UTC), key=self.inter.key)
        policy = self.build(urls=(self.url,))
        self.env.run_due()
        self.assertEqual(self.ask(policy, self.client), "crl_missing")
        self.put()
        self.env.advance(3600)
        self.env.run_due()
        self.assertEqual(self.ask(policy, self.client), OK)

    def test_reload(self) -> None:
        """A configuration that follows on another begins with its lists: a reload keeps nobody outside."""
        self.put()
        first = self.build(urls=(self.url,))
        self.env.run_due()
        second = CRL.build(Config(urls=(self.url,)), Environment(self.path, http=self.shelf))
        self.assertEqual(self.ask(second, self.client), OK)
        self.assertEqual(self.ask(first, self.client), OK)

    def test_long_lists_are_read_elsewhere(self) -> None:
        """A long list is read on another thread."""
        self.put(*range(1, 5000))
        policy = self.build(urls=(self.url,))
        self.env.run_due()
        self.assertEqual(len(self.env.elsewhere), 1)
        self.assertEqual(self.ask(policy, self.client), OK)

    # --- named by certificates ------------------------------------------------------------

    def named(self, *urls: str, **options: Any) -> Issued:
        """Issue a certificate that says where its list is."""
        return self.root.issue("named", extensions=[points(*urls)], **options)

    def test_named(self) -> None:
        """With ``distribution_points`` the first client waits for its list, and the next one finds it there."""
        one = self.named(self.url)
        self.put(one)
        policy = self.build(distribution_points=True, allowed_urls=("http://pki.example/",))
        self.assertTrue(policy.waits)
        self.assertEqual(self.ask(policy, one), "certificate_revoked")
        self.assertEqual(self.ask(policy, self.named(self.url)), OK)
        self.assertEqual(self.ask(policy, self.client), OK)
        self.assertEqual(self.shelf.asked, [self.url])
        self.env.advance(3600)
        self.env.run_due()
        self.assertEqual(self.shelf.asked, [self.url] * 2)

    def test_named_in_the_chain(self) -> None:
        """The lists of the CAs in the chain are fetched, too."""
        inter = Authority("inter", self.root, extensions=[points(self.url)])
        below = inter.issue("below", extensions=[points(self.url + "2")])
        self.put(inter)
        self.put(authority=inter, url=self.url + "2")
        policy = self.build(distribution_points=True, allowed_urls=("pki.example",))
        self.assertEqual(self.ask(policy, below), "certificate_revoked")
        self.assertEqual(set(self.shelf.asked), {self.url, self.url + "2"})

    def test_not_allowed(self) -> None:
        """Nothing is fetched that the list of allowed URLs does not name, nor for clients that are not verified."""
        policy = self.build(distribution_points=True, allowed_urls=("http://pki.example/crl/",))
        for url in (
            "http://169.254.169.254/latest", "http://pki.example/", "http://pki.example/crl/../admin",
            "http://pki.example@evil.example/crl/", "file:///etc/passwd", "ldap://pki.example/crl/", "http://PKI.example:81/crl/",
        ):  # fmt: skip
            self.assertEqual(self.ask(policy, self.named(url)), "crl_missing")
        good = "http://pki.example/crl/1"
        self.assertEqual(self.ask(policy, peer(self.named(good), verified=False)), "crl_missing")
        self.assertEqual(self.shelf.asked, [])
        self.put(url=good)
        self.assertEqual(self.ask(policy, self.named("http://169.254.169.254/", good)), OK)

    def test_named_and_away(self) -> None:
        """While a list cannot be had its clients stay outside, and no storm of them asks for it again and again."""
        policy = self.build(distribution_points=True, allowed_urls=("pki.example",))
        for _ in range(10):
            self.assertEqual(self.ask(policy, self.named(self.url)), "crl_missing")
        self.assertEqual(len(self.shelf.asked), 1)
        self.put()
        self.env.advance(10)
        self.assertEqual(self.ask(policy, self.named(self.url)), OK)

    def test_named_are_bounded(self) -> None:
        """However many URLs clients bring, as many are remembered as allowed, and those that give lists stay."""
        policy = self.build(distribution_points=True, allowed_urls=("pki.example",))
        self.put()
        self.assertEqual(self.ask(policy, self.named(self.url)), OK)
        for at in range(300):
            self.ask(policy, self.named(f"{self.url}/{at}"))
        self.env.advance(10_000)
        self.shelf.asked.clear()
        self.env.run_due()
        self.assertEqual(len(self.shelf.asked), 256)
        self.assertIn(self.url, self.shelf.asked)
        for at in range(300):
            self.put(url=f"{self.url}/{at}")
            self.ask(policy, self.named(f"{self.url}/{at}"))
        self.assertIn("there are 256 distribution points already", self.env.messages[-1])
        self.assertEqual(self.ask(policy, self.named(self.url)), OK)


class HandshakeTests(TestCase):
    """Real clients of a real port, with real files and servers."""

    def setUp(self) -> None:
        self.root = Authority("root")
        self.server = self.root.issue("server", dns=["a.example"], usages=SERVER)
        self.client = self.root.issue("client", extensions=[points("http://127.0.0.1/")])
        self.path = directory(self)
        self.environments = Environments(reactor, str(self.path), PluginCounters())
        self.addCleanup(self.environments.stop)

    def start(self, config: Config) -> Any:
        """Start a port with the policy."""
        policy = CRL.build(config, self.environments.make("crl", "policies[0]"))
        self.environments.start()
        settings: Any = {"policies": (PolicyUse(CRL, policy),)}
        listener = https_listener([self.server], validation(self.root, **settings))
        return start_port(self, listener), policy

    async def seen(self, port: Any, clients: Sequence[Issued], version: int = TLS1_3) -> list[Any]:
        """Give the reply to each client, or the alert that it got."""
        got = [await visit(port, certificate=one, version=version) for one in clients]
        return [one.reply or one.alert for one in got]

    async def test_file(self) -> None:
        """A revoked client gets the alert certificate_revoked in the handshake, also once the list has changed."""
        file = self.path / "list.crl"
        other = self.root.issue("other")
        file.write_bytes(pem(listed(self.root, other)))
        port, policy = self.start(Config(files=(str(file),)))
        for version in (TLS1_2, TLS1_3):
            self.assertEqual(await self.seen(port, [self.client, other], version), [b"hello", CERTIFICATE_REVOKED])
        (self.path / "new").write_bytes(pem(listed(self.root, self.client)))
        os.replace(self.path / "new", file)
        await until(lambda: isinstance(policy.check(peer(self.client)), Reject))
        self.assertEqual(await self.seen(port, [self.client, other]), [CERTIFICATE_REVOKED, b"hello"])
        self.assertEqual(port.failures, {Reason.CERTIFICATE_REVOKED: 3})

    async def test_server(self) -> None:
        """A list is fetched from a server before its first client is let in, and once for many that come at once."""
        service = start_service(self, reply(der(listed(self.root))))
        one = self.root.issue("client", extensions=[points(service.url)])
        host = service.url.split("/")[2]
        port, _ = self.start(Config(distribution_points=True, allowed_urls=(host,)))
        visits = [visit(port, certificate=one) for _ in range(3)]
        self.assertEqual([(await seen).reply for seen in visits], [b"hello"] * 3)
        self.assertEqual(len(service.requests), 1)
