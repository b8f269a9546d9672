"""TLS with backends, as BackendTLSPolicies ask for it."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define, field

from edgegw.gateway_api.backend_tls_validation import Validation, validation_of
from edgegw.gateway_api.backends import Backend
from edgegw.gateway_api.compiled import CONTROLLER_NAME
from edgegw.gateway_api.conditions import Conditions, ObjectStatus
from edgegw.gateway_api.listener_state import GatewayState
from edgegw.gateway_api.objects import GATEWAY_API, KeyOfObject, Object, Objects

__all__ = ["BackendTLS"]

#: Group, kind, namespace, name, and the name of a port or nothing for all of them.
_Target = tuple[str, str, str, str, str]
#: The most that the CRD lets stand in ``status.ancestors``.
_MOST_ANCESTORS: Final = 16


@define(eq=False)
class _Policy:
    """A policy.

    :ivar wins: its targets that no older one has.
    :ivar ancestors: the Gateways through which a target of it is reached, by namespace and name, and whether any of
        these targets is its own.
    :ivar missing: those with a route to a target that is not there, and what is not.
    """

    object: Object
    validation: Validation
    wins: set[_Target] = field(factory=set)
    ancestors: dict[tuple[str, str], bool] = field(factory=dict)
    missing: dict[tuple[str, str], str] = field(factory=dict)


class BackendTLS:
    """All policies of a set of objects."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._policies: list[_Policy] = []
        self._by_target: dict[_Target, list[_Policy]] = {}
        self._by_whole: dict[KeyOfObject, dict[_Target, list[_Policy]]] = {}
        for one in objects.of_kind(GATEWAY_API, "BackendTLSPolicy"):
            policy = _Policy(one, validation_of(one, objects))
            self._policies.append(policy)
            for target in _targets(one):
                claims = self._by_target.setdefault(target, [])
                self._by_whole.setdefault(target[:4], {})[target] = claims
                if not claims:
                    policy.wins.add(target)
                claims.append(policy)

    def validation(self, backend: Backend) -> Validation | None:
        """Give how a backend is to be spoken with; ``None`` is without TLS."""
        for target in _targets_of(backend):
            claims = self._by_target.get(target)
            if claims:
                return claims[0].validation
        whole = (*backend.kind, backend.namespace, backend.name)
        if self._objects.get(*whole) is None:
            # Only the command line knows where it is, and nobody the names of its ports: TLS may be on one too many.
            for claims in self._by_whole.get(whole, {}).values():
                return claims[0].validation
        return None

    def use(self, backend: Backend, gateway: GatewayState) -> None:
        """Note that a backend is reached through a Gateway."""
        whole = (*backend.kind, backend.namespace, backend.name)
        for target, claims in self._by_whole.get(whole, {}).items():
            port_name = target[4]
            for policy in claims:
                if port_name in ("", backend.port_name) or self._objects.get(*whole) is None:
                    key = _key(gateway)
                    policy.ancestors[key] = policy.ancestors.get(key, False) or target in policy.wins
                elif port_name not in self._port_names(whole):
                    policy.missing[_key(gateway)] = f"{backend} has no port with the name {port_name}"

    def use_missing(self, whole: KeyOfObject, gateway: GatewayState) -> None:
        """Note that a route of a Gateway names something that is not there, and which policies may name too.

        :param whole: group, kind, namespace and name.
        """
        for claims in self._by_whole.get(whole, {}).values():
            for policy in claims:
                policy.missing[_key(gateway)] = f"there is no {whole[1]} {whole[2]}/{whole[3]}"

    def _port_names(self, whole: KeyOfObject) -> set[str]:
        target = self._objects.get(*whole)
        return set() if target is None else {entry.get("name", "") for entry in target.spec.get("ports") or ()}

    def statuses(self) -> Iterator[ObjectStatus]:
        """Give the status of each policy, the oldest first."""
        for policy in self._policies:
            keys = sorted({**policy.ancestors, **policy.missing})[:_MOST_ANCESTORS]
            yield ObjectStatus(policy.object, {"ancestors": [_ancestor(policy, key) for key in keys]})


def _key(gateway: GatewayState) -> tuple[str, str]:
    return gateway.gateway.namespace, gateway.gateway.name


def _targets(policy: Object) -> Iterator[_Target]:
    for ref in policy.spec.get("targetRefs") or ():
        yield ref.get("group") or "", ref["kind"], policy.namespace, ref["name"], ref.get("sectionName") or ""


def _targets_of(backend: Backend) -> Iterator[_Target]:
    """Give what policies may call a backend, the most specific first."""
    whole = (*backend.kind, backend.namespace, backend.name)
    if backend.port_name:
        yield (*whole, backend.port_name)
    yield (*whole, "")


def _ancestor(policy: _Policy, key: tuple[str, str]) -> dict[str, Any]:
    conditions = Conditions(policy.object.generation)
    is_own = policy.ancestors.get(key)
    if is_own is None:
        conditions.false("Accepted", "TargetNotFound", policy.missing[key])
    elif not is_own:
        conditions.false("Accepted", "Conflicted", "an older policy has the same targets")
    problem = policy.validation.rejection
    if problem is not None:
        conditions.false("Accepted", *problem)
    conditions.true("Accepted", "Accepted")
    for reason, message in policy.validation.references:
        conditions.false("ResolvedRefs", reason, message)
    conditions.true("ResolvedRefs", "ResolvedRefs")
    namespace, name = key
    ancestor: Mapping[str, str] = {"group": GATEWAY_API, "kind": "Gateway", "namespace": namespace, "name": name}
    return {"ancestorRef": ancestor, "controllerName": CONTROLLER_NAME, "conditions": conditions.as_json()}
