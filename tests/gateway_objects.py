"""Objects of the Gateway API for tests, written as manifests are, with the defaults that an API server fills in."""
from __future__ import annotations

from base64 import b64encode
from textwrap import dedent
from typing import Any

import yaml

from edgegw.gateway_api.objects import GATEWAY_API, Object, Objects
from tests.config_documents import CA, SERVER, Issued

__all__ = ["config_map", "objects_of", "secret", "standing"]


def objects_of(*texts: str | Object) -> Objects:
    """Read manifests; of the same kind later ones are younger."""
    found: list[Object] = []
    for text in texts:
        if isinstance(text, Object):
            found.append(text)
            continue
        found += [_object(content, len(found)) for content in yaml.safe_load_all(dedent(text)) if content]
    return Objects(found)


def _object(content: dict[str, Any], order: int) -> Object:
    metadata = content["metadata"]
    kind = content["kind"]
    if kind == "Gateway":
        for listener in content["spec"].get("listeners", ()):
            _fill_listener(listener)
    return Object(
        content.get("apiVersion", f"{GATEWAY_API}/v1"),
        kind,
        "" if kind in ("GatewayClass", "Namespace") else metadata.get("namespace", "default"),
        metadata["name"],
        content,
        metadata.get("generation", 1),
        metadata.get("creationTimestamp"),
        order,
    )


def _fill_listener(listener: dict[str, Any]) -> None:
    listener.setdefault("allowedRoutes", {}).setdefault("namespaces", {}).setdefault("from", "Same")
    for entry in listener["allowedRoutes"].get("kinds", ()):
        entry.setdefault("group", GATEWAY_API)
    if "tls" in listener:
        listener["tls"].setdefault("mode", "Terminate")
        for reference in listener["tls"].get("certificateRefs", ()):
            reference.setdefault("group", "")
            reference.setdefault("kind", "Secret")


def secret(name: str, issued: Issued = SERVER, namespace: str = "default", **replaced: bytes | None) -> Object:
    """Make a Secret with a certificate and its key.

    :param replaced: ``crt`` and ``key`` in place of them; ``None`` leaves one out.
    """
    given = {"crt": issued.pem + CA.pem, "key": issued.key_pem, **replaced}
    data = {f"tls.{key}": b64encode(value).decode() for key, value in given.items() if value is not None}
    content = {"metadata": {"name": name, "namespace": namespace}, "type": "kubernetes.io/tls", "data": data}
    return Object("v1", "Secret", namespace, name, content)


def config_map(name: str, pem: bytes = CA.pem, namespace: str = "default", key: str = "ca.crt") -> Object:
    """Make a ConfigMap with CA certificates."""
    content = {"metadata": {"name": name, "namespace": namespace}, "data": {key: pem.decode()}}
    return Object("v1", "ConfigMap", namespace, name, content)


def standing(conditions: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Give status and reason of each condition by its type."""
    return {one["type"]: (one["status"], one["reason"]) for one in conditions}
