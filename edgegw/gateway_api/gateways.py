"""Gateways → native listeners, and what becomes of each listener."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from edgegw.config.addresses import parse_hostname
from edgegw.config.scalars import Unparsable
from edgegw.gateway_api.ca_references import CAReferences
from edgegw.gateway_api.compiled import Surroundings
from edgegw.gateway_api.conditions import Conditions
from edgegw.gateway_api.distinct_listeners import find_conflicts, find_overlaps
from edgegw.gateway_api.frontend_validation import FrontendValidation, say_insecure
from edgegw.gateway_api.gateway_addresses import resolve_addresses
from edgegw.gateway_api.gateway_classes import class_of, unusable_class
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.listener_certificates import CertificateReferences, UnresolvedCertificate
from edgegw.gateway_api.listener_state import GatewayState, ListenerState
from edgegw.gateway_api.native_listeners import native_listener, not_programmed
from edgegw.gateway_api.objects import GATEWAY_API, Object, Objects
from edgegw.gateway_api.shared_ports import Candidate, SharedPorts

__all__ = ["CompiledGateways", "compile_gateways"]

#: Kinds of routes by the protocol of the listener.
_KINDS: Final = {
    "HTTP": ("HTTPRoute", "GRPCRoute"),
    "HTTPS": ("HTTPRoute", "GRPCRoute"),
    "TLS": ("TLSRoute",),
    "TCP": ("TCPRoute",),
}


@frozen(eq=False)
class CompiledGateways:
    """What comes of Gateways before routes are attached to them.

    :ivar states: of those that are ours, the oldest first.
    :ivar listeners: ``listeners`` of the native document.
    :ivar owners: the listener that each of them is made of, by its name.
    """

    states: list[GatewayState]
    listeners: list[dict[str, Any]]
    owners: Mapping[str, ListenerState]


def compile_gateways(objects: Objects, grants: Grants, surroundings: Surroundings) -> CompiledGateways:
    """Compile all Gateways, of which the older ones get ports that several want.

    The conditions are finished by :func:`edgegw.gateway_api.gateway_status.gateway_status`, when routes are attached.
    """
    certificates = CertificateReferences(objects, grants)
    authorities = CAReferences(objects, grants)
    ports = SharedPorts()
    states = []
    for gateway in objects.of_kind(GATEWAY_API, "Gateway"):
        if class_of(gateway, objects) is None:
            continue
        state = GatewayState(gateway, Conditions(gateway.generation))
        states.append(state)
        _check_gateway(state, objects)
        addresses, state.addresses = resolve_addresses(gateway, surroundings, state.conditions)
        _client_certificate(state, certificates)
        frontend = FrontendValidation(gateway, authorities)
        say_insecure(frontend, state.conditions)
        state.listeners = [_listener(gateway, spec, n) for n, spec in enumerate(gateway.spec.get("listeners") or ())]
        find_conflicts(state.listeners)
        find_overlaps(state.listeners)
        candidates = [
            Candidate(listener, addresses, native_listener(listener, certificates, frontend))
            for listener in state.listeners
        ]
        if state.conditions.is_false("Accepted"):
            state.addresses = []
            for candidate in candidates:
                not_programmed(candidate.listener, "its Gateway is not accepted")
                ports.refuse(candidate)
            continue
        for candidate in candidates:
            if not addresses:
                not_programmed(candidate.listener, "its Gateway has no address that can be used", "Pending")
            ports.add(candidate)
    ports.refuse_broken()
    return CompiledGateways(states, ports.listeners, ports.owners)


def _check_gateway(state: GatewayState, objects: Objects) -> None:
    gateway = state.gateway
    problem = unusable_class(gateway, objects)
    if problem:
        state.conditions.false("Accepted", "InvalidParameters", problem)
    reference = (gateway.spec.get("infrastructure") or {}).get("parametersRef")
    if reference is not None:
        what = f"{reference.get('kind')} {reference.get('name')} of the group {reference.get('group')}"
        problem = f"infrastructure.parametersRef: no parameters are taken from a {what}; leave it out"
        state.conditions.false("Accepted", "InvalidParameters", problem)


def _client_certificate(state: GatewayState, certificates: CertificateReferences) -> None:
    """Look up what upstreams are shown."""
    backend = (state.gateway.spec.get("tls") or {}).get("backend") or {}
    reference = backend.get("clientCertificateRef")
    if reference is None:
        return
    found = certificates.resolve(state.gateway, reference)
    if isinstance(found, UnresolvedCertificate):
        reason = "RefNotPermitted" if found.not_permitted else "InvalidClientCertificateRef"
        state.conditions.false("ResolvedRefs", reason, f"tls.backend.clientCertificateRef: {found.problem}")
    else:
        state.client_certificate = found


def _listener(gateway: Object, spec: Mapping[str, Any], index: int) -> ListenerState:
    conditions = Conditions(gateway.generation)
    listener = ListenerState(gateway, spec, index, None, conditions)
    if listener.protocol not in _KINDS:
        conditions.false(
            "Accepted", "UnsupportedProtocol", f"{listener.protocol} is not spoken here; use {', '.join(_KINDS)}"
        )
        return listener
    hostname = spec.get("hostname")
    # In TCP there is no name to be compared with it.
    if hostname and listener.protocol != "TCP":
        try:
            listener.hostname = parse_hostname(hostname)
        except Unparsable as error:
            conditions.false("Accepted", "UnsupportedValue", f"hostname: {hostname} {error}; {error.remedy}")
    if listener.protocol == "HTTPS" and (spec.get("tls") or {}).get("mode") == "Passthrough":
        conditions.false("Accepted", "UnsupportedValue", "tls.mode: HTTPS ends TLS here; use protocol: TLS")
    _set_kinds(listener)
    return listener


def _set_kinds(listener: ListenerState) -> None:
    """Find what routes a listener may carry."""
    supported = [(GATEWAY_API, kind) for kind in _KINDS[listener.protocol]]
    given = (listener.spec.get("allowedRoutes") or {}).get("kinds") or ()
    if not given:
        listener.kinds = supported
        return
    unsupported = []
    for entry in given:
        kind = (entry.get("group", GATEWAY_API), entry["kind"])
        if kind not in supported:
            unsupported.append("/".join(filter(None, kind)))
        elif kind not in listener.kinds:
            listener.kinds.append(kind)
    if unsupported:
        listener.conditions.false(
            "ResolvedRefs",
            "InvalidRouteKinds",
            f"a listener with the protocol {listener.protocol} carries no {', '.join(unsupported)}; use "
            f"{' or '.join(_KINDS[listener.protocol])}",
        )
