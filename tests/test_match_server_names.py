"""The table of names, against a reference that tries every host name."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.match.server_names import ServerNames
from edgegw.names import covers

LABEL = st.sampled_from(["a", "b", "example", "com", "org"])
NAME = st.lists(LABEL, min_size=1, max_size=5).map(".".join)
HOSTNAME = st.one_of(st.none(), NAME, NAME.map(lambda name: f"*.{name}"))


def table(*hostnames: str | None) -> ServerNames[str]:
    """Give a table in which each host name leads to itself, as text."""
    names: ServerNames[str] = ServerNames()
    for hostname in hostnames:
        names.add(hostname, str(hostname))
    return names


class NameTests(SynchronousTestCase):
    """Whom a name leads to."""

    @given(st.lists(HOSTNAME, max_size=8, unique=True), NAME)
    def test_most_specific(self, hostnames: list[str | None], name: str) -> None:
        """An exact name before wildcards, the longest of these first, and what takes every name last."""

        def rank(hostname: str) -> tuple[bool, int]:
            return (not hostname.startswith("*."), hostname.count("."))

        named = [one for one in hostnames if one is not None]
        fitting = sorted((one for one in named if one == name or covers(one, name)), key=rank)
        expected = fitting[-1] if fitting else "None" if None in hostnames else None
        self.assertEqual(table(*hostnames).find(name), expected)

    def test_wildcards(self) -> None:
        """A wildcard takes any number of labels, and never the name behind it."""
        names = table("*.com", "*.example.com", "example.com", "*.b.example.com")
        for name, expected in {
            "www.com": "*.com",
            "a.example.com": "*.example.com",
            "example.com": "example.com",
            "x.b.example.com": "*.b.example.com",
            "x.y.b.example.com": "*.b.example.com",
            "b.example.com": "*.example.com",
            "com": None,
            "x.org": None,
        }.items():
            self.assertEqual((name, names.find(name)), (name, expected))

    def test_nobody_named(self) -> None:
        """A client without SNI gets what takes every name, and nothing else."""
        self.assertIsNone(table("*.com", "a.com").find(None))
        self.assertEqual(table("*.com", None).find(None), "None")

    def test_many_labels(self) -> None:
        """A name of a hundred labels costs no more look-ups than the longest wildcard has labels."""
        names = table("*.example.com")
        looked: list[str] = []

        class Counting(dict[str, object]):
            def get(self, key: str, default: object = None) -> object:  # type: ignore[override]  # one use
                looked.append(key)
                return super().get(key, default)

        names._wildcards = Counting(names._wildcards)  # type: ignore[assignment]  # counts its look-ups
        self.assertIsNone(names.find(".".join(["a"] * 100)))
        self.assertEqual(looked, ["a.a", "a"])
        self.assertEqual(names.find("a." * 60 + "example.com"), "*.example.com")


class ProtocolTests(SynchronousTestCase):
    """Of several that take a name, the protocols that the client offers choose."""

    def setUp(self) -> None:
        self.names: ServerNames[str] = ServerNames()
        self.names.add("a.example", "h2", ["h2"])
        self.names.add("a.example", "h1", ["http/1.1", "http/1.0"])
        self.names.add("*.example", "wild")

    def test_offered(self) -> None:
        """The first of a client's protocols that leads somewhere does."""
        for alpn, expected in {
            (b"h2",): "h2",
            (b"x", b"http/1.1", b"h2"): "h1",
            (b"h2", b"http/1.1"): "h2",
            (b"x",): None,
            (): None,
        }.items():
            self.assertEqual((alpn, self.names.find("a.example", alpn)), (alpn, expected))

    def test_otherwise(self) -> None:
        """What demands no protocol takes everyone else."""
        self.names.add("a.example", "any")
        self.assertEqual(self.names.find("a.example", (b"x",)), "any")
        self.assertEqual(self.names.find("a.example", (b"h2",)), "h2")
        self.assertEqual(self.names.find_all("a.example"), ("h2", "h1", "any"))

    def test_first(self) -> None:
        """Of two with the same name and protocol the first counts."""
        self.names.add("a.example", "later", ["h2"])
        self.names.add("*.example", "later")
        self.assertEqual(self.names.find("a.example", (b"h2",)), "h2")
        self.assertEqual(self.names.find("b.example"), "wild")
