"""Where Services are: their endpoints, as the native language writes them."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from ipaddress import ip_address
from typing import Any, Final

from attrs import frozen

from edgegw.config.endpoints import parse_upstream_endpoint
from edgegw.config.scalars import Unparsable
from edgegw.gateway_api.compiled import Surroundings
from edgegw.gateway_api.objects import CORE, DISCOVERY, Object, Objects

__all__ = ["ENDPOINTS_ANNOTATION", "ServicePort", "Services", "host_and_port"]

#: On a Service: ``host:port`` each, separated by commas, where no EndpointSlice says where it is.
ENDPOINTS_ANNOTATION: Final = "edgegw.io/endpoints"
_OWNER_LABEL: Final = "kubernetes.io/service-name"


@frozen
class ServicePort:
    """One port of a Service.

    :ivar name: of the port; ``None`` where it has none.
    :ivar endpoints: none where none is ready.
    :ivar app_protocol: as it was written.
    """

    name: str | None
    endpoints: tuple[str, ...]
    app_protocol: str | None = None


def host_and_port(host: str, port: int) -> str:
    """Write an endpoint."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Services:
    """Finds Services of a set of objects."""

    def __init__(self, objects: Objects, surroundings: Surroundings) -> None:
        self._objects = objects
        self._surroundings = surroundings

    def find(self, namespace: str, name: str, port: int | None) -> ServicePort | str:
        """Give a port of a Service, or what is missing.

        A Service without an object is there when somebody has said where it is.
        """
        service = self._objects.get(CORE, "Service", namespace, name)
        told = self._surroundings.endpoints.get((namespace, name))
        if service is None:
            if told is None:
                return f"there is no Service {namespace}/{name}"
            return ServicePort(None, _endpoints_in(told))
        if port is None:
            return f"it names no port of the Service {namespace}/{name}"
        entry = self._port(service, port)
        if entry is None:
            if service.spec.get("type") != "ExternalName":
                return f"the Service {namespace}/{name} has no port {port}"
            entry = {"port": port}
        if entry.get("protocol", "TCP") != "TCP":
            return f"the port {port} of the Service {namespace}/{name} is not one of TCP"
        return ServicePort(entry.get("name") or None, self._endpoints(service, entry, told), entry.get("appProtocol"))

    @staticmethod
    def _port(service: Object, port: int) -> Mapping[str, Any] | None:
        entries = [entry for entry in service.spec.get("ports") or () if entry["port"] == port]
        # DNS has one port for both.
        entries.sort(key=lambda entry: entry.get("protocol", "TCP") != "TCP")
        return entries[0] if entries else None

    def _endpoints(
        self, service: Object, entry: Mapping[str, Any], told: tuple[str, ...] | None
    ) -> tuple[str, ...]:
        slices = self._slices.get((service.namespace, service.name))
        if slices is not None:
            return tuple(dict.fromkeys(one for each in slices for one in _ready(each, entry.get("name") or "")))
        if told is not None:
            return _endpoints_in(told)
        annotated = service.annotations.get(ENDPOINTS_ANNOTATION)
        if annotated is not None:
            return _endpoints_in(annotated.split(","))
        if service.spec.get("type") == "ExternalName":
            return _endpoints_in([host_and_port(str(service.spec.get("externalName", "")).rstrip("."), entry["port"])])
        port = entry["port"]
        if service.spec.get("clusterIP") == "None" and isinstance(entry.get("targetPort"), int):
            # Nothing translates the port of a headless Service.
            port = entry["targetPort"]
        domain = self._surroundings.cluster_domain
        return _endpoints_in([f"{service.name}.{service.namespace}.svc.{domain}:{port}"])

    def warnings(self) -> Iterator[tuple[Object, str]]:
        """Give the Services whose annotation has something in it that is no endpoint."""
        for service in self._objects.of_kind(CORE, "Service"):
            for text in filter(str.strip, service.annotations.get(ENDPOINTS_ANNOTATION, "").split(",")):
                if _canonical(text) is None:
                    yield service, f"{ENDPOINTS_ANNOTATION}: {text.strip()} is no endpoint; write host:port"

    @cached_property
    def _slices(self) -> dict[tuple[str, str], list[Object]]:
        slices: dict[tuple[str, str], list[Object]] = {}
        for one in self._objects.of_kind(DISCOVERY, "EndpointSlice"):
            owner = one.labels.get(_OWNER_LABEL)
            if owner is not None:
                slices.setdefault((one.namespace, owner), []).append(one)
        return slices


def _endpoints_in(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found for found in map(_canonical, texts) if found is not None))


def _canonical(text: str) -> str | None:
    try:
        return str(parse_upstream_endpoint(text.strip()))
    except Unparsable:
        return None


def _ready(slice_: Object, port_name: str) -> Iterator[str]:
    """Give the endpoints of a slice that take connections for a port of their Service, which is known by its name."""
    ports = [
        entry["port"]
        for entry in slice_.content.get("ports") or ()
        if (entry.get("name") or "") == port_name and entry.get("protocol", "TCP") == "TCP" and entry.get("port")
    ]
    for endpoint in slice_.content.get("endpoints") or ():
        # Not known is ready (discovery.k8s.io/v1, EndpointConditions).
        if (endpoint.get("conditions") or {}).get("ready") is False:
            continue
        for address in endpoint.get("addresses") or ():
            for port in ports:
                found = _canonical(host_and_port(_shortest(address), port))
                if found is not None:
                    yield found


def _shortest(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        return address.rstrip(".")
