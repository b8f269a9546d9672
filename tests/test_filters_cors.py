"""Cross-origin resource sharing, as pure rules."""
from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.filters.cors import CORSRules
from edgegw.filters.header_changes import field
from edgegw.model import CORS


def rules(*origins: str, **more: Any) -> CORSRules:
    return CORSRules(CORS(origins, **more))


def lines(fields: list[Any]) -> dict[bytes, bytes]:
    return {name.removeprefix(b"access-control-"): value for name, value, _ in fields}


class OriginTests(SynchronousTestCase):
    """Which origins are allowed."""

    def test_exact(self) -> None:
        """Scheme, host and port; the scheme's own port may be written or not, case does not matter."""
        one = rules("https://a.example", "http://b.example:8080")
        for origin, allowed in [
            (b"https://a.example", True), (b"https://A.example:443", True), (b"http://a.example", False),
            (b"https://a.example:8443", False), (b"https://x.a.example", False), (b"https://a.example.evil", False),
            (b"http://b.example:8080", True), (b"http://b.example", False), (b"null", False), (b"", False),
            (b"https://a.example/", False), (b"https://a.example@evil", False),
            (b"https://evil?https://a.example", False),
        ]:
            self.assertEqual(one.allows(origin), allowed, origin)

    def test_wildcards(self) -> None:
        """An asterisk stands for one label or several, never for none."""
        one = rules("https://*.a.example", "https://*.b.example:8443")
        for origin, allowed in [
            (b"https://x.a.example", True), (b"https://x.y.a.example", True), (b"https://a.example", False),
            (b"https://.a.example", False), (b"https://xa.example", False), (b"http://x.a.example", False),
            (b"https://x.a.example:444", False), (b"https://x.b.example:8443", True), (b"https://x.b.example", False),
            (b"https://evil.org/.a.example", False), (b"https://evil:1.a.example", False),
        ]:
            self.assertEqual(one.allows(origin), allowed, origin)
        self.assertTrue(rules("https://*").allows(b"https://anything"))
        self.assertTrue(rules("*").allows(b"null"))

    @given(st.binary())
    def test_anything(self, origin: bytes) -> None:
        """Nothing that is sent is more than not allowed."""
        self.assertFalse(rules("https://a.example", "https://*.a.example").allows(b"!" + origin))


class AnswerTests(SynchronousTestCase):
    """What is answered."""

    def test_preflight(self) -> None:
        """What is listed, as it is configured."""
        one = rules("https://a", allow_methods=("PUT", "GET"), allow_headers=("x-a", "x-b"), max_age=600.0)
        self.assertEqual(
            lines(one.preflight(b"https://a", b"PUT", [b"x-a"])),
            {
                b"allow-origin": b"https://a", b"allow-methods": b"PUT, GET", b"allow-headers": b"x-a, x-b",
                b"max-age": b"600",
                b"vary": b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
            },
        )

    def test_asterisks(self) -> None:
        """They are sent as they are, but with credentials what was asked for is echoed."""
        everything = {"allow_methods": ("*",), "allow_headers": ("*",), "expose_headers": ("*",)}
        got = lines(rules("*", **everything).preflight(b"https://a", b"PUT", [b"x-a"]))
        self.assertEqual([got[b"allow-" + name] for name in (b"origin", b"methods", b"headers")], [b"*"] * 3)
        self.assertEqual(got[b"max-age"], b"5")
        one = rules("*", **everything, allow_credentials=True)
        got = lines(one.preflight(b"https://a", b"PUT", [b"x-a", b"x-b"]))
        self.assertEqual(
            [got[b"allow-" + name] for name in (b"origin", b"methods", b"headers", b"credentials")],
            [b"https://a", b"PUT", b"x-a, x-b", b"true"],
        )
        got = lines(one.preflight(b"https://a", b"", []))
        self.assertEqual(set(got), {b"allow-origin", b"allow-credentials", b"max-age", b"vary"})
        self.assertEqual(
            lines(one.response(b"https://a")),
            {b"allow-origin": b"https://a", b"allow-credentials": b"true", b"vary": b"Origin"},
        )

    def test_odd_names_are_not_echoed(self) -> None:
        """What is no list of names is left out."""
        one = rules("*", allow_methods=("*",), allow_headers=("*",), allow_credentials=True)
        got = lines(one.preflight(b"https://a", b"PUT GET", [b"x a; b"]))
        self.assertNotIn(b"allow-methods", got)
        self.assertNotIn(b"allow-headers", got)

    def test_response(self) -> None:
        """A response for one origin is not another's, and says so to caches."""
        one = rules("https://a", expose_headers=("x-a",))
        self.assertEqual(
            lines(one.response(b"https://a")),
            {b"allow-origin": b"https://a", b"expose-headers": b"x-a", b"vary": b"Origin"},
        )
        self.assertEqual(lines(one.response(b"https://b")), {b"vary": b"Origin"})
        self.assertEqual(lines(one.response(None)), {b"vary": b"Origin"})
        self.assertEqual(rules("*").response(None), [])
        self.assertEqual(lines(rules("*").response(b"https://a")), {b"allow-origin": b"*"})

    def test_upstreams_own(self) -> None:
        """What an upstream says of it itself is taken out."""
        kept = field(b"vary", b"x")
        self.assertEqual(CORSRules.without([field(b"access-control-allow-origin", b"*"), kept]), [kept])
