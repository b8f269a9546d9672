"""BackendTLSPolicy and ReferenceGrant (gateway.networking.k8s.io/v1), with their CustomResourceDefinitions' rules."""
from __future__ import annotations

from typing import Any, Final

from edgegw.gateway_api.schema import REQUIRED, Faults, ListOf, Prop, Struct, at, given, pairs
from edgegw.gateway_api.schema_core import SUBDOMAIN_NAME, kind_fields
from edgegw.gateway_api.schema_terms import (
    GROUP,
    HOSTNAME,
    KIND,
    LOCAL_OBJECT_REFERENCE,
    NAMESPACE,
    OBJECT_NAME,
    OPTIONS,
    PRECISE_HOSTNAME,
    SECTION_NAME,
    SUBDOMAIN,
)
from edgegw.gateway_api.schema_values import Text, Words

__all__ = ["BACKEND_TLS_POLICY", "BACKEND_TLS_POLICY_V1ALPHA2", "REFERENCE_GRANT", "WELL_KNOWN_CAS", "modern_policy"]

# --- BackendTLSPolicy ---------------------------------------------------------------------------

_TARGET: Final = Struct({
    "group": Prop(GROUP, REQUIRED),
    "kind": Prop(KIND, REQUIRED),
    "name": Prop(OBJECT_NAME, REQUIRED),
    "sectionName": Prop(SECTION_NAME),
})


def _distinct_targets(value: Any, node: Any, report: Faults) -> None:
    by_object: dict[tuple[Any, ...], list[tuple[Any, Any]]] = {}
    for target, place in pairs(value, node):
        mark = target.get("group"), target.get("kind"), target.get("name")
        if None not in mark:
            by_object.setdefault(mark, []).append((target, place))
    for mark, targets in by_object.items():
        sections: set[Any] = set()
        whole = [given(place, "sectionName") for _, place in targets]
        for target, place in targets:
            section = target.get("sectionName")
            if section in sections:
                report.fault(place, f"names {mark[1]} {mark[2]} as another one does", "give sectionName: another port")
            elif section is None and any(whole):
                report.fault(
                    place,
                    f"names all of {mark[1]} {mark[2]}, and another one a port of it",
                    "give sectionName here too",
                )
            sections.add(section)


#: ``wellKnownCACertificates``.
WELL_KNOWN_CAS: Final = Text(
    "System, or a domain and a name", rf"System|{SUBDOMAIN}/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", 1, 253
)
_URI: Final = Text(
    "an absolute URI such as spiffe://example.com/service",
    r"[^:/?#\s]+://[^/?#\s]*[^?#\s]*(?:\?[^#\s]*)?(?:#\S*)?",
    1,
    253,
)


def _name_of_type(value: Any, node: Any, report: Faults) -> None:
    type_ = value.get("type")
    if type_ is None:
        return
    for other, key in (("Hostname", "hostname"), ("URI", "uri")):
        if other == type_ and not given(node, key):
            report.fault(node, f"has type {type_} and no {key}", f"give {key}")
        elif other != type_ and given(node, key):
            report.fault(node.key(key), f"does not go with type {type_}", f"write type: {other}, or leave it out")


_ALT_NAME: Final = Struct(
    {"type": Prop(Words(("Hostname", "URI")), REQUIRED), "hostname": Prop(HOSTNAME), "uri": Prop(_URI)},
    (_name_of_type,),
)


def _either_cas(refs: str, well_known: str) -> Any:
    def rule(value: Any, node: Any, report: Faults) -> None:
        if value.get(refs) and value.get(well_known):
            report.fault(node.key(well_known), f"does not go with {refs}", "keep one of the two")
        elif not value.get(refs) and not value.get(well_known):
            if any(given(node, key) and key not in value for key in (refs, well_known)):
                return  # at fault, and reported
            report.fault(
                at(node, refs),
                f"has neither {refs} nor {well_known}",
                f'give {refs}: [{{group: "", kind: ConfigMap, name: …}}], or {well_known}: System',
            )

    return rule


_POLICY: Final = Struct(
    {
        "targetRefs": Prop(ListOf(_TARGET, 1, 16, rules=(_distinct_targets,)), REQUIRED),
        "validation": Prop(
            Struct(
                {
                    "caCertificateRefs": Prop(ListOf(LOCAL_OBJECT_REFERENCE, 0, 8)),
                    "wellKnownCACertificates": Prop(WELL_KNOWN_CAS),
                    "hostname": Prop(PRECISE_HOSTNAME, REQUIRED),
                    "subjectAltNames": Prop(ListOf(_ALT_NAME, 0, 5)),
                },
                (_either_cas("caCertificateRefs", "wellKnownCACertificates"),),
                {
                    "caCertRefs": "write caCertificateRefs",
                    "wellKnownCACerts": "write wellKnownCACertificates",
                },
            ),
            REQUIRED,
        ),
        "options": Prop(OPTIONS),
    },
    moved={"targetRef": "write targetRefs, a list", "tls": "write validation"},
)
BACKEND_TLS_POLICY: Final = kind_fields(SUBDOMAIN_NAME, spec=Prop(_POLICY, REQUIRED))

#: The first version, which v1 writes otherwise.
BACKEND_TLS_POLICY_V1ALPHA2: Final = kind_fields(
    SUBDOMAIN_NAME,
    spec=Prop(
        Struct({
            "targetRef": Prop(Struct({**_TARGET.fields, "namespace": Prop(NAMESPACE)}), REQUIRED),
            "tls": Prop(
                Struct(
                    {
                        "caCertRefs": Prop(ListOf(LOCAL_OBJECT_REFERENCE, 0, 8)),
                        "wellKnownCACerts": Prop(Words(("System", "system"))),
                        "hostname": Prop(PRECISE_HOSTNAME, REQUIRED),
                    },
                    (_either_cas("caCertRefs", "wellKnownCACerts"),),
                ),
                REQUIRED,
            ),
        }),
        REQUIRED,
    ),
)


def modern_policy(content: dict[str, Any]) -> None:
    """Write a BackendTLSPolicy of v1alpha2 as v1 does."""
    spec = content["spec"]
    target = {key: value for key, value in spec["targetRef"].items() if key != "namespace"}
    validation = {"hostname": spec["tls"]["hostname"]}
    if spec["tls"].get("caCertRefs"):
        validation["caCertificateRefs"] = spec["tls"]["caCertRefs"]
    else:
        validation["wellKnownCACertificates"] = "System"
    content["spec"] = {"targetRefs": [target], "validation": validation}


# --- ReferenceGrant -----------------------------------------------------------------------------

REFERENCE_GRANT: Final = kind_fields(
    SUBDOMAIN_NAME,
    spec=Prop(
        Struct({
            "from": Prop(
                ListOf(
                    Struct({
                        "group": Prop(GROUP, REQUIRED),
                        "kind": Prop(KIND, REQUIRED),
                        "namespace": Prop(NAMESPACE, REQUIRED),
                    }),
                    1,
                    16,
                ),
                REQUIRED,
            ),
            "to": Prop(
                ListOf(
                    Struct({
                        "group": Prop(GROUP, REQUIRED),
                        "kind": Prop(KIND, REQUIRED),
                        "name": Prop(OBJECT_NAME),
                    }),
                    1,
                    16,
                ),
                REQUIRED,
            ),
        }),
        REQUIRED,
    ),
)
