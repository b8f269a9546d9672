"""Names in one canonical form."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.names import canonical_authority, canonical_name, covers, is_hostname


class NameTests(SynchronousTestCase):
    """Host names."""

    def test_canonical(self) -> None:
        """Case and one trailing dot make no difference."""
        for name in ("a.example", "A.EXAMPLE", "a.Example.", "A.example."):
            self.assertEqual(canonical_name(name), "a.example")
        for name in (
            "localhost",
            "a_b.example",
            "xn--bcher-kva.example",
            "1.2.3.4",
            "a" * 63,
            ".".join(["a" * 61] * 4),
        ):
            self.assertEqual(canonical_name(name), name)

    def test_none(self) -> None:
        """What is no name has no canonical form."""
        for name in (
            "",
            ".",
            "a..b",
            ".a",
            "a.example..",
            "-a",
            "a-",
            "a b",
            "a\n",
            "a.example\n",
            "a\x00",
            "*.a",
            "a" * 64,
            "b\xfccher",
            "\u212aelvin",
            "a/b",
            "a:80",
            "[::1]",
            "a,b",
            "a%2eb",
            ".".join(["a" * 62] * 5),
            ".".join(["a" * 63] * 4) + "a",
        ):
            self.assertIsNone(canonical_name(name), name)

    def test_longest(self) -> None:
        """253 characters are the most, whatever the dot at the end."""
        longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
        self.assertEqual(canonical_name(longest + "."), longest)
        self.assertIsNone(canonical_name(longest + "d"))
        self.assertIsNone(canonical_name(longest + "d."))

    def test_authorities(self) -> None:
        """A port and brackets fall away; an IPv6 address is written in one way."""
        for authority, name in [
            (b"A.example:8443", "a.example"),
            (b"a.example.", "a.example"),
            (b"a.example:0", "a.example"),
            (b"[::1]:443", "::1"),
            (b"[0:0:0:0:0:0:0:1]", "::1"),
            (b"[2001:DB8::A]", "2001:db8::a"),
            (b"127.0.0.1:80", "127.0.0.1"),
        ]:
            self.assertEqual(canonical_authority(authority), name, authority)

    def test_no_authority(self) -> None:
        """What two parsers could read in two ways is none."""
        for authority in (
            b"",
            b":80",
            b"a:",
            b"a:b",
            b"a:65536",
            b"a:+1",
            b"a:1:2",
            b"u@a",
            b"u:p@a",
            b"a/b",
            b"a?b",
            b"a#b",
            b"a b",
            b"a,b",
            b"[::1",
            b"::1",
            b"[::1]x",
            b"[::g]",
            b"[1.2.3.4]",
            b"[fe80::1%25eth0]",
            b"a\x00",
            b"\xe9",
            b"a%00",
            b"a..b",
            b"[]",
            b"a" * 256,
        ):
            self.assertIsNone(canonical_authority(authority), authority)

    def test_more_than_are_remembered(self) -> None:
        """However many different ones were asked for, and asked for again."""
        for _ in range(2):
            for number in range(20_000):
                self.assertEqual(canonical_authority(b"Host-%d.Example:80" % number), f"host-{number}.example")
                self.assertIsNone(canonical_authority(b"host %d" % number))

    def test_covers(self) -> None:
        """A wildcard takes any number of labels, never the name below which it stands."""
        for pattern, name, expected in [
            ("a.example", "a.example", True),
            ("a.example", "b.a.example", False),
            ("*.example", "a.example", True),
            ("*.example", "b.a.example", True),
            ("*.example", "example", False),
            ("*.example", "aexample", False),
        ]:
            self.assertIs(covers(pattern, name), expected, (pattern, name))

    def test_configurable(self) -> None:
        """Canonical names and a leading wildcard may stand in a configuration."""
        for name in ("a.example", "*.a.example"):
            self.assertTrue(is_hostname(name))
        for name in ("A.example", "a.*.example", "*", "*.", "**.a", "*a.example", "a.example."):
            self.assertFalse(is_hostname(name), name)

    @given(st.binary(max_size=40))
    @settings(max_examples=300, deadline=None)
    def test_any_authority(self, authority: bytes) -> None:
        """Any bytes give a canonical name, which is its own canonical form, or none."""
        name = canonical_authority(authority)
        if name is not None and ":" not in name:
            self.assertEqual(canonical_name(name), name)
