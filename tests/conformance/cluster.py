"""The objects of a cluster, in a directory of manifests, with what its controllers would add."""
from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.fixtures import Manifest

__all__ = ["PLACEHOLDERS", "Cluster", "Key", "key_of", "read_manifests"]

#: Kind, namespace and name.
Key = tuple[str, str, str]
_CLUSTER_WIDE = {"Namespace", "GatewayClass"}
PLACEHOLDERS = {"{GATEWAY_CLASS_NAME}": "edgegw", "{GATEWAY_CONTROLLER_NAME}": "edgegw.io/gateway-controller"}
#: What the gateway reads; pods are made of Deployments here.
_NOT_FOR_THE_GATEWAY = {"Deployment"}


def key_of(manifest: Mapping[str, Any]) -> Key:
    """Tell an object from all others."""
    metadata = manifest.get("metadata", manifest)
    namespace = "" if manifest["kind"] in _CLUSTER_WIDE else metadata.get("namespace", "default")
    return manifest["kind"], namespace, metadata["name"]


def read_manifests(path: Path, placeholders: Mapping[str, str] | None = None) -> list[Manifest]:
    """Read a file of the suite.

    :param placeholders: what is to be put for each, besides the class and its controller.
    """
    text = path.read_text("utf-8")
    for placeholder, value in {**PLACEHOLDERS, **(placeholders or {})}.items():
        text = text.replace(placeholder, value)
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


class Cluster:
    """Objects by their keys.

    :param directory: takes a file for each.
    :param addresses: of each pod, by namespace and name of the Deployment.
    """

    def __init__(self, directory: Path, addresses: Mapping[tuple[str, str], list[str]]) -> None:
        self._directory = directory
        self._addresses = addresses
        self.objects: dict[Key, Manifest] = {}

    def apply(self, manifests: Iterable[Manifest]) -> list[Key]:
        """Put objects in, or in place of older ones."""
        applied = list(manifests)
        for manifest in applied:
            self._put(manifest)
        for manifest in applied:
            self._make_slice(manifest)
        return [key_of(manifest) for manifest in applied]

    def delete(self, keys: Iterable[Key]) -> None:
        """Take objects out, and what was made for them."""
        for key in keys:
            self.objects.pop(key, None)
            self._file(key).unlink(missing_ok=True)
            if key[0] == "Service":
                self.delete([("EndpointSlice", key[1], f"{key[2]}-of-selector")])

    def text_of(self, reference: Mapping[str, str], key: str) -> str:
        """Give the text of an object's data."""
        found = self.objects[key_of(reference)]["data"][key]
        return base64.b64decode(found).decode("ascii") if reference["kind"] == "Secret" else str(found)

    def mutate(self, mutation: Mapping[str, Any]) -> None:
        """Do one of the things that a step begins with."""
        action, key = mutation["action"], key_of(mutation["object"])
        if action == "delete":
            self.delete([key])
        elif action == "patch":
            changed = copy.deepcopy(self.objects[key])
            for operation in mutation["json_patch"]:
                _patch(changed, self._resolved(operation))
            self.apply([changed])
        elif action == "create":
            version = mutation["object"].get("apiVersion", _api_version(key[0]))
            metadata = {"namespace": key[1], "name": key[2]}
            body = self._resolved(mutation["body"])
            merged = {**body, "metadata": {**metadata, **body.get("metadata", {})}}
            self.apply([{"apiVersion": version, "kind": key[0], **merged}])
        elif action == "set_endpointslice_endpoints":
            self._set_endpoints(mutation, key)
        else:
            raise ValueError(f"{action} is no known action")

    def _set_endpoints(self, mutation: Mapping[str, Any], key: Key) -> None:
        deployment = mutation["from_pods_of_deployment"]
        addresses = self._addresses[deployment["namespace"], deployment["name"]]
        found = [one for one in addresses if (":" in one) == (mutation["address_family"] == "IPv6")]
        if not found and mutation.get("skip_when_no_address_of_family"):
            return
        self.apply([{**self.objects[key], "endpoints": _endpoints(found)}])

    def _make_slice(self, manifest: Manifest) -> None:
        """Do what the cluster does for a Service with a selector."""
        if manifest["kind"] != "Service" or not manifest["spec"].get("selector"):
            return
        _, namespace, name = key_of(manifest)
        wanted = manifest["spec"]["selector"].items()
        addresses: list[str] = []
        for (kind, space, deployment), one in self.objects.items():
            labels = one["spec"]["template"]["metadata"]["labels"] if kind == "Deployment" else {}
            if kind == "Deployment" and space == namespace and wanted <= labels.items():
                addresses += self._addresses.get((space, deployment), [])
        ports = [
            {"name": port.get("name", ""), "port": port.get("targetPort", port["port"]), "protocol": "TCP"}
            for port in manifest["spec"]["ports"]
        ]
        labels = {"kubernetes.io/service-name": name}
        metadata = {"namespace": namespace, "name": f"{name}-of-selector", "labels": labels}
        self._put(
            {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
                "addressType": "IPv4", "ports": ports, "endpoints": _endpoints(addresses),
            }
        )  # fmt: skip

    def _resolved(self, value: Any) -> Any:
        """Put the data of objects where a case refers to them."""
        if isinstance(value, dict):
            if set(value) == {"$fixture"}:
                fixture = value["$fixture"]
                return self.objects[key_of(fixture)]["data"][fixture["key"]]
            return {key: self._resolved(inner) for key, inner in value.items()}
        return [self._resolved(inner) for inner in value] if isinstance(value, list) else value

    def _put(self, manifest: Manifest) -> None:
        key = key_of(manifest)
        self.objects[key] = manifest
        if key[0] not in _NOT_FOR_THE_GATEWAY:
            temporary = self._directory / ".new"
            temporary.write_text(json.dumps(manifest, indent=1), "utf-8")
            temporary.rename(self._file(key))

    def _file(self, key: Key) -> Path:
        # Names may be longer than file systems like.
        digest = sha256("/".join(key).encode()).hexdigest()[:16]
        return self._directory / f"{key[0].lower()}-{key[2][:60]}-{digest}.json"


def _endpoints(addresses: Iterable[str]) -> list[dict[str, Any]]:
    conditions = {"ready": True, "serving": True, "terminating": False}
    return [{"addresses": [address], "conditions": conditions} for address in addresses]


def _api_version(kind: str) -> str:
    core = kind in ("Secret", "ConfigMap", "Service", "Namespace")
    return "v1" if core else "gateway.networking.k8s.io/v1"


def _patch(document: Any, operation: Mapping[str, Any]) -> None:
    """Apply one operation of RFC 6902."""
    action, path = operation["op"], operation["path"]
    if action == "test":
        if _at(document, path) != operation["value"]:
            raise ValueError(f"{path} is {_at(document, path)!r}, not {operation['value']!r}")
    elif action in ("copy", "move"):
        value = copy.deepcopy(_at(document, operation["from"]))
        if action == "move":
            _patch(document, {"op": "remove", "path": operation["from"]})
        _patch(document, {"op": "add", "path": path, "value": value})
    else:
        *above, last = _steps(path)
        within = _down(document, above)
        if isinstance(within, list):
            index = len(within) if last == "-" else int(last)
            within[index : index + (action != "add")] = [] if action == "remove" else [operation["value"]]
        elif action == "remove":
            del within[last]
        else:
            within[last] = operation["value"]


def _at(document: Any, path: str) -> Any:
    return _down(document, _steps(path))


def _steps(path: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]


def _down(document: Any, steps: Iterable[str]) -> Any:
    for step in steps:
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document
