"""Which match wins: Gateway API's order, agentgateway's table, and the fast table against trying all rules."""
from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.identity import CertificateStatus, ConnectionInfo, Identity, certificate
from edgegw.match.conditions import RequestParts
from edgegw.match.routes import RouteTable
from edgegw.model import (
    HeaderMatch,
    IdentityMatch,
    PathMatch,
    PathMatchType,
    QueryParamMatch,
    RouteMatch,
    ValueMatchType,
)
from edgegw.names import covers

from .gateway import Authority

CASES: Any = json.loads((Path(__file__).parent / "data" / "route_match.json").read_text())
EXACT, REGEX, PRESENT = ValueMatchType.EXACT, ValueMatchType.REGULAR_EXPRESSION, ValueMatchType.PRESENT
Entry = tuple[tuple[str, ...], RouteMatch, str]


@frozen
class Head:
    """A request's head, as far as conditions read it."""

    method: bytes = b"GET"
    target: bytes = b"/"
    fields: Sequence[tuple[bytes, bytes, bytes]] = ()


def head(
    target: str = "/", method: str = "GET", headers: Iterable[Sequence[str]] = ()
) -> Head:
    lines = [(name.lower().encode(), value.encode("latin-1"), b"") for name, value in headers]
    return Head(method.encode(), target.encode(), lines)


def find(table: RouteTable[str], host: str | None, request: Head, info: ConnectionInfo | None = None) -> str | None:
    return table.find(host, request.target.partition(b"?")[0], request, info)


def way(said: dict[str, str]) -> tuple[str, ValueMatchType]:
    """Give value and type of agentgateway's ``{exact: …}`` or ``{regex: …}``."""
    ((kind, value),) = said.items()
    return value, {"exact": EXACT, "regex": REGEX}[kind]


def path_of(said: dict[str, str]) -> PathMatch:
    ((kind, value),) = said.items()
    kinds = {"exact": PathMatchType.EXACT, "pathPrefix": PathMatchType.PATH_PREFIX}
    return PathMatch(kinds.get(kind, PathMatchType.REGULAR_EXPRESSION), value)


class AgentgatewayTests(SynchronousTestCase):
    """What agentgateway's routes take."""

    def test_hostnames(self) -> None:
        """Exact, wildcard, several and none."""
        said = CASES["hostname"]
        table = RouteTable([(tuple(names), RouteMatch(), name) for name, names in said["routes"]])
        for host, expected in said["cases"]:
            self.assertEqual(find(table, host, head()), expected, host)

    def test_paths(self) -> None:
        """The three ways of a path."""
        said = CASES["path"]
        table = RouteTable([((), RouteMatch(path_of(path)), name) for name, path in said["routes"]])
        for path, expected in said["cases"]:
            self.assertEqual(find(table, None, head(path)), expected, path)

    def test_methods(self) -> None:
        """One, or any."""
        said = CASES["method"]
        table = RouteTable([((), RouteMatch(method=method), name) for name, method in said["routes"]])
        for method, expected in said["cases"]:
            self.assertEqual(find(table, None, head(method=method)), expected, method)

    def test_headers(self) -> None:
        """Several, expressions, and lines that are repeated."""
        said = CASES["header"]
        table = RouteTable([
            ((), RouteMatch(headers=tuple(HeaderMatch(header, *way(value)) for header, value in headers)), name)
            for name, headers in said["routes"]
        ])
        for headers, expected in said["cases"]:
            self.assertEqual(find(table, None, head(headers=headers)), expected, headers)

    def test_query(self) -> None:
        """Several, and expressions."""
        said = CASES["query"]
        table = RouteTable([
            ((), RouteMatch(query_params=tuple(QueryParamMatch(key, *way(value)) for key, value in params)), name)
            for name, params in said["routes"]
        ])
        for query, expected in said["cases"]:
            self.assertEqual(find(table, None, head(f"/?{query}")), expected, query)

    def test_precedence(self) -> None:
        """Of several that match."""
        said = CASES["precedence"]
        table = RouteTable([
            (
                tuple(one["hostnames"]),
                RouteMatch(
                    path_of(one["path"]), one.get("method"),
                    tuple(HeaderMatch(*header) for header in one.get("headers", ())),
                ),
                one["name"],
            )
            for one in said["routes"]
        ])
        for host, path, method, headers, expected in said["cases"]:
            self.assertEqual(find(table, host, head(path, method, headers)), expected)

    def test_nothing_is_left_out(self) -> None:
        """Its pseudo-headers are no headers here, and how it lists host names is its own; all else is tried above."""
        tried = {"hostname", "path", "method", "header", "query", "precedence"}
        self.assertEqual(set(CASES) - tried, {"source", "pseudo_header", "hostname_expansion"})
        self.assertEqual(urlsplit(CASES["pseudo_header"]["cases"][0][1]).path, "/")


