"""Attachment of Gateway API routes to listeners, and what their statuses say of it."""
from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.kubernetes_objects import Compiled

GATEWAYS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec:
  listeners:
  - {name: all, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
  - {name: same, port: 81, protocol: HTTP, allowedRoutes: {namespaces: {from: Same}}}
  - name: chosen
    port: 82
    protocol: HTTP
    allowedRoutes:
      namespaces:
        from: Selector
        selector:
          matchLabels: {team: web}
          matchExpressions:
          - {key: stage, operator: In, values: [live, test]}
          - {key: old, operator: DoesNotExist}
          - {key: kubernetes.io/metadata.name, operator: NotIn, values: [banned]}
          - {key: team, operator: Exists}
  - {name: wildcard, port: 83, protocol: HTTP, hostname: "*.example.com", allowedRoutes: {namespaces: {from: All}}}
  - {name: exact, port: 83, protocol: HTTP, hostname: one.example.com, allowedRoutes: {namespaces: {from: All}}}
  - {name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}, allowedRoutes: {namespaces: {from: All}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: web, labels: {team: web, stage: live}}
---
apiVersion: v1
kind: Namespace
metadata: {name: old, labels: {team: web, stage: live, old: "yes"}}
---
apiVersion: v1
kind: Namespace
metadata: {name: banned, labels: {team: web, stage: live}}
"""


def route(parents: str, namespace: str = "infra", hostnames: str = "[]", kind: str = "HTTPRoute") -> str:
    """Give a route with these ``parentRefs``."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: r, namespace: {namespace}}}
spec:
  hostnames: {hostnames}
  parentRefs: {parents}
  rules: [{{backendRefs: [{{kind: Service, name: web, port: 80}}]}}]
"""


def to(section: str = "", more: str = "") -> str:
    """Give references to the Gateway of these tests, or to one of its listeners."""
    named = f", sectionName: {section}" if section else ""
    return f"[{{name: edge, namespace: infra{named}{more}}}]"


class AttachmentTests(SynchronousTestCase):
    """Which listeners take a route."""

    def accepted(self, *texts: str, kind: str = "HTTPRoute") -> tuple[str, str]:
        """Give status and reason of ``Accepted``."""
        self.compiled = Compiled(GATEWAYS, *texts)
        conditions = self.compiled.conditions("r", kind)
        self.assertIn("ResolvedRefs", conditions)
        return conditions["Accepted"]

    def attached(self) -> list[str]:
        """Give the names of the listeners that have the route."""
        return [name for name, count in self.compiled.attached.items() if count]

    def test_whole_gateway(self) -> None:
        """A reference without a section is for every listener that takes the route."""
        self.assertEqual(self.accepted(route(to())), ("True", "Accepted"))
        self.assertEqual(self.attached(), ["all", "same", "wildcard", "exact"])
        (native,) = self.compiled.routes.routes
        self.assertEqual(native["listeners"], [f"infra/edge/{name}" for name in self.attached()])
        self.assertNotIn("hostnames", native)

    def test_section_and_port(self) -> None:
        """Both have to be those of one listener."""
        self.assertEqual(self.accepted(route(to("all"))), ("True", "Accepted"))
        self.assertEqual(self.attached(), ["all"])
        self.assertEqual(self.accepted(route(to("", ", port: 83"))), ("True", "Accepted"))
        self.assertEqual(self.attached(), ["wildcard", "exact"])
        self.assertEqual(self.accepted(route(to("exact", ", port: 83"))), ("True", "Accepted"))
        self.assertEqual(self.attached(), ["exact"])
        for parents in (to("none"), to("all", ", port: 81"), to("", ", port: 9")):
            self.assertEqual(self.accepted(route(parents)), ("False", "NoMatchingParent"))
            self.assertEqual(self.attached(), [])
            self.assertEqual(self.compiled.routes.routes, [])

    def test_namespaces(self) -> None:
        """Same, All, and a selector of labels; the label with the name is always there."""
        self.assertEqual(self.accepted(route(to("same"), "web")), ("False", "NotAllowedByListeners"))
        self.assertEqual(self.accepted(route(to("same"))), ("True", "Accepted"))
        self.assertEqual(self.accepted(route(to("all"), "anything")), ("True", "Accepted"))
        self.assertEqual(self.accepted(route(to("chosen"), "web")), ("True", "Accepted"))
        for namespace in ("infra", "old", "banned", "unknown"):
            self.assertEqual(self.accepted(route(to("chosen"), namespace)), ("False", "NotAllowedByListeners"))

    def test_kinds(self) -> None:
        """A listener takes the kinds that it says it takes."""
        self.assertEqual(self.accepted(route(to("tls"))), ("False", "NotAllowedByListeners"))
        found = self.accepted(route(to("all"), kind="TLSRoute", hostnames="[a.example.com]"), kind="TLSRoute")
        self.assertEqual(found, ("False", "NotAllowedByListeners"))
        found = self.accepted(route(to("tls"), kind="TLSRoute", hostnames="[a.example.com]"), kind="TLSRoute")
        self.assertEqual(found, ("True", "Accepted"))

    def test_hostnames(self) -> None:
        """The host names of a route that no listener takes do not count; one at least has to be taken."""
        names = "[One.Example.com, '*.example.com', other.org]"
        self.assertEqual(self.accepted(route(to("", ", port: 83"), hostnames=names)), ("True", "Accepted"))
        self.assertEqual(self.attached(), ["wildcard", "exact"])
        (native,) = self.compiled.routes.routes
        self.assertEqual(native["hostnames"], ["one.example.com", "*.example.com"])
        self.assertEqual(self.accepted(route(to("exact"), hostnames="['*.com']")), ("True", "Accepted"))
        for section, names in (
            ("exact", "[two.example.com]"), ("wildcard", "[example.com]"), ("wildcard", "[a.example.org, '*.org']"),
        ):
            found = self.accepted(route(to(section), hostnames=names))
            self.assertEqual(found, ("False", "NoMatchingListenerHostname"))
            self.assertEqual(self.attached(), [])

    def test_no_hostnames(self) -> None:
        """What is no host name is left out; a route that has nothing else never becomes one for every name."""
        self.assertEqual(self.accepted(route(to("all"), hostnames="['127.0.0.1', a.org]")), ("True", "Accepted"))
        self.assertEqual(self.compiled.routes.routes[0]["hostnames"], ["a.org"])
        self.assertIn("127.0.0.1 is not the name of a host", self.compiled.routes.warnings[0][1])
        self.compiled.load()
        found = self.accepted(route(to("all"), hostnames="['127.0.0.1']"))
        self.assertEqual(found, ("False", "NoMatchingListenerHostname"))
        self.assertEqual((self.compiled.routes.routes, self.attached()), ([], []))

    def test_other_parents(self) -> None:
        """Parents that are not ours, or of other kinds, are not in the status."""
        compiled = Compiled(GATEWAYS, route("[{name: theirs, namespace: infra}, {kind: Service, name: edge}]"))
        self.assertEqual(compiled.parents("r"), [])
        self.assertEqual(compiled.routes.statuses, [])
        compiled = Compiled(GATEWAYS, route("[{name: theirs}, {name: edge, namespace: infra, sectionName: all}]"))
        (parent,) = compiled.parents("r")
        self.assertEqual(
            parent["parentRef"],
            {
                "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "edge",
                "sectionName": "all",
            },
        )

    def test_several_references(self) -> None:
        """Each has its own entry; a listener that two of them lead to counts the route once."""
        parents = "[{name: edge, port: 80}, {name: edge, sectionName: all}, {name: edge, sectionName: none}]"
        compiled = Compiled(GATEWAYS, route(parents))
        accepted = [compiled.conditions("r", parent=number)["Accepted"] for number in range(3)]
        self.assertEqual(accepted, [("True", "Accepted"), ("True", "Accepted"), ("False", "NoMatchingParent")])
        self.assertEqual(compiled.attached["all"], 1)
        self.assertEqual(compiled.parents("r")[0]["parentRef"]["port"], 80)
        (native,) = compiled.routes.routes
        self.assertEqual(native["listeners"], ["infra/edge/all"])

    def test_not_served(self) -> None:
        """A listener that is not served has its routes counted, and nothing of them is in the document."""
        compiled = Compiled(GATEWAYS, route(to("all")), served=False)
        self.assertEqual(compiled.attached["all"], 1)
        self.assertEqual(compiled.conditions("r")["Accepted"], ("True", "Accepted"))
        self.assertEqual(compiled.conditions("r")["ResolvedRefs"], ("False", "BackendNotFound"))
        self.assertEqual((compiled.routes.routes, compiled.routes.upstreams), ([], []))

    def test_references_of_refused_routes(self) -> None:
        """Whether a route is accepted says nothing of its references."""
        self.accepted(route(to("none")))
        self.assertEqual(self.compiled.conditions("r")["ResolvedRefs"], ("False", "BackendNotFound"))
        service = """
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: infra}
spec: {ports: [{port: 80}]}
"""
        self.accepted(service, route(to("none")))
        self.assertEqual(self.compiled.conditions("r")["ResolvedRefs"], ("True", "ResolvedRefs"))
        self.assertEqual(self.compiled.routes.upstreams, [])
