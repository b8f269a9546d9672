"""GatewayClasses: which Gateways are ours, and what can be done for them."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from edgegw.gateway_api.compiled import CONTROLLER_NAME
from edgegw.gateway_api.conditions import Conditions, ObjectStatus
from edgegw.gateway_api.objects import GATEWAY_API, Object, Objects

__all__ = ["SUPPORTED_FEATURES", "class_of", "class_statuses", "gateways_of_others", "unusable_class"]

#: Names of the Gateway API's features, as its conformance suite has them (``pkg/features``).
SUPPORTED_FEATURES: Final = (
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendRequestRedirect",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
)


def _is_ours(gateway_class: Object) -> bool:
    return bool(gateway_class.spec.get("controllerName") == CONTROLLER_NAME)


def class_of(gateway: Object, objects: Objects) -> str | None:
    """Give the class of a Gateway that is ours: one whose class is ours, or of which there is no object."""
    name = str(gateway.spec.get("gatewayClassName") or "")
    found = objects.get(GATEWAY_API, "GatewayClass", "", name)
    return name if found is None or _is_ours(found) else None


def gateways_of_others(objects: Objects) -> Iterator[tuple[Object, str]]:
    """Give the Gateways that are not ours and why: no condition says anything of them, as long as we are alone."""
    for gateway in objects.of_kind(GATEWAY_API, "Gateway"):
        if class_of(gateway, objects) is None:
            name = gateway.spec.get("gatewayClassName")
            yield gateway, f"is not served: the controller of GatewayClass {name} is not {CONTROLLER_NAME}"


def unusable_class(gateway: Object, objects: Objects) -> str:
    """Say why a Gateway's class is not accepted; empty if it is."""
    found = objects.get(GATEWAY_API, "GatewayClass", "", str(gateway.spec.get("gatewayClassName") or ""))
    problem = "" if found is None else _problem(found)
    return f"{found}: {problem}" if problem else ""


def _problem(gateway_class: Object) -> str:
    reference = gateway_class.spec.get("parametersRef")
    if reference is None:
        return ""
    what = f"{reference.get('kind')} {reference.get('name')} of the group {reference.get('group')}"
    return f"parametersRef: no parameters are taken from a {what}; leave it out"


def class_statuses(objects: Objects) -> list[ObjectStatus]:
    """Give the status of each class that is ours."""
    statuses = []
    for gateway_class in objects.of_kind(GATEWAY_API, "GatewayClass"):
        if not _is_ours(gateway_class):
            continue
        conditions = Conditions(gateway_class.generation)
        problem = _problem(gateway_class)
        if problem:
            conditions.false("Accepted", "InvalidParameters", problem)
        conditions.true("Accepted", "Accepted")
        conditions.true("SupportedVersion", "SupportedVersion")
        status: dict[str, Any] = {
            "conditions": conditions.as_json(),
            "supportedFeatures": [{"name": name} for name in SUPPORTED_FEATURES],
        }
        statuses.append(ObjectStatus(gateway_class, status))
    return statuses
