"""Where redirects lead and what rewritten requests ask for."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.filters.places import Asked, location, rewritten_host, rewritten_target
from edgegw.model import PathModifier, PathModifierType, Redirect, Rewrite

CASES = json.loads((Path(__file__).parent / "data" / "rewrite_redirect.json").read_text())
PORTS = {"http": 80, "https": 443}


def modifier(policy: dict[str, Any]) -> PathModifier | None:
    if "path" not in policy:
        return None
    ((kind, value),) = policy["path"].items()
    full = kind == "full"
    return PathModifier(PathModifierType.REPLACE_FULL_PATH if full else PathModifierType.REPLACE_PREFIX_MATCH, value)


def authority(policy: dict[str, Any]) -> tuple[str | None, int | None]:
    given = policy.get("authority", {})
    if "full" in given:
        host, _, port = given["full"].partition(":")
        return host, int(port) if port else None
    return given.get("host"), given.get("port")


def asked(uri: str) -> tuple[Asked, bytes]:
    parts = urlsplit(uri)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    if not parts.scheme:
        # What comes in such a request line is a path, and a request without a host.
        return Asked("http", None, 80, uri.encode()), b""
    host = parts.hostname
    return Asked(parts.scheme, host, parts.port or PORTS[parts.scheme], target.encode()), parts.netloc.encode()


class SharedCaseTests(SynchronousTestCase):
    """Inputs and outputs that another gateway is tested with."""

    def test_redirects(self) -> None:
        """Where each redirect leads, and with which status."""
        self.assertEqual(len(CASES["redirect"]), 25)
        for case in CASES["redirect"]:
            policy = case["policy"]
            hostname, port = authority(policy)
            redirect = Redirect(
                policy.get("scheme"), hostname, port, modifier(policy), policy.get("status", Redirect().status)
            )
            got = location(redirect, asked(case["uri"])[0], case["match"].get("pathPrefix"))
            want = case["want"]
            if want is None:
                self.assertIsNone(got, case["name"])
            else:
                self.assertEqual((got, redirect.status), (want["location"].encode(), want["code"]), case["name"])

    def test_rewrites(self) -> None:
        """What the upstream is asked for."""
        self.assertEqual(len(CASES["rewrite"]), 30)
        for case in CASES["rewrite"]:
            request, host = asked(case["uri"])
            name, port = authority(case["policy"])
            rewrite = Rewrite(name, port, modifier(case["policy"]))
            target = rewritten_target(rewrite.path, request.target, case["match"].get("pathPrefix"))
            if case["want"] is None:
                self.assertIsNone(target, case["name"])
                continue
            new_host = rewritten_host(rewrite, host, request.hostname)
            assert target is not None
            got = f"{request.scheme}://{(host if new_host is None else new_host).decode()}{target.decode()}"
            self.assertEqual(got, case["want"]["uri"], case["name"])


class PrefixTests(SynchronousTestCase):
    """ReplacePrefixMatch."""

    def replaced(self, prefix: str, value: str, target: bytes) -> bytes | None:
        return rewritten_target(PathModifier(PathModifierType.REPLACE_PREFIX_MATCH, value), target, prefix)

    def test_gateway_api(self) -> None:
        """The table of HTTPPathModifier.replacePrefixMatch."""
        for prefix in ("/foo", "/foo/"):
            for value, pairs in [
                ("/xyz", {b"/foo": b"/xyz", b"/foo/": b"/xyz/", b"/foo/bar": b"/xyz/bar"}),
                ("/xyz/", {b"/foo/": b"/xyz/", b"/foo/bar": b"/xyz/bar"}),
                ("", {b"/foo": b"/", b"/foo/": b"/", b"/foo/bar": b"/bar"}),
                ("/", {b"/foo": b"/", b"/foo/": b"/", b"/foo/bar": b"/bar"}),
            ]:
                for target, want in pairs.items():
                    self.assertEqual(self.replaced(prefix, value, target), want, (prefix, value, target))

    def test_encodings(self) -> None:
        """What is one path to the route table is one here, and an encoded slash ends no element."""
        self.assertEqual(self.replaced("/a:b", "/c", b"/a%3Ab/%3a?q=%2f"), b"/c/%3a?q=%2f")
        self.assertEqual(self.replaced("/a%20b/c", "/d", b"/a%20b/c/e"), b"/d/e")
        self.assertIsNone(self.replaced("/a/b", "/c", b"/a%2Fb"))
        self.assertEqual(self.replaced("/", "/c", b"*"), b"*")

    @given(st.lists(st.sampled_from(["a", "b%3A", ".", "", "%2F"]), max_size=6), st.integers(0, 6))
    def test_the_rest_stays(self, elements: list[str], count: int) -> None:
        """Whatever is behind the prefix goes on as it was sent."""
        prefix = "/" + "/".join(elements[:count])
        path = ("/" + "/".join(elements)).encode()
        if prefix.rstrip("/").count("/") != len([*elements[:count]]) or not elements[:count]:
            return
        rest = path[len(prefix) :]
        self.assertEqual(self.replaced(prefix, "/x", path + b"?q"), b"/x" + rest + b"?q")


class PortTests(SynchronousTestCase):
    """The port of a redirect."""

    def test_listener_port(self) -> None:
        """Without a scheme and a port the listener's is kept, unless it is the scheme's own."""
        for scheme, port, want in [
            ("http", 8080, b"http://b:8080/"), ("http", 80, b"http://b/"), ("https", 443, b"https://b/"),
            ("https", 80, b"https://b:80/"), ("http", 0, b"http://b/"),
        ]:
            self.assertEqual(location(Redirect(hostname="b"), Asked(scheme, "a", port, b"/"), None), want)

    def test_addresses(self) -> None:
        """IPv6 addresses have their brackets."""
        self.assertEqual(
            location(Redirect(scheme="https"), Asked("http", "2001:db8::1", 80, b"/x"), None), b"https://[2001:db8::1]/x"
        )
        self.assertEqual(rewritten_host(Rewrite(port=81), b"[::1]:80", "::1"), b"[::1]:81")

    def test_nowhere(self) -> None:
        """No host, or a target that is no path, leads nowhere."""
        self.assertIsNone(location(Redirect(), Asked("http", None, 80, b"/"), None))
        self.assertIsNone(location(Redirect(), Asked("http", "a", 80, b"*"), None))
