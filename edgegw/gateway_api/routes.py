"""Routes of all kinds, compiled: attached to listeners, in the native language, with their statuses."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from attrs import define, field

from edgegw.gateway_api.attachment import Attachment, attachments, hostnames_of, unusable_hostnames
from edgegw.gateway_api.backend_tls import BackendTLS
from edgegw.gateway_api.backends import Backend, Backends
from edgegw.gateway_api.compiled import Surroundings
from edgegw.gateway_api.conditions import ObjectStatus
from edgegw.gateway_api.findings import RouteFindings, RuleError
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.listener_state import GatewayState, ListenerState
from edgegw.gateway_api.objects import GATEWAY_API, KeyOfObject, Object, Objects
from edgegw.gateway_api.route_status import route_status
from edgegw.gateway_api.rules import RuleTranslation
from edgegw.gateway_api.services import Services
from edgegw.gateway_api.tunnel_rules import Claims, TunnelTranslation
from edgegw.gateway_api.upstreams import Upstreams
from edgegw.names import intersection

__all__ = ["CompiledRoutes", "compile_routes"]

#: Headers in which upstreams are told who calls, unless others are named.
_INJECTED: Final = frozenset({"x-forwarded-client-cert"})


@define(eq=False)
class CompiledRoutes:
    """What comes of routes and policies for backends.

    :ivar routes: elements of the native document, as the three others.
    :ivar owners: whose each element is, by its list's key and its name.
    :ivar statuses: of the routes and the BackendTLSPolicies.
    :ivar warnings: what no condition says.
    """

    routes: list[dict[str, Any]] = field(factory=list)
    tls_routes: list[dict[str, Any]] = field(factory=list)
    tcp_routes: list[dict[str, Any]] = field(factory=list)
    upstreams: list[dict[str, Any]] = field(factory=list)
    owners: dict[tuple[str, str], Object] = field(factory=dict)
    statuses: list[ObjectStatus] = field(factory=list)
    warnings: list[tuple[Object, str]] = field(factory=list)


def compile_routes(
    objects: Objects,
    grants: Grants,
    gateways: Sequence[GatewayState],
    surroundings: Surroundings,
    injected: AbstractSet[str] = _INJECTED,
    rejected: Mapping[KeyOfObject, str] | None = None,
    silent: AbstractSet[KeyOfObject] = frozenset(),
) -> CompiledRoutes:
    """Compile all routes, and count them in at the listeners that they are attached to.

    :param gateways: whose listeners know their host names, the kinds of routes that they take and their native names.
    :param injected: lower-case names of headers in which listeners tell upstreams who calls, which no rule may change.
    :param rejected: routes that cannot be had, for reasons that are known already.
    :param silent: those among them whose requests cannot even be answered with 500.
    """
    return _Compilation(objects, grants, gateways, surroundings, injected, rejected or {}, silent).all()


class _Compilation:
    def __init__(
        self,
        objects: Objects,
        grants: Grants,
        gateways: Sequence[GatewayState],
        surroundings: Surroundings,
        injected: AbstractSet[str],
        rejected: Mapping[KeyOfObject, str],
        silent: AbstractSet[KeyOfObject],
    ) -> None:
        self._objects = objects
        self._rejected = rejected
        self._silent = silent
        self._gateways = {(one.gateway.namespace, one.gateway.name): one for one in gateways}
        self._injected = injected
        services = Services(objects, surroundings)
        self._backends = Backends(objects, grants, services)
        self._policies = BackendTLS(objects)
        self._upstreams = Upstreams(self._policies)
        # Of routes that are attached to nothing, references are judged all the same.
        self._aside = Upstreams(self._policies)
        self._claims = Claims()
        self._compiled = CompiledRoutes(warnings=list(services.warnings()))

    def all(self) -> CompiledRoutes:
        compiled = self._compiled
        requests = [*self._objects.of_kind(GATEWAY_API, "HTTPRoute"), *self._objects.of_kind(GATEWAY_API, "GRPCRoute")]
        # Of equal matches the native router takes the first: the oldest route's (HTTPRouteRule.matches).
        for route in sorted(requests, key=lambda one: one.age):
            self._route(route, self._rules)
        for kind in ("TLSRoute", "TCPRoute"):
            for route in self._objects.of_kind(GATEWAY_API, kind):
                self._route(route, self._tunnels)
        named = set(_upstreams_in([*compiled.routes, *compiled.tls_routes, *compiled.tcp_routes]))
        compiled.upstreams = [one for name, one in self._upstreams.native.items() if name in named]
        owners = self._upstreams.owners
        compiled.owners.update({("upstreams", one["name"]): owners[one["name"]] for one in compiled.upstreams})
        compiled.statuses += self._policies.statuses()
        return compiled

    def _route(self, route: Object, translate: Any) -> None:
        attached = attachments(route, self._gateways, self._objects)
        findings = RouteFindings(len(route.spec.get("rules") or ({},)))
        if route.key in self._rejected:
            for number in range(findings.rules):
                findings.drop(number, RuleError(self._rejected[route.key]))
        for text in unusable_hostnames(route):
            findings.warn(f"hostnames: {text} is not the name of a host, and is left out")
        used = translate(route, attached, findings)
        if attached:
            self._compiled.statuses.append(route_status(route, attached, findings))
        else:
            # No condition says it: a status has the conditions of parents that are ours.
            findings.warn("is not served: its parentRefs name no Gateway that is served here")
        self._compiled.warnings += [(route, warning) for warning in findings.warnings]
        if findings.rejected:
            return
        for listener in _listeners(attached):
            listener.attached += 1
        for one in attached:
            if not one.reason:
                self._tell_policies(one.gateway, used, findings)

    def _tell_policies(self, gateway: GatewayState, used: Iterable[Backend], findings: RouteFindings) -> None:
        for backend in used:
            self._policies.use(backend, gateway)
        for whole in findings.missing:
            self._policies.use_missing(whole, gateway)

    # --- requests ---------------------------------------------------------------------------

    def _rules(self, route: Object, attached: list[Attachment], findings: RouteFindings) -> list[Backend]:
        used: list[Backend] = []
        hostnames = hostnames_of(route)
        written: list[tuple[list[dict[str, Any]], list[ListenerState]]] = []
        for gateway, listeners in _by_certificate(attached) or [(None, [])]:
            served = [listener for listener in listeners if listener.native]
            upstreams = self._upstreams if served else self._aside
            translation = RuleTranslation(
                route, findings, gateway, self._injected, self._backends, upstreams
            )
            rules = translation.rules()
            used += translation.used
            if not served or not rules or route.key in self._silent:
                continue
            same = next((others for others_rules, others in written if others_rules == rules), None)
            if same is None:
                written.append((rules, served))
            else:
                same += served
        for number, (rules, listeners) in enumerate(written):
            own = [
                name for name in hostnames
                if any(intersection((name,), listener.hostname) is not None for listener in listeners)
            ]
            self._add("routes", route, number, listeners, {**({"hostnames": own} if own else {}), "rules": rules})
        return used

    # --- connections ------------------------------------------------------------------------

    def _tunnels(self, route: Object, attached: list[Attachment], findings: RouteFindings) -> list[Backend]:
        used: list[Backend] = []
        key = "tls_routes" if route.kind == "TLSRoute" else "tcp_routes"
        groups = [
            (gateway, terminated, [one for one in listeners if one.passthrough is not terminated])
            for gateway, listeners in _by_certificate(attached) or [(None, [])]
            for terminated in (True, False)
        ]
        number = 0
        for gateway, terminated, listeners in [one for one in groups if one[2]] or groups[:1]:
            served = [listener for listener in listeners if listener.native]
            upstreams = self._upstreams if served else self._aside
            translation = TunnelTranslation(route, findings, gateway, terminated, self._backends, upstreams)
            shares = translation.shares()
            # What passes through is nothing that the gateway speaks TLS with.
            used += translation.used if terminated else ()
            for hostnames, own in self._claims.split(route, served, findings):
                names = {"hostnames": list(hostnames)} if hostnames else {}
                self._add(key, route, number, own, {**names, "backends": shares})
                number += 1
        return used

    # --- the document -----------------------------------------------------------------------

    def _add(
        self, key: str, route: Object, number: int, listeners: Iterable[ListenerState], settings: dict[str, Any]
    ) -> None:
        name = f"{route.namespace}/{route.name}"
        if self._compiled.owners.get((key, name), route) is not route:
            # A GRPCRoute may be called as an HTTPRoute is.
            name = f"{name}/{route.kind.lower()}"
        if number:
            name = f"{name}/{number + 1}"
        natives = list(dict.fromkeys(native for listener in listeners for native in listener.native))
        getattr(self._compiled, key).append({"name": name, "listeners": natives, **settings})
        self._compiled.owners[key, name] = route


def _upstreams_in(part: Any) -> Iterator[str]:
    """Give the names of upstreams in a part of a document."""
    if isinstance(part, list):
        for one in part:
            yield from _upstreams_in(one)
    elif isinstance(part, dict):
        if isinstance(part.get("upstream"), str):
            yield part["upstream"]
        for key in ("rules", "backends", "mirrors"):
            yield from _upstreams_in(part.get(key))


def _listeners(attached: Iterable[Attachment]) -> list[ListenerState]:
    """Give the listeners of a route, each once, whichever of its references leads to them."""
    found: dict[int, ListenerState] = {}
    for one in attached:
        found.update({id(listener): listener for listener in one.listeners})
    return list(found.values())


def _by_certificate(attached: Iterable[Attachment]) -> list[tuple[GatewayState | None, list[ListenerState]]]:
    """Give the listeners by what backends are shown: those of Gateways without a certificate are alike."""
    groups: dict[int, tuple[GatewayState | None, list[ListenerState]]] = {}
    for one in attached:
        gateway = None if one.gateway.client_certificate is None else one.gateway
        if one.reason:
            continue
        _, listeners = groups.setdefault(0 if gateway is None else id(gateway), (gateway, []))
        listeners += [listener for listener in one.listeners if listener not in listeners]
    return list(groups.values())