class QueryTests(SynchronousTestCase):
    """How a query is read."""

    def query(self, text: bytes) -> dict[bytes, bytes]:
        return RequestParts(Head(target=b"/" + text), None).query

    def test_decoded(self) -> None:
        """Percent-encodings and the plus sign, in names and values; the first of a name counts."""
        self.assertEqual(self.query(b"?%61=b%26c+d&a=2&e&&=f&g=%2B%zz%"), {
            b"a": b"b&c d", b"e": b"", b"": b"f", b"g": b"+%zz%",
        })  # fmt: skip

    def test_none(self) -> None:
        """No query has no parameters."""
        self.assertEqual((self.query(b""), self.query(b"?")), ({}, {}))

    @given(st.text("ab=&%+;41", max_size=12).map(str.encode))
    @settings(deadline=None)
    def test_as_forms(self, text: bytes) -> None:
        """It is read as HTML forms are, whatever it is."""
        expected: dict[bytes, bytes] = {}
        for pair in text.split(b"&"):
            name, _, value = (unquote_to_bytes(part.replace(b"+", b" ")) for part in pair.partition(b"="))
            if pair:
                expected.setdefault(name, value)
        self.assertEqual(self.query(b"?" + text), expected)


class HostileTests(SynchronousTestCase):
    """Bytes that no text is made of."""

    @given(st.binary(max_size=20), st.binary(max_size=20).map(lambda text: text.replace(b"\0", b"%00%FF")))
    @settings(max_examples=200, deadline=None)
    def test_any_bytes(self, value: bytes, query: bytes) -> None:
        """Whatever a header or a query has in it, it is compared, and no more."""
        matches = [
            RouteMatch(headers=(HeaderMatch("x", ".*a.*", REGEX),)), RouteMatch(headers=(HeaderMatch("x", "é"),)),
            RouteMatch(query_params=(QueryParamMatch("q", "[^a]*", REGEX),)),
            RouteMatch(PathMatch(PathMatchType.REGULAR_EXPRESSION, "/.*é")),
        ]
        table = RouteTable([((), match, str(number)) for number, match in enumerate(matches)])
        request = Head(target=b"/?q=" + query, fields=[(b"x", value, b"")])
        self.assertIn(table.find("h", b"/" + query, request), {None, "0", "1", "2", "3"})

    def test_not_utf_8(self) -> None:
        """What is no UTF-8 matches no expression that needs characters there, and an exact value by its bytes."""
        table = RouteTable([((), RouteMatch(headers=(HeaderMatch("x", "a.", REGEX),)), "yes")])
        for value, expected in [(b"a\xff", None), ("aé".encode(), "yes"), (b"a\0", "yes"), (b"a", None)]:
            self.assertEqual(table.find("h", b"/", Head(fields=[(b"x", value, b"")])), expected, value)


class IdentityTests(SynchronousTestCase):
    """Conditions on who the client is."""

    def setUp(self) -> None:
        issued = Authority().issue(
            "client", dns=["A.example", "b.example"], uris=["spiffe://example.com/a"], emails=["a,b@example.com"]
        )
        self.certificate = certificate(issued.der)
        identity = Identity(CertificateStatus.VERIFIED, self.certificate)
        self.verified = ConnectionInfo(
            "edge", identity, "192.0.2.1", server_name="a.example", attributes={"team": "é,red"}
        )

    def takes(self, info: ConnectionInfo | None, fact: str, value: str | None, type: ValueMatchType = EXACT) -> bool:
        table = RouteTable([((), RouteMatch(identity=(IdentityMatch(fact, value, type),)), "yes")])
        return find(table, None, head(), info) == "yes"

    def test_verified(self) -> None:
        """Facts as templates write them; of several names one is enough."""
        for fact, value in (
            ("common_name", "client"), ("spiffe_id", "spiffe://example.com/a"), ("dns_names", "a.example"),
            ("dns_names", "B.example"), ("emails", "a%2Cb@example.com"), ("sha256", self.certificate.sha256),
            ("attribute:team", "é,red"), ("status", "verified"), ("listener", "edge"), ("server_name", "a.example"),
        ):
            self.assertTrue(self.takes(self.verified, fact, value), fact)
            self.assertFalse(self.takes(self.verified, fact, value + "x"), fact)
            self.assertTrue(self.takes(self.verified, fact, None, PRESENT), fact)
        self.assertTrue(self.takes(self.verified, "spiffe_id", "spiffe://example.com/.*", REGEX))
        self.assertTrue(self.takes(self.verified, "attribute:team", ".,red", REGEX))
        self.assertFalse(self.takes(self.verified, "emails", "b@example.com"))
        self.assertFalse(self.takes(self.verified, "ip_addresses", ".*", REGEX))
        self.assertFalse(self.takes(self.verified, "attribute:other", None, PRESENT))

    def test_not_verified(self) -> None:
        """Without a verified certificate neither its facts nor attributes match anything, and others do."""
        unverified = self.verified._replace(identity=Identity(CertificateStatus.UNVERIFIED, self.certificate))
        for info in (unverified, self.verified._replace(identity=Identity()), None):
            for fact in ("common_name", "spiffe_id", "dns_names", "sha256", "attribute:team"):
                self.assertFalse(self.takes(info, fact, None, PRESENT), fact)
                self.assertFalse(self.takes(info, fact, ".*", REGEX), fact)
        self.assertTrue(self.takes(unverified, "status", "unverified"))
        self.assertTrue(self.takes(unverified, "server_name", None, PRESENT))


