"""The kinds of objects that are read, in which versions, and what is said of all others."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from types import MappingProxyType
from typing import Any, Final

from attrs import frozen

from edgegw.gateway_api.objects import CORE, DISCOVERY, EDGEGW, ENVOY_GATEWAY, GATEWAY_API
from edgegw.gateway_api.schema import Struct
from edgegw.gateway_api.schema_backend import BACKEND
from edgegw.gateway_api.schema_core import CONFIG_MAP, NAMESPACE_KIND, SECRET, fold_string_data
from edgegw.gateway_api.schema_gateway import GATEWAY, GATEWAY_CLASS
from edgegw.gateway_api.schema_http_route import HTTP_ROUTE
from edgegw.gateway_api.schema_policies import (
    BACKEND_TLS_POLICY,
    BACKEND_TLS_POLICY_V1ALPHA2,
    REFERENCE_GRANT,
    modern_policy,
)
from edgegw.gateway_api.schema_routes import GRPC_ROUTE, TCP_ROUTE, TCP_ROUTE_V1ALPHA2, TLS_ROUTE, TLS_ROUTE_V1ALPHA2
from edgegw.gateway_api.schema_services import ENDPOINT_SLICE, SERVICE, complete_service
from edgegw.gateway_api.settings import SETTINGS, SETTINGS_KIND

__all__ = ["Kind", "UnknownKind", "kind_of"]

_ALIKE: Final = 0.85


@frozen
class Kind:
    """A kind of objects.

    :ivar group: its API group.
    :ivar versions: the schema of each version, the one that others are made first.
    :ivar namespaced: whether its objects lie in namespaces.
    :ivar complete: changes what a schema has read to what an API server would give back, by version; for those that
        need it.
    """

    group: str
    name: str
    versions: Mapping[str, Struct]
    namespaced: bool = True
    complete: Mapping[str, Callable[[dict[str, Any]], None]] = MappingProxyType({})

    @property
    def api_version(self) -> str:
        """The newest, as ``apiVersion`` has it."""
        version = next(iter(self.versions))
        return f"{self.group}/{version}" if self.group else version


def _same(schema: Struct, *versions: str) -> Mapping[str, Struct]:
    return dict.fromkeys(versions, schema)


_EVER: Final = ("v1", "v1beta1", "v1alpha2")
_KINDS: Final = {
    (kind.group, kind.name): kind
    for kind in (
        Kind(GATEWAY_API, "GatewayClass", _same(GATEWAY_CLASS, *_EVER), namespaced=False),
        Kind(GATEWAY_API, "Gateway", _same(GATEWAY, *_EVER)),
        Kind(GATEWAY_API, "HTTPRoute", _same(HTTP_ROUTE, *_EVER)),
        Kind(GATEWAY_API, "GRPCRoute", _same(GRPC_ROUTE, *_EVER)),
        Kind(
            GATEWAY_API,
            "TLSRoute",
            {"v1": TLS_ROUTE, "v1beta1": TLS_ROUTE, "v1alpha3": TLS_ROUTE, "v1alpha2": TLS_ROUTE_V1ALPHA2},
        ),
        Kind(GATEWAY_API, "TCPRoute", {"v1": TCP_ROUTE, "v1alpha2": TCP_ROUTE_V1ALPHA2}),
        Kind(GATEWAY_API, "ReferenceGrant", _same(REFERENCE_GRANT, *_EVER)),
        Kind(
            GATEWAY_API,
            "BackendTLSPolicy",
            {"v1": BACKEND_TLS_POLICY, "v1alpha3": BACKEND_TLS_POLICY, "v1alpha2": BACKEND_TLS_POLICY_V1ALPHA2},
            complete={"v1alpha2": modern_policy},
        ),
        Kind(CORE, "Namespace", {"v1": NAMESPACE_KIND}, namespaced=False),
        Kind(CORE, "Secret", {"v1": SECRET}, complete={"v1": fold_string_data}),
        Kind(CORE, "ConfigMap", {"v1": CONFIG_MAP}),
        Kind(CORE, "Service", {"v1": SERVICE}, complete={"v1": complete_service}),
        Kind(DISCOVERY, "EndpointSlice", {"v1": ENDPOINT_SLICE}),
        Kind(ENVOY_GATEWAY, "Backend", {"v1alpha1": BACKEND}),
        Kind(EDGEGW, SETTINGS, {"v1alpha1": SETTINGS_KIND}, namespaced=False),
    )
}
#: Groups that have no kinds but their own, so that one of the kinds above in them is a mistake.
_OWN: Final = ("k8s.io",)


class UnknownKind(Exception):
    """An object is of no kind that is read.

    :ivar problem: what is wrong with its ``apiVersion`` and ``kind``; empty where they may well be right.
    :ivar remedy: what would be right.
    """

    def __init__(self, problem: str = "", remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def kind_of(api_version: str, name: str) -> tuple[Kind, str]:
    """Find a kind by ``apiVersion`` and ``kind``; gives the version as well.

    :raises UnknownKind: it is none that is read.
    """
    group, _, version = api_version.rpartition("/")
    kind = _KINDS.get((group, name))
    if kind is not None:
        if version in kind.versions:
            return kind, version
        raise UnknownKind(f"{api_version} is no version of {name}", f"write {kind.api_version}")
    for kind in _KINDS.values():
        if kind.name == name and (group == CORE or _alike(group, kind.group) or group.endswith(_OWN)):
            raise UnknownKind(f"{api_version} has no {name}", f"write {kind.api_version}")
        if kind.group == group and _alike(name, kind.name):
            raise UnknownKind(f"{api_version} has no {name}", f"did you mean {kind.name}?")
    raise UnknownKind


def _alike(word: str, other: str) -> bool:
    return SequenceMatcher(None, word[:64].lower(), other.lower()).ratio() >= _ALIKE
