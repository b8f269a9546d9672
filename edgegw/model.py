"""What a gateway is: frozen values that every configuration dialect compiles to.

The model knows no YAML, no files, no sockets and no reactor.  Certificates and keys are
here as PEM ``bytes``, whatever they were read from; names are in the canonical form of
:func:`edgegw.names.canonical_name`; durations are ``float`` seconds, sizes are bytes.
Whoever builds a model has checked it: the classes hold values, they do not judge them.
"""
from __future__ import annotations

from datetime import datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Union

from attrs import Factory, field, frozen

__all__ = [
    "Admin",
    "BackendRef",
    "ClientCertificateField",
    "ClientValidation",
    "ConnectionLimits",
    "Endpoint",
    "FieldHeaders",
    "Forwarding",
    "Gateway",
    "HTTPSettings",
    "HeaderInjection",
    "Listener",
    "Logging",
    "PEMHeader",
    "PathMatch",
    "PathMatchType",
    "Protocol",
    "Route",
    "RouteMatch",
    "RouteRule",
    "ServerCertificate",
    "TLSSettings",
    "TLSVersion",
    "TrustAnchor",
    "UnderscoreAction",
    "Upstream",
    "ValidationMode",
    "XFCC",
    "XFCCDetail",
    "XFCCMode",
]


class Protocol(Enum):
    """What a listener speaks (Gateway API ``ProtocolType``)."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"


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
class ServerCertificate:
    """A certificate that a listener shows, with its chain and key.

    :ivar name: where it came from, for messages and metrics.
    :ivar chain: PEM blocks, the leaf first.
    :ivar private_key: unencrypted PEM; never shown in a ``repr``.
    :ivar dns_names: the leaf's DNS SANs in canonical form, wildcards as ``*.example.com``.
    :ivar uris: the leaf's URI SANs as they stand in it.
    :ivar key_type: ``"RSA"``, ``"EC"``, ``"Ed25519"`` …: one of each may stand side by side.
    """

    name: str
    chain: bytes
    private_key: bytes = field(repr=False)
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    key_type: str
    not_after: datetime


@frozen
class ClientValidation:
    """Which client certificates come in.

    :ivar trust_anchors: empty only where every one of the configured files was unreadable:
        such a listener refuses every connection in ``AllowValidOnly`` as in
        ``AllowInsecureFallback``.
    :ivar required: ``AllowValidOnly`` without it lets clients in that send no certificate at
        all; a certificate that is sent must still be good.  ``AllowInsecureFallback`` never
        requires one.
    :ivar max_depth: certificates above the client's own in its chain, the trust anchor counted,
        as Envoy's ``max_verify_depth`` counts.
    """

    mode: ValidationMode
    trust_anchors: tuple[TrustAnchor, ...]
    required: bool = True
    max_depth: int = 10

    @property
    def demands_certificate(self) -> bool:
        """Whether a client without a certificate is refused during the handshake."""
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

    :ivar certificates: in the operator's order: the first one of each key type is the default.
    :ivar client_validation: ``None`` asks no client for a certificate.
    :ivar tls12_ciphers: OpenSSL names, best first.
    :ivar tls13_ciphers: ``TLS_…`` names, best first.
    :ivar signature_algorithms: OpenSSL names; empty leaves OpenSSL's own list.
    :ivar alpn: protocols by preference; empty answers no ALPN at all.
    :ivar strict_sni: refuse a handshake whose name is absent or on no certificate with the
        alert ``unrecognized_name`` instead of showing the default certificate.
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
    alpn: tuple[str, ...] = ("http/1.1",)
    strict_sni: bool = False
    session_tickets: bool = True
    session_lifetime: float = 7200.0


# --- header injection -----------------------------------------------------------------------


class XFCCMode(Enum):
    """What happens to ``x-forwarded-client-cert`` (Envoy ``ForwardClientCertDetails``)."""

    SANITIZE = "sanitize"
    FORWARD_ONLY = "forward_only"
    APPEND_FORWARD = "append_forward"
    SANITIZE_SET = "sanitize_set"
    ALWAYS_FORWARD_ONLY = "always_forward_only"


class XFCCDetail(Enum):
    """An element of ``x-forwarded-client-cert`` that is sent when asked for; Hash and By always are."""

    SUBJECT = "subject"
    CERT = "cert"
    CHAIN = "chain"
    URI = "uri"
    DNS = "dns"


@frozen
class XFCC:
    """Tell upstreams the caller in ``x-forwarded-client-cert``, as Envoy does."""

    mode: XFCCMode = XFCCMode.SANITIZE_SET
    details: frozenset[XFCCDetail] = frozenset({XFCCDetail.SUBJECT, XFCCDetail.URI, XFCCDetail.DNS})


@frozen
class ClientCertificateField:
    """Tell upstreams the caller in ``Client-Cert`` and, with ``chain``, ``Client-Cert-Chain`` (RFC 9440)."""

    chain: bool = False


@frozen
class PEMHeader:
    """Tell upstreams the caller's certificate as URL-encoded PEM, as nginx's ``$ssl_client_escaped_cert``.

    :ivar header: the header's name, lower-case.
    """

    header: str


@frozen
class FieldHeaders:
    """Headers made of identity facts by templates.

    :ivar headers: ``(lower-case name, template)``; a template is text with ``{fact}`` in it,
        where ``fact`` is one of :data:`edgegw.identity.FACTS`.
    """

    headers: tuple[tuple[str, str], ...]


HeaderInjection = Union[XFCC, ClientCertificateField, PEMHeader, FieldHeaders]


# --- listeners ------------------------------------------------------------------------------


class UnderscoreAction(Enum):
    """What becomes of a request header whose name has an underscore: many upstreams read ``X_A`` as ``X-A``."""

    DROP = "drop"
    REFUSE = "refuse"


@frozen
class ConnectionLimits:
    """Bounds on what clients may hold of a listener; past one the gateway refuses early.

    :ivar handshake_timeout: seconds from accept to the end of the TLS handshake; no byte from the
        client extends it.
    """

    max_connections: int = 20_000
    max_connections_per_peer: int = 1_000
    max_handshakes: int = 1_000
    handshake_timeout: float = 10.0


@frozen
class HTTPSettings:
    """Limits and time-outs of HTTP on a listener.

    :ivar max_head_bytes: request line and headers together; past it 431.
    :ivar max_headers: header lines; past it 431.
    :ivar max_uri_bytes: the request target; past it 414.
    :ivar max_body_bytes: past it 413; ``None`` is unlimited.
    :ivar head_timeout: seconds for a whole request head, from its first byte; past it 408.
    :ivar body_idle_timeout: seconds without a byte of a request's body; past it 408.
    :ivar keep_alive_timeout: seconds between requests; past it the connection closes.
    :ivar write_timeout: seconds in which a client that takes nothing of a response is given up.
    :ivar max_requests: requests on one connection; ``None`` is unlimited.
    """

    max_head_bytes: int = 65_536
    max_headers: int = 100
    max_uri_bytes: int = 16_384
    max_body_bytes: int | None = None
    head_timeout: float = 15.0
    body_idle_timeout: float = 60.0
    keep_alive_timeout: float = 60.0
    write_timeout: float = 60.0
    max_requests: int | None = None


@frozen
class Forwarding:
    """Which headers tell upstreams of the way a request came, and whom to believe about it.

    :ivar trusted_proxies: peers whose ``x-forwarded-*`` and ``x-request-id`` are believed and
        added to; everyone else's are replaced.
    :ivar via: the pseudonym to put into ``Via`` (RFC 9110 §7.6.3); ``None`` sends none.
    """

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    via: str | None = None
    underscores: UnderscoreAction = UnderscoreAction.DROP
    preserve_host: bool = True


@frozen
class Listener:
    """One name on one port.

    :ivar address: an IP address, ``None`` for all of IPv4 and IPv6, or ``unix:`` and a path.
    :ivar port: TCP port; 0 lets the system choose (tests), and stands for ``unix:`` listeners.
    :ivar hostname: exact or ``*.`` and a suffix, canonical; ``None`` takes every name.
    """

    name: str
    port: int
    protocol: Protocol = Protocol.HTTPS
    address: str | None = None
    hostname: str | None = None
    tls: TLSSettings | None = None
    header_injection: tuple[HeaderInjection, ...] = ()
    limits: ConnectionLimits = Factory(ConnectionLimits)
    http: HTTPSettings = Factory(HTTPSettings)
    forwarding: Forwarding = Factory(Forwarding)


# --- routes ---------------------------------------------------------------------------------


class PathMatchType(Enum):
    """How a path is compared (Gateway API ``PathMatchType``)."""

    EXACT = "Exact"
    PATH_PREFIX = "PathPrefix"


@frozen
class PathMatch:
    """A condition on the request's path; a prefix matches by whole elements (``/v2`` is not ``/v2x``)."""

    type: PathMatchType = PathMatchType.PATH_PREFIX
    value: str = "/"


