"""How a listener terminates TLS, and which client certificates come in."""
from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any

from attrs import field, frozen

from edgegw.model.policies import POLICY_TIMEOUT, OnMissing, PolicyRule, RefuseWith

__all__ = [
    "OCSPResponseFile",
    "CertificateSourceUse",
    "ClientValidation",
    "DynamicCertificates",
    "ServerCertificate",
    "TLSSettings",
    "TLSVersion",
    "TrustAnchor",
    "ValidationMode",
]


class ValidationMode(Enum):
    """How strictly a client's certificate is judged (Gateway API ``FrontendValidationModeType``)."""

    ALLOW_VALID_ONLY = "AllowValidOnly"
    ALLOW_INSECURE_FALLBACK = "AllowInsecureFallback"


class TLSVersion(Enum):
    """A version of TLS that the gateway speaks; older ones it does not."""

    TLS1_2 = "1.2"
    TLS1_3 = "1.3"


@frozen
class TrustAnchor:
    """One certificate that client chains may end in; an intermediate is as good as a root.

    :ivar name: where it came from, for messages and metrics.
    :ivar pem: the certificate, one PEM block.
    """

    name: str
    pem: bytes
    not_after: datetime


@frozen
class CertificateSourceUse:
    """A certificate source with its options, in one place of a configuration.

    :ivar kind: provides :class:`edgegw.interfaces.ICertificateSourceKind`.
    :ivar source: what the kind has built of its options; provides :class:`edgegw.interfaces.ICertificateSource`.
    :ivar environment: what it was built with; provides :class:`edgegw.interfaces.IEnvironment`.
    """

    kind: Any
    source: Any
    environment: Any = None


@frozen
class OCSPResponseFile:
    """An OCSP response that somebody else keeps in a file (RFC 6960).

    :ivar path: for messages.
    :ivar followed: provides :class:`edgegw.interfaces.IFollowed`; its value is what is in the file.
    :ivar environment: tells when it has changed.
    """

    path: str
    followed: Any
    environment: Any


@frozen
class ServerCertificate:
    """A certificate that a listener shows, with its chain and key.

    :ivar name: where it came from, for messages and metrics.
    :ivar chain: PEM blocks, the leaf first.
    :ivar private_key: unencrypted PEM; never shown in a ``repr``.
    :ivar dns_names: the leaf's DNS SANs in canonical form, wildcards as ``*.example.com``.
    :ivar uris: the leaf's URI SANs as they stand in it.
    :ivar key_type: ``"RSA"``, ``"EC"``, ``"Ed25519"`` …: one of each may stand side by side.
    :ivar source: what yielded it and may yield a newer one; ``None`` for one that stays until the configuration is
        read again.
    :ivar ocsp_response: what is shown as its OCSP response; ``None`` leaves that to ``ocsp_stapling``.
    """

    name: str
    chain: bytes
    private_key: bytes = field(repr=False)
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    key_type: str
    not_after: datetime
    source: CertificateSourceUse | None = field(default=None, eq=False, repr=False)
    ocsp_response: OCSPResponseFile | None = field(default=None, eq=False, repr=False)


@frozen
class DynamicCertificates:
    """Certificates that a source gives for one name after the other, as clients ask for them.

    :ivar kind: provides :class:`edgegw.interfaces.IDynamicCertificateSourceKind`.
    :ivar source: what the kind has built of its options; provides
        :class:`edgegw.interfaces.IDynamicCertificateSource`.
    :ivar environment: what it was built with; provides :class:`edgegw.interfaces.IEnvironment`.
    :ivar timeout: seconds that it has for an answer.
    :ivar capacity: names whose certificates are kept, those that were used last.
    :ivar ttl: seconds that a certificate is kept, within its own validity.
    :ivar concurrency: names that it is asked about at a time; clients with further ones are refused.
    """

    kind: Any
    source: Any
    environment: Any = None
    timeout: float = 2.0
    capacity: int = 1000
    ttl: float = 3600.0
    concurrency: int = 64