class ConditionTests(SynchronousTestCase):
    """What counts, and what does not hide anything."""

    def test_first_of_a_name(self) -> None:
        """Of several entries for one header or parameter only the first one counts, for the order as well."""
        twice = RouteMatch(headers=(HeaderMatch("a", "1"), HeaderMatch("a", "2")))
        other = RouteMatch(headers=(HeaderMatch("b", "1"),))
        table = RouteTable([((), other, "other"), ((), twice, "twice")])
        self.assertEqual(find(table, None, head(headers=[("a", "1")])), "twice")
        self.assertEqual(find(table, None, head(headers=[("a", "1"), ("b", "1")])), "other")

    def test_nothing_is_hidden(self) -> None:
        """A match that is not met leaves requests to shorter prefixes, wider host names and none."""
        wants = (HeaderMatch("x", None, PRESENT),)
        prefix = PathMatchType.PATH_PREFIX
        table = RouteTable([
            (("a.b.c",), RouteMatch(PathMatch(PathMatchType.EXACT, "/p/q"), headers=wants), "1"),
            (("a.b.c",), RouteMatch(PathMatch(PathMatchType.REGULAR_EXPRESSION, "/p/.*"), headers=wants), "2"),
            (("a.b.c",), RouteMatch(PathMatch(prefix, "/p/q"), headers=wants), "3"),
            (("a.b.c",), RouteMatch(PathMatch(prefix, "/p"), method="POST"), "4"),
            (("*.b.c",), RouteMatch(PathMatch(prefix, "/p"), method="PUT"), "5"),
            (("*.c",), RouteMatch(PathMatch(prefix, "/"), method="PATCH"), "6"),
            ((), RouteMatch(PathMatch(prefix, "/p"), method="DELETE"), "7"),
        ])
        for method, expected in [("POST", "4"), ("PUT", "5"), ("PATCH", "6"), ("DELETE", "7"), ("GET", None)]:
            self.assertEqual(find(table, "a.b.c", head("/p/q", method)), expected)
        self.assertEqual(find(table, "a.b.c", head("/p/q", headers=[("X", "")])), "1")
        self.assertIsNone(table.find("a.b.c", b"/p/q"))

    def test_expressions(self) -> None:
        """The whole path, its encodings written in one way, the longest expression first, before any prefix."""
        table = RouteTable([
            ((), RouteMatch(PathMatch(PathMatchType.REGULAR_EXPRESSION, "/a:[0-9]+")), "short"),
            ((), RouteMatch(PathMatch(PathMatchType.REGULAR_EXPRESSION, "/a:[0-9]+|/b")), "long"),
            ((), RouteMatch(PathMatch(PathMatchType.PATH_PREFIX, "/a:12345678901234567890")), "prefix"),
        ])
        for path, expected in [
            ("/a:12", "long"), ("/a%3a12", "long"), ("/a:", None), ("/a:1/x", None), ("/b", "long"), ("/bb", None),
            ("/a:12345678901234567890", "long"), ("/a:12345678901234567890/x", "prefix"), ("/a:1?b", "long"),
        ]:
            self.assertEqual(find(table, None, head(path)), expected, path)


# --- the fast table against all rules, sorted -------------------------------------------------

_paths = st.one_of(
    st.tuples(
        st.sampled_from([PathMatchType.EXACT, PathMatchType.PATH_PREFIX]), st.sampled_from(["/", "/x", "/x/", "/x/y"])
    ),
    st.tuples(st.just(PathMatchType.REGULAR_EXPRESSION), st.sampled_from(["/x.*", "/[xy]", ".*", "/x/y|/q"])),
).map(lambda pair: PathMatch(*pair))
_values: Any = st.sampled_from([("1", EXACT), ("2", EXACT), ("[12]", REGEX), (None, PRESENT)])


def _some(make: Any, names: Sequence[str]) -> Any:
    one = st.tuples(st.sampled_from(names), _values).map(lambda pair: make(pair[0], *pair[1]))
    return st.lists(one, max_size=3).map(tuple)


