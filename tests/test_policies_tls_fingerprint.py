"""``tls_fingerprint``: lists of JA3 and JA4 values, in the configuration and in files."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError
from edgegw.model import PolicyNot, PolicyUse
from edgegw.observe.counters import PolicyMetrics
from edgegw.policies.tls_fingerprint import TLSFingerprint, normalise_tls_fingerprint
from edgegw.policy_chain import build_chain
from edgegw.policy_step import UNDECIDED
from edgegw.testing import (
    FakeEnvironment,
    anonymous_peer,
    assert_accepts,
    assert_rejects,
    build,
    check_plugin,
    examples_of,
    options,
    peer,
)
from edgegw.verdict import Accept, Reason, Reject
from tests.client_hellos import CAPTURED, captured

CURL, CHROMIUM, AGAIN = captured("curl"), captured("chromium"), captured("chromium-again")
CLIENTS = {one.name: anonymous_peer(ja3=one.ja3, ja4=one.ja4) for one in CAPTURED}


def accepted(document: dict[str, Any], env: FakeEnvironment | None = None) -> set[str]:
    """Give who comes in."""
    policy = build(TLSFingerprint, document, env)
    return {name for name, client in CLIENTS.items() if type(policy.check(client)) is Accept}


class SpellingTests(SynchronousTestCase):
    """How a fingerprint may be written."""

    def test_spellings(self) -> None:
        """JA3 of either case, JA4, and beginnings of it."""
        self.assertEqual(normalise_tls_fingerprint(f" {CURL.ja3.upper()} "), CURL.ja3)
        for text in (CURL.ja4, "t*", "t13*", "t13d*", "t13i31*", "t13d1516h2_*", "t13d1516h2_8daa*", f"{CURL.ja4}*",
                     "t00i000000_000000000000_000000000000", "t13d0101H3_*", "ts3i*"):
            self.assertEqual(normalise_tls_fingerprint(text), text)

    def test_faults(self) -> None:
        """What is no fingerprint is a fault."""
        for text in ("", "*", CURL.ja3[:-1], CURL.ja3 + "0", CURL.ja4[:-1], CURL.ja4 + "0", CURL.ja4.upper(), "q13d*",
                     "t13x*", "t13d1516h2*_", "t13d1516h2-*", "**", "t13d1516h2", "g" * 32, f"{CURL.ja4}0*", "T13d*",
                     "t13d1516h2_8DAA*", "t13d\n*"):
            self.assertIn(
                "is no fingerprint", str(self.assertRaises(ValueError, normalise_tls_fingerprint, text)), text
            )

    @given(st.sampled_from(CAPTURED), st.integers(1, 36))
    def test_beginnings(self, one: Any, length: int) -> None:
        """Every beginning of a fingerprint can be written, and is one of that client's."""
        text = f"{one.ja4[:length]}*"
        self.assertEqual(normalise_tls_fingerprint(text), text)
        assert_accepts(TLSFingerprint, {"allow": [text]}, CLIENTS[one.name])
        assert_rejects(TLSFingerprint, {"deny": [text]}, CLIENTS[one.name], Reason.TLS_FINGERPRINT)


