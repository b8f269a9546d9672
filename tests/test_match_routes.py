"""The route table: the most specific host name, then an exact path, then the longest prefix of whole elements."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.match.routes import RouteTable
from edgegw.model import PathMatch, PathMatchType, RouteMatch
from edgegw.names import covers

EXACT, PREFIX = PathMatchType.EXACT, PathMatchType.PATH_PREFIX
Entry = tuple[tuple[str, ...], PathMatch, str]


def table(*entries: tuple[str, PathMatchType, str, str]) -> RouteTable[str]:
    """``(host name or "", kind, path, target)``."""
    return RouteTable(
        ((host,) if host else (), RouteMatch(PathMatch(kind, path)), target) for host, kind, path, target in entries
    )


class RouteTableTests(SynchronousTestCase):
    """Which target takes a request."""

    def test_hosts(self) -> None:
        """Exact over wildcard over none; the wildcard with the most labels first; never the bare suffix."""
        routes = table(
            ("", PREFIX, "/", "any"),
            ("*.example.com", PREFIX, "/", "wide"),
            ("*.a.example.com", PREFIX, "/", "narrow"),
            ("b.a.example.com", PREFIX, "/", "exact"),
        )
        for host, target in [
            ("b.a.example.com", "exact"),
            ("c.a.example.com", "narrow"),
            ("x.y.a.example.com", "narrow"),
            ("a.example.com", "wide"),
            ("x.example.com", "wide"),
            ("example.com", "any"),
            ("xexample.com", "any"),
            (None, "any"),
            ("::1", "any"),
        ]:
            self.assertEqual(routes.find(host, b"/"), target, host)

    def test_names(self) -> None:
        """Exact names are known by their bytes, and nothing else is, whatever was asked for."""
        routes = table(
            ("", PREFIX, "/", "any"), ("*.example.com", PREFIX, "/", "wide"), ("a.example.com", PREFIX, "/", "exact"),
            ("a.example.com", PREFIX, "/b", "exact"), ("Not.Canonical", PREFIX, "/", "exact"),
            ("k\u212a.example", PREFIX, "/", "exact"),
        )  # fmt: skip
        for host in ("a.example.com", "b.example.com", "c.example"):
            routes.find(host, b"/")
        self.assertEqual(routes.names, {b"a.example.com": "a.example.com"})

    def test_paths(self) -> None:
        """Exact over prefix, the longest prefix first, and only whole elements of a path."""
        routes = table(
            ("", PREFIX, "/", "any"),
            ("", PREFIX, "/v2", "v2"),
            ("", PREFIX, "/v2/items/", "items"),
            ("", EXACT, "/v2", "exactly"),
            ("", EXACT, "/v2/", "slash"),
        )
        for path, target in [
            (b"/", "any"),
            (b"/v2", "exactly"),
            (b"/v2/", "slash"),
            (b"/v2/x", "v2"),
            (b"/v2x", "any"),
            (b"/v2/items", "items"),
            (b"/v2/items/", "items"),
            (b"/v2/items/1/2", "items"),
            (b"/v2/itemsx", "v2"),
            (b"/V2", "any"),
            (b"*", "any"),
            (b"//v2", "any"),
            (b"/v2//items", "v2"),
        ]:
            self.assertEqual(routes.find(None, path), target, path)

    def test_no_route(self) -> None:
        """Nothing is taken that no rule names."""
        routes = table(("a.example", PREFIX, "/api", "api"), ("a.example", EXACT, "/", "root"))
        for host, path in [("a.example", b"/x"), ("b.example", b"/api"), (None, b"/api"), ("a.example", b"*")]:
            self.assertIsNone(routes.find(host, path))

    def test_less_specific_host(self) -> None:
        """A host name that has no rule for the path does not hide a wider one that has."""
        routes = table(
            ("a.example", PREFIX, "/api", "api"), ("*.example", PREFIX, "/", "wide"), ("", EXACT, "/x", "any")
        )
        self.assertEqual(routes.find("a.example", b"/other"), "wide")
        self.assertEqual(routes.find("b.other", b"/x"), "any")

    def test_order(self) -> None:
        """Of two equal conditions the first one in the configuration counts."""
        routes = table(
            ("", PREFIX, "/a", "first"), ("", PREFIX, "/a/", "second"), ("", EXACT, "/b", "1"), ("", EXACT, "/b", "2")
        )
        self.assertEqual((routes.find(None, b"/a/x"), routes.find(None, b"/b")), ("first", "1"))

    def test_slashes_cost_nothing(self) -> None:
        """A path's own slashes make no work: what is longer than the longest prefix is cut off at once."""

        class Path(bytes):
            searches = 0

            def rfind(self, *args: Any) -> int:
                Path.searches += 1
                return super().rfind(*args)

        routes = table(("", PREFIX, "/ab/c", "c"), ("", PREFIX, "/", "any"))
        self.assertEqual(routes.find(None, Path(b"/" * 16_000)), "any")
        self.assertEqual(routes.find(None, Path(b"/ab/c" + b"/x" * 8_000)), "c")
        self.assertLess(Path.searches, 20)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["", "a.b", "*.b", "*.a.b", "c.a.b"]),
                st.sampled_from([EXACT, PREFIX]),
                st.sampled_from(["/", "/x", "/x/", "/x/y", "/x/yz", "/x//y"]),
            ),
            max_size=8,
        ),
        st.sampled_from(["a.b", "c.a.b", "d.a.b", "b", "q.b", None]),
        st.text("/xyz", max_size=8).map(lambda text: b"/" + text.encode()),
    )
    @settings(max_examples=400, deadline=None)
    def test_as_written_down(self, rules: list[tuple[str, PathMatchType, str]], host: str | None, path: bytes) -> None:
        """The table finds what trying all rules by the Gateway API's order finds."""
        routes = table(*[(name, kind, value, str(number)) for number, (name, kind, value) in enumerate(rules)])
        candidates = []
        for number, (name, kind, value) in enumerate(rules):
            if name and (host is None or not covers(name, host)):
                continue
            prefix = value.rstrip("/").encode()
            if kind is EXACT and path != value.encode():
                continue
            if kind is PREFIX and not (path == prefix or path.startswith(prefix + b"/")):
                continue
            host_rank = (2 if name and not name.startswith("*.") else 1 if name else 0, len(name))
            candidates.append((host_rank, kind is EXACT, len(prefix), -number))
        expected = str(-max(candidates)[3]) if candidates else None
        self.assertEqual(routes.find(host, path), expected)
