"""TLSRoutes and TCPRoutes of the Gateway API in the native language, and their statuses."""
from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from edgegw.testing import Authority
from tests.kubernetes_objects import Compiled
from tests.test_gateway_api_backends import config_map, policy, service

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec:
  listeners:
  - {name: pass, port: 443, protocol: TLS, hostname: "*.example.com", tls: {mode: Passthrough}}
  - {name: end, port: 444, protocol: TLS, tls: {mode: Terminate}}
  - {name: tcp, port: 5432, protocol: TCP}
"""


def route(
    section: str, refs: str = "{name: web, port: 80}", kind: str = "TLSRoute", name: str = "r", year: str = "2024",
    hostnames: str = "[a.example.com]",
) -> str:
    """Give a route to a listener."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: infra, creationTimestamp: "{year}-01-01T00:00:00Z"}}
spec:
  hostnames: {hostnames}
  parentRefs: [{{name: edge{f', sectionName: {section}' if section else ''}}}]
  rules: [{{backendRefs: [{refs}]}}]
"""


class TunnelTests(SynchronousTestCase):
    """Where connections go."""

    def test_passthrough(self) -> None:
        """The route's names, on the listener; its bytes go to the Service as they are, whatever policies say."""
        compiled = Compiled(
            GATEWAY, service(), config_map("ca", Authority().pem.decode("ascii")), policy(),
            route("pass", hostnames="[a.example.com, '*.b.example.com', c.org]"),
        )
        self.assertEqual(
            compiled.routes.tls_routes,
            [
                {
                    "name": "infra/r", "listeners": ["infra/edge/pass"],
                    "hostnames": ["a.example.com", "*.b.example.com"], "backends": [{"upstream": "infra/web:80"}],
                }
            ],
        )
        self.assertEqual(compiled.upstreams["infra/web:80"]["endpoints"], ["web.infra.svc.cluster.local:80"])
        self.assertNotIn("tls", compiled.upstreams["infra/web:80"])
        self.assertEqual(compiled.attached, {"pass": 1, "end": 0, "tcp": 0})
        accepted = {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
        self.assertEqual(compiled.conditions("r", "TLSRoute"), accepted)
        self.assertEqual(compiled.routes.statuses[-1].status, {"ancestors": []})
        compiled.load()

    def test_terminated(self) -> None:
        """What TLS was ended here goes on in clear, or in TLS anew where a policy says so."""
        pem = Authority().pem.decode("ascii")
        compiled = Compiled(GATEWAY, service(), route("end"))
        self.assertEqual(compiled.upstreams["infra/web:80"].keys(), {"name", "endpoints"})
        compiled = Compiled(GATEWAY, service(), config_map("ca", pem), policy(), route("end"))
        self.assertEqual(compiled.upstreams["infra/web:80"]["tls"]["hostname"], "App.example.com")
        (ancestor,) = compiled.routes.statuses[-1].status["ancestors"]
        self.assertEqual(ancestor["ancestorRef"]["name"], "edge")

    def test_never_in_clear(self) -> None:
        """A policy without a CA certificate lets no connection pass."""
        for listener, kind in (("end", "TLSRoute"), ("tcp", "TCPRoute")):
            compiled = Compiled(GATEWAY, service(), policy(), route(listener, kind=kind))
            routes = compiled.routes.tls_routes or compiled.routes.tcp_routes
            self.assertEqual(routes[0]["backends"], [])
            self.assertEqual(compiled.routes.upstreams, [])

    def test_both_modes(self) -> None:
        """One route on listeners of both modes is spoken for twice."""
        text = route("", hostnames="[a.example.com]")
        compiled = Compiled(GATEWAY, service(), text)
        natives = [(one["name"], one["listeners"]) for one in compiled.routes.tls_routes]
        self.assertEqual(natives, [("infra/r", ["infra/edge/end"]), ("infra/r/2", ["infra/edge/pass"])])

    def test_missing_backends(self) -> None:
        """Their share is closed; with nothing else connections are refused at once."""
        for ref, reason in (
            ("{name: none, port: 80}", "BackendNotFound"),
            ("{group: a.b, kind: C, name: d}", "InvalidKind"),
            ("{name: web, namespace: other, port: 80}", "RefNotPermitted"),
        ):
            compiled = Compiled(GATEWAY, service(), route("pass", ref))
            self.assertEqual(compiled.routes.tls_routes[0]["backends"], [])
            self.assertEqual(compiled.conditions("r", "TLSRoute")["ResolvedRefs"], ("False", reason))
            self.assertEqual(compiled.conditions("r", "TLSRoute")["Accepted"], ("True", "Accepted"))
            self.assertEqual(compiled.attached["pass"], 1)
            compiled.load()
            compiled = Compiled(GATEWAY, service(), route("pass", f"{{name: web, port: 80, weight: 9}}, {ref}"))
            self.assertEqual(
                compiled.routes.tls_routes[0]["backends"],
                [{"upstream": "infra/web:80", "weight": 9}, {"upstream": "unresolved/closed"}],
            )
            compiled.load()
        compiled = Compiled(GATEWAY, service(), route("pass", "{name: web, port: 80, weight: 0}"))
        self.assertEqual(compiled.routes.tls_routes[0]["backends"], [])

    def test_references_without_listener(self) -> None:
        """References are judged whether a listener takes the route or not."""
        for text in (route("none", "{name: none, port: 80}"), route("tcp", "{name: none, port: 80}")):
            compiled = Compiled(GATEWAY, service(), text)
            self.assertEqual(compiled.conditions("r", "TLSRoute")["ResolvedRefs"], ("False", "BackendNotFound"))
        compiled = Compiled(GATEWAY, service(), route("pass", "{name: none, port: 80}"), served=False)
        self.assertEqual(compiled.conditions("r", "TLSRoute")["ResolvedRefs"], ("False", "BackendNotFound"))
        self.assertEqual((compiled.routes.tls_routes, compiled.attached["pass"]), ([], 1))

    def test_same_names(self) -> None:
        """Of two routes with one name on a listener the older has it; the other one keeps its other names."""
        compiled = Compiled(
            GATEWAY, service(),
            route("pass", name="new", hostnames="[a.example.com, b.example.com]"),
            route("pass", name="old", year="2023"),
        )
        self.assertEqual(
            [(one["name"], one["hostnames"]) for one in compiled.routes.tls_routes],
            [("infra/old", ["a.example.com"]), ("infra/new", ["b.example.com"])],
        )
        ((owner, warning),) = compiled.routes.warnings
        self.assertEqual(str(owner), "TLSRoute infra/new")
        self.assertIn("a.example.com of the listener pass is the older TLSRoute infra/old's", warning)
        self.assertEqual(compiled.attached["pass"], 2)
        compiled.load()

    def test_tcp(self) -> None:
        """Connections of a port, by weight; a listener has one route."""
        refs = "{name: web, port: 80, weight: 2}, {name: other, port: 80}"
        compiled = Compiled(
            GATEWAY, service(), service(name="other"),
            route("tcp", refs, kind="TCPRoute"), route("tcp", kind="TCPRoute", name="later", year="2025"),
        )
        self.assertEqual(
            compiled.routes.tcp_routes,
            [
                {
                    "name": "infra/r", "listeners": ["infra/edge/tcp"],
                    "backends": [{"upstream": "infra/web:80", "weight": 2}, {"upstream": "infra/other:80"}],
                }
            ],
        )
        self.assertEqual(len(compiled.routes.warnings), 1)
        self.assertEqual(compiled.conditions("later", "TCPRoute")["Accepted"], ("True", "Accepted"))
        compiled.load()
