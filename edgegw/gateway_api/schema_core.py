"""Kubernetes' own kinds without endpoints: metadata, Namespace, Secret and ConfigMap (core/v1)."""
from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from attrs import frozen

from edgegw.config.nodes import Node
from edgegw.gateway_api.schema import INVALID, REQUIRED, Faults, MapOf, Prop, Shape, Struct, at, given
from edgegw.gateway_api.schema_terms import LABEL_KEY, LABEL_VALUE, NAMESPACE, QUALIFIED_KEY, SUBDOMAIN
from edgegw.gateway_api.schema_values import AnyValue, Flag, Ignored, Integer, Text, text_of

__all__ = [
    "CONFIG_MAP",
    "DATA_KEY",
    "METADATA_FIELDS",
    "MOST_DATA",
    "NAMESPACE_KIND",
    "SUBDOMAIN_NAME",
    "SECRET",
    "TLS_SECRET",
    "fold_string_data",
    "kind_fields",
]

#: The type of Secrets with a certificate and its key.
TLS_SECRET: Final = "kubernetes.io/tls"

#: Bytes of all values of a Secret or ConfigMap.
MOST_DATA: Final = 1024 * 1024

#: Characters of all annotations of an object.
_MOST_ANNOTATIONS: Final = 256 * 1024
_TIME: Final = r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[-+]\d\d:\d\d)"


def _bounded_annotations(value: Any, node: Any, report: Faults) -> None:
    size = sum(len(key) + len(text) for key, text in value.items())
    if size > _MOST_ANNOTATIONS:
        report.fault(node, f"has {size} characters in all", f"give {_MOST_ANNOTATIONS} or fewer")


#: ``metadata`` without its name, whose form depends on the kind.
METADATA_FIELDS: Final = {
    "namespace": Prop(NAMESPACE),
    "labels": Prop(MapOf(LABEL_KEY, LABEL_VALUE)),
    "annotations": Prop(
        MapOf(
            Text("a key such as example.com/name", f"(?i:{QUALIFIED_KEY})", 1, 317),
            Text("text", None, 0, _MOST_ANNOTATIONS),
            rules=(_bounded_annotations,),
        )
    ),
    "generation": Prop(Integer(0, 2**63 - 1)),
    "creationTimestamp": Prop(Text("a time such as 2026-01-31T12:00:00Z", _TIME, 1, 40)),
    "uid": Prop(Text("text", None, 0, 253)),
    "resourceVersion": Prop(Text("text", None, 0, 253)),
    "generateName": Prop(Ignored()),
    "selfLink": Prop(Ignored()),
    "deletionTimestamp": Prop(Ignored()),
    "deletionGracePeriodSeconds": Prop(Ignored()),
    "ownerReferences": Prop(Ignored()),
    "finalizers": Prop(Ignored()),
    "managedFields": Prop(Ignored()),
}


def kind_fields(name: Shape, **fields: Prop) -> Struct:
    """Describe a kind: what every object has, and its own fields.

    :param name: what its name may be.
    """
    return Struct({
        "apiVersion": Prop(AnyValue(), REQUIRED),
        "kind": Prop(AnyValue(), REQUIRED),
        "metadata": Prop(Struct({"name": Prop(name, REQUIRED), **METADATA_FIELDS}), REQUIRED),
        "status": Prop(Ignored()),
        **fields,
    })


#: What most objects may be called.
SUBDOMAIN_NAME: Final = Text("a name of a-z, 0-9, - and .", SUBDOMAIN, 1, 253)

NAMESPACE_KIND: Final = kind_fields(NAMESPACE, spec=Prop(Struct({"finalizers": Prop(Ignored())})))

# --- Secrets and ConfigMaps ---------------------------------------------------------------------

#: What stands before the values of Secrets and ConfigMaps.
DATA_KEY: Final = Text("a key of A-Z, a-z, 0-9, -, _ and .", r"(?!\.\.?\Z|\.\..)[-._a-zA-Z0-9]+", 1, 253)


@frozen
class _Base64(Shape):
    """Bytes, written and given in base64 (RFC 4648 §4); line breaks are left out.

    :ivar other: the field that takes text as it stands.
    """

    other: str
    wanted: str = "base64"

    def read(self, node: Node, report: Faults) -> Any:
        text = text_of(node, self, report, secret=True)
        if text is INVALID:
            return INVALID
        try:
            data = base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
        except (binascii.Error, ValueError):
            pem = text.lstrip().startswith("-----BEGIN")
            problem = "is PEM and not base64" if pem else "is not base64"
            report.fault(node, problem, f"encode it, or put it under {self.other} as it is")
            return INVALID
        return base64.b64encode(data).decode()


def _secret_rules(value: Any, node: Any, report: Faults) -> None:
    data, text = value.get("data") or {}, value.get("stringData") or {}
    size = sum(len(part) * 3 // 4 for part in data.values()) + sum(map(len, text.values()))
    if size > MOST_DATA:
        report.fault(node, f"holds {size} bytes", f"give {MOST_DATA} or fewer")
    if value.get("type") != TLS_SECRET:
        return
    for key in ("tls.crt", "tls.key"):
        if not any(given(at(node, part), key) for part in ("data", "stringData") if given(node, part)):
            report.fault(
                at(node, "data"),
                f"has no {key}, which a Secret of type {TLS_SECRET} must have",
                f"give data: {{{key}: base64}}, or stringData: {{{key}: PEM}}",
            )


def _config_map_rules(value: Any, node: Any, report: Faults) -> None:
    text, data = value.get("data") or {}, value.get("binaryData") or {}
    for key in data:
        if key in text:
            report.fault(at(node, "binaryData", key), f"{key} is in data too", "keep one of the two")
    size = sum(len(part) * 3 // 4 for part in data.values()) + sum(map(len, text.values()))
    if size > MOST_DATA:
        report.fault(node, f"holds {size} bytes", f"give {MOST_DATA} or fewer")


_TEXTS: Final = MapOf(DATA_KEY, Text())

_secret = kind_fields(
    SUBDOMAIN_NAME,
    type=Prop(Text("the type of the Secret", None, 0, 253), "Opaque"),
    data=Prop(MapOf(DATA_KEY, _Base64("stringData"))),
    stringData=Prop(MapOf(DATA_KEY, Text(secret=True))),
    immutable=Prop(Flag()),
)
SECRET: Final = Struct(_secret.fields, (_secret_rules,))

_config_map = kind_fields(
    SUBDOMAIN_NAME,
    data=Prop(_TEXTS),
    binaryData=Prop(MapOf(DATA_KEY, _Base64("data"))),
    immutable=Prop(Flag()),
)
CONFIG_MAP: Final = Struct(_config_map.fields, (_config_map_rules,))


def fold_string_data(content: dict[str, Any]) -> None:
    """Put a Secret's ``stringData`` under ``data``, in base64 as all of it, as an API server does; it goes before."""
    texts = content.pop("stringData", None) or {}
    folded = {key: base64.b64encode(text.encode("utf-8")).decode() for key, text in texts.items()}
    if folded:
        content["data"] = {**(content.get("data") or {}), **folded}
