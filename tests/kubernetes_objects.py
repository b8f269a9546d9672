"""Kubernetes objects for tests, from YAML that has the defaults of the API server filled in already."""
from __future__ import annotations

from typing import Any

import yaml

from edgegw.gateway_api.conditions import Conditions
from edgegw.gateway_api.listener_state import GatewayState, ListenerState
from edgegw.gateway_api.objects import GATEWAY_API, Object, Objects

__all__ = ["documents", "gateway_states", "objects"]

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
    made = []
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
