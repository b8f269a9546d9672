"""GRPCRoute, TLSRoute and TCPRoute (gateway.networking.k8s.io/v1), with their CustomResourceDefinitions' rules."""
from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, Final

from edgegw.config.faults import shown
from edgegw.gateway_api.schema import REQUIRED, Faults, ListOf, Prop, Struct, at, given, pairs
from edgegw.gateway_api.schema_core import SUBDOMAIN_NAME, kind_fields
from edgegw.gateway_api.schema_filters import GRPC_FILTERS
from edgegw.gateway_api.schema_parents import PARENT_FIELDS, WEIGHTED_BACKEND, distinct_rule_names, few_matches
from edgegw.gateway_api.schema_sessions import SESSION_PERSISTENCE
from edgegw.gateway_api.schema_terms import HEADER_MATCHES, HOSTNAME, SECTION_NAME
from edgegw.gateway_api.schema_values import Text, Words

__all__ = ["GRPC_ROUTE", "TCP_ROUTE", "TCP_ROUTE_V1ALPHA2", "TLS_ROUTE", "TLS_ROUTE_V1ALPHA2"]

# --- GRPCRoute ----------------------------------------------------------------------------------

_SERVICE: Final = re.compile(r"\.?[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*")
_METHOD: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


def _service_or_method(value: Any, node: Any, report: Faults) -> None:
    if not given(node, "service") and not given(node, "method"):
        report.fault(node, "has neither service nor method", "give one of the two, or both")
    if value.get("type") != "Exact":
        return
    for key, pattern, right in (
        ("service", _SERVICE, "a service such as package.Service"),
        ("method", _METHOD, "a method such as GetUser"),
    ):
        text = value.get(key)
        if text is not None and not pattern.fullmatch(text):
            report.fault(at(node, key), f"{shown(text)} is not {right}", f"write {right}")


_GRPC_METHOD: Final = Struct(
    {
        "type": Prop(Words(("Exact", "RegularExpression")), "Exact"),
        "service": Prop(Text("a service such as package.Service", None, 0, 1024)),
        "method": Prop(Text("a method such as GetUser", None, 0, 1024)),
    },
    (_service_or_method,),
)
_GRPC_MATCH: Final = Struct({
    "method": Prop(_GRPC_METHOD),
    "headers": Prop(HEADER_MATCHES),
})
_GRPC_BACKEND: Final = Struct({**WEIGHTED_BACKEND.fields, "filters": Prop(GRPC_FILTERS)}, WEIGHTED_BACKEND.rules)
_GRPC_RULE: Final = Struct({
    "name": Prop(SECTION_NAME),
    "matches": Prop(ListOf(_GRPC_MATCH, 0, 64)),
    "filters": Prop(GRPC_FILTERS),
    "backendRefs": Prop(ListOf(_GRPC_BACKEND, 0, 16)),
    "sessionPersistence": Prop(SESSION_PERSISTENCE),
})

GRPC_ROUTE: Final = kind_fields(
    SUBDOMAIN_NAME,
    spec=Prop(
        Struct({
            **PARENT_FIELDS,
            "hostnames": Prop(ListOf(HOSTNAME, 0, 16)),
            "rules": Prop(ListOf(_GRPC_RULE, 0, 16, rules=(distinct_rule_names, few_matches))),
        }),
        REQUIRED,
    ),
)

# --- TLSRoute and TCPRoute ----------------------------------------------------------------------


def _no_addresses(value: Any, node: Any, report: Faults) -> None:
    for hostname, place in pairs(value, node):
        try:
            ip_address(hostname)
        except ValueError:
            continue
        report.fault(place, f"{shown(hostname)} is an IP address", "write a DNS name: clients ask for names by SNI")


def _rules(most: int) -> ListOf:
    rule = Struct({
        "name": Prop(SECTION_NAME),
        "backendRefs": Prop(ListOf(WEIGHTED_BACKEND, 1, 16), REQUIRED),
    })
    return ListOf(rule, 1, most, rules=(distinct_rule_names,))


def _tls_route(hostnames: Prop, most_rules: int) -> Struct:
    fields = {**PARENT_FIELDS, "hostnames": hostnames, "rules": Prop(_rules(most_rules), REQUIRED)}
    return kind_fields(SUBDOMAIN_NAME, spec=Prop(Struct(fields), REQUIRED))


TLS_ROUTE: Final = _tls_route(Prop(ListOf(HOSTNAME, 1, 1024, rules=(_no_addresses,)), REQUIRED), 1)
#: The older version, whose hostnames may be left out.
TLS_ROUTE_V1ALPHA2: Final = _tls_route(Prop(ListOf(HOSTNAME, 0, 16, rules=(_no_addresses,))), 16)


def _tcp_route(most_rules: int) -> Struct:
    fields = {**PARENT_FIELDS, "rules": Prop(_rules(most_rules), REQUIRED)}
    return kind_fields(SUBDOMAIN_NAME, spec=Prop(Struct(fields), REQUIRED))


TCP_ROUTE: Final = _tcp_route(1)
#: The older version, which may have several rules.
TCP_ROUTE_V1ALPHA2: Final = _tcp_route(16)
