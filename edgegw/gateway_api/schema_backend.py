"""Backend (gateway.envoyproxy.io/v1alpha1): endpoints that are no Service of a cluster."""
from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final

from edgegw.config.faults import shown
from edgegw.gateway_api.schema import REQUIRED, Faults, ListOf, Prop, Struct, given, pairs
from edgegw.gateway_api.schema_core import SUBDOMAIN_NAME, kind_fields
from edgegw.gateway_api.schema_policies import WELL_KNOWN_CAS
from edgegw.gateway_api.schema_terms import LOCAL_OBJECT_REFERENCE, PRECISE_HOSTNAME, SECRET_REFERENCE
from edgegw.gateway_api.schema_values import AnyValue, Flag, Integer, Text, Words

__all__ = ["BACKEND"]

_PORT: Final = Prop(Integer(0, 65535), REQUIRED)


def _ip_address(value: Any, node: Any, report: Faults) -> None:
    address = value.get("address")
    if address is not None:
        try:
            ip_address(address)
        except ValueError:
            report.fault(node.values["address"], f"{shown(address)} is no IP address", "write one, or use fqdn")


def _one_address(value: Any, node: Any, report: Faults) -> None:
    found = [key for key in ("fqdn", "ip", "unix") if given(node, key)]
    if len(found) != 1:
        problem = f"has {' and '.join(found)}" if found else "has no address"
        report.fault(node, problem, "give exactly one of fqdn, ip and unix")


def _one_kind_of_address(value: Any, node: Any, report: Faults) -> None:
    named = ["fqdn" in endpoint for endpoint, _ in pairs(value, node)]
    if any(named) and not all(named):
        report.fault(node, "has fqdn beside other addresses", "make two Backends of it")


_IP: Final = Struct({"address": Prop(Text("an IP address", None, 2, 45), REQUIRED), "port": _PORT}, (_ip_address,))
_ENDPOINT: Final = Struct(
    {
        "hostname": Prop(PRECISE_HOSTNAME),
        "fqdn": Prop(Struct({"hostname": Prop(PRECISE_HOSTNAME, REQUIRED), "port": _PORT})),
        "ip": Prop(_IP),
        "unix": Prop(Struct({"path": Prop(Text("a path", None, 1, 108), REQUIRED)})),
        "zone": Prop(Text()),
    },
    (_one_address,),
)


def _verified_or_not(value: Any, node: Any, report: Faults) -> None:
    refs, known = value.get("caCertificateRefs"), value.get("wellKnownCACertificates")
    if refs and known:
        report.fault(node.key("wellKnownCACertificates"), "does not go with caCertificateRefs", "keep one of the two")
    if value.get("insecureSkipVerify") and (refs or known):
        report.fault(node.key("insecureSkipVerify"), "does not go with CA certificates", "keep one of the two")


_TLS: Final = Struct(
    {
        "caCertificateRefs": Prop(ListOf(LOCAL_OBJECT_REFERENCE, 0, 8)),
        "wellKnownCACertificates": Prop(WELL_KNOWN_CAS),
        "insecureSkipVerify": Prop(Flag(), False),
        "sni": Prop(PRECISE_HOSTNAME),
        "clientCertificateRef": Prop(SECRET_REFERENCE),
        **{
            key: Prop(AnyValue())
            for key in (
                "alpnProtocols", "autoSNI", "ciphers", "ecdhCurves", "maxVersion", "minVersion", "signatureAlgorithms",
            )
        },
    },
    (_verified_or_not,),
)


def _resolver_without_endpoints(value: Any, node: Any, report: Faults) -> None:
    if value.get("type") == "DynamicResolver" and given(node, "endpoints"):
        report.fault(node.key("endpoints"), "do not go with type DynamicResolver", "leave one of the two out")


BACKEND: Final = kind_fields(
    SUBDOMAIN_NAME,
    spec=Prop(
        Struct(
            {
                "type": Prop(Words(("Endpoints", "DynamicResolver")), "Endpoints"),
                "endpoints": Prop(ListOf(_ENDPOINT, 1, 64, rules=(_one_kind_of_address,))),
                "appProtocols": Prop(
                    ListOf(Words(tuple(f"gateway.envoyproxy.io/{name}" for name in ("h2c", "ws", "wss"))))
                ),
                "fallback": Prop(Flag()),
                "tls": Prop(_TLS),
            },
            (_resolver_without_endpoints,),
        ),
        REQUIRED,
    ),
)
