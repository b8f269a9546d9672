"""Whom canary marks."""
from __future__ import annotations

from canary import Canary, Config, share
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.model import FieldHeaders
from edgegw.testing import Authority, ConfigError, assert_accepts, check_plugin, handshake, options, peer

NAMES = [f"spiffe://corp.example/client/{number}" for number in range(10_000)]


class ShareTests(SynchronousTestCase):
    """The hash that chooses."""

    def test_known_values(self) -> None:
        """Every gateway of every version chooses the same clients."""
        self.assertAlmostEqual(share("spiffe://corp.example/a", ""), 0.9460012, 6)
        self.assertAlmostEqual(share("spiffe://corp.example/a", "next"), 0.8746547, 6)

    def test_evenly(self) -> None:
        """Of many clients as many are chosen as were asked for, within what chance allows."""
        chosen = sum(share(name, "x") < 0.05 for name in NAMES)
        self.assertTrue(400 < chosen < 600, chosen)

    def test_other_experiments_choose_others(self) -> None:
        """Two experiments do not hit the same clients."""
        one, other = ({name for name in NAMES if share(name, experiment) < 0.1} for experiment in ("a", "b"))
        self.assertTrue(len(one & other) < len(one) / 4)

    @given(st.text(), st.text())
    def test_between_0_and_1(self, identity: str, experiment: str) -> None:
        """No identity is below none of a hundred or above all of them."""
        self.assertTrue(0 <= share(identity, experiment) < 1)


class CanaryTests(SynchronousTestCase):
    """The policy."""

    def test_stable(self) -> None:
        """A client stays what it is when its certificate is renewed and when it comes from elsewhere."""
        config = Config(50.0)
        for name in NAMES[:20]:
            first = assert_accepts(Canary, config, peer(uris=[name]))
            again = assert_accepts(Canary, config, peer(uris=[name], address="198.51.100.1", resumed=True))
            self.assertEqual(first, again)

    def test_more_keep_those_before(self) -> None:
        """Who was marked at a small share still is at a larger one."""
        for name in NAMES[:50]:
            client = peer(uris=[name])
            accepted = [assert_accepts(Canary, Config(percent), client) for percent in (0.0, 20.0, 60.0, 100.0)]
            marks = [one.attributes["canary"] for one in accepted]
            self.assertEqual(marks, sorted(marks))
            self.assertEqual((marks[0], marks[-1]), ("false", "true"))

    def test_always_and_never(self) -> None:
        """Some are marked or left alone by name."""
        config = Config(0.0, always=("a.example",), never=("b.example",))
        assert_accepts(Canary, config, peer(dns=["A.example"]), canary="true")
        assert_accepts(Canary, Config(100.0, never=("b.example",)), peer(dns=["b.example"]), canary="false")

    def test_by(self) -> None:
        """The first identity that a certificate has decides; one that has none is not marked."""
        config = Config(0.0, by=("email", "dns_name"), always=("x@a.example", "a.example"))
        assert_accepts(Canary, config, peer(emails=["x@a.example"], dns=["b.example"]), canary="true")
        assert_accepts(Canary, config, peer(dns=["a.example"]), canary="true")
        assert_accepts(Canary, Config(100.0, by=("email",)), peer(dns=["a.example"]), canary="false")

    def test_faults(self) -> None:
        """A share that is none and a name on both lists are faults of the configuration."""
        for wrong in ({"percent": 101}, {"percent": -1}, {"percent": 5, "by": []}, {"percent": 5, "by": ["name"]},
                      {"percent": 5, "always": ["x"], "never": ["x"]}):  # fmt: skip
            self.assertRaises(ConfigError, options, Canary, wrong)

    def test_contract(self) -> None:
        """It keeps to what a plugin promises."""
        check_plugin(Canary, Config(5.0), {"percent": 50, "by": ["email"], "experiment": "x"})


class CanaryHeaderTests(TestCase):
    """The policy in the gateway."""

    async def test_header(self) -> None:
        """The upstream is told by a header whose template has the attribute, and by nobody else."""
        header, client = FieldHeaders((("x-canary", "{attribute:canary}"),)), Authority().issue(uris=[NAMES[0]])
        for percent, mark in ((0.0, "false"), (100.0, "true")):
            outcome = await handshake(
                [(Canary, Config(percent))], client, injectors=[header], headers={"X-Canary": "forged"}
            )
            self.assertEqual(outcome.headers["x-canary"], mark)
