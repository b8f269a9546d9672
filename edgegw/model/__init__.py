"""What a gateway is: frozen values that every configuration dialect compiles to.

The model knows no YAML, no files, no sockets and no reactor.  Certificates and keys are
here as PEM ``bytes``, whatever they were read from; names are in the canonical form of
:func:`edgegw.names.canonical_name`; durations are ``float`` seconds, sizes are bytes.
Whoever builds a model has checked it: the classes hold values, they do not judge them.
"""
from __future__ import annotations

from edgegw.model.gateway import (
    XFCC,
    Admin,
    AmbiguousPaths,
    ClientCertificateField,
    ConnectionLimits,
    FieldHeaders,
    Forwarding,
    Gateway,
    HeaderInjection,
    HealthCheck,
    HTTPSettings,
    InjectorUse,
    Listener,
    Logging,
    PEMHeader,
    Protocol,
    UnderscoreAction,
    XFCCDetail,
    XFCCMode,
)
from edgegw.model.matches import (
    HeaderMatch,
    IdentityMatch,
    PathMatch,
    PathMatchType,
    QueryParamMatch,
    RouteMatch,
    ValueMatchType,
)
from edgegw.model.policies import (
    POLICY_TIMEOUT,
    ClientRequirement,
    OnMissing,
    PolicyAll,
    PolicyAny,
    PolicyNot,
    PolicyRule,
    PolicyUse,
    RefuseWith,
)
from edgegw.model.routes import BackendRef, Route, RouteRule
from edgegw.model.routing import ROUTER_TIMEOUT, BackendUse, SNIRouterUse
from edgegw.model.tls import (
    CertificateSourceUse,
    ClientValidation,
    OCSPResponseFile,
    ServerCertificate,
    TLSSettings,
    TLSVersion,
    TrustAnchor,
    ValidationMode,
)
from edgegw.model.upstreams import Endpoint, Upstream

__all__ = [
    "OCSPResponseFile",
    "POLICY_TIMEOUT",
    "ROUTER_TIMEOUT",
    "Admin",
    "AmbiguousPaths",
    "BackendRef",
    "BackendUse",
    "CertificateSourceUse",
    "ClientCertificateField",
    "ClientRequirement",
    "ClientValidation",
    "ConnectionLimits",
    "Endpoint",
    "FieldHeaders",
    "Forwarding",
    "Gateway",
    "HTTPSettings",
    "HeaderInjection",
    "HeaderMatch",
    "HealthCheck",
    "IdentityMatch",
    "InjectorUse",
    "Listener",
    "Logging",
    "OnMissing",
    "PEMHeader",
    "PathMatch",
    "PathMatchType",
    "PolicyAll",
    "PolicyAny",
    "PolicyNot",
    "PolicyRule",
    "PolicyUse",
    "Protocol",
    "QueryParamMatch",
    "RefuseWith",
    "Route",
    "RouteMatch",
    "RouteRule",
    "SNIRouterUse",
    "ServerCertificate",
    "TLSSettings",
    "TLSVersion",
    "TrustAnchor",
    "UnderscoreAction",
    "Upstream",
    "ValidationMode",
    "ValueMatchType",
    "XFCC",
    "XFCCDetail",
    "XFCCMode",
]