class ListTests(SynchronousTestCase):
    """Who comes in by which lists."""

    def test_allow(self) -> None:
        """Only what is allowed comes in, by either fingerprint."""
        self.assertEqual(accepted({"allow": [CURL.ja4, captured("wget").ja3]}), {"curl", "wget"})
        self.assertEqual(accepted({"allow": [CHROMIUM.ja4]}), {"chromium", "chromium-again"})
        self.assertEqual(accepted({"allow": [CHROMIUM.ja3]}), {"chromium"})

    def test_deny(self) -> None:
        """All but what is denied comes in."""
        self.assertEqual(set(CLIENTS) - accepted({"deny": [CURL.ja3, CHROMIUM.ja4]}),
                         {"curl", "chromium", "chromium-again"})

    def test_beginnings(self) -> None:
        """What begins so is on a list."""
        old = {one.name for one in CAPTURED if one.ja4.startswith(("t10", "t12"))}
        self.assertGreater(len(old), 3)
        self.assertEqual(accepted({"deny": ["t10*", "t12*"]}), set(CLIENTS) - old)
        self.assertEqual(accepted({"allow": ["t10*", "t12*"]}), old)

    def test_both(self) -> None:
        """With both lists only what is on the first and not on the second."""
        self.assertEqual(accepted({"allow": ["t13d1517h2_*"], "deny": [AGAIN.ja3]}), {"chromium"})

    def test_words(self) -> None:
        """The refusal names both fingerprints and the list."""
        client = CLIENTS["curl"]
        refused = assert_rejects(TLSFingerprint, {"deny": ["t13*"]}, client, Reason.TLS_FINGERPRINT)
        self.assertEqual(refused.detail, f"{CURL.ja4} (JA3 {CURL.ja3}) is denied")
        refused = assert_rejects(TLSFingerprint, {"allow": ["t12*", AGAIN.ja3]}, client, Reason.TLS_FINGERPRINT)
        self.assertEqual(refused.detail, f"{CURL.ja4} (JA3 {CURL.ja3}) is none of the 2 allowed")

    def test_with_a_certificate(self) -> None:
        """A certificate makes no difference."""
        client = peer(dns=["a.example"], ja3=CURL.ja3, ja4=CURL.ja4)
        assert_accepts(TLSFingerprint, {"allow": [CURL.ja4]}, client)
        assert_rejects(TLSFingerprint, {"deny": [CURL.ja4]}, client, Reason.TLS_FINGERPRINT)

    def test_without_fingerprint(self) -> None:
        """Where none was taken nobody comes in, neither past a list of the denied nor under ``not``."""
        for client in (peer(), anonymous_peer(), anonymous_peer(ja4=CURL.ja4)):
            for document in ({"allow": ["t*"]}, {"deny": [CURL.ja4]}):
                assert_rejects(TLSFingerprint, document, client, Reason.NO_FINGERPRINT)
        self.assertIn(Reason.NO_FINGERPRINT, UNDECIDED)
        use = PolicyUse(TLSFingerprint, build(TLSFingerprint, {"allow": [CURL.ja4]}))
        chain = build_chain([PolicyNot(use)], lambda label: PolicyMetrics(), lambda label, text: None)
        verdict = chain.check(anonymous_peer(), [])
        assert isinstance(verdict, Reject)
        self.assertEqual(verdict.code, Reason.NO_FINGERPRINT)
        self.assertIsInstance(chain.check(CLIENTS["wget"], []), Accept)


class FileTests(SynchronousTestCase):
    """Lists in files that are followed."""

    def setUp(self) -> None:
        """Give the policy a directory of its own."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.env = FakeEnvironment(self.directory)

    def write(self, text: str) -> None:
        """Write the list."""
        (self.directory / "list").write_text(text)

    def test_followed(self) -> None:
        """A file's lines count beside those of the configuration, and newer ones when they come."""
        self.write(f"# browsers\n{CHROMIUM.ja4}  # Chromium\n\nt12*\n")
        made = build(TLSFingerprint, {"allow": [CURL.ja4], "allow_file": "list"}, self.env)
        for name, comes_in in (("chromium", True), ("curl", True), ("openssl-tls12", True), ("wget", False)):
            self.assertEqual((name, type(made.check(CLIENTS[name])) is Accept), (name, comes_in))
        refused = made.check(CLIENTS["wget"])
        assert isinstance(refused, Reject)
        self.assertIn("none of the 3 allowed", refused.detail)
        self.write(captured("wget").ja3.upper())
        self.env.reread()
        self.assertIsInstance(made.check(CLIENTS["wget"]), Accept)
        self.assertIsInstance(made.check(CLIENTS["chromium"]), Reject)

    def test_denied(self) -> None:
        """An empty file denies nothing only where it says so."""
        self.write(CURL.ja3)
        made = build(TLSFingerprint, {"deny_file": "list"}, self.env)
        self.assertIsInstance(made.check(CLIENTS["curl"]), Reject)
        self.write("")
        self.env.reread()
        self.assertIsInstance(made.check(CLIENTS["curl"]), Reject, "the last list stays")
        self.write("# nobody\n")
        self.env.reread()
        self.assertIsInstance(made.check(CLIENTS["curl"]), Accept)

    def test_faults(self) -> None:
        """A line that is no fingerprint is named."""
        self.write(f"{CURL.ja4}\ncurl\n")
        error = self.assertRaises(ValueError, build, TLSFingerprint, {"allow_file": "list"}, self.env)
        self.assertIn("line 2", str(error))


class OptionTests(SynchronousTestCase):
    """What stands in a configuration."""

    def test_faults(self) -> None:
        """No list, one that is no list of fingerprints, and what is on both, are faults."""
        for document, words in (
            ({}, "names no fingerprint"),
            ({"allow": []}, "names no fingerprint"),
            ({"allow": ["chrome"]}, "is no fingerprint"),
            ({"allow": [CURL.ja3.upper()], "deny": [CURL.ja3]}, "is both allowed and denied"),
            ({"denied": [CURL.ja3]}, "denied"),
        ):
            error = self.assertRaises(ConfigError, options, TLSFingerprint, document)
            self.assertIn(words, str(error))

    def test_examples(self) -> None:
        """The examples of its description can be used, and it keeps to the rules of plugins."""
        for _, example in examples_of(TLSFingerprint):
            build(TLSFingerprint, example)
        self.assertTrue(TLSFingerprint.needs_fingerprints and TLSFingerprint.without_certificate)
        check_plugin(TLSFingerprint, {"allow": [CURL.ja4]})
