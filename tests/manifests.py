"""Manifests for tests, and what is found in them."""
from __future__ import annotations

from collections.abc import Mapping
from textwrap import indent
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError
from edgegw.config.faults import Fault, Severity
from edgegw.gateway_api.manifests import ReadObjects, read_objects_text
from edgegw.gateway_api.objects import Object

GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: edgegw
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
"""


def gateway(*listeners: str, rest: str = "") -> str:
    """Give a Gateway with listeners, each as the inside of a mapping in braces."""
    written = "".join(f"  - {{{listener}}}\n" for listener in listeners)
    return GATEWAY + f"  listeners:\n{written}" + indent(rest, "  ")


def route(rules: str = "", rest: str = "", kind: str = "HTTPRoute", version: str = "v1") -> str:
    """Give a route with one rule, written as the inside of a mapping in braces."""
    head = ROUTE.replace("HTTPRoute", kind).replace("/v1", f"/{version}")
    return head + "  parentRefs: [{name: gw}]\n" + (f"  rules: [{{{rules}}}]\n" if rules else "") + indent(rest, "  ")


class ManifestTestCase(SynchronousTestCase):
    """Says what is in manifests, or wrong with them."""

    def read(self, *documents: str) -> ReadObjects:
        """Read documents, which have to be right."""
        return read_objects_text("---\n".join(documents), "m.yaml")

    def one(self, document: str) -> Object:
        """Read the one object of a document."""
        (found,) = self.read(document).objects
        return found

    def content(self, document: str) -> Mapping[str, Any]:
        """Give the content of the one object of a document."""
        return self.one(document).content

    def faults(self, *documents: str) -> list[Fault]:
        """Give what is wrong."""
        error = self.assertRaises(ConfigError, read_objects_text, "---\n".join(documents), "m.yaml")
        return [fault for fault in error.faults if fault.severity is Severity.FAULT]

    def assert_faults(self, document: str, *expected: tuple[str, str]) -> None:
        """Check all faults of a document: the end of each path, and words that are in what it says."""
        found = self.faults(document)
        text = "\n".join(map(str, found))
        self.assertEqual(len(found), len(expected), text)
        for fault, (path, words) in zip(found, expected, strict=True):
            self.assertTrue(fault.path.endswith(path), f"{path}\n{text}")
            self.assertIn(words, f"{fault.problem}; {fault.remedy}")