@frozen
class ClientValidation:
    """Which client certificates come in.

    :ivar trust_anchors: empty where every one of the configured files was unreadable: such a listener refuses every
        connection in ``AllowValidOnly`` as in ``AllowInsecureFallback``; and with ``policies_alone``.
    :ivar required: ``AllowValidOnly`` without it lets clients in that send no certificate at
        all; a certificate that is sent must still be good.  ``AllowInsecureFallback`` never
        requires one.
    :ivar max_depth: certificates above the client's own in its chain, the trust anchor counted,
        as Envoy's ``max_verify_depth`` counts.
    :ivar policies: all of which must accept a certificate as well; ``None`` asks none, and an empty list
        refuses every client.
    :ivar on_missing: what becomes of a client without a certificate where there are policies and none
        is demanded; those that judge such clients too must accept it then.
    :ivar refuse_with: how a refusal after the handshake looks to the client.
    :ivar policy_timeout: seconds that a policy which waits has for its answer.
    :ivar recheck_established: close open connections whose certificate no longer passes when what
        policies judge by has changed, or the configuration.
    :ivar explain_to_client: name the reason code in a response that refuses.
    :ivar envoy_compatible: in ``AllowInsecureFallback`` let everyone in, as Envoy's ``ACCEPT_UNTRUSTED``
        does; whom a policy refuses counts as unverified.
    :ivar policies_alone: no trust anchor is named, so that no certificate is ever verified: the policies decide
        (``AllowInsecureFallback`` with pins of certificates or keys).
    """

    mode: ValidationMode
    trust_anchors: tuple[TrustAnchor, ...]
    required: bool = True
    max_depth: int = 100
    policies: tuple[PolicyRule, ...] | None = None
    on_missing: OnMissing = OnMissing.REFUSE
    refuse_with: RefuseWith = RefuseWith.CLOSE
    policy_timeout: float = POLICY_TIMEOUT
    recheck_established: bool = False
    explain_to_client: bool = False
    envoy_compatible: bool = False
    policies_alone: bool = False

    @property
    def refuses_everyone(self) -> bool:
        """Whether it names trust anchors of which none can be used."""
        return not self.trust_anchors and not self.policies_alone

    @property
    def demands_certificate(self) -> bool:
        """Whether a client without a certificate is refused during the handshake."""
        if self.policies is not None and self.on_missing is OnMissing.REFUSE and not self.envoy_compatible:
            return True
        return self.mode is ValidationMode.ALLOW_VALID_ONLY and self.required


#: TLS 1.2 suites in OpenSSL's spelling: forward secret and AEAD only.
DEFAULT_TLS12_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
#: TLS 1.3 suites (RFC 8446 appendix B.4).
DEFAULT_TLS13_CIPHERS = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
#: Key exchange groups in OpenSSL's spelling, the server's preference first.
DEFAULT_GROUPS = ("X25519MLKEM768", "X25519", "P-256", "P-384")


@frozen
class TLSSettings:
    """How a listener terminates TLS.

    :ivar certificates: in the operator's order: the first one of each key type is the default.  Empty only beside
        ``dynamic_certificates``; then there is no default.
    :ivar client_validation: ``None`` asks no client for a certificate.
    :ivar tls12_ciphers: OpenSSL names, best first.
    :ivar tls13_ciphers: ``TLS_…`` names, best first.
    :ivar signature_algorithms: OpenSSL names; empty leaves OpenSSL's own list.
    :ivar security_level: OpenSSL's, 0 to 5 (SSL_CTX_set_security_level(3)): how weak a key or a signature of the chains
        on either side may be.  2 demands 112 bits of security; 1 takes RSA of 1024 bits, 0 signatures over SHA-1, too.
    :ivar alpn: protocols by preference; empty answers no ALPN at all.
    :ivar strict_sni: refuse a handshake whose name is absent or on no certificate with the
        alert ``unrecognized_name`` instead of showing the default certificate.
    :ivar fingerprints: take the JA3 and the JA4 of every ClientHello of the port, although nothing asks for them.
    :ivar dynamic_certificates: give the certificates for names that are on none of ``certificates``.
    :ivar ocsp_stapling: ask the certificates' OCSP responders, and show what they say (RFC 6066 §8).
    :ivar ocsp_responder: the URL to ask in place of those that the certificates name.
    :ivar session_lifetime: seconds that a session may be resumed.
    """

    certificates: tuple[ServerCertificate, ...]
    client_validation: ClientValidation | None = None
    min_version: TLSVersion = TLSVersion.TLS1_2
    max_version: TLSVersion = TLSVersion.TLS1_3
    tls12_ciphers: tuple[str, ...] = DEFAULT_TLS12_CIPHERS
    tls13_ciphers: tuple[str, ...] = DEFAULT_TLS13_CIPHERS
    groups: tuple[str, ...] = DEFAULT_GROUPS
    signature_algorithms: tuple[str, ...] = ()
    security_level: int = 2
    alpn: tuple[str, ...] = ("h2", "http/1.1")
    strict_sni: bool = False
    session_tickets: bool = True
    session_lifetime: float = 7200.0
    fingerprints: bool = False
    ocsp_stapling: bool = False
    ocsp_responder: str | None = None
    dynamic_certificates: DynamicCertificates | None = None
