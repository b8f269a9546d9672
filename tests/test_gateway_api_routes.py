"""Routes of the Gateway API: what they are attached to, what they become, and what their statuses say."""
from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from edgegw.config.faults import Report
from edgegw.config.native import load_document
from edgegw.gateway_api.compiled import Surroundings
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.listener_state import GatewayState
from edgegw.gateway_api.native_nodes import node_of
from edgegw.gateway_api.routes import CompiledRoutes, compile_routes
from edgegw.model import Gateway
from edgegw.registry import Registry
from tests.kubernetes_objects import gateway_states, objects

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra, generation: 3}
spec:
  gatewayClassName: edgegw
  listeners:
  - {name: http, port: 8080, protocol: HTTP}
"""
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: infra}
spec:
  ports: [{name: http, port: 80, targetPort: 8000}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: infra, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8000, protocol: TCP}]
endpoints:
- {addresses: [127.0.0.1], conditions: {ready: true}}
- {addresses: [127.0.0.2]}
- {addresses: [127.0.0.3], conditions: {ready: false}}
"""


def http_route(rules: str, name: str = "app", more: str = "", kind: str = "HTTPRoute", namespace: str = "infra") -> str:
    """Give a route to the Gateway of these tests."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}, generation: 7}}
spec:
  parentRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge, namespace: infra}}]
{more}
  rules:
{rules}
"""


WEB = "  - backendRefs: [{group: '', kind: Service, name: web, port: 80, weight: 1}]\n"


class Compiled:
    """The routes of some YAML, compiled."""

    def __init__(self, *texts: str, surroundings: Surroundings | None = None) -> None:
        self.objects = objects(*texts)
        self.states: list[GatewayState] = gateway_states(self.objects)
        self.routes: CompiledRoutes = compile_routes(
            self.objects, Grants(self.objects), self.states, surroundings or Surroundings()
        )

    @property
    def upstreams(self) -> dict[str, dict[str, Any]]:
        """The upstreams by their names."""
        return {one["name"]: one for one in self.routes.upstreams}

    def parents(self, name: str, kind: str = "HTTPRoute") -> list[dict[str, Any]]:
        """Give ``status.parents`` of a route; none where it has no status of ours."""
        for status in self.routes.statuses:
            if status.object.kind == kind and status.object.name == name:
                parents: list[dict[str, Any]] = status.status["parents"]
                return parents
        return []

    def conditions(self, name: str, kind: str = "HTTPRoute", parent: int = 0) -> dict[str, tuple[str, str]]:
        """Give status and reason of each condition of a route."""
        conditions = self.parents(name, kind)[parent]["conditions"]
        return {one["type"]: (one["status"], one["reason"]) for one in conditions}

    @property
    def attached(self) -> dict[str, int]:
        """How many routes each listener has."""
        return {listener.name: listener.attached for state in self.states for listener in state.listeners}

    def document(self) -> dict[str, Any]:
        """Give the native document, with listeners as they are compiled elsewhere."""
        listeners = []
        for state in self.states:
            for listener in state.listeners:
                passes = listener.protocol == "TCP" or listener.passthrough
                entry = {"name": listener.native[0], "port": listener.port, "protocol": listener.protocol}
                if listener.protocol in ("HTTPS", "TLS") and not passes:
                    entry["protocol"] = "HTTP" if listener.protocol == "HTTPS" else "TCP"
                elif listener.passthrough:
                    entry["tls"] = {"mode": "Passthrough"}
                if listener.hostname is not None and entry["protocol"] != "TCP":
                    entry["hostname"] = listener.hostname
                listeners.append(entry)
        parts = {key: getattr(self.routes, key) for key in ("routes", "tls_routes", "tcp_routes", "upstreams")}
        return {"listeners": listeners, **{key: part for key, part in parts.items() if part}}

    def load(self) -> Gateway:
        """Let the native language read it."""
        loaded = load_document(
            node_of(self.document()), "manifests", Report("manifests"),
            find_plugins=Registry, make_environment=lambda *arguments: None,  # type: ignore[arg-type]
        )
        return loaded.gateway


class BasicTests(SynchronousTestCase):
    """A route to a Service."""

    def test_service(self) -> None:
        """A route becomes one of the native document, to the ready endpoints of the Service's slices."""
        compiled = Compiled(GATEWAY, SERVICE, http_route(WEB))
        (route,) = compiled.routes.routes
        self.assertEqual(route["name"], "infra/app")
        self.assertEqual(route["listeners"], ["infra/edge/http"])
        self.assertEqual(route["rules"][0]["backends"], [{"upstream": "infra/web:80"}])
        self.assertEqual(
            compiled.routes.upstreams, [{"name": "infra/web:80", "endpoints": ["127.0.0.1:8000", "127.0.0.2:8000"]}]
        )
        gateway = compiled.load()
        self.assertEqual([str(one) for one in gateway.upstreams[0].endpoints], ["127.0.0.1:8000", "127.0.0.2:8000"])
        self.assertEqual(compiled.attached, {"http": 1})

    def test_status(self) -> None:
        """Both conditions are there, with the route's generation and the whole reference."""
        compiled = Compiled(GATEWAY, SERVICE, http_route(WEB))
        self.assertEqual(
            compiled.parents("app"),
            [
                {
                    "parentRef": {
                        "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "edge",
                    },
                    "controllerName": "edgegw.io/gateway-controller",
                    "conditions": [
                        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                         "observedGeneration": 7},
                        {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs", "message": "",
                         "observedGeneration": 7},
                    ],
                }
            ],
        )  # fmt: skip
