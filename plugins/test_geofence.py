"""Whom geofence lets in from where."""
from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path

from geofence import Atlas, Geofence
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.testing import (
    Authority,
    ConfigError,
    FakeEnvironment,
    anonymous_peer,
    assert_accepts,
    assert_rejects,
    build,
    check_plugin,
    handshake,
    options,
    peer,
)

NETWORKS = b"""\
network,country
# documentation networks (RFC 5737, RFC 3849)
192.0.2.0/24,DE
192.0.2.128/25,fr
192.0.2.128/26,"US"
198.51.100.0/24,CH,"Switzerland, and more"
2001:db8::/32,AT
2001:db8:1::/48,IT
"""


class AtlasTests(SynchronousTestCase):
    """Which country an address is in."""

    def test_the_longest_prefix(self) -> None:
        """Of several networks that have an address the smallest says where it is."""
        atlas = Atlas(NETWORKS)
        for address, country in {
            "192.0.2.0": "DE", "192.0.2.127": "DE", "192.0.2.128": "US", "192.0.2.191": "US", "192.0.2.192": "FR",
            "192.0.2.255": "FR", "192.0.3.0": None, "192.0.1.255": None, "198.51.100.9": "CH", "::ffff:192.0.2.1": "DE",
            "2001:db8::1": "AT", "2001:db8:1::1": "IT", "2001:db8:2::": "AT", "2001:db9::": None, "::": None,
        }.items():  # fmt: skip
            self.assertEqual(atlas.country(ip_address(address)), country, address)

    def test_malformed(self) -> None:
        """A line that is none is named, and nothing of the file is used."""
        for line in (b"192.0.2.1/24,DE", b"nonsense", b"192.0.2.0/24,Germany", b"192.0.2.0/24", b"192.0.2.0/24,"):
            error = self.assertRaises(ValueError, Atlas, NETWORKS + line + b"\n")
            self.assertIn("line 9", str(error))
        self.assertRaises(ValueError, Atlas, b"# nothing\n")
        self.assertRaises(ValueError, Atlas, b"192.0.2.0/24,DE\n192.0.2.0/24,FR\n")
        self.assertRaises(ValueError, Atlas, b"\xff\xfe")

    @given(
        st.dictionaries(
            st.builds(lambda bits, length: IPv4Network((bits << 24 & -1 << 32 - length & 0xFFFFFFFF, length)),
                      st.integers(0, 255), st.integers(0, 8)),
            st.sampled_from(["DE", "FR", "US"]), min_size=1, max_size=30,
        ),
        st.integers(0, 2**32 - 1),
    )  # fmt: skip
    def test_as_if_each_were_looked_at(self, networks: dict[IPv4Network, str], number: int) -> None:
        """Whatever lies in whatever, the answer is that of trying one network after the other."""
        address = IPv4Address(number)
        atlas = Atlas("\n".join(f"{network},{country}" for network, country in networks.items()).encode())
        having = [network for network in networks if address in network]
        wanted = networks[max(having, key=lambda network: network.prefixlen)] if having else None
        self.assertEqual(atlas.country(address), wanted)


class GeofenceTests(SynchronousTestCase):
    """The policy."""

    def setUp(self) -> None:
        """Write the file."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.file = folder / "networks.csv"
        self.file.write_bytes(NETWORKS)
        self.env = FakeEnvironment(folder)

    def test_allow(self) -> None:
        """Only clients of the countries that are allowed come in, and it is said where they are."""
        config = options(Geofence, {"file": "networks.csv", "allow": ["de", "AT"]}, self.env.directory)
        assert_accepts(Geofence, config, peer(address="192.0.2.7"), env=self.env, country="DE")
        assert_accepts(Geofence, config, anonymous_peer(address="2001:db8::7"), env=self.env, country="AT")
        assert_rejects(Geofence, config, peer(address="198.51.100.1"), "geofence", env=self.env)
        assert_rejects(Geofence, config, peer(address="203.0.113.1"), "geofence_unknown", env=self.env)
        assert_rejects(Geofence, config, peer(address="unix:"), "geofence_unknown", env=self.env)

    def test_deny(self) -> None:
        """All clients but those of some countries come in."""
        config = {"file": "networks.csv", "deny": ["CH"], "unknown": "accept"}
        assert_accepts(Geofence, config, peer(address="192.0.2.7"), env=self.env, country="DE")
        assert_accepts(Geofence, config, peer(address="203.0.113.1"), env=self.env)
        assert_rejects(Geofence, config, peer(address="198.51.100.1"), "geofence", env=self.env)

    def test_the_file_changes(self) -> None:
        """A new file decides at once; one that is broken changes nothing."""
        policy = build(Geofence, {"file": "networks.csv", "allow": ["DE"]}, self.env)
        client = peer(address="203.0.113.1")
        assert_rejects(policy, None, client, "geofence_unknown")
        self.file.write_bytes(b"203.0.113.0/24,DE\n")
        self.assertTrue(self.env.reread())
        self.assertEqual(self.env.changes, 1)
        assert_accepts(policy, None, client, country="DE")
        self.file.write_bytes(b"garbage")
        self.assertFalse(self.env.reread())
        assert_accepts(policy, None, client, country="DE")

    def test_faults(self) -> None:
        """Countries that are none and a file that is not there are faults of the configuration."""
        for wrong in ({"allow": ["Germany"]}, {}, {"allow": ["DE"], "deny": ["DE"]}, {"allow": ["DE"], "unknown": "x"}):
            self.assertRaises(ConfigError, options, Geofence, {"file": "networks.csv", **wrong})
        self.assertRaises(ValueError, build, Geofence, {"file": "missing.csv", "allow": ["DE"]}, self.env)

    def test_contract(self) -> None:
        """It keeps to what a plugin promises."""
        for config in ({"allow": ["DE"]}, {"deny": ["DE"], "unknown": "accept"}):
            check_plugin(Geofence, {"file": "networks.csv", **config}, env=self.env)


class GeofenceHandshakeTests(TestCase):
    """The policy in the gateway."""

    async def test_handshake(self) -> None:
        """Where a client comes from decides, whatever its certificate."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "networks.csv").write_bytes(b"127.0.0.0/30,DE\n127.0.0.4/30,FR\n")
        env, client = FakeEnvironment(folder), Authority().issue("client")
        policies = [(Geofence, {"file": "networks.csv", "allow": ["DE"]})]
        outcome = await handshake(policies, client, address="127.0.0.2", env=env)
        self.assertEqual((outcome.accepted, outcome.attributes), (True, {"country": "DE"}))
        outcome = await handshake(policies, client, address="127.0.0.5", env=env)
        self.assertEqual((outcome.accepted, outcome.code), (False, "geofence"))
