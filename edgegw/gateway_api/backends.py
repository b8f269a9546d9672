"""What ``backendRefs`` name: Services, and Envoy Gateway's Backends."""
from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from attrs import frozen

from edgegw.config.endpoints import parse_upstream_endpoint
from edgegw.config.scalars import Unparsable
from edgegw.gateway_api.findings import RouteFindings
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.objects import CORE, ENVOY_GATEWAY, Object, Objects
from edgegw.gateway_api.services import Services, host_and_port

__all__ = ["AppProtocol", "Backend", "Backends"]


class AppProtocol(Enum):
    """What is spoken with a backend, beside TLS."""

    ANY = "any"
    HTTP2 = "2"
    HTTP1 = "1.1"
    OTHER = "other"


#: ``appProtocol`` in lower case (KEP-3726, IANA's service names, Envoy Gateway's).
_PROTOCOLS: Final = {
    **dict.fromkeys(("", "http", "https", "tcp", "tls", "ssl"), AppProtocol.ANY),
    **dict.fromkeys(("kubernetes.io/h2c", "gateway.envoyproxy.io/h2c", "h2c", "h2", "http2", "grpc", "grpcs"),
                    AppProtocol.HTTP2),
    **dict.fromkeys(("kubernetes.io/ws", "kubernetes.io/wss", "gateway.envoyproxy.io/ws", "gateway.envoyproxy.io/wss",
                     "ws", "wss"), AppProtocol.HTTP1),
}  # fmt: skip
_NOT_SPOKEN: Final = {
    "HTTPRoute": (AppProtocol.OTHER,),
    "GRPCRoute": (AppProtocol.OTHER, AppProtocol.HTTP1),
}


@frozen
class Backend:
    """A backend that is there.

    :ivar kind: group and kind.
    :ivar port: 0 for kinds whose endpoints have their own.
    :ivar port_name: which policies for a part of it name.
    :ivar endpoints: as the native language writes them; none where none is ready.
    :ivar app_protocol: as it was written; empty where nothing was.
    """

    kind: tuple[str, str]
    namespace: str
    name: str
    port: int
    port_name: str | None
    endpoints: tuple[str, ...]
    app_protocol: str = ""

    @property
    def protocol(self) -> AppProtocol:
        """What ``app_protocol`` asks for."""
        return _PROTOCOLS.get(self.app_protocol.lower(), AppProtocol.OTHER)

    @property
    def label(self) -> str:
        """What upstreams to it are called."""
        place = f"{self.namespace}/{self.name}"
        return f"{place}:{self.port}" if self.port else place

    def __str__(self) -> str:
        return f"{self.kind[1]} {self.namespace}/{self.name}"


class _Unsupported(str):
    """What of a backend that is there cannot be used."""


class Backends:
    """Finds what references name."""

    def __init__(self, objects: Objects, grants: Grants, services: Services) -> None:
        self._objects = objects
        self._grants = grants
        self._services = services

    def find(self, route: Object, ref: Mapping[str, Any], place: str, findings: RouteFindings) -> Backend | None:
        """Give what a reference of a route names; where that is nothing, say so in its findings.

        :param place: of the reference in the route.
        """
        group, kind = ref.get("group") or CORE, ref.get("kind") or "Service"
        namespace, name = ref.get("namespace") or route.namespace, ref["name"]
        if (group, kind) not in ((CORE, "Service"), (ENVOY_GATEWAY, "Backend")):
            shown = f"{group}/{kind}" if group else kind
            findings.reference("InvalidKind", f"{place}: {shown} is no kind of backend; use a Service or a Backend")
            return None
        if not self._grants.allow(route, group, kind, namespace, name):
            findings.reference(
                "RefNotPermitted",
                f"{place}: no ReferenceGrant in {namespace} lets a {route.kind} of {route.namespace} name "
                f"the {kind} {name}",
            )
            return None
        found: Backend | str
        if kind == "Service":
            found = self._service(namespace, name, ref.get("port"))
        else:
            found = self._own(namespace, name, findings)
        if isinstance(found, _Unsupported):
            findings.reference("UnsupportedProtocol", f"{place}: {found}")
            return None
        if isinstance(found, str):
            findings.reference("BackendNotFound", f"{place}: {found}")
            findings.missing.append((group, kind, namespace, name))
            return None
        if found.protocol in _NOT_SPOKEN.get(route.kind, ()):
            problem = f"{place}: appProtocol {found.app_protocol} of {found} is nothing that a {route.kind} speaks"
            findings.reference("UnsupportedProtocol", problem)
            return None
        return found

    def _service(self, namespace: str, name: str, port: int | None) -> Backend | str:
        found = self._services.find(namespace, name, port)
        if isinstance(found, str):
            return found
        return Backend(
            (CORE, "Service"), namespace, name, port or 0, found.name, found.endpoints, found.app_protocol or ""
        )

    def _own(self, namespace: str, name: str, findings: RouteFindings) -> Backend | str:
        backend = self._objects.get(ENVOY_GATEWAY, "Backend", namespace, name)
        if backend is None:
            return f"there is no Backend {namespace}/{name}"
        for key in ("tls", "type"):
            if backend.spec.get(key) not in (None, "Endpoints"):
                return _Unsupported(f"{key} of {backend} is not supported; use a BackendTLSPolicy, and endpoints")
        if backend.spec.get("fallback"):
            findings.warn(f"{backend} is a fallback, which is not known here: it gets its share of the requests always")
        endpoints = []
        for entry in backend.spec.get("endpoints") or ():
            text = _endpoint_of(entry)
            try:
                endpoints.append(str(parse_upstream_endpoint(text)))
            except Unparsable as error:
                return _Unsupported(f"{text} of {backend} {error}")
        protocols = backend.spec.get("appProtocols") or ("",)
        return Backend(
            (ENVOY_GATEWAY, "Backend"), namespace, name, 0, None, tuple(dict.fromkeys(endpoints)), protocols[0]
        )


def _endpoint_of(entry: Mapping[str, Any]) -> str:
    if entry.get("unix"):
        return f"unix:{entry['unix'].get('path')}"
    if entry.get("ip"):
        return host_and_port(str(entry["ip"].get("address")), entry["ip"].get("port", 0))
    fqdn = entry.get("fqdn") or {}
    return host_and_port(str(fqdn.get("hostname")), fqdn.get("port", 0))
