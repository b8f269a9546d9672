"""Single values that many kinds of objects have: names, hostnames, ports, durations; and references to objects."""
from __future__ import annotations

import re
from typing import Any, Final

from edgegw.gateway_api.objects import CORE
from edgegw.gateway_api.schema import REQUIRED, Faults, ListOf, MapOf, Prop, Rule, Struct, given
from edgegw.gateway_api.schema_values import Integer, Text, Words

__all__ = [
    "ANNOTATION_KEY",
    "BACKEND_OBJECT_REFERENCE",
    "CONTROLLER_NAME",
    "DURATION",
    "GROUP",
    "HEADER_MATCHES",
    "HEADER_NAME",
    "HEADER_VALUE",
    "HOSTNAME",
    "KIND",
    "LABEL_KEY",
    "LABEL_SELECTOR",
    "LABEL_VALUE",
    "LOCAL_OBJECT_REFERENCE",
    "NAMESPACE",
    "OBJECT_NAME",
    "OBJECT_REFERENCE",
    "OPTIONS",
    "PORT",
    "PRECISE_HOSTNAME",
    "QUALIFIED_KEY",
    "SECRET_REFERENCE",
    "SECTION_NAME",
    "SUBDOMAIN",
    "backend_reference_fields",
    "seconds",
]

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
#: A DNS name of RFC 1123, in lower case, as a pattern.
SUBDOMAIN: Final = rf"{_LABEL}(?:\.{_LABEL})*"
#: What labels and annotations are called: a name, and a domain and a slash before it where it has one.
QUALIFIED_KEY: Final = rf"(?:{SUBDOMAIN}/)?(?:[A-Za-z0-9][-A-Za-z0-9_.]{{0,61}})?[A-Za-z0-9]"

HOSTNAME: Final = Text(
    "a DNS name in lower case such as example.com, or *. and one", rf"(?:\*\.)?{SUBDOMAIN}", 1, 253
)
PRECISE_HOSTNAME: Final = Text("a DNS name in lower case such as example.com", SUBDOMAIN, 1, 253)
SECTION_NAME: Final = Text("a name of a-z, 0-9, - and .", SUBDOMAIN, 1, 253)
NAMESPACE: Final = Text("a name of a-z, 0-9 and -", _LABEL, 1, 63)
OBJECT_NAME: Final = Text("the name of an object", None, 1, 253)
GROUP: Final = Text('an API group such as gateway.networking.k8s.io, or "" for the core', rf"(?:{SUBDOMAIN})?", 0, 253)
KIND: Final = Text("a kind such as Service", r"[a-zA-Z](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?", 1, 63)
PORT: Final = Integer(1, 65535)
HEADER_NAME: Final = Text("a header name", r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+", 1, 256)
CONTROLLER_NAME: Final = Text(
    "a domain and a path such as example.net/gateway-controller",
    rf"{SUBDOMAIN}/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+",
    1,
    253,
)
HEADER_VALUE: Final = Text("text without control characters", r"[^\x00-\x08\x0a-\x1f\x7f]*", 1, 4096)
#: GEP-2257.
DURATION: Final = Text(
    "a duration such as 500ms, 10s or 1h30m, without fractions", r"(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}", 1, 32
)
ANNOTATION_KEY: Final = Text("a key such as example.com/name", QUALIFIED_KEY, 1, 253)
LABEL_KEY: Final = ANNOTATION_KEY
LABEL_VALUE: Final = Text(
    "a label's value: up to 63 of A-Z, a-z, 0-9, -, _ and .", r"(?:(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", 0, 63
)
#: Of listeners and BackendTLSPolicies.
OPTIONS: Final = MapOf(ANNOTATION_KEY, Text("text", None, 0, 4096), max_items=16)

_DURATION_PART: Final = re.compile(r"([0-9]+)(h|ms|m|s)")
_MILLISECONDS: Final = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def seconds(duration: str) -> float:
    """Give the seconds of a duration (GEP-2257): ``1h30m``, ``500ms``.

    :param duration: as :data:`DURATION` has found it to be right.
    """
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in _DURATION_PART.findall(duration)) / 1000


# --- references ---------------------------------------------------------------------------------

LOCAL_OBJECT_REFERENCE: Final = Struct({
    "group": Prop(GROUP, REQUIRED),
    "kind": Prop(KIND, REQUIRED),
    "name": Prop(OBJECT_NAME, REQUIRED),
})
OBJECT_REFERENCE: Final = Struct({
    "group": Prop(GROUP, REQUIRED),
    "kind": Prop(KIND, REQUIRED),
    "name": Prop(OBJECT_NAME, REQUIRED),
    "namespace": Prop(NAMESPACE),
})
SECRET_REFERENCE: Final = Struct({
    "group": Prop(GROUP, CORE),
    "kind": Prop(KIND, "Secret"),
    "name": Prop(OBJECT_NAME, REQUIRED),
    "namespace": Prop(NAMESPACE),
})


def _service_needs_port(value: Any, node: Any, report: Faults) -> None:
    if value.get("group") == CORE and value.get("kind") == "Service" and not given(node, "port"):
        report.fault(node, "refers to a Service without a port", "give port: the number of one of the Service's ports")


def backend_reference_fields() -> tuple[dict[str, Prop], tuple[Rule, ...]]:
    """Give the fields and rules of a reference to a backend, to which others are added where it has a weight."""
    fields = {
        "group": Prop(GROUP, CORE),
        "kind": Prop(KIND, "Service"),
        "name": Prop(OBJECT_NAME, REQUIRED),
        "namespace": Prop(NAMESPACE),
        "port": Prop(PORT),
    }
    return fields, (_service_needs_port,)


BACKEND_OBJECT_REFERENCE: Final = Struct(*backend_reference_fields())


# --- matches ------------------------------------------------------------------------------------

#: What HTTPRoutes and GRPCRoutes match headers by.
HEADER_MATCHES: Final = ListOf(
    Struct({
        "type": Prop(Words(("Exact", "RegularExpression")), "Exact"),
        "name": Prop(HEADER_NAME, REQUIRED),
        "value": Prop(HEADER_VALUE, REQUIRED),
    }),
    0,
    16,
    keys=("name",),
)

# --- selectors ----------------------------------------------------------------------------------

_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")


def _values_of_operator(value: Any, node: Any, report: Faults) -> None:
    operator, values = value.get("operator"), value.get("values")
    if operator in ("In", "NotIn") and not values and "values" not in node.values:
        report.fault(node, f"has operator {operator} and no values", "give values: a list of label values")
    elif operator in ("Exists", "DoesNotExist") and values:
        report.fault(node.values["values"], f"values do not go with operator {operator}", "leave values out")


def _label_selector() -> Struct:
    requirement = Struct(
        {
            "key": Prop(LABEL_KEY, REQUIRED),
            "operator": Prop(Words(_OPERATORS), REQUIRED),
            "values": Prop(ListOf(LABEL_VALUE)),
        },
        (_values_of_operator,),
    )
    return Struct({"matchLabels": Prop(MapOf(LABEL_KEY, LABEL_VALUE)), "matchExpressions": Prop(ListOf(requirement))})


#: ``metav1.LabelSelector``.
LABEL_SELECTOR: Final = _label_selector()