_matches = st.builds(
    RouteMatch, _paths, st.sampled_from([None, None, "GET", "POST"]), _some(HeaderMatch, "abc"),
    _some(QueryParamMatch, "pq"), _some(IdentityMatch, ["attribute:s", "attribute:t"]),
)
_entries = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a.b", "*.b", "*.a.b", "c.a.b", "longer.b"]), max_size=2, unique=True).map(tuple),
        _matches,
    ),
    max_size=12,
)
_pairs = st.lists(st.tuples(st.sampled_from("abcpq"), st.sampled_from("123")), max_size=5)


def _is_met(match: Any, values: Sequence[str]) -> bool:
    tests = {EXACT: lambda v: v == match.value, REGEX: lambda v: re.fullmatch(match.value, v), PRESENT: lambda v: True}
    return any(tests[match.type](value) for value in values)


def _firsts(matches: Sequence[Any]) -> list[Any]:
    return [one for place, one in enumerate(matches) if one.name not in [other.name for other in matches[:place]]]


def _slow(
    entries: Sequence[tuple[tuple[str, ...], RouteMatch]], host: str | None, path: str, method: str,
    headers: Sequence[tuple[str, str]], query: Sequence[tuple[str, str]], attributes: dict[str, str],
) -> int | None:
    """Find an entry by trying all, with the order as Gateway API has it."""
    candidates: list[tuple[Any, ...]] = []
    for number, (hostnames, match) in enumerate(entries):
        kind, value = match.path.type, match.path.value
        prefix = value.rstrip("/")
        on_path = {
            PathMatchType.EXACT: path == value,
            PathMatchType.PATH_PREFIX: path == prefix or path.startswith(prefix + "/"),
            PathMatchType.REGULAR_EXPRESSION: bool(re.fullmatch(value, path)),
        }[kind]
        wanted_headers, wanted_query = _firsts(match.headers), _firsts(match.query_params)
        met = (
            on_path and match.method in (None, method)
            and all(_is_met(one, [value for name, value in headers if name == one.name]) for one in wanted_headers)
            and all(_is_met(one, [value for name, value in query if name == one.name][:1]) for one in wanted_query)
            and all(
                _is_met(one, [attributes[name] for name in attributes if f"attribute:{name}" == one.fact])
                for one in match.identity
            )
        )
        if not met:
            continue
        for hostname in hostnames or ("",):
            if hostname and (host is None or not covers(hostname, host)):
                continue
            path_rank = {PathMatchType.EXACT: 2, PathMatchType.REGULAR_EXPRESSION: 1, PathMatchType.PATH_PREFIX: 0}
            candidates.append((
                0 if hostname.startswith("*") else len(hostname), len(hostname),
                path_rank[kind], len(value if kind is PathMatchType.REGULAR_EXPRESSION else prefix),
                # Of expressions of one length the first one: whichever of them it is decides before anything else.
                _first_pattern(entries, hostname, value) if kind is PathMatchType.REGULAR_EXPRESSION else 0,
                match.method is not None, len(wanted_headers), len(wanted_query), len(match.identity), -number,
            ))
    return -max(candidates)[-1] if candidates else None


def _first_pattern(entries: Sequence[tuple[tuple[str, ...], RouteMatch]], hostname: str, pattern: str) -> int:
    return -next(
        number for number, (hostnames, match) in enumerate(entries)
        if match.path.value == pattern and hostname in (hostnames or ("",))
    )


class OrderTests(SynchronousTestCase):
    """The table finds what trying all rules finds."""

    @given(
        _entries, st.sampled_from(["a.b", "c.a.b", "d.a.b", "longer.b", "b", "other", None]),
        st.sampled_from(["/", "/x", "/x/", "/x/y", "/x/y/z", "/y", "/q"]), st.sampled_from(["GET", "POST"]),
        _pairs, _pairs, st.dictionaries(st.sampled_from("st"), st.sampled_from("123")),
    )
    @settings(max_examples=200, deadline=None)
    def test_as_written_down(
        self, entries: list[tuple[tuple[str, ...], RouteMatch]], host: str | None, path: str, method: str,
        headers: list[tuple[str, str]], query: list[tuple[str, str]], attributes: dict[str, str],
    ) -> None:
        """Whatever the rules and the request are."""
        table = RouteTable([(names, match, str(number)) for number, (names, match) in enumerate(entries)])
        info = ConnectionInfo("edge", Identity(CertificateStatus.VERIFIED, None), "192.0.2.1", attributes=attributes)
        text = "&".join(f"{name}={value}" for name, value in query)
        found = find(table, host, head(f"{path}?{text}", method, headers), info)
        expected = _slow(entries, host, path, method, headers, query, attributes)
        self.assertEqual(found, None if expected is None else str(expected))
