"""How connections to an upstream are secured, and what they say of the client before anything else."""
from __future__ import annotations

from enum import Enum

from attrs import frozen

from edgegw.model.tls import (
    DEFAULT_GROUPS,
    DEFAULT_TLS12_CIPHERS,
    DEFAULT_TLS13_CIPHERS,
    ServerCertificate,
    TLSVersion,
    TrustAnchor,
)

__all__ = ["ProxyProtocol", "SubjectAltName", "SubjectAltNameType", "UpstreamTLS", "UpstreamVerification"]


class UpstreamVerification(Enum):
    """How much of an upstream's certificate is verified.

    ``FULL``: its chain and its name.  ``CHAIN_ONLY``: that a trusted CA has issued it, to whomever.  ``NONE``: nothing.
    """

    FULL = "full"
    CHAIN_ONLY = "chain_only"
    NONE = "none"


class SubjectAltNameType(Enum):
    """The kinds of names that an upstream's certificate may be known by (Gateway API ``SubjectAltNameType``)."""

    DNS = "dns"
    URI = "uri"


@frozen
class SubjectAltName:
    """A name that stands in an upstream's certificate.

    :ivar value: a DNS name in canonical form, which wildcards of the certificate cover, or a wildcard that stands there
        itself; or a URI, compared as it stands.
    """

    type: SubjectAltNameType
    value: str


class ProxyProtocol(Enum):
    """A version of HAProxy's PROXY protocol."""

    V1 = "v1"
    V2 = "v2"


@frozen
class UpstreamTLS:
    """TLS towards an upstream (Gateway API ``BackendTLSPolicy``).

    :ivar trust_anchors: what its chain must end in; without any, what is in ``system_trust``.
    :ivar system_trust: the path of the platform's file of CA certificates; ``None`` where ``trust_anchors`` hold, and
        where nothing is verified.
    :ivar hostname: the name that is asked for (SNI) and that the certificate must be for, or an IP address, which is
        only verified; ``None`` takes the name of each endpoint.
    :ivar sni: what is asked for in place of ``hostname``.
    :ivar subject_alt_names: one of these must be in the certificate, whatever ``hostname`` says; empty verifies that.
    :ivar client_certificate: what the gateway shows of itself to an upstream that asks for it.
    :ivar tls12_ciphers: OpenSSL names, best first.
    :ivar tls13_ciphers: ``TLS_…`` names, best first.
    :ivar session_resumption: resume sessions, for each endpoint its own.
    """

    verify: UpstreamVerification = UpstreamVerification.FULL
    trust_anchors: tuple[TrustAnchor, ...] = ()
    system_trust: str | None = None
    hostname: str | None = None
    sni: str | None = None
    subject_alt_names: tuple[SubjectAltName, ...] = ()
    client_certificate: ServerCertificate | None = None
    min_version: TLSVersion = TLSVersion.TLS1_2
    max_version: TLSVersion = TLSVersion.TLS1_3
    tls12_ciphers: tuple[str, ...] = DEFAULT_TLS12_CIPHERS
    tls13_ciphers: tuple[str, ...] = DEFAULT_TLS13_CIPHERS
    groups: tuple[str, ...] = DEFAULT_GROUPS
    session_resumption: bool = True
