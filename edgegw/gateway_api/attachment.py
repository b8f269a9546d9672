"""Which listeners a route is attached to, and why it is not attached to others."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from edgegw.config.addresses import parse_hostname
from edgegw.config.scalars import Unparsable
from edgegw.gateway_api.listener_state import GatewayState, ListenerState
from edgegw.gateway_api.objects import CORE, GATEWAY_API, Object, Objects
from edgegw.names import intersection

__all__ = ["Attachment", "attachments", "hostnames_of", "unusable_hostnames"]

#: Every namespace has it, whoever wrote its object (Kubernetes, "Automatic labelling").
_NAME_LABEL = "kubernetes.io/metadata.name"


@frozen(eq=False)
class Attachment:
    """What became of one ``parentRef`` of a route.

    :ivar parent_ref: as it was written.
    :ivar listeners: that the route is attached to; none where there is a ``reason``.
    :ivar reason: of ``Accepted`` being false; empty where the parent takes the route.
    """

    parent_ref: Mapping[str, Any]
    gateway: GatewayState
    listeners: tuple[ListenerState, ...] = ()
    reason: str = ""
    message: str = ""


def hostnames_of(route: Object) -> tuple[str, ...]:
    """Give a route's host names in canonical form, without those that are none; empty is every name.

    Where all that a route has are none it takes nothing, and is attached nowhere.
    """
    return tuple(dict.fromkeys(found for found in map(_hostname, route.spec.get("hostnames") or ()) if found))


def unusable_hostnames(route: Object) -> list[str]:
    """Give what stands among a route's host names and is none, such as an IP address."""
    return [text for text in route.spec.get("hostnames") or () if _hostname(text) is None]


def _hostname(text: str) -> str | None:
    try:
        return parse_hostname(text)
    except Unparsable:
        return None


def attachments(
    route: Object, gateways: Mapping[tuple[str, str], GatewayState], objects: Objects
) -> list[Attachment]:
    """Look for the listeners of a route; of its parents only those are of interest that are Gateways of ours.

    :param gateways: all of ours, by namespace and name.
    """
    hostnames = hostnames_of(route)
    found = []
    for parent_ref in route.spec.get("parentRefs") or ():
        if (parent_ref.get("group", GATEWAY_API), parent_ref.get("kind", "Gateway")) != (GATEWAY_API, "Gateway"):
            continue
        gateway = gateways.get((parent_ref.get("namespace") or route.namespace, parent_ref["name"]))
        if gateway is not None:
            found.append(_attach(route, hostnames, parent_ref, gateway, objects))
    return found


def _attach(
    route: Object, hostnames: tuple[str, ...], parent_ref: Mapping[str, Any], gateway: GatewayState, objects: Objects
) -> Attachment:
    section, port = parent_ref.get("sectionName"), parent_ref.get("port")
    named = [
        listener
        for listener in gateway.listeners
        if section in (None, listener.name) and port in (None, listener.port)
    ]
    if not named:
        wanted = [f"the name {section}"] if section is not None else []
        wanted += [f"the port {port}"] if port is not None else []
        message = f"{gateway.gateway} has no listener" + (f" with {' and '.join(wanted)}" if wanted else "")
        return Attachment(parent_ref, gateway, reason="NoMatchingParent", message=message)
    allowing = [
        listener
        for listener in named
        if (route.group, route.kind) in listener.kinds and _namespace_is_allowed(route, listener, objects)
    ]
    if not allowing:
        return Attachment(parent_ref, gateway, reason="NotAllowedByListeners", message=_refusal(route, named))
    if route.spec.get("hostnames") and not hostnames:
        message = "none of its hostnames is the name of a host"
        return Attachment(parent_ref, gateway, reason="NoMatchingListenerHostname", message=message)
    matching = [listener for listener in allowing if intersection(hostnames, listener.hostname) is not None]
    if not matching:
        names = ", ".join(sorted({listener.hostname or "" for listener in allowing}))
        message = f"none of its hostnames is under {names}"
        return Attachment(parent_ref, gateway, reason="NoMatchingListenerHostname", message=message)
    return Attachment(parent_ref, gateway, tuple(matching))


def _refusal(route: Object, listeners: Iterable[ListenerState]) -> str:
    said = []
    for listener in listeners:
        if (route.group, route.kind) not in listener.kinds:
            kinds = ", ".join(kind for _, kind in listener.kinds) or "no routes"
            said.append(f"the listener {listener.name} takes {kinds}")
        else:
            origin = _allowed_namespaces(listener).get("from", "Same")
            said.append(f"the listener {listener.name} takes no routes of {route.namespace} (from: {origin})")
    return "; ".join(said)


def _allowed_namespaces(listener: ListenerState) -> Mapping[str, Any]:
    return (listener.spec.get("allowedRoutes") or {}).get("namespaces") or {}


def _namespace_is_allowed(route: Object, listener: ListenerState, objects: Objects) -> bool:
    allowed = _allowed_namespaces(listener)
    origin = allowed.get("from", "Same")
    if origin == "Same":
        return route.namespace == listener.gateway.namespace
    if origin == "Selector":
        namespace = objects.get(CORE, "Namespace", "", route.namespace)
        labels = {**({} if namespace is None else namespace.labels), _NAME_LABEL: route.namespace}
        return _selects(allowed.get("selector") or {}, labels)
    return bool(origin == "All")


# --- label selectors ------------------------------------------------------------------------


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector takes labels (``metav1.LabelSelector``); an empty one takes all."""
    pairs = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in pairs.items()) and all(
        _holds(one, labels) for one in selector.get("matchExpressions") or ()
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    operator, value = expression.get("operator"), labels.get(expression.get("key", ""))
    values = expression.get("values") or ()
    if operator == "In":
        return value is not None and value in values
    if operator == "NotIn":
        return value is None or value not in values
    if operator == "Exists":
        return value is not None
    return operator == "DoesNotExist" and value is None
