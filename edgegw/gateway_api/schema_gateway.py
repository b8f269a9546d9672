"""GatewayClass and Gateway (gateway.networking.k8s.io/v1), with the rules that their CustomResourceDefinitions have."""
from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final

from edgegw.config.faults import shown
from edgegw.config.nodes import Mapping as MappingNode
from edgegw.gateway_api.objects import GATEWAY_API
from edgegw.gateway_api.schema import REQUIRED, Faults, ListOf, MapOf, Prop, Struct, absent, at, given, pairs
from edgegw.gateway_api.schema_core import SUBDOMAIN_NAME, kind_fields
from edgegw.gateway_api.schema_terms import (
    ANNOTATION_KEY,
    CONTROLLER_NAME,
    GROUP,
    HOSTNAME,
    KIND,
    LABEL_KEY,
    LABEL_SELECTOR,
    LABEL_VALUE,
    NAMESPACE,
    OBJECT_NAME,
    OBJECT_REFERENCE,
    OPTIONS,
    PORT,
    SECRET_REFERENCE,
    SECTION_NAME,
    SUBDOMAIN,
)
from edgegw.gateway_api.schema_values import AnyValue, Text, Words

__all__ = ["GATEWAY", "GATEWAY_CLASS"]

GATEWAY_CLASS: Final = kind_fields(
    SUBDOMAIN_NAME,
    spec=Prop(
        Struct({
            "controllerName": Prop(CONTROLLER_NAME, REQUIRED),
            "parametersRef": Prop(
                Struct({
                    "group": Prop(GROUP, REQUIRED),
                    "kind": Prop(KIND, REQUIRED),
                    "name": Prop(OBJECT_NAME, REQUIRED),
                    "namespace": Prop(NAMESPACE),
                })
            ),
            "description": Prop(Text("text", None, 0, 64)),
        }),
        REQUIRED,
    ),
)

# --- TLS ----------------------------------------------------------------------------------------


def _certificates_of_terminate(value: Any, node: Any, report: Faults) -> None:
    options = node.values.get("options")
    if value.get("mode") != "Terminate" or value.get("certificateRefs"):
        return
    if isinstance(options, MappingNode) and options.values:
        return
    if given(node, "certificateRefs") and "certificateRefs" not in value:
        return  # at fault, and reported
    report.fault(
        at(node, "certificateRefs"),
        "mode Terminate has no certificate",
        "give certificateRefs: [{name: the name of a Secret of type kubernetes.io/tls}], or write mode: Passthrough "
        "and protocol: TLS",
    )


_LISTENER_TLS: Final = Struct(
    {
        "mode": Prop(Words(("Terminate", "Passthrough")), "Terminate"),
        "certificateRefs": Prop(ListOf(SECRET_REFERENCE, max_items=64)),
        "options": Prop(OPTIONS),
    },
    (_certificates_of_terminate,),
    {"frontendValidation": "write spec.tls.frontend.default.validation, which holds for all HTTPS listeners"},
)

_VALIDATION: Final = Struct({
    "caCertificateRefs": Prop(ListOf(OBJECT_REFERENCE, 1, 16), REQUIRED),
    "mode": Prop(Words(("AllowValidOnly", "AllowInsecureFallback")), "AllowValidOnly"),
})
_TLS_CONFIG: Final = Struct({"validation": Prop(_VALIDATION)})

_GATEWAY_TLS: Final = Struct({
    "backend": Prop(Struct({"clientCertificateRef": Prop(SECRET_REFERENCE)})),
    "frontend": Prop(
        Struct({
            "default": Prop(_TLS_CONFIG, REQUIRED),
            "perPort": Prop(
                ListOf(
                    Struct({"port": Prop(PORT, REQUIRED), "tls": Prop(_TLS_CONFIG, REQUIRED)}),
                    0,
                    64,
                    keys=("port",),
                )
            ),
        })
    ),
})

# --- listeners ----------------------------------------------------------------------------------

_PROTOCOL: Final = Text(
    "a protocol such as HTTP, HTTPS, TLS, TCP, or a domain and a name",
    r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?|"
    rf"{SUBDOMAIN}/[A-Za-z0-9]+",
    1,
    255,
)


def _selector_of_namespaces(value: Any, node: Any, report: Faults) -> None:
    if value.get("from") == "Selector" and not given(node, "selector"):
        report.warn(
            at(node, "from"),
            "Selector has no selector and lets no namespace in",
            "give selector: {matchLabels: …}",
        )


_ALLOWED_ROUTES: Final = Struct({
    "namespaces": Prop(
        Struct(
            {"from": Prop(Words(("All", "Selector", "Same")), "Same"), "selector": Prop(LABEL_SELECTOR)},
            (_selector_of_namespaces,),
        ),
        {"from": "Same"},
    ),
    "kinds": Prop(ListOf(Struct({"group": Prop(GROUP, GATEWAY_API), "kind": Prop(KIND, REQUIRED)}), max_items=8)),
})

_LISTENER: Final = Struct({
    "name": Prop(SECTION_NAME, REQUIRED),
    "hostname": Prop(HOSTNAME),
    "port": Prop(PORT, REQUIRED),
    "protocol": Prop(_PROTOCOL, REQUIRED),
    "tls": Prop(_LISTENER_TLS),
    "allowedRoutes": Prop(_ALLOWED_ROUTES, {"namespaces": {"from": "Same"}}),
})


