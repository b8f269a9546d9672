"""Services and their endpoints: Service (core/v1) and EndpointSlice (discovery.k8s.io/v1)."""
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from edgegw.config.faults import shown
from edgegw.gateway_api.schema import REQUIRED, Faults, ListOf, MapOf, Prop, Struct, at, given, pairs
from edgegw.gateway_api.schema_core import SUBDOMAIN_NAME, kind_fields
from edgegw.gateway_api.schema_terms import LABEL_KEY, LABEL_VALUE, NAMESPACE, PORT, QUALIFIED_KEY, SUBDOMAIN
from edgegw.gateway_api.schema_values import AnyValue, Flag, Integer, IntegerOrText, Text, Words

__all__ = ["ENDPOINT_SLICE", "SERVICE", "complete_service"]

_PROTOCOL: Final = Words(("TCP", "UDP", "SCTP"))
_APP_PROTOCOL: Final = Text("a protocol such as http or kubernetes.io/h2c", QUALIFIED_KEY, 1, 317)
_PORT_NAME: Final = Text("a port's name of a-z, 0-9 and -", NAMESPACE.pattern, 1, 63)
#: IANA service names (RFC 6335 §5.1), as container ports are called.
_CONTAINER_PORT: Final = Text(
    "the name of a container's port: up to 15 of a-z, 0-9 and -",
    r"(?=[-a-z0-9]*[a-z])(?!.*--)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?",
    1,
    15,
)

# --- Service ------------------------------------------------------------------------------------


def _port_rules(value: Any, node: Any, report: Faults) -> None:
    found = pairs(value, node)
    seen: dict[tuple[Any, Any], str] = {}
    for port, place in found:
        if len(node.items) > 1 and not given(place, "name"):
            report.fault(place, "has no name, while the Service has several ports", "give name: http, for instance")
        mark = port.get("port"), port.get("protocol")
        if mark[0] is not None and seen.setdefault(mark, place.path) != place.path:
            report.fault(at(place, "port"), f"port {mark[0]} of {mark[1]} is there twice", "keep one of the two")


def _service_rules(value: Any, node: Any, report: Faults) -> None:
    type_ = value.get("type")
    headless = value.get("clusterIP") == "None"
    if type_ == "ExternalName":
        if not given(node, "externalName"):
            report.fault(node, "has type ExternalName and no externalName", "give externalName: a DNS name")
        if value.get("clusterIP") not in (None, "", "None"):
            report.fault(at(node, "clusterIP"), "does not go with type ExternalName", "leave clusterIP out")
    elif not headless and not value.get("ports") and not (given(node, "ports") and "ports" not in value):
        report.fault(node, "has no ports", "give ports: [{port: 80}], for instance, or clusterIP: None")
    if headless and type_ in ("NodePort", "LoadBalancer"):
        report.fault(at(node, "clusterIP"), f"None does not go with type {type_}", "write type: ClusterIP")


_service_port = Struct({
    "name": Prop(_PORT_NAME),
    "protocol": Prop(_PROTOCOL, "TCP"),
    "appProtocol": Prop(_APP_PROTOCOL),
    "port": Prop(PORT, REQUIRED),
    "targetPort": Prop(IntegerOrText(Integer(0, 65535), _CONTAINER_PORT)),
    "nodePort": Prop(Integer(0, 65535)),
})

SERVICE: Final = kind_fields(
    NAMESPACE,
    spec=Prop(
        Struct(
            {
                "type": Prop(Words(("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")), "ClusterIP"),
                "ports": Prop(ListOf(_service_port, keys=("name",), rules=(_port_rules,))),
                "selector": Prop(MapOf(LABEL_KEY, LABEL_VALUE)),
                "clusterIP": Prop(Text("an IP address or None", None, 0, 64)),
                "clusterIPs": Prop(ListOf(Text())),
                "externalName": Prop(Text("a DNS name", rf"(?:{SUBDOMAIN}\.?)?", 0, 254)),
                "externalIPs": Prop(ListOf(Text())),
                "publishNotReadyAddresses": Prop(Flag()),
                # What concerns a cluster's own proxies.
                **{
                    key: Prop(AnyValue())
                    for key in (
                        "allocateLoadBalancerNodePorts", "externalTrafficPolicy", "healthCheckNodePort",
                        "internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "ipFamily", "loadBalancerClass",
                        "loadBalancerIP", "loadBalancerSourceRanges", "sessionAffinity", "sessionAffinityConfig",
                        "topologyKeys", "trafficDistribution",
                    )
                },
            },
            (_service_rules,),
        ),
        REQUIRED,
    ),
)


def complete_service(content: dict[str, Any]) -> None:
    """Fill in ``targetPort`` where it is the same as ``port``."""
    for port in content["spec"].get("ports", ()):
        if port.get("targetPort") in (None, 0):
            port["targetPort"] = port["port"]


# --- EndpointSlice ------------------------------------------------------------------------------


def _address_rules(value: Any, node: Any, report: Faults) -> None:
    type_ = value.get("addressType")
    parse: Any = {"IPv4": IPv4Address, "IPv6": IPv6Address}.get(type_)
    if parse is None:
        return
    for endpoint, place in pairs(value.get("endpoints"), node.values.get("endpoints")):
        for address, where in pairs(endpoint.get("addresses"), at(place, "addresses")):
            try:
                parse(address)
            except ValueError:
                report.fault(where, f"{shown(address)} is no {type_} address", f"write an {type_} address")


_endpoint = Struct({
    "addresses": Prop(ListOf(Text("an address", None, 1, 253), 1, 100), REQUIRED),
    "conditions": Prop(Struct({"ready": Prop(Flag()), "serving": Prop(Flag()), "terminating": Prop(Flag())})),
    "hostname": Prop(Text("a name of a-z, 0-9 and -", NAMESPACE.pattern, 1, 63)),
    "nodeName": Prop(Text()),
    "zone": Prop(Text()),
    **{key: Prop(AnyValue()) for key in ("deprecatedTopology", "hints", "targetRef", "topology")},
})
_endpoint_port = Struct({
    "name": Prop(Text("a port's name of a-z, 0-9 and -", f"(?:{NAMESPACE.pattern})?", 0, 63), ""),
    "protocol": Prop(_PROTOCOL, "TCP"),
    "port": Prop(PORT),
    "appProtocol": Prop(_APP_PROTOCOL),
})
_slice = kind_fields(
    SUBDOMAIN_NAME,
    addressType=Prop(Words(("IPv4", "IPv6", "FQDN")), REQUIRED),
    endpoints=Prop(ListOf(_endpoint, 0, 1000), []),
    ports=Prop(ListOf(_endpoint_port, 0, 100)),
)
ENDPOINT_SLICE: Final = Struct(_slice.fields, (_address_rules,))