@frozen
class RouteMatch:
    """What a request must be for a rule to apply: all of the conditions."""

    path: PathMatch = Factory(PathMatch)


@frozen
class BackendRef:
    """A share of a rule's requests for one upstream."""

    upstream: str
    weight: int = 1


@frozen
class RouteRule:
    """Requests that meet any of ``matches`` go to ``backends``; with no backend they get 500."""

    matches: tuple[RouteMatch, ...] = (RouteMatch(),)
    backends: tuple[BackendRef, ...] = ()


@frozen
class Route:
    """Rules for some names.

    :ivar hostnames: exact or ``*.`` and a suffix, canonical; empty takes every name of its listeners.
    :ivar listeners: names of listeners that it is attached to; empty attaches it to all.
    """

    name: str
    hostnames: tuple[str, ...] = ()
    rules: tuple[RouteRule, ...] = ()
    listeners: tuple[str, ...] = ()


@frozen
class Endpoint:
    """One address of an upstream: an IP address or a host name, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class Upstream:
    """Where requests are sent: endpoints that serve the same thing, taken in turn.

    :ivar response_timeout: seconds for the response's head after the request was sent; past it 504.
    :ivar idle_timeout: seconds without a byte of a response's body, and without progress of a
        request's towards the upstream; past it the exchange is cut.
    :ivar keep_alive_timeout: seconds that an unused connection is kept.
    :ivar max_idle: unused connections kept to one endpoint.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    connect_timeout: float = 5.0
    response_timeout: float = 60.0
    idle_timeout: float = 60.0
    keep_alive_timeout: float = 60.0
    max_idle: int = 128


# --- the whole ------------------------------------------------------------------------------


@frozen
class Admin:
    """Where metrics and health are served."""

    address: str = "127.0.0.1"
    port: int = 9901


@frozen
class Logging:
    """:ivar format: ``"text"`` or ``"json"``; :ivar level: ``debug``, ``info``, ``warn`` or ``error``."""

    format: str = "text"
    level: str = "info"


@frozen
class Gateway:
    """Everything that one process serves.

    :ivar drain_timeout: seconds that what is in flight has to finish after SIGTERM.
    """

    listeners: tuple[Listener, ...]
    routes: tuple[Route, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    admin: Admin | None = Factory(Admin)
    logging: Logging = Factory(Logging)
    drain_timeout: float = 30.0
