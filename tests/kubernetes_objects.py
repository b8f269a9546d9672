"""Kubernetes objects for tests, from YAML, and what routes among them are compiled to."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from edgegw.config.faults import Report
from edgegw.config.native import load_document
from edgegw.gateway_api.compiled import Surroundings
from edgegw.gateway_api.conditions import Conditions
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.listener_state import GatewayState, ListenerState
from edgegw.gateway_api.native_nodes import node_of
from edgegw.gateway_api.objects import GATEWAY_API, Object, Objects
from edgegw.gateway_api.routes import CompiledRoutes, compile_routes
from edgegw.model import Gateway
from edgegw.registry import Registry
from edgegw.testing import FakeEnvironment

__all__ = ["Compiled", "documents", "gateway_states", "objects"]

_KINDS_BY_PROTOCOL = {
    "HTTP": ["HTTPRoute", "GRPCRoute"],
    "HTTPS": ["HTTPRoute", "GRPCRoute"],
    "TLS": ["TLSRoute"],
    "TCP": ["TCPRoute"],
}
_WITHOUT_NAMESPACE = ("Namespace", "GatewayClass")


def documents(text: str) -> list[dict[str, Any]]:
    """Read YAML with several documents."""
    return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]


def objects(*texts: str) -> Objects:
    """Make objects of YAML; their order is that of the text, and ``default`` is their namespace."""
    made: list[Object] = []
    for content in (one for text in texts for one in documents(text)):
        metadata = content["metadata"]
        namespace = "" if content["kind"] in _WITHOUT_NAMESPACE else metadata.get("namespace", "default")
        created = metadata.get("creationTimestamp")
        made.append(
            Object(
                content["apiVersion"], content["kind"], namespace, metadata["name"], content,
                generation=metadata.get("generation", 1), created=None if created is None else str(created),
                order=len(made),
            )
        )
    return Objects(made)


def gateway_states(all_objects: Objects) -> list[GatewayState]:
    """Give the Gateways as they are before routes are looked at, every listener of theirs served under its name."""
    states = []
    for gateway in all_objects.of_kind(GATEWAY_API, "Gateway"):
        state = GatewayState(gateway, Conditions(gateway.generation))
        for index, spec in enumerate(gateway.spec["listeners"]):
            allowed = (spec.get("allowedRoutes") or {}).get("kinds")
            kinds = [one["kind"] for one in allowed] if allowed else _KINDS_BY_PROTOCOL.get(spec["protocol"], [])
            state.listeners.append(
                ListenerState(
                    gateway, spec, index, spec.get("hostname"), Conditions(gateway.generation),
                    kinds=[(GATEWAY_API, kind) for kind in kinds],
                    native=[f"{gateway.namespace}/{gateway.name}/{spec['name']}"],
                )
            )
        states.append(state)
    return states


class Compiled:
    """The routes of some YAML, compiled."""

    def __init__(
        self,
        *texts: str,
        surroundings: Surroundings | None = None,
        served: bool = True,
        client_certificates: Mapping[str, dict[str, str]] | None = None,
    ) -> None:
        self.objects = objects(*texts)
        self.states: list[GatewayState] = gateway_states(self.objects)
        for state in self.states:
            state.client_certificate = (client_certificates or {}).get(state.gateway.name)
        for listener in (one for state in self.states for one in state.listeners if not served):
            listener.native = []
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
        """Give the native document, with listeners in place of those that are compiled elsewhere."""
        listeners: list[dict[str, Any]] = []
        for listener in (one for state in self.states for one in state.listeners if one.native):
            address = f"unix:/run/{len(listeners)}"
            entry: dict[str, Any] = {"name": listener.native[0], "address": address, "protocol": listener.protocol}
            if listener.passthrough:
                entry["tls"] = {"mode": "Passthrough"}
            elif listener.protocol in ("HTTPS", "TLS"):
                # Certificates are somebody else's.
                entry["protocol"] = "HTTP" if listener.protocol == "HTTPS" else "TCP"
            if listener.hostname is not None and entry["protocol"] != "TCP":
                entry["hostname"] = listener.hostname
            listeners.append(entry)
        parts = {key: getattr(self.routes, key) for key in ("routes", "tls_routes", "tcp_routes", "upstreams")}
        return {"listeners": listeners, **{key: part for key, part in parts.items() if part}}

    def load(self) -> Gateway:
        """Let the native language read it."""
        loaded = load_document(
            node_of(self.document()), "manifests", Report("manifests"),
            find_plugins=Registry, make_environment=lambda *_: FakeEnvironment(),
        )
        return loaded.gateway