def _tls_by_protocol(value: Any, node: Any, report: Faults) -> None:
    for listener, place in pairs(value, node):
        protocol = str(listener.get("protocol", "")).upper()
        tls = place.values.get("tls")
        if tls is not None and absent(tls):
            tls = None
        if protocol in ("HTTP", "TCP", "UDP") and tls is not None:
            report.fault(
                place.key("tls"), f"does not go with protocol {protocol}", "leave tls out, or write protocol: HTTPS"
            )
        elif protocol == "HTTPS" and listener.get("tls", {}).get("mode") == "Passthrough":
            report.fault(
                at(place, "tls", "mode"),
                "Passthrough does not go with protocol HTTPS, which ends TLS at the gateway",
                "write protocol: TLS and route by TLSRoutes, or mode: Terminate with certificateRefs",
            )
        elif protocol == "TLS" and not (isinstance(tls, MappingNode) and given(tls, "mode")):
            report.fault(
                at(place, "tls"),
                "protocol TLS has no tls.mode",
                "give tls: {mode: Passthrough}, or mode: Terminate with certificateRefs",
            )
        if protocol in ("TCP", "UDP") and given(place, "hostname"):
            report.fault(place.key("hostname"), f"does not go with protocol {protocol}", "leave hostname out")


def _distinct_listeners(value: Any, node: Any, report: Faults) -> None:
    seen: dict[tuple[Any, ...], str] = {}
    for listener, place in pairs(value, node):
        if "port" not in listener or "protocol" not in listener:
            continue
        if given(place, "hostname") and "hostname" not in listener:
            continue
        mark = listener["port"], listener["protocol"], listener.get("hostname")
        first = seen.setdefault(mark, place.path)
        if first != place.path:
            hostname = f"hostname {mark[2]}" if mark[2] is not None else "no hostname"
            report.fault(
                place,
                f"has port {mark[0]}, protocol {mark[1]} and {hostname} as another listener",
                "change one of the three in one of them, or leave one out",
            )


# --- the rest of a Gateway ----------------------------------------------------------------------

_HOSTNAME_ADDRESS: Final = Text("a DNS name", rf"(?:\*\.)?{SUBDOMAIN}", 1, 253)


def _address_of_type(value: Any, node: Any, report: Faults) -> None:
    type_, address = value.get("type"), value.get("value")
    if not address:
        return
    if type_ == "Hostname":
        _HOSTNAME_ADDRESS.read(node.values["value"], report)
    elif type_ == "IPAddress":
        try:
            ip_address(address)
        except ValueError:
            report.fault(node.values["value"], f"{shown(address)} is no IP address", "write one, or type: Hostname")


def _distinct_addresses(value: Any, node: Any, report: Faults) -> None:
    seen: dict[tuple[Any, Any], str] = {}
    for address, place in pairs(value, node):
        mark = address.get("type"), address.get("value")
        if mark[0] not in ("IPAddress", "Hostname") or mark[1] is None:
            continue
        if seen.setdefault(mark, place.path) != place.path:
            report.fault(at(place, "value"), f"{shown(mark[1])} is there twice", "keep one of the two")


_ADDRESS: Final = Struct(
    {
        "type": Prop(
            Text(
                "IPAddress, Hostname, or a domain and a name",
                # The API's own pattern has no brackets round its alternatives, and takes more than it says.
                rf"Hostname.*|.*(?:IPAddress|NamedAddress).*|.*{SUBDOMAIN}/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+",
                1,
                253,
            ),
            "IPAddress",
        ),
        "value": Prop(Text("an address", None, 0, 253)),
    },
    (_address_of_type,),
)

_INFRASTRUCTURE: Final = Struct({
    "labels": Prop(MapOf(LABEL_KEY, LABEL_VALUE, 8)),
    "annotations": Prop(MapOf(ANNOTATION_KEY, Text("text", None, 0, 4096), 8)),
    "parametersRef": Prop(
        Struct({"group": Prop(GROUP, REQUIRED), "kind": Prop(KIND, REQUIRED), "name": Prop(OBJECT_NAME, REQUIRED)})
    ),
})

GATEWAY: Final = kind_fields(
    SUBDOMAIN_NAME,
    spec=Prop(
        Struct(
            {
                "gatewayClassName": Prop(OBJECT_NAME, REQUIRED),
                "listeners": Prop(
                    ListOf(_LISTENER, 1, 64, keys=("name",), rules=(_tls_by_protocol, _distinct_listeners)), REQUIRED
                ),
                "addresses": Prop(ListOf(_ADDRESS, 0, 16, rules=(_distinct_addresses,))),
                "infrastructure": Prop(_INFRASTRUCTURE),
                "tls": Prop(_GATEWAY_TLS),
                "allowedListeners": Prop(AnyValue(), unused="ListenerSets are not read"),
                "defaultScope": Prop(Words(("All", "None")), unused="no route is attached unless it names the Gateway"),
            },
            moved={"backendTLS": "write spec.tls.backend.clientCertificateRef"},
        ),
        REQUIRED,
    ),
)
