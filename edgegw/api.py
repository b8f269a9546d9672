"""What a plugin imports, and nothing more: these names are kept as :mod:`edgegw.interfaces` promises.

::

    from attrs import frozen
    from edgegw.api import Accept, Reject, option, policy

    @frozen
    class Config:
        suffixes: tuple[str, ...] = option("Endings that are allowed.")

    @policy("dns_suffix", Config)
    def dns_suffix(config, peer):
        \"\"\"Let clients in whose DNS names all have one of some endings.\"\"\"
        if peer.dns_names and all(name.endswith(config.suffixes) for name in peer.dns_names):
            return Accept({"team": peer.dns_names[0].split(".")[0]})
        return Reject("dns_suffix", f"{peer.dns_names}")
"""
from __future__ import annotations

from edgegw.backend import BackendRequest, BackendResponse, RequestTooLarge
from edgegw.certificate import Certificate, normalise_fingerprint, printable
from edgegw.identity import CertificateStatus, ConnectionInfo
from edgegw.interfaces import (
    API_VERSION,
    CertificateAndKey,
    HTTPAnswer,
    HTTPUnavailable,
    IBackend,
    IBackendKind,
    ICertificateSource,
    ICertificateSourceKind,
    IDynamicCertificateSource,
    IDynamicCertificateSourceKind,
    IEnvironment,
    IFollowed,
    IHeaderInjector,
    IHeaderInjectorKind,
    IHTTPClient,
    IPluginKind,
    IPolicy,
    IPolicyKind,
    ISNIRouter,
    ISNIRouterKind,
)
from edgegw.kinds.backend import backend
from edgegw.kinds.dynamic_source import dynamic_certificate_source
from edgegw.kinds.injector import header_injector
from edgegw.kinds.option import Duration, FilePath, Size, option
from edgegw.kinds.policy import policy
from edgegw.kinds.router import sni_router
from edgegw.kinds.source import certificate_source
from edgegw.peer import Peer
from edgegw.proxied import ProxiedTLS, ProxyFacts
from edgegw.sni import ClientHelloFacts, PassThrough, ToListener
from edgegw.verdict import Accept, Explanation, Reason, Reject, Verdict

__all__ = [
    "API_VERSION",
    "Accept",
    "BackendRequest",
    "BackendResponse",
    "Certificate",
    "CertificateAndKey",
    "CertificateStatus",
    "ClientHelloFacts",
    "ConnectionInfo",
    "Duration",
    "Explanation",
    "FilePath",
    "HTTPAnswer",
    "HTTPUnavailable",
    "IBackend",
    "IBackendKind",
    "ICertificateSource",
    "ICertificateSourceKind",
    "IDynamicCertificateSource",
    "IDynamicCertificateSourceKind",
    "IEnvironment",
    "IFollowed",
    "IHTTPClient",
    "IHeaderInjector",
    "IHeaderInjectorKind",
    "IPluginKind",
    "IPolicy",
    "IPolicyKind",
    "ISNIRouter",
    "ISNIRouterKind",
    "PassThrough",
    "Peer",
    "ProxiedTLS",
    "ProxyFacts",
    "Reason",
    "Reject",
    "RequestTooLarge",
    "Size",
    "ToListener",
    "Verdict",
    "backend",
    "certificate_source",
    "dynamic_certificate_source",
    "header_injector",
    "normalise_fingerprint",
    "option",
    "policy",
    "printable",
    "sni_router",
]
